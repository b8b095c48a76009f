"""What the worker reads itself before a decoder sees it: requests, the headers of code streams, RLE.

The decoders' own code is not fuzzed here.
"""

import contextlib
import zlib

from leadglass.pixels import codecs
from leadglass.pixels.codestream import (
    Malformed,
    Unsupported,
    jpeg_2000_code_stream,
    jpeg_2000_header,
    jpeg_header,
    jpeg_with_tail,
    require_whole_jpeg_2000,
)
from leadglass.pixels.protocol import REQUEST, Codec, Flags, Frame, unpack_request

_EXPECTED = (ValueError, Malformed, Unsupported, codecs.Mismatch)


def target(data: bytes) -> None:
    """The first bytes are a request, the rest its code stream; all of it is a code stream of every other kind too."""
    if len(data) < REQUEST.size:
        return
    with contextlib.suppress(*_EXPECTED):
        frame, length = unpack_request(data[: REQUEST.size])
        if unpack_request(frame.pack(length)) != (frame, length):
            raise AssertionError(frame)
    rest = data[REQUEST.size :]
    for read in (jpeg_header, jpeg_2000_header, jpeg_2000_code_stream, require_whole_jpeg_2000):
        with contextlib.suppress(*_EXPECTED):
            read(rest)
    if not jpeg_with_tail(rest, b"ab").endswith(b"ab\xff\xd9"):
        raise AssertionError("the tail is not at the end")
    for codec in (Codec.RLE, Codec.DEFLATED):
        frame = Frame(codec, Flags(0), 4, 4, 1, 16, 16)
        with contextlib.suppress(*_EXPECTED, zlib.error):
            if len(codecs.decode(frame, rest)) != frame.size:
                raise AssertionError(frame)


def seeds() -> list[bytes]:
    """Headers of each kind."""
    request = Frame(Codec.JPEG, Flags.TO_RGB, 4, 4, 3, 8, 8).pack(10)
    jpeg = b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc0\0\x0b\x08\0\4\0\4\3abc\xff\xda\0\2\1\2\xff\xd9"
    j2k = b"\xff\x4f\xff\x51\0\x29\0\0" + b"\0\0\0\4" * 2 + bytes(24) + b"\0\1\7\1\1\xff\x90\0\x0a\0\0\0\0\0\x0e\0\1\xff\x93\xff\xd9"
    rle = (2).to_bytes(4, "little") + (64).to_bytes(4, "little") + (66).to_bytes(4, "little") + bytes(52) + b"\xf1\7\x0f" + bytes(16)
    return [request + jpeg, request + j2k, request + rle, request + b"\0\0\0\x0cjP  " + j2k]
