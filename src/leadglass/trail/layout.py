"""Every file under trail/, and the records in them; `verify` knows of nothing else.

    key                 the verifier key (C2SP signed-note), one line
    checkpoint          the one current checkpoint (C2SP tlog-checkpoint), overwritten in place
    reserve             zeros: room that is given up when the disk is full
    sealed/N            records of 256 entries: leaf, length, sealed entry
    tile/entries/N      the same 256 leaves as a C2SP entry bundle
    tile/L/N            the hashes of tile N at level L

N is spelt as C2SP tlog-tiles spells it (x001/x234/067). A tile at the right edge grows under the name of the full tile; `export`
writes it under the partial name that the specification gives it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from leadglass.errors import TrailDamaged
from leadglass.trail.entries import LEAF
from leadglass.trail.merkle import TILE_HEIGHT, TILE_WIDTH

KEY = "key"
CHECKPOINT = "checkpoint"
CHECKPOINT_NEW = "checkpoint.new"
RESERVE = "reserve"
SEALED = "sealed"
TILES = "tile"
ENTRIES = "tile/entries"

RESERVE_BYTES = 4 * 1024 * 1024
"""About 4,000 requests: an intent and an outcome are some 900 bytes with their leaves and hashes."""

_LENGTH = struct.Struct(">H")
RECORD_HEAD = LEAF.size + _LENGTH.size
MAX_SEALED = 0xFFFF
MAX_BUNDLE = TILE_WIDTH * (RECORD_HEAD + MAX_SEALED)
ENTRY_SIZE = _LENGTH.size + LEAF.size
"""A leaf in an entry bundle: its length as big-endian uint16 before it (tlog-tiles, Log entries)."""


@lru_cache(maxsize=64)
def index_path(index: int) -> str:
    """A tile index in path elements of three digits.

    >>> index_path(1234067)
    'x001/x234/067'
    >>> index_path(5)
    '005'
    """
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    elements = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    return "/".join([*(f"x{element}" for element in elements[:-1]), elements[-1]])


def sealed_path(bundle: int) -> str:
    """Where the sealed entries of 256 consecutive numbers lie."""
    return f"{SEALED}/{index_path(bundle)}"


def entries_path(bundle: int) -> str:
    """Where the leaves of the same 256 lie, as tlog-tiles wants them."""
    return f"{ENTRIES}/{index_path(bundle)}"


def tile_path(level: int, index: int) -> str:
    """Where tile `index` of `level` lies."""
    return f"{TILES}/{level}/{index_path(index)}"


def bundle_count(size: int) -> int:
    """How many tiles hold `size` hashes or entries, the last perhaps in part."""
    return -(-size // TILE_WIDTH)


def expected_files(size: int) -> Iterator[str]:
    """Every file of a trail of `size` entries but `reserve`, by its path under trail/."""
    yield from (KEY, CHECKPOINT)
    for bundle in range(bundle_count(size)):
        yield sealed_path(bundle)
        yield entries_path(bundle)
    level = 0
    while hashes := size >> (TILE_HEIGHT * level):
        for index in range(bundle_count(hashes)):
            yield tile_path(level, index)
        level += 1


def parent_folders(path: str) -> list[str]:
    """The folders above `path` under trail/, the upper-most first."""
    return [str(folder) for folder in reversed(PurePosixPath(path).parents)][1:]


def encode_entry(leaf: bytes) -> bytes:
    """A leaf as it stands in an entry bundle."""
    return _LENGTH.pack(len(leaf)) + leaf


@dataclass(frozen=True, slots=True)
class Record:
    """One entry as it lies in a sealed bundle."""

    leaf: bytes
    sealed: bytes

    def encode(self) -> bytes:
        if len(self.sealed) > MAX_SEALED:
            raise ValueError("a sealed entry is over 64 KiB; Entry bounds it far below")
        return self.leaf + _LENGTH.pack(len(self.sealed)) + self.sealed

    @property
    def size(self) -> int:
        return RECORD_HEAD + len(self.sealed)


def parse_records(data: bytes, count: int) -> list[Record]:
    """The first `count` records of a bundle; raises `TrailDamaged` when it holds fewer."""
    records: list[Record] = []
    offset = 0
    while len(records) < count:
        record = record_at(data, offset)
        if record is None:
            raise TrailDamaged(f"a bundle of the trail is cut off: it holds {len(records)} of {count} entries")
        records.append(record)
        offset += record.size
    return records


def record_at(data: bytes, offset: int) -> Record | None:
    """The record at `offset`, or None when it is not all there."""
    start = offset + RECORD_HEAD
    if len(data) < start:
        return None
    (length,) = _LENGTH.unpack_from(data, offset + LEAF.size)
    if len(data) < start + length:
        return None
    return Record(data[offset : offset + LEAF.size], data[start : start + length])
