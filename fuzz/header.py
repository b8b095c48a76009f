"""Data sets as they come in: judged alike whole and in pieces, the header alike from the scan and from the validator."""

import zlib

from leadglass.dicom.header import Header, scan
from leadglass.dicom.syntax import DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.validate import Validator
from leadglass.errors import BadDataSet

SYNTAXES = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, DEFLATED_LITTLE_ENDIAN)


def target(data: bytes) -> None:
    """The first byte chooses the transfer syntax, the second the size of the pieces."""
    transfer_syntax = SYNTAXES[(data[0] if data else 0) % 4]
    size = 1 + (data[1] if len(data) > 1 else 0)
    data = data[2:]
    whole = judged(data, transfer_syntax, len(data) or 1)
    if judged(data, transfer_syntax, size) != whole:
        raise AssertionError("pieces are judged otherwise")
    try:
        header = scan(data, transfer_syntax, complete=True)
    except BadDataSet:
        if whole is not None:
            raise AssertionError("the scan refuses what is valid") from None
        raise
    if whole is not None and header != whole:
        raise AssertionError("the scan says something else")


def judged(data: bytes, transfer_syntax: str, size: int) -> Header | None:
    """The header, or None for what is refused."""
    validator = Validator(transfer_syntax)
    try:
        for at in range(0, len(data), size):
            validator.feed(data[at : at + size])
        return validator.finish()
    except BadDataSet:
        return None


def seeds() -> list[bytes]:
    """An object in each transfer syntax, of the few elements that make it one, and one with everything in it."""
    ids = b"".join(tag + b"UI\x06\x001.2.3\0" for tag in (b"\x08\0\x16\0", b"\x08\0\x18\0", b"\x20\0\x0d\0", b"\x20\0\x0e\0"))
    implicit = b"".join(tag + b"\x06\0\0\x001.2.3\0" for tag in (b"\x08\0\x16\0", b"\x08\0\x18\0", b"\x20\0\x0d\0", b"\x20\0\x0e\0"))
    big = b"".join(tag + b"UI\x00\x061.2.3\0" for tag in (b"\0\x08\0\x16", b"\0\x08\0\x18", b"\0\x20\0\x0d", b"\0\x20\0\x0e"))
    item = b"\xfe\xff\0\xe0\xff\xff\xff\xff\x08\0\x50\x11UI\x04\x001.2\0\xfe\xff\x0d\xe0\0\0\0\0"
    sequence = b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\x04\0\0\0abcd\xfe\xff\xdd\xe0\0\0\0\0"
    charset = b"\x08\0\x05\0CS\x10\0ISO 2022 IR 87\\\0"
    name = b"\x10\0\x10\0PN\x08\0\x1b$B;3ED "
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    return [
        b"\0\x07" + charset + ids[:28] + name + ids[28:] + sequence + pixels,
        b"\x01\x20" + implicit + b"\x40\0\x75\x02\x08\0\0\0\xfe\xff\0\xe0\0\0\0\0",
        b"\x02\xff" + big,
        b"\x03\x01" + deflated.compress(ids) + deflated.flush(),
    ]
