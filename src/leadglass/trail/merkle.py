"""The Merkle tree of RFC 6962 section 2.1, grown at its right edge, as C2SP tlog-tiles cuts it into tiles."""

import hashlib
from collections.abc import Sequence

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
HASH_SIZE = 32

TileHash = tuple[int, bytes]
"""A tile level and the next hash at that level's right edge."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf (RFC 6962 2.1: prefix 0, so that no leaf can pass for a node)."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over its two children (RFC 6962 2.1: prefix 1)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def tile_width(size: int, level: int) -> int:
    """How many hashes the right-most tile of `level` holds in a tree of `size` leaves; 0 when it ends on a full tile."""
    return (size >> (TILE_HEIGHT * level)) % TILE_WIDTH


class Tree:
    """The right edge of a growing tree: all it takes to add leaves and to name the root."""

    # Invariant: there is one peak for each binary digit of size that is set.
    # The peaks are the roots of the perfect subtrees that size decomposes into, the largest (left-most) first.

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError("a tree has one peak for each binary digit of its size")
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def from_edge(cls, size: int, edge: Sequence[Sequence[bytes]]) -> "Tree":
        """The tree of `size` whose right-most partial tile at each level, lowest first, holds the hashes in `edge`."""
        peaks: list[bytes] = []
        for hashes in reversed(edge):
            start = 0
            for height in reversed(range(TILE_HEIGHT)):
                if len(hashes) & (1 << height):
                    peaks.append(_perfect_root(hashes[start : start + (1 << height)]))
                    start += 1 << height
        return cls(size, peaks)

    def copy(self) -> "Tree":
        return Tree(self.size, self._peaks)

    def append(self, leaf: bytes) -> list[TileHash]:
        """Add a leaf by its hash; gives the hashes that its tiles grow by, level 0 first."""
        emitted = [(0, leaf)]
        node, height, position = leaf, 0, self.size
        while position & 1:
            node = node_hash(self._peaks.pop(), node)
            height += 1
            position >>= 1
            if height % TILE_HEIGHT == 0:
                emitted.append((height // TILE_HEIGHT, node))
        self._peaks.append(node)
        self.size += 1
        return emitted

    def root(self) -> bytes:
        """The Merkle Tree Hash of all leaves (RFC 6962 2.1)."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def _perfect_root(hashes: Sequence[bytes]) -> bytes:
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]
