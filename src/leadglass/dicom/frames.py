"""Finding the frames of an image: by arithmetic where pixels lie as they are, by offset tables or fragments where they are encapsulated.

Which table is believed (PS3.5 A.4, PS3.3 C.7.6.3.1.8): the extended offset table, else the basic one; one that does not lead to the
beginnings of fragments is not, and the fragments themselves decide: as many as frames, or one frame, or each frame ending in the
fragment that holds the end of a JPEG code stream. Where none of this tells the frames apart: BadDataSet.
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol, Self

from leadglass.dicom.convert import swapped
from leadglass.dicom.elements import Elements
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN, ByteSource, is_native
from leadglass.dicom.tokens import UNDEFINED, Kind, Token
from leadglass.dicom.uid import Uid
from leadglass.dicom.vr import DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA, PIXEL_DATA, WIDTH
from leadglass.errors import BadDataSet, BadQuery

_SAMPLES, _PHOTOMETRIC, _NUMBER_OF_FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100
_EXTENDED_OFFSETS: Final = 0x7FE00001
_WATCHED: Final = frozenset({_SAMPLES, _PHOTOMETRIC, _NUMBER_OF_FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED})
_PIXELS: Final = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA})

_RLE: Final = "1.2.840.10008.1.2.5"
_END_OF_CODE_STREAM: Final = b"\xff\xd9"
_TAIL: Final = 10
"""Encoders pad after the end of the code stream; none by more than this."""

_ITEM_HEADER: Final = struct.Struct("<HHI")
# Samples per pixel, as a fraction, where pixels share some (PS3.3 C.7.6.3.1.2).
_SUBSAMPLED: Final = {b"YBR_FULL_422": (2, 1), b"YBR_PARTIAL_422": (2, 1), b"YBR_PARTIAL_420": (3, 2)}


class FrameReader(Protocol):
    """The bytes of one frame, counted from 0."""

    def read(self, index: int) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one image, located once and then read one by one; numbers begin with 1, as in PS3.18.

    What is read is in `transfer_syntax`: the object's own where pixels are encapsulated, explicit little endian where they are not.
    """

    count: int
    transfer_syntax: Uid
    _reader: FrameReader

    @classmethod
    def locate(cls, source: ByteSource, transfer_syntax: str) -> Self:
        """The frames of the data set at the source's position; BadDataSet if it has none, or they cannot be told apart."""
        elements = Elements(source, transfer_syntax)
        header: dict[int, bytes] = {}
        extended: Token | None = None
        for token in elements:
            if token.depth:
                continue
            if token.tag in _WATCHED:
                header[token.tag] = token.value or b""
            elif token.tag == _EXTENDED_OFFSETS:
                extended = token
            elif token.tag in _PIXELS:
                break
        else:
            raise BadDataSet("the object has no pixel data, so it has no frames")
        count = number_of_frames(header.get(_NUMBER_OF_FRAMES, b""))
        if token.kind is Kind.ELEMENT:
            return cls(count, EXPLICIT_LITTLE_ENDIAN, _NativeFrames(elements, token, header, count))
        if is_native(transfer_syntax):
            raise BadDataSet("the pixel data are encapsulated, though the transfer syntax is a native one (PS3.5 A.4)")
        return cls(count, Uid(transfer_syntax), encapsulated_frames(elements, token, extended, count, transfer_syntax))

    def read(self, number: int) -> Iterator[bytes]:
        """Frame `number`, in pieces; BadQuery if there is no such frame."""
        if not 1 <= number <= self.count:
            raise BadQuery(f"the image has {self.count} frames, numbered from 1")
        return self._reader.read(number - 1)


def encapsulated_frames(elements: Elements, pixels: Token, extended: Token | None, count: int, transfer_syntax: str) -> FrameReader:
    """The frames of the fragments that begin with the token `pixels`, at the top level or in an item; BadDataSet as `Frames.locate`."""
    return _EncapsulatedFrames(elements, pixels, extended, count, rle=transfer_syntax == _RLE)


def number_of_frames(text: bytes) -> int:
    """The value of Number of Frames (0028,0008), 1 where it is empty; BadDataSet if it is no number."""
    text = text.strip(b"\0 ")
    if not text:
        return 1
    if not text.isdigit() or len(text) > 9:
        raise BadDataSet("NumberOfFrames is no number (PS3.3 C.7.6.6)")
    return max(1, int(text))


