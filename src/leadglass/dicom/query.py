"""C-FIND and C-GET identifiers (PS3.4 C.4.1, C.4.3): read into a Query or a Selection, and written from a record.

What is asked for beyond the attributes we know is an unsupported optional key: matched universally, not returned, listed in
`Query.unsupported` so that the door can say so (status FF01). Hierarchical searches only: the unique keys above the level are required.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.attributes import BY_KEYWORD, BY_TAG, COMPUTED, DOOR, Attribute
from leadglass.dicom.elements import Elements
from leadglass.dicom.levels import ORDER, UNIQUE_KEY, Root, above, levels_of
from leadglass.dicom.matching import Match, Single, UidList, Universal, parse_match
from leadglass.dicom.syntax import encoding_of, is_deflated
from leadglass.dicom.text import decode, encodings_of
from leadglass.dicom.tokens import Kind
from leadglass.dicom.uid import Uid
from leadglass.dicom.vr import CHARSET_DEPENDENT, LONG_FORM_NAMES, SPECIFIC_CHARACTER_SET
from leadglass.errors import BadDataSet, BadQuery
from leadglass.vocabulary import Level

MAX_IDENTIFIER_BYTES: Final = 1024 * 1024
"""A UID list of 16,000 entries fits."""

_MAX_KEYS: Final = 1024
_MAX_KEY_BYTES: Final = 512 * 1024
_LEVEL_TAG: Final = 0x00080052
_COUNTED_AT: Final = frozenset(entry.keyword for level in Level for entry in COMPUTED[level])
_BY_DOOR: Final = frozenset(entry.keyword for entry in DOOR)


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for, at which level, and what to give back of each match.

    `keys` holds no Universal; `returns` holds keywords of `attributes` in the order of their tags; `unsupported` the tags we do not know.
    """

    level: Level
    keys: Mapping[str, Match]
    returns: tuple[str, ...]
    limit: int | None = None
    offset: int = 0
    unsupported: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"Query(level={self.level}, keys={sorted(self.keys)})"  # what is asked for is often a patient's name


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instances a retrieve names; an empty tuple restricts nothing at its level, but something is always named."""

    studies: tuple[Uid, ...] = ()
    series: tuple[Uid, ...] = ()
    instances: tuple[Uid, ...] = ()
    patient_id: str | None = None

    def __post_init__(self) -> None:
        if not (self.studies or self.series or self.instances or self.patient_id):
            raise ValueError("a selection that names nothing would mean the whole archive")

    def __repr__(self) -> str:
        return f"Selection({len(self.studies)} studies, {len(self.series)} series, {len(self.instances)} instances)"


def query_from_identifier(data: bytes, transfer_syntax: str, root: Root) -> Query:
    """The query in a C-FIND request's identifier; BadQuery where PS3.4 C.4.1 does not allow it."""
    level, texts, unsupported = _read(data, transfer_syntax, root)
    keys: dict[str, Match] = {}
    for keyword, text in texts.items():
        match = parse_match(keyword, text) if keyword not in _BY_DOOR else Universal()
        if not isinstance(match, Universal) and _searchable(keyword, level):
            keys[keyword] = match
    for upper in above(level, root):
        if not isinstance(keys.get(UNIQUE_KEY[upper]), Single):
            raise BadQuery(f"a {level} query must give one value for {UNIQUE_KEY[upper]}, without wildcards (PS3.4 C.4.1.3.1.1)")
    known = {keyword for keyword in texts if keyword in _BY_DOOR or _belongs(keyword, level)}
    returns = tuple(sorted(known, key=lambda keyword: BY_KEYWORD[keyword].tag))
    below = [BY_KEYWORD[keyword].tag for keyword in texts if keyword not in known]
    return Query(level, keys, returns, unsupported=tuple(sorted([*unsupported, *below])))


def _belongs(keyword: str, level: Level) -> bool:
    # An attribute of a level above describes the entity as well; what lies below would have many values.
    return ORDER.index(BY_KEYWORD[keyword].level) <= ORDER.index(level)


def _searchable(keyword: str, level: Level) -> bool:
    # Of what is counted, only what says what a study holds can be searched for (PS3.4 C.3.4).
    return _belongs(keyword, level) and (keyword not in _COUNTED_AT or keyword in {"ModalitiesInStudy", "SOPClassesInStudy"})


