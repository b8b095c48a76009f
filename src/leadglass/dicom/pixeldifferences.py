"""The pixels of two objects against each other, as they lie: nothing is decoded."""

import hashlib
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.convert import little_endian
from leadglass.dicom.leaves import BITS, COLUMNS, FRAMES, ROWS, SAMPLES, Side, is_pixels, side_by_side
from leadglass.dicom.tokens import Kind

MAX_FRAMES: Final = 100_000
"""Frames that are counted one by one."""


@dataclass(frozen=True)
class Pixels:
    """What there is of pixels on one side."""

    encapsulated: bool
    bytes: int
    sha256: str
    """Of the pixels as they lie, native ones in little endian; of compressed ones, of their fragments."""
    rows: int
    columns: int
    frames: int


@dataclass(frozen=True)
class PixelComparison:
    """The pixels of both sides; None where a side has none."""

    first: Pixels | None
    other: Pixels | None
    equal: bool
    differing_frames: int | None
    """None where frames cannot be told apart, or not be compared without decoding."""


def _pixels(side: Side, *, encapsulated: bool, size: int, sha256: str) -> Pixels:
    shape = side.shape
    return Pixels(encapsulated, size, sha256, shape.get(ROWS, 0), shape.get(COLUMNS, 0), max(1, shape.get(FRAMES, 1)))


def _frame_bytes(side: Side) -> int:
    # 0 where a frame does not end with a byte.
    shape = side.shape
    bits = shape.get(ROWS, 0) * shape.get(COLUMNS, 0) * shape.get(SAMPLES, 1) * shape.get(BITS, 0)
    return 0 if bits % 8 else bits // 8


def compare_pixels(first: Side | None, other: Side | None) -> PixelComparison:
    """Compare the pixel data at which the sides are, and step past them."""
    if first is None or other is None:
        mine, theirs = (None if side is None else _digest_of(side) for side in (first, other))
        return PixelComparison(mine, theirs, equal=False, differing_frames=None)
    kinds = {side.leaf.kind for side in (first, other) if side.leaf is not None}
    if kinds == {Kind.ELEMENT}:
        return _compare_native(first, other)
    if kinds == {Kind.FRAGMENTS} and first.transfer_syntax == other.transfer_syntax:
        return _compare_fragments(first, other)
    return PixelComparison(_digest_of(first), _digest_of(other), equal=False, differing_frames=None)


def _digest_of(side: Side) -> Pixels:
    digest, size = hashlib.sha256(), 0
    encapsulated = side.leaf is not None and side.leaf.kind is Kind.FRAGMENTS
    while side.leaf is not None and is_pixels(side.leaf):
        if side.leaf.kind is not Kind.FRAGMENTS:
            for piece in little_endian(side.leaf.elements, side.leaf.token):
                digest.update(piece)
            size += side.leaf.token.length
        side.step()
    return _pixels(side, encapsulated=encapsulated, size=size, sha256=digest.hexdigest())


class _FrameCount:
    """How many frames differ, told run by run."""

    def __init__(self, frame_bytes: int, frames: int) -> None:
        self._size = frame_bytes
        self._counted = bool(frame_bytes) and frames <= MAX_FRAMES
        self._frames = frames
        self._last = -1
        self._at = 0
        self.any = False
        self.count = 0

    def take(self, one: bytes, another: bytes) -> None:
        if one != another:
            self.any = True
            if self._counted:
                self._look(one, another)
        self._at += max(len(one), len(another))

    def _look(self, one: bytes, another: bytes) -> None:
        end = self._at + max(len(one), len(another))
        frame = max(self._at // self._size, self._last + 1)
        while frame * self._size < end and frame < self._frames:
            within = slice(max(frame * self._size - self._at, 0), (frame + 1) * self._size - self._at)
            if one[within] != another[within]:
                self.count += 1
                self._last = frame
            frame += 1

    def result(self) -> int | None:
        if self._frames == 1:
            return int(self.any)
        return self.count if self._counted else None


def _compare_native(first: Side, other: Side) -> PixelComparison:
    mine, theirs = hashlib.sha256(), hashlib.sha256()
    a, b = first.leaf, other.leaf
    assert a is not None  # noqa: S101 - for the type checker
    assert b is not None  # noqa: S101 - for the type checker
    shapes_agree = first.shape == other.shape
    frames = _FrameCount(_frame_bytes(first) if shapes_agree else 0, max(1, first.shape.get(FRAMES, 1)))
    for one, another in side_by_side(little_endian(a.elements, a.token), little_endian(b.elements, b.token)):
        mine.update(one)
        theirs.update(another)
        frames.take(one, another)
    pixels = (
        _pixels(first, encapsulated=False, size=a.token.length, sha256=mine.hexdigest()),
        _pixels(other, encapsulated=False, size=b.token.length, sha256=theirs.hexdigest()),
    )
    first.step()
    other.step()
    return PixelComparison(*pixels, equal=not frames.any, differing_frames=frames.result() if shapes_agree else None)


def _compare_fragments(first: Side, other: Side) -> PixelComparison:
    """Fragment by fragment; they are frames where there are as many (PS3.5 A.4), the offset table in front of them is none."""
    sides = (first, other)
    digests = [hashlib.sha256(), hashlib.sha256()]
    sizes, counts = [0, 0], [0, 0]
    differing, equal = 0, True
    for side in sides:
        side.step()
    while any(is_pixels(side.leaf) for side in sides):
        here = [side.leaf if is_pixels(side.leaf) else None for side in sides]
        runs = [iter(()) if leaf is None else little_endian(leaf.elements, leaf.token) for leaf in here]
        same = None not in here
        for pair in side_by_side(*runs):
            for number, piece in enumerate(pair):
                digests[number].update(piece)
            same = same and pair[0] == pair[1]
        for number, leaf in enumerate(here):
            if leaf is not None:
                sizes[number] += leaf.token.length
                counts[number] += 1
                sides[number].step()
        equal = equal and same
        differing += not same and max(counts) > 1
    pixels = [
        _pixels(side, encapsulated=True, size=size, sha256=digest.hexdigest())
        for side, size, digest in zip(sides, sizes, digests, strict=True)
    ]
    mine, theirs = pixels
    frames = mine.frames
    countable = counts[0] == counts[1] == frames + 1 and theirs.frames == frames
    told = differing if countable else int(not equal) if frames == theirs.frames == 1 else None
    return PixelComparison(mine, theirs, equal=equal, differing_frames=told)