class _NativeFrames:
    """Frames that follow each other without gaps, down to the bit (PS3.5 8.1.1, 8.2)."""

    def __init__(self, elements: Elements, pixels: Token, header: dict[int, bytes], count: int) -> None:
        def number(tag: int, default: int) -> int:
            raw = header.get(tag, b"")
            return int.from_bytes(raw[:2], "little" if pixels.little else "big") if raw else default

        stored = number(_BITS_ALLOCATED, 0)
        sample_bits = {FLOAT_PIXEL_DATA: 32, DOUBLE_PIXEL_DATA: 64}.get(pixels.tag, stored)
        samples = _SUBSAMPLED.get(header.get(_PHOTOMETRIC, b"").strip(b"\0 "), (number(_SAMPLES, 1), 1))
        self._bits = number(_ROWS, 0) * number(_COLUMNS, 0) * samples[0] * sample_bits // samples[1]
        self._elements = elements
        self._pixels = pixels
        # A conversion of byte order may have to reach beyond a frame to whole words.
        self._width = 1 if pixels.little else WIDTH.get(pixels.vr, 1)
        if not self._bits or (self._bits * count + 7) // 8 > pixels.length:
            raise BadDataSet("the pixel data are shorter than rows, columns, bits and frames make them (PS3.3 C.7.6.3)")

    def read(self, index: int) -> Iterator[bytes]:
        first_bit = index * self._bits
        start, end = first_bit // 8, (first_bit + self._bits + 7) // 8
        yield from _shifted(self._bytes(start, end), first_bit % 8, self._bits)

    def _bytes(self, start: int, end: int) -> Iterator[bytes]:
        width = self._width
        aligned, beyond = start - start % width, min(end + -end % width, self._pixels.length)
        pieces = swapped(self._elements.pieces(self._pixels.offset + aligned, beyond - aligned), width)
        skip, left = start - aligned, end - start
        for piece in pieces:
            given = piece[skip : skip + left]
            skip = 0
            left -= len(given)
            if given:
                yield given


def _shifted(pieces: Iterator[bytes], shift: int, bits: int) -> Iterator[bytes]:
    # Bits from `shift` on, moved to where a frame begins; what fills the last byte up is zero.
    if not shift and not bits % 8:
        yield from pieces
        return
    left, rest = bits, b""
    for piece in pieces:
        whole = int.from_bytes(rest + piece, "little") >> shift
        given = min(left, (len(rest) + len(piece)) * 8 - shift) // 8
        if given:
            yield (whole & ((1 << given * 8) - 1)).to_bytes(given, "little")
        left -= given * 8
        rest = (rest + piece)[given:]
    if left:
        yield bytes([int.from_bytes(rest, "little") >> shift & ((1 << left) - 1)])


class _EncapsulatedFrames:
    """Frames in fragments; see the module for how they are told apart."""

    def __init__(self, elements: Elements, pixels: Token, extended: Token | None, count: int, *, rle: bool) -> None:
        self._elements = elements
        self._count = count
        self._rle = rle
        basic = self._item(pixels.offset)
        if basic is None:
            raise BadDataSet("the encapsulated pixel data do not begin with an offset table (PS3.5 A.4)")
        self._first = basic[0] + basic[1]
        self._starts = self._extended(extended) or self._basic(*basic) or self._from_fragments()

    def read(self, index: int) -> Iterator[bytes]:
        at, end = self._starts[index], self._starts[index + 1] if index + 1 < self._count else None
        while end is None or at < end:
            item = self._item(at)
            if item is None:
                return
            yield from self._elements.pieces(*item)
            at = item[0] + item[1]

    def _item(self, at: int) -> tuple[int, int] | None:
        # Where the value of the item at `at` begins and how long it is; None at the delimiter that ends them.
        header = b"".join(self._elements.pieces(at, 8))
        group, element, length = _ITEM_HEADER.unpack(header)
        if (group, element) == (0xFFFE, 0xE000) and length != UNDEFINED:
            return at + 8, length
        if (group, element) == (0xFFFE, 0xE0DD):
            return None
        raise BadDataSet("the encapsulated pixel data hold something that is no fragment (PS3.5 A.4)")

    def _extended(self, token: Token | None) -> "array[int] | None":
        return None if token is None else self._table(token.offset, token.length, "Q")

    def _basic(self, at: int, length: int) -> "array[int] | None":
        return self._table(at, length, "I") if length else None

    def _table(self, at: int, length: int, code: str) -> "array[int] | None":
        # A table is believed if it ascends from zero, one entry per frame, and its last entry leads to a fragment.
        offsets = array(code)
        if length != self._count * offsets.itemsize:
            return None
        for piece in _whole(self._elements.pieces(at, length), offsets.itemsize):
            offsets.frombytes(piece)
        if sys.byteorder == "big":
            offsets.byteswap()
        if offsets[0] or any(later <= earlier for earlier, later in pairwise(offsets)):
            return None
        starts = array("Q", (self._first + offset for offset in offsets))
        try:
            return None if self._item(starts[-1]) is None else starts
        except BadDataSet:
            return None

    def _from_fragments(self) -> "array[int]":
        starts, ends = array("Q"), array("Q")
        at = self._first
        while (item := self._item(at)) is not None:
            starts.append(at)
            at = item[0] + item[1]
            ends.append(at)
        if len(starts) == self._count:
            return starts
        if self._count == 1 and starts:
            return starts[:1]
        if not self._rle:
            starts = self._at_code_streams(starts, ends)
        if len(starts) != self._count:
            raise BadDataSet(
                "the frames cannot be told apart: there is no offset table, and fragments do not come one to a frame (PS3.5 A.4)"
            )
        return starts

    def _at_code_streams(self, starts: "array[int]", ends: "array[int]") -> "array[int]":
        frames, begins = array("Q"), True
        for start, end in zip(starts, ends, strict=True):
            if begins:
                frames.append(start)
            tail = min(_TAIL, end - start - 8)
            begins = _END_OF_CODE_STREAM in b"".join(self._elements.pieces(end - tail, tail))
        return frames


def _whole(pieces: Iterator[bytes], width: int) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        whole = rest + piece
        cut = len(whole) - len(whole) % width
        yield whole[:cut]
        rest = whole[cut:]
