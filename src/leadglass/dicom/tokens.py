"""What a walk through a data set gives, and how far it goes before it refuses."""

from enum import Enum, auto
from typing import Final, NamedTuple

MAX_DEPTH: Final = 32
"""Structured reports of CAD systems, the deepest in use, nest some 15 deep; what reads recursively (pydicom) bears 32 with ease."""

MAX_ELEMENTS: Final = 4_000_000
"""A whole-slide image of 100,000 tiles has some 30 elements and fragments per tile; walking this many takes about 2 seconds."""

MAX_OBJECT_BYTES: Final = 8 * 1024**3

INLINE: Final = 4096
"""Values up to this length come with their token."""

UNDEFINED: Final = 0xFFFFFFFF
"""A length that says: up to the delimiter (PS3.5 7.1.1)."""


class Kind(Enum):
    """What a token stands for."""

    ELEMENT = auto()
    SEQUENCE = auto()
    ITEM = auto()
    ITEM_END = auto()
    SEQUENCE_END = auto()
    FRAGMENTS = auto()
    FRAGMENT = auto()
    FRAGMENTS_END = auto()


class Token(NamedTuple):
    """One step through a data set.

    `vr` is the explicit one, else the dictionary's (possibly ambiguous), UN if unknown; `offset` is where the value begins; `value` is
    there up to INLINE bytes; `little` is the byte order of the value; `depth` is 0 at the top level.
    """

    kind: Kind
    tag: int
    vr: str
    length: int
    offset: int
    depth: int
    value: bytes | None
    little: bool


_MAX_ITEMS_KEPT: Final = 64


class Found:
    """What a walk came across among the wanted tags, and whether it has passed the last of them."""

    __slots__ = ("items", "passed", "values")

    def __init__(self) -> None:
        self.values: dict[int, bytes] = {}
        self.items: dict[int, list[dict[int, bytes]]] = {}
        self.passed = False

    def begin_item(self, tag: int) -> None:
        """One more item of a wanted sequence; of more than are kept, the last stands for the rest."""
        items = self.items.setdefault(tag, [])
        if len(items) < _MAX_ITEMS_KEPT:
            items.append({})
        else:
            items[-1] = {}
