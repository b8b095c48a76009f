"""Converting data sets to explicit or implicit VR little endian, in a stream and in bounded memory.

Sequences and items come out with undefined length, so that nothing need be known ahead. Left out are group lengths (retired, and wrong
after converting) and trailing padding. In explicit VR an element of unknown VR becomes UN, as does one too long for its VR's length field
(PS3.5 6.2.2). Values are never touched beyond their byte order; what takes the place of encapsulated pixels is told by whoever decodes
them (`Decoded`), item by item.
"""

import struct
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.elements import BLOCK, Elements, data_set_source
from leadglass.dicom.resolve import Resolver
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, ByteSource, is_deflated, is_native
from leadglass.dicom.tokens import UNDEFINED, Kind, Token
from leadglass.dicom.vr import SHORT_FORM_NAMES, TRAILING_PADDING, WIDTH
from leadglass.errors import CannotConvert

_LONGEST_SHORT_FORM: Final = 0xFFFF
_ITEM: Final = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_END: Final = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_STRUCTURE: Final = {
    Kind.ITEM_END: _ITEM_END,
    Kind.SEQUENCE_END: _SEQUENCE_END,
    Kind.FRAGMENTS_END: _SEQUENCE_END,
}
_ABOVE_ALL: Final = 1 << 32
_PIECE: Final = 256 * 1024
_ARRAY_OF: Final = {2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True)
class Decoded:
    """What one item, or the data set itself, has when its encapsulated pixels are native.

    Attributes by tag, as VR and little endian value; those to be left out, the former ones of the changed among them; the pixels: VR,
    length (even), and pieces, made when their turn comes.
    """

    changed: Mapping[int, tuple[str, bytes]]
    left_out: frozenset[int]
    vr: str
    length: int
    pieces: Callable[[], Iterator[bytes]]


def to_little_endian(
    source: ByteSource, transfer_syntax: str, target: str = EXPLICIT_LITTLE_ENDIAN, decoded: Mapping[int, Decoded] | None = None
) -> Iterator[bytes]:
    """The data set at the source's position in explicit or implicit VR little endian; CannotConvert, at once, where that needs decoding.

    What is in `target` already, also when deflated, comes out byte for byte. `decoded` has, by the number of the item in which they are
    (items are counted from 1 as they begin; 0 is the data set itself), the pixels that replace encapsulated ones.
    """
    if target not in {EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN}:
        raise CannotConvert("objects are converted to explicit and implicit VR little endian alone")
    if decoded is None and not is_native(transfer_syntax):
        raise CannotConvert("the pixels are compressed and were not decoded")
    if transfer_syntax == target or (target == EXPLICIT_LITTLE_ENDIAN and is_deflated(transfer_syntax)):
        return _as_it_is(data_set_source(source, transfer_syntax))
    header = element_header if target == EXPLICIT_LITTLE_ENDIAN else _implicit_header
    return _in_blocks(_Conversion(Elements(source, transfer_syntax), decoded or {}, header).run())


def _as_it_is(source: ByteSource) -> Iterator[bytes]:
    while piece := source.read(BLOCK):
        yield piece


def _in_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    # One element is a dozen bytes: whoever sends them wants more at a time.
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= _PIECE:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


class _Conversion:
    def __init__(self, elements: Elements, decoded: Mapping[int, Decoded], header: Callable[[int, str, int], bytes]) -> None:
        self._elements = elements
        self._decoded = decoded
        self._header = header
        self._begun = 0
        # Of the open items, the innermost last: what replaces their pixels, and which changed attributes are still to be written.
        self._open = [self._enter(0)]

    def _enter(self, number: int) -> tuple[Decoded | None, list[int]]:
        of_item = self._decoded.get(number)
        return of_item, sorted(of_item.changed, reverse=True) if of_item is not None else []

    def run(self) -> Iterator[bytes]:
        resolver = Resolver()
        replacing = False
        for token in self._elements:
            vr = resolver.vr(token)
            of_item, due = self._open[-1]
            if replacing:
                replacing = token.kind is not Kind.FRAGMENTS_END
            elif token.kind is Kind.ITEM:
                self._begun += 1
                self._open.append(self._enter(self._begun))
                yield _ITEM
            elif token.kind in _STRUCTURE:
                if token.kind is Kind.ITEM_END:
                    yield from self._changed(of_item, due, _ABOVE_ALL)
                    self._open.pop()
                yield _STRUCTURE[token.kind]
            elif token.kind is Kind.FRAGMENT:
                yield struct.pack("<HHI", 0xFFFE, 0xE000, token.length)
                yield from self._elements.chunks(token)
            else:
                if due:
                    yield from self._changed(of_item, due, token.tag)
                if of_item is not None and token.kind is Kind.FRAGMENTS:
                    replacing = True
                    yield self._header(token.tag, of_item.vr, of_item.length)
                    yield from of_item.pieces()
                elif of_item is None or token.tag not in of_item.left_out:
                    yield from self._element(token, vr)
        yield from self._changed(*self._open[-1], _ABOVE_ALL)

    # Attributes to be changed that belong before the tag `before`.
    def _changed(self, of_item: Decoded | None, due: list[int], before: int) -> Iterator[bytes]:
        while of_item is not None and due and due[-1] < before:
            tag = due.pop()
            vr, value = of_item.changed[tag]
            yield self._header(tag, vr, len(value)) + value

    def _element(self, token: Token, vr: str) -> Iterator[bytes]:
        if token.kind is not Kind.ELEMENT:
            yield self._header(token.tag, vr, UNDEFINED)
        elif token.tag & 0xFFFF and token.tag != TRAILING_PADDING:
            if token.length > _LONGEST_SHORT_FORM and vr in SHORT_FORM_NAMES:
                vr = "UN"
            yield self._header(token.tag, vr, token.length)
            yield from little_endian(self._elements, token, vr)


def _implicit_header(tag: int, _vr: str, length: int) -> bytes:
    """Tag and length of an element in implicit VR little endian (PS3.5 7.1.3)."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def element_header(tag: int, vr: str, length: int) -> bytes:
    """Tag, VR and length of an element in explicit VR little endian (PS3.5 7.1.2)."""
    if vr not in SHORT_FORM_NAMES:
        return struct.pack("<HH2s2xI", tag >> 16, tag & 0xFFFF, vr.encode(), length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def little_endian(elements: Elements, token: Token, vr: str | None = None) -> Iterator[bytes]:
    """The value of an element in pieces, its numbers in little endian (PS3.5 7.3)."""
    # UN is little endian in every transfer syntax (PS3.5 6.2.2).
    width = 1 if token.little or token.vr == "UN" else WIDTH.get(vr or token.vr, 1)
    yield from swapped(elements.chunks(token), width)


def swapped(pieces: Iterator[bytes], width: int) -> Iterator[bytes]:
    """`pieces` with the bytes of each number of `width` bytes in the other order."""
    if width == 1:
        yield from pieces
        return
    rest = b""
    for piece in pieces:
        whole = rest + piece
        cut = len(whole) - len(whole) % width
        numbers = array(_ARRAY_OF[width], whole[:cut])
        numbers.byteswap()
        yield numbers.tobytes()
        rest = whole[cut:]
    if rest:
        yield rest  # bytes that fill no number: nobody can say what they mean, so they stay
