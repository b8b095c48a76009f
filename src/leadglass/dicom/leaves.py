"""A data set as a run of leaves: elements and items with their paths, every sequence opened, in bounded memory."""

import io
from collections.abc import Iterator
from typing import Final, NamedTuple

from leadglass.dicom.content import as_sequence, is_counted
from leadglass.dicom.elements import Elements
from leadglass.dicom.resolve import Resolver
from leadglass.dicom.syntax import IMPLICIT_LITTLE_ENDIAN, ByteSource
from leadglass.dicom.text import encodings_of
from leadglass.dicom.tokens import MAX_DEPTH, Kind, Token
from leadglass.dicom.vr import PIXEL_DATA, SPECIFIC_CHARACTER_SET

ROWS, COLUMNS, SAMPLES, BITS, FRAMES = 0x00280010, 0x00280011, 0x00280002, 0x00280100, 0x00280008
_SHAPE: Final = frozenset({ROWS, COLUMNS, SAMPLES, BITS, FRAMES})
_PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})


class Leaf(NamedTuple):
    """An element or an item, to be read before the next is asked for."""

    path: tuple[int, ...]
    kind: Kind
    token: Token
    elements: Elements
    vr: str
    encodings: tuple[str, ...]


class Side:
    """The leaves of one data set."""

    def __init__(self, source: ByteSource, transfer_syntax: str) -> None:
        self.transfer_syntax = transfer_syntax
        self.shape: dict[int, int] = {}
        self.seen = 0
        self._leaves = self._walk(Elements(source, transfer_syntax), (), ("iso8859",), 0)
        self.leaf: Leaf | None = None
        self.step()

    def step(self) -> None:
        """Go to the next leaf; `leaf` is None at the end."""
        self.seen += 1
        self.leaf = next(self._leaves, None)

    def _walk(self, elements: Elements, outer: tuple[int, ...], encodings: tuple[str, ...], hidden: int) -> Iterator[Leaf]:
        resolver = Resolver(name_unknown=True)
        # The path, and the character sets in force, of each data set that is open; for each sequence, how many items it had.
        paths, charsets, counts = [outer], [encodings], [0]
        begun: Leaf | None = None
        for token in elements:
            vr = resolver.vr(token)
            if begun is not None:
                if token.kind is not Kind.ITEM:
                    yield begun  # a sequence without items is an empty element
                begun = None
            here = (*paths[-1], token.tag)
            match token.kind:
                case Kind.ELEMENT if is_counted(token.tag):
                    if token.tag == SPECIFIC_CHARACTER_SET and token.value is not None:
                        charsets[-1] = encodings_of(token.value)
                    leaf = Leaf(here, token.kind, token, elements, vr, charsets[-1])
                    self._note_shape(leaf)
                    yield from self._hidden(leaf, hidden)
                case Kind.SEQUENCE:
                    begun = Leaf(here, token.kind, token, elements, "SQ", charsets[-1])
                    counts.append(0)
                case Kind.ITEM:
                    paths.append((*paths[-1], token.tag, counts[-1]))
                    counts[-1] += 1
                    charsets.append(charsets[-1])
                    yield Leaf(paths[-1], token.kind, token, elements, "", charsets[-1])
                case Kind.ITEM_END:
                    paths.pop()
                    charsets.pop()
                case Kind.SEQUENCE_END:
                    counts.pop()
                case Kind.FRAGMENTS | Kind.FRAGMENT:
                    yield Leaf(here, token.kind, token, elements, vr, charsets[-1])
                case _:
                    pass

    def _hidden(self, leaf: Leaf, hidden: int) -> Iterator[Leaf]:
        """The leaves of a sequence that lies in an element as bytes (PS3.5 6.2.2), or the element itself."""
        found = as_sequence(leaf.elements, leaf.token) if hidden < MAX_DEPTH else None
        if found is None:
            yield leaf
        else:
            inner = Elements(io.BytesIO(found), IMPLICIT_LITTLE_ENDIAN)
            yield from self._walk(inner, leaf.path[:-1], leaf.encodings, hidden + 1)

    def _note_shape(self, leaf: Leaf) -> None:
        if len(leaf.path) == 1 and leaf.token.tag in _SHAPE and leaf.token.value:
            raw = leaf.token.value
            text = raw.strip(b"\0 ")
            if leaf.token.tag != FRAMES:
                self.shape[leaf.token.tag] = int.from_bytes(raw[:2], "little" if leaf.token.little else "big")
            elif text.isdigit() and len(text) < 10:
                self.shape[FRAMES] = int(text)


def is_pixels(leaf: Leaf | None) -> bool:
    """Whether this is the image's pixel data, or a fragment of it."""
    return leaf is not None and len(leaf.path) == 1 and leaf.path[0] in _PIXELS


def side_by_side(first: Iterator[bytes], other: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Two runs of bytes in pieces of the same length; what one has more than the other comes against nothing."""
    mine, theirs = b"", b""
    while True:
        mine = mine or next((piece for piece in first if piece), b"")
        theirs = theirs or next((piece for piece in other if piece), b"")
        size = min(len(mine), len(theirs)) or max(len(mine), len(theirs))
        if not size:
            return
        yield mine[:size], theirs[:size]
        mine, theirs = mine[size:], theirs[size:]
