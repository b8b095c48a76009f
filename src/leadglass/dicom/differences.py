"""What two data sets say differently, element by element, in a stream and in bounded memory; the same content gives no difference.

Two data sets are walked side by side in the order of their tags, nested sequences by their paths. "The same" is what `dicom.content`
means by it, but for the order of elements: where one of the two is out of order, an element may be told twice, as missing on either side.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.convert import little_endian
from leadglass.dicom.dictionary import keyword_of
from leadglass.dicom.leaves import Leaf, Side, is_pixels, side_by_side
from leadglass.dicom.pixeldifferences import PixelComparison, compare_pixels
from leadglass.dicom.syntax import ByteSource
from leadglass.dicom.text import decode
from leadglass.dicom.tokens import Kind
from leadglass.dicom.vr import CHARSET_DEPENDENT, TEXT, dictionary_vr

MAX_LEAVES: Final = 1_000_000
"""Elements and items looked at on either side; reading this many takes some 10 seconds."""
MAX_TEXT: Final = 256
"""Characters of a value that are shown."""
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_SHORT_BINARY: Final = 16


@dataclass(frozen=True)
class Difference:
    """One element, or item of a sequence, that is not the same. The texts are None where it is missing."""

    path: str
    """Tags and item numbers, as in `00081140/0/00081155`."""
    keywords: str
    """The same in keywords; a private tag stays a tag."""
    first: str | None
    other: str | None


@dataclass(frozen=True)
class Comparison:
    """How it ended."""

    complete: bool
    """Whether all of both was looked at."""
    pixels: PixelComparison | None
    """None where it ended before them, or neither side has any."""


class Differences:
    """Iterate for the differences, one by one; then `result` says how it ended. BadDataSet in the middle, as `walk` says."""

    def __init__(self, first: ByteSource, first_syntax: str, other: ByteSource, other_syntax: str, *, max_leaves: int = MAX_LEAVES) -> None:
        self._first = Side(first, first_syntax)
        self._other = Side(other, other_syntax)
        self._max_leaves = max_leaves
        self.result = Comparison(complete=False, pixels=None)

    def __iter__(self) -> Iterator[Difference]:
        first, other = self._first, self._other
        pixels: PixelComparison | None = None
        while first.leaf is not None or other.leaf is not None:
            if max(first.seen, other.seen) > self._max_leaves:
                self.result = Comparison(complete=False, pixels=pixels)
                return
            mine, theirs = _next_of(first.leaf, other.leaf)
            if is_pixels(mine) or is_pixels(theirs):
                pixels = compare_pixels(first if mine else None, other if theirs else None)
                continue
            if (told := _compare(mine, theirs)) is not None:
                yield told
            if mine is not None:
                first.step()
            if theirs is not None:
                other.step()
        self.result = Comparison(complete=True, pixels=pixels)


def _next_of(first: Leaf | None, other: Leaf | None) -> tuple[Leaf | None, Leaf | None]:
    """The leaf that comes next, of both sides where both have it."""
    if first is None or other is None or first.path == other.path:
        return first, other
    return (first, None) if first.path < other.path else (None, other)


def _canonical(leaf: Leaf) -> tuple[int, Iterator[bytes]]:
    """The value as `dicom.content` hashes it."""
    if leaf.kind not in {Kind.ELEMENT, Kind.FRAGMENT}:
        return 0, iter(())
    if leaf.token.value is not None and dictionary_vr(leaf.token.tag) in TEXT:
        value = b"".join(little_endian(leaf.elements, leaf.token)).rstrip(b"\0 ")
        return len(value), iter((value,))
    return leaf.token.length, little_endian(leaf.elements, leaf.token)


def _compare(first: Leaf | None, other: Leaf | None) -> Difference | None:
    known = first or other
    assert known is not None  # noqa: S101 - for the type checker
    if first is None or other is None:
        texts = (None if first is None else _text(first), None if other is None else _text(other))
    else:
        if _sort(first) is _sort(other):
            (mine, pieces), (theirs, others) = _canonical(first), _canonical(other)
            if mine == theirs and all(one == another for one, another in side_by_side(pieces, others)):
                return None
        texts = _text(first), _text(other)
    return Difference(_path(known.path), _keywords(known.path), *texts)


def _sort(leaf: Leaf) -> Kind:
    # A sequence is a leaf where it is empty, and says no more than an empty element.
    return Kind.ELEMENT if leaf.kind is Kind.SEQUENCE else leaf.kind


def _path(path: tuple[int, ...]) -> str:
    return "/".join(str(step) if number % 2 else f"{step:08X}" for number, step in enumerate(path))


def _keywords(path: tuple[int, ...]) -> str:
    return "/".join(str(step) if number % 2 else keyword_of(step) or f"{step:08X}" for number, step in enumerate(path))


def _text(leaf: Leaf) -> str:
    """The value as people read it, cut."""
    if leaf.kind is Kind.ITEM:
        return "an item"
    if leaf.kind is Kind.FRAGMENTS:
        return "compressed pixels"
    if leaf.kind is Kind.SEQUENCE or not leaf.token.length:
        return ""
    if leaf.token.value is None:
        digest = hashlib.sha256()
        for piece in little_endian(leaf.elements, leaf.token, leaf.vr):
            digest.update(piece)
        return f"{leaf.token.length} bytes, SHA-256 {digest.hexdigest()}"
    raw = b"".join(little_endian(leaf.elements, leaf.token, leaf.vr))
    return shown(_read(leaf.vr, raw, leaf.encodings))


def shown(text: str) -> str:
    """A text, cut to what is shown of one."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _read(vr: str, raw: bytes, encodings: tuple[str, ...]) -> str:
    if vr in TEXT:
        return decode(raw, encodings if vr in CHARSET_DEPENDENT else ("iso8859",), name=vr == "PN")
    if vr in _NUMBERS and not len(raw) % struct.calcsize(_NUMBERS[vr]):
        return "\\".join(str(number) for (number,) in struct.iter_unpack("<" + _NUMBERS[vr], raw))
    if vr == "AT" and not len(raw) % 4:
        return "\\".join(f"{group:04X}{element:04X}" for group, element in struct.iter_unpack("<HH", raw))
    return raw.hex(" ") if len(raw) <= _SHORT_BINARY else f"{len(raw)} bytes, SHA-256 {hashlib.sha256(raw).hexdigest()}"
