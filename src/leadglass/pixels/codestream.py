"""What a code stream says of itself, read before any decoder sees it: its size must be the data set's, or nothing is decoded.

A decoder takes as much memory as the code stream says; here it is held against what was asked for. Also told: that a code stream was
cut off, which decoders of JPEG and HTJ2K pass over, filling up with grey what is missing.
"""

from typing import Final, NamedTuple

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_NO_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8), _SOI})
_START_OF_FRAME: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_UNSUPPORTED_FRAME: Final = frozenset({*range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_J2K_START: Final = b"\xff\x4f\xff\x51"
_J2K_END: Final = b"\xff\xd9"


class Malformed(Exception):  # not in errors.py: it never leaves the worker
    """No code stream of the kind it should be, or cut off."""


class Unsupported(Exception):
    """A kind of code stream that is not decoded here."""


class Header(NamedTuple):
    """Image size, components and bits per sample of a code stream; `process` is the number of a JPEG's start of frame marker."""

    rows: int
    columns: int
    components: int
    precision: int
    process: int = 0
    signed: bool = False


def jpeg_header(data: bytes) -> Header:
    """The frame header of JPEG (ITU-T T.81 B.2.2) and JPEG-LS (T.87 C.2.2)."""
    if data[:2] != b"\xff\xd8":
        raise Malformed
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise Malformed
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes (T.81 B.1.1.2)
            at += 1
            continue
        if marker in _NO_LENGTH:
            at += 2
            continue
        if marker in _UNSUPPORTED_FRAME:
            raise Unsupported
        if marker in {_SOS, _EOI}:
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _START_OF_FRAME:
            if length < 8 or at + 2 + length > len(data):
                raise Malformed
            return Header(
                rows=int.from_bytes(data[at + 5 : at + 7], "big"),
                columns=int.from_bytes(data[at + 7 : at + 9], "big"),
                components=data[at + 9],
                precision=data[at + 4],
                process=marker,
            )
        at += 2 + max(length, 2)
    raise Malformed


def jpeg_with_tail(data: bytes, tail: bytes) -> bytes:
    """The code stream with `tail` added to its last entropy-coded segment: of a whole image, which needs no more, it changes nothing."""
    end = data.rfind(b"\xff\xd9")
    body = data[:end] if end > 0 and not data[end + 2 :].strip(b"\0\xff") else data.rstrip(b"\0")
    # Bytes of ones before a marker are fill bytes (T.81 B.1.1.2), and with what follows here would be a marker.
    return body.rstrip(b"\xff") + tail + b"\xff\xd9"


def jpeg_2000_code_stream(data: bytes) -> bytes:
    """The code stream alone, out of the JP2 file that some encoders wrongly put around it (PS3.5 A.4.4)."""
    if data.startswith(_J2K_START):
        return data
    at = data.find(_J2K_START)
    if data[4:8] != b"jP  " or at < 0:
        raise Malformed
    return data[at:]


def jpeg_2000_header(data: bytes) -> Header:
    """The SIZ marker segment (ITU-T T.800 A.5.1); every component must be of the image's size and alike."""
    if not data.startswith(_J2K_START) or len(data) < 42:
        raise Malformed
    x_size, y_size, x_at, y_at = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
    components = int.from_bytes(data[40:42], "big")
    described = data[42 : 42 + 3 * components]
    if len(described) < 3 * components or not components or x_size <= x_at or y_size <= y_at:
        raise Malformed
    kinds = {described[at : at + 3] for at in range(0, 3 * components, 3)}
    if len(kinds) != 1 or described[1:3] != b"\1\1":
        raise Unsupported
    return Header(y_size - y_at, x_size - x_at, components, (described[0] & 0x7F) + 1, signed=bool(described[0] & 0x80))


def require_whole_jpeg_2000(data: bytes) -> None:
    """Raise `Malformed` unless every tile-part is as long as it says and the end of the code stream follows (T.800 A.4.2, A.4.4)."""
    at = 2
    while data[at : at + 2] != b"\xff\x90":  # the main header up to the first start of a tile-part
        if at + 4 > len(data) or data[at] != 0xFF:
            raise Malformed
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    while data[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length == 0:  # up to the end of the code stream; the last tile-part alone may say so
            if not data.rstrip(b"\0").endswith(_J2K_END):
                raise Malformed
            return
        at += max(length, 12)
    if data[at : at + 2] != _J2K_END:
        raise Malformed
