"""The few query identifiers that the survey sends, and what it reads of the answers (PS3.4 C.4.1, implicit VR little endian)."""

import struct
from collections.abc import Mapping
from types import MappingProxyType

from leadglass.vocabulary import Level

TAGS: Mapping[str, int] = MappingProxyType(
    {
        "SpecificCharacterSet": 0x0008_0005,
        "SOPClassUID": 0x0008_0016,
        "SOPInstanceUID": 0x0008_0018,
        "StudyDate": 0x0008_0020,
        "StudyTime": 0x0008_0030,
        "AccessionNumber": 0x0008_0050,
        "QueryRetrieveLevel": 0x0008_0052,
        "InstitutionName": 0x0008_0080,
        "ReferringPhysicianName": 0x0008_0090,
        "StudyDescription": 0x0008_1030,
        "PatientName": 0x0010_0010,
        "PatientID": 0x0010_0020,
        "IssuerOfPatientID": 0x0010_0021,
        "PatientBirthDate": 0x0010_0030,
        "PatientSex": 0x0010_0040,
        "OtherPatientIDs": 0x0010_1000,
        "StudyInstanceUID": 0x0020_000D,
        "SeriesInstanceUID": 0x0020_000E,
        "NumberOfStudyRelatedInstances": 0x0020_1208,
        "NumberOfSeriesRelatedInstances": 0x0020_1209,
    }
)

_KEYWORDS = {tag: keyword for keyword, tag in TAGS.items()}
_HEADER = struct.Struct("<HHI")
_UNDEFINED = 0xFFFF_FFFF
_ITEM = (0xFFFE, 0xE000)
_ITEM_END = (0xFFFE, 0xE00D)
_SEQUENCE_END = (0xFFFE, 0xE0DD)
MAX_DEPTH = 8
MAX_ELEMENTS = 2000


def encode(level: Level, keys: Mapping[str, str]) -> bytes:
    """The identifier that asks for `keys` (keyword to value; empty: return it)."""
    values = {TAGS["QueryRetrieveLevel"]: str(level)} | {TAGS[keyword]: value for keyword, value in keys.items()}
    return b"".join(_element(tag, value) for tag, value in sorted(values.items()))


def _element(tag: int, value: str) -> bytes:
    raw = value.encode("ascii")
    if len(raw) % 2:
        # UIDs are padded with NUL, text with a space (PS3.5 6.2).
        raw += b"\0" if _KEYWORDS[tag].endswith("UID") else b" "
    return _HEADER.pack(tag >> 16, tag & 0xFFFF, len(raw)) + raw


def decode(raw: bytes) -> Mapping[str, str]:
    """The values of the attributes in `TAGS` that an answer holds, without padding; what cannot be read any further is left out.

    Text is taken as latin-1: it is hashed, counted as present, or a UID, and never shown.
    """
    values: dict[str, str] = {}
    at = 0
    for _ in range(MAX_ELEMENTS):
        if at + _HEADER.size > len(raw):
            break
        group, element, length = _HEADER.unpack_from(raw, at)
        start = at + _HEADER.size
        if length == _UNDEFINED:
            after = _after_sequence(raw, start, 0)
            if after is None:
                break
            at = after
            continue
        at = start + length
        if at > len(raw):
            break
        if keyword := _KEYWORDS.get(group << 16 | element):
            values[keyword] = raw[start:at].strip(b" \0").decode("latin-1")
    return values


def _after_sequence(raw: bytes, at: int, depth: int) -> int | None:
    """Where the sequence of undefined length whose items begin at `at` ends."""
    if depth > MAX_DEPTH:
        return None
    while at + _HEADER.size <= len(raw):
        group, element, length = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        if (group, element) in {_SEQUENCE_END, _ITEM_END}:
            return at
        if length == _UNDEFINED:
            end = _after_sequence(raw, at, depth + 1)
            if end is None:
                return None
            at = end
        else:
            at += length
    return None
