"""Converting uncompressed data sets to explicit VR little endian, the default of PS3.18, in a stream and in bounded memory.

Sequences and items come out with undefined length, so that nothing need be known ahead. Left out are group lengths (retired, and wrong
after converting) and trailing padding. An element of unknown VR becomes UN, as does one too long for its VR's length field
(PS3.5 6.2.2). Values are never touched beyond their byte order.
"""

import struct
from array import array
from collections.abc import Iterator
from typing import Final

from leadglass.dicom.elements import BLOCK, Elements, data_set_source
from leadglass.dicom.resolve import Resolver
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN, ByteSource, is_deflated, is_native
from leadglass.dicom.tokens import UNDEFINED, Kind, Token
from leadglass.dicom.vr import SHORT_FORM_NAMES, TRAILING_PADDING, WIDTH
from leadglass.errors import CannotConvert

_LONGEST_SHORT_FORM: Final = 0xFFFF
_ITEM: Final = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_END: Final = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_STRUCTURE: Final = {
    Kind.ITEM: _ITEM,
    Kind.ITEM_END: _ITEM_END,
    Kind.SEQUENCE_END: _SEQUENCE_END,
    Kind.FRAGMENTS_END: _SEQUENCE_END,
}
_ARRAY_OF: Final = {2: "H", 4: "I", 8: "Q"}


def to_explicit_little_endian(source: ByteSource, transfer_syntax: str) -> Iterator[bytes]:
    """The data set at the source's position in explicit VR little endian; CannotConvert, at once, where that needs decoding.

    What is in that syntax already, also when deflated, comes out byte for byte.
    """
    if not is_native(transfer_syntax):
        raise CannotConvert("the pixels are compressed and decoding them is not possible here; ask for the object as it is stored")
    if transfer_syntax == EXPLICIT_LITTLE_ENDIAN or is_deflated(transfer_syntax):
        return _as_it_is(data_set_source(source, transfer_syntax))
    return _in_blocks(_convert(Elements(source, transfer_syntax)))


def _as_it_is(source: ByteSource) -> Iterator[bytes]:
    while piece := source.read(BLOCK):
        yield piece


def _in_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    # One element is a dozen bytes: whoever sends them wants more at a time.
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _convert(elements: Elements) -> Iterator[bytes]:
    resolver = Resolver()
    for token in elements:
        vr = resolver.vr(token)
        if token.kind in _STRUCTURE:
            yield _STRUCTURE[token.kind]
        elif token.kind is Kind.FRAGMENT:
            yield struct.pack("<HHI", 0xFFFE, 0xE000, token.length)
            yield from elements.chunks(token)
        elif token.kind is not Kind.ELEMENT:
            yield element_header(token.tag, vr, UNDEFINED)
        elif token.tag & 0xFFFF and token.tag != TRAILING_PADDING:
            if token.length > _LONGEST_SHORT_FORM and vr in SHORT_FORM_NAMES:
                vr = "UN"
            yield element_header(token.tag, vr, token.length)
            yield from little_endian(elements, token, vr)


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
