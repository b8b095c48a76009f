"""What crosses the two pipes between the archive and a worker: a request with one compressed frame, an answer with its pixels.

All numbers are little endian. A worker begins with GREETING and its protections; then each request has one answer. Neither side believes
a length: the worker takes no more than MAX_COMPRESSED, the archive takes exactly as many bytes as the frame must have, or none.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

GREETING: Final = b"leadglass pixels 1\n"
REQUEST: Final = struct.Struct("<4sBBHHBBBBI")
ANSWER: Final = struct.Struct("<4sBI")
REQUEST_MAGIC: Final = b"LGPQ"
ANSWER_MAGIC: Final = b"LGPA"
MAX_COMPRESSED: Final = 512 * 1024 * 1024
"""A lossless code stream of the largest frame is never longer than this."""


class Protection(IntFlag):
    """What a worker says that it is closed in by."""

    LIMITS = 1
    LANDLOCK = 2
    SECCOMP = 4


class Codec(IntEnum):
    """How one frame is compressed."""

    RLE = 1
    JPEG = 2
    JPEG_LOSSLESS = 3
    JPEG_LS = 4
    JPEG_2000 = 5
    HTJ2K = 6
    DEFLATED = 7


class Outcome(IntEnum):
    """How a request ended. There is no text: what an attacked worker says must not reach a log or a peer."""

    DECODED = 0
    DAMAGED = 1
    MISMATCH = 2
    TOO_LARGE = 3
    UNSUPPORTED = 4


class Flags(IntFlag):
    """What else a request asks for."""

    SIGNED = 1
    TO_RGB = 2
    """The code stream holds YCbCr of 8 bits, and RGB is wanted."""
    PLANAR = 4
    """The samples of a pixel come plane after plane (Planar Configuration 1)."""
    CHECK = 8
    """Make as sure as can be that nothing is missing; the pixels are the same with or without."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the data set says of one compressed frame, and in which form its pixels are wanted."""

    codec: Codec
    flags: Flags
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int

    @property
    def size(self) -> int:
        """Bytes of the frame when decoded: what an answer must have, exactly (PS3.5 8.1, 8.2)."""
        return (self.rows * self.columns * self.samples * self.bits_allocated + 7) // 8

    def pack(self, length: int) -> bytes:
        """The request that is followed by `length` bytes of code stream."""
        return REQUEST.pack(
            REQUEST_MAGIC,
            self.codec,
            self.flags,
            self.rows,
            self.columns,
            self.samples,
            self.bits_allocated,
            self.bits_stored,
            0,
            length,
        )


def unpack_request(header: bytes) -> tuple[Frame, int]:
    """A frame and the length of its code stream; ValueError if it is no request."""
    magic, codec, flags, rows, columns, samples, allocated, stored, reserved, length = REQUEST.unpack(header)
    if magic != REQUEST_MAGIC or reserved or flags > sum(Flags) or length > MAX_COMPRESSED:
        raise ValueError("no request")
    return Frame(Codec(codec), Flags(flags), rows, columns, samples, allocated, stored), length


def unpack_answer(header: bytes, expected: int) -> Outcome:
    """How the request ended; ValueError if it is no answer, or announces another number of bytes than `expected`."""
    magic, outcome, length = ANSWER.unpack(header)
    ended = Outcome(outcome)
    if magic != ANSWER_MAGIC or length != (expected if ended is Outcome.DECODED else 0):
        raise ValueError("no answer")
    return ended
