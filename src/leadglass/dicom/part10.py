"""DICOM files (PS3.10): the 128 zero bytes, DICM and the file meta information that we write, and reading those of others.

Written: the preamble is always zero, since a file can be a program of another kind by it (CVE-2019-11687), and group 0002 is ours.

Read leniently: a wrong or missing group length, unknown elements of group 0002, any preamble, missing SOP class or instance (the data set
has them). Refused: no DICM at byte 128, or no transfer syntax. Without these the same bytes can be read in several ways, and guessing
would make an object of what its sender did not mean.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.syntax import ByteSource
from leadglass.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Uid
from leadglass.dicom.vr import LONG_FORM, SHORT_FORM
from leadglass.errors import BadDataSet, InvalidUid

PREAMBLE: Final = bytes(128)
MAGIC: Final = b"DICM"
MAX_META_BYTES: Final = 1024 * 1024
"""Some 300 bytes are usual; private information (0002,0102) may make it more."""

_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
_ELEMENT = struct.Struct("<HH2sH")


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What a file says of its data set; None where it leaves it to the data set."""

    transfer_syntax: Uid
    sop_class: Uid | None
    sop_instance: Uid | None


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """The beginning of a file up to where its data set begins (PS3.10 7.1)."""
    elements = b"".join(
        (
            _ELEMENT.pack(2, 1, b"OB", 0) + struct.pack("<I", 2) + b"\0\1",
            _text(_SOP_CLASS, b"UI", sop_class),
            _text(_SOP_INSTANCE, b"UI", sop_instance),
            _text(_TRANSFER_SYNTAX, b"UI", transfer_syntax),
            _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    return PREAMBLE + MAGIC + _ELEMENT.pack(2, 0, b"UL", 4) + struct.pack("<I", len(elements)) + elements


def _text(element: int, vr: bytes, text: str) -> bytes:
    raw = text.encode("ascii")
    raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
    return _ELEMENT.pack(2, element, vr, len(raw)) + raw


def read_file_meta(source: ByteSource) -> tuple[FileMeta, int]:
    """The file meta information of the file in `source` and the offset of its data set; the position of `source` is anywhere afterwards."""
    source.seek(0)
    start = _read(source, len(PREAMBLE) + len(MAGIC))
    if start[len(PREAMBLE) :] != MAGIC:
        raise BadDataSet(
            "no DICOM file: DICM is not at byte 128 (PS3.10 7.1); a bare data set cannot be taken, nothing says how to read it"
        )
    found: dict[int, bytes] = {}
    end = len(start)
    for element, value, after in _elements(source, end):
        found[element] = value
        end = after
    if not found.get(_TRANSFER_SYNTAX, b"").strip(b"\0 "):
        raise BadDataSet("the file does not name its transfer syntax (0002,0010): its data set can be read in several ways (PS3.10 7.1)")
    try:
        return FileMeta(Uid.from_wire(found[_TRANSFER_SYNTAX]), _uid(found.get(_SOP_CLASS)), _uid(found.get(_SOP_INSTANCE))), end
    except InvalidUid:
        raise BadDataSet("the file meta information holds something in the place of a UID that is none (PS3.5 9.1)") from None


def _uid(raw: bytes | None) -> Uid | None:
    return Uid.from_wire(raw) if raw and raw.strip(b"\0 ") else None


def _elements(source: ByteSource, at: int) -> Iterator[tuple[int, bytes, int]]:
    # Element number, value and the offset after it, while the group is 0002: what the group length says is not relied upon.
    while True:
        header = _read(source, 8)
        if header[:2] != b"\2\0":
            return
        if len(header) < _ELEMENT.size:
            raise _cut_off()
        _, element, vr, length = _ELEMENT.unpack(header)
        at += 8
        if vr in LONG_FORM:
            long_length = _read(source, 4)
            if len(long_length) < 4:
                raise _cut_off()
            length = int.from_bytes(long_length, "little")
            at += 4
        elif vr not in SHORT_FORM:
            raise BadDataSet("the file meta information is not explicit VR little endian, as it must be (PS3.10 7.1)")
        if at + length > MAX_META_BYTES:
            raise BadDataSet(f"the file meta information is longer than {MAX_META_BYTES} bytes, or damaged")
        value = _read(source, length)
        if len(value) < length:
            raise _cut_off()
        at += length
        yield element, value, at


def _read(source: ByteSource, size: int) -> bytes:
    # A source may give less than asked for before its end.
    parts = bytearray()
    while len(parts) < size and (part := source.read(size - len(parts))):
        parts += part
    return bytes(parts)


def _cut_off() -> BadDataSet:
    return BadDataSet("the file ends within its file meta information: it was cut off")