def selection_from_identifier(data: bytes, transfer_syntax: str, root: Root) -> tuple[Level, Selection]:
    """The level and the instances that a C-GET or C-MOVE identifier names; BadQuery where PS3.4 C.4.2.1.4, C.4.3.1.3 do not allow it."""
    level, texts, _ = _read(data, transfer_syntax, root)
    uids: dict[Level, tuple[Uid, ...]] = {}
    patient_id = texts.get(UNIQUE_KEY[Level.PATIENT], "").strip() or None
    for upper in (*above(level, root), level):
        if upper is Level.PATIENT:
            if patient_id is None or "\\" in patient_id:
                raise BadQuery("a retrieve in the patient root must name one PatientID (PS3.4 C.4.3.1.3)")
            continue
        match = parse_match(UNIQUE_KEY[upper], texts.get(UNIQUE_KEY[upper], ""))
        if isinstance(match, Single):
            uids[upper] = (Uid(match.value),)
        elif isinstance(match, UidList) and upper is level:
            uids[upper] = tuple(Uid(uid) for uid in match.uids)
        else:
            raise BadQuery(f"a {level} retrieve must name {UNIQUE_KEY[upper]}, a list at its own level alone (PS3.4 C.4.3.1.3)")
    return level, Selection(
        uids.get(Level.STUDY, ()), uids.get(Level.SERIES, ()), uids.get(Level.IMAGE, ()), patient_id if root is Root.PATIENT else None
    )


def _read(data: bytes, transfer_syntax: str, root: Root) -> tuple[Level, dict[str, str], list[int]]:
    # The level, the texts of the keys that we know, and the tags of those that we do not.
    if len(data) > MAX_IDENTIFIER_BYTES:
        raise BadQuery(f"the identifier is longer than {MAX_IDENTIFIER_BYTES} bytes; ask in several queries")
    raw = _top_level(data, transfer_syntax)
    little = encoding_of(transfer_syntax).little
    encodings = encodings_of(raw.pop(SPECIFIC_CHARACTER_SET, b""))
    raw.pop(0x00080201, None)  # TimezoneOffsetFromUTC: times are compared as they stand
    text = raw.pop(_LEVEL_TAG, b"").strip(b"\0 ").decode("ascii", "replace")
    if text not in {level.value for level in levels_of(root)}:
        raise BadQuery(f"the identifier's QueryRetrieveLevel is not one of {', '.join(levels_of(root))} (PS3.4 C.6)")
    texts: dict[str, str] = {}
    unsupported: list[int] = []
    for tag, value in raw.items():
        entry = BY_TAG.get(tag)
        if entry is None:
            if tag & 0xFFFF:  # a group length asks for nothing
                unsupported.append(tag)
        elif entry.vr == "US":
            texts[entry.keyword] = str(int.from_bytes(value[:2], "little" if little else "big")) if value else ""
        else:
            texts[entry.keyword] = decode(value, encodings, name=entry.vr == "PN")
    return Level(text), texts, unsupported


def _top_level(data: bytes, transfer_syntax: str) -> dict[int, bytes]:
    raw: dict[int, bytes] = {}
    if is_deflated(transfer_syntax):
        raise BadQuery("a deflated identifier; no query is large enough for that")
    try:
        elements = Elements(io.BytesIO(data), transfer_syntax)
        for token in elements:
            if token.depth or token.kind not in {Kind.ELEMENT, Kind.SEQUENCE}:
                continue
            if token.tag in raw or len(raw) >= _MAX_KEYS:
                raise BadQuery("a key stands twice in the identifier, or there are more than anybody can mean")
            raw[token.tag] = elements.value(token, _MAX_KEY_BYTES) if token.kind is Kind.ELEMENT else b""
    except BadDataSet as broken:
        raise BadQuery(f"the identifier cannot be read: {broken}") from None
    return raw


def identifier_from_record(record: Mapping[str, str], query: Query, transfer_syntax: str) -> bytes:
    """A match as the identifier of a C-FIND response (PS3.4 C.4.1.1.3.2): what was asked for, empty where the record has nothing.

    Characters are UTF-8 (ISO_IR 192), which covers whatever the objects themselves are written in.
    """
    encoding = encoding_of(transfer_syntax)
    keywords = {
        *query.returns,
        *(UNIQUE_KEY[level] for level in ORDER if level is not Level.PATIENT and ORDER.index(level) <= ORDER.index(query.level)),
    }
    fields = {SPECIFIC_CHARACTER_SET: ("CS", b"ISO_IR 192"), _LEVEL_TAG: ("CS", query.level.encode())}
    for keyword in keywords:
        entry = BY_KEYWORD[keyword]
        fields[entry.tag] = (entry.vr, _encode(entry, record.get(keyword, ""), little=encoding.little))
    return b"".join(_element(tag, *fields[tag], explicit=encoding.explicit, little=encoding.little) for tag in sorted(fields))


def _encode(entry: Attribute, text: str, *, little: bool) -> bytes:
    if entry.vr == "US":
        return struct.pack("<H" if little else ">H", int(text) & 0xFFFF) if text.strip().isdecimal() else b""
    return text.encode("utf-8" if entry.vr in CHARSET_DEPENDENT else "ascii", "replace")


def _element(tag: int, vr: str, value: bytes, *, explicit: bool, little: bool) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    order = "<" if little else ">"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack(order + "I", len(value)) + value
    if vr in LONG_FORM_NAMES:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value
