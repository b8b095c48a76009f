"""The items of which an A-ASSOCIATE PDU is made (PS3.8 9.3.2): one byte of type, one reserved, two of length, then data."""

import struct
from collections.abc import Iterator

from leadglass.dicom.uid import Uid
from leadglass.errors import BadPdu, InvalidUid

_HEADER = struct.Struct(">BxH")

INVALID_PARAMETER = 6
"""The A-ABORT reason for a value that is not what PS3.8 says (PS3.8 Table 9-26)."""


def item(kind: int, data: bytes) -> bytes:
    """One encoded item."""
    if len(data) > 0xFFFF:
        raise BadPdu(f"item {kind:#04x} is longer than its length field can say", INVALID_PARAMETER)
    return _HEADER.pack(kind, len(data)) + data


def split(raw: memoryview, most: int) -> Iterator[tuple[int, memoryview]]:
    """The type and data of each item in `raw`; BadPdu if a length lies or there are more than `most`."""
    position, end, count = 0, len(raw), 0
    while position < end:
        count += 1
        if count > most:
            raise BadPdu(f"more than {most} items in one place of an A-ASSOCIATE PDU", INVALID_PARAMETER)
        if end - position < _HEADER.size:
            raise BadPdu("an item of an A-ASSOCIATE PDU ends within its header", INVALID_PARAMETER)
        kind, length = _HEADER.unpack_from(raw, position)
        start = position + _HEADER.size
        position = start + length
        if position > end:
            raise BadPdu(f"item {kind:#04x} is longer than what holds it", INVALID_PARAMETER)
        yield kind, raw[start:position]


def uid(raw: memoryview | bytes) -> Uid:
    """A UID that the association depends on; BadPdu if it is none."""
    try:
        return Uid.from_wire(bytes(raw))
    except InvalidUid as problem:
        raise BadPdu(f"in an A-ASSOCIATE PDU: {problem}", INVALID_PARAMETER) from None


def text(raw: memoryview | bytes) -> str:
    """A text that is shown and compared but that nothing depends on: printable ASCII, the rest as `?`."""
    stripped = bytes(raw).strip(b"\0 ")
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else "?" for byte in stripped)
