import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.trail.merkle import TILE_WIDTH, Tree, leaf_hash, node_hash, tile_width


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


@pytest.mark.parametrize("size", [*range(20), 255, 256, 257, 511, 512, 700])
def test_the_root_is_the_one_of_the_rfc(size: int) -> None:
    leaves = [str(number).encode() for number in range(size)]
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    assert tree.root() == mth(leaves)
    assert tree.size == size


def test_known_roots_of_certificate_transparency() -> None:
    """The test tree that every RFC 6962 implementation shares."""
    leaves = [
        bytes.fromhex(text) for text in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    ]
    tree = Tree()
    roots = []
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
        roots.append(tree.root().hex())
    assert roots[0] == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert roots[7] == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@settings(deadline=None)
@given(st.integers(0, 70_000))
def test_a_tree_comes_back_from_the_right_edge_of_its_tiles(size: int) -> None:
    tree, tiles = _grown(size)
    edge = [tiles.get((level, size >> (8 * (level + 1))), []) for level in range(3)]
    assert [len(hashes) for hashes in edge] == [tile_width(size, level) for level in range(3)]
    again = Tree.from_edge(size, edge)
    assert again.root() == tree.root()
    assert again.append(b"x" * 32) == tree.append(b"x" * 32)


_CACHE: dict[int, tuple[Tree, dict[tuple[int, int], list[bytes]]]] = {}
_STEP = 1000


def _grown(size: int) -> tuple[Tree, dict[tuple[int, int], list[bytes]]]:
    """The tree of `size` equal leaves and its tiles; grown from the next smaller thousand."""
    start = size // _STEP * _STEP
    if start not in _CACHE:
        tree, tiles = _grown(start - 1) if start else (Tree(), {})
        _extend(tree, tiles, start)
        _CACHE[start] = (tree, tiles)
    kept_tree, kept_tiles = _CACHE[start]
    tree, tiles = kept_tree.copy(), {at: list(hashes) for at, hashes in kept_tiles.items()}
    _extend(tree, tiles, size)
    return tree, tiles


def _extend(tree: Tree, tiles: dict[tuple[int, int], list[bytes]], size: int) -> None:
    while tree.size < size:
        before = tree.size
        for level, node in tree.append(leaf_hash(b"leaf")):
            tiles.setdefault((level, before >> (8 * (level + 1))), []).append(node)


def test_an_upper_tile_holds_the_roots_of_full_tiles() -> None:
    tree, tiles = _grown(70_000)
    assert tree.size == 70_000
    # The example of tlog-tiles, Partial Tiles: 273 full level 0 tiles and one of 112, one full level 1 tile and one of 17, one of 1.
    assert sum(len(hashes) == TILE_WIDTH for (level, _), hashes in tiles.items() if level == 0) == 273
    assert len(tiles[0, 273]) == 112
    assert (len(tiles[1, 0]), len(tiles[1, 1]), len(tiles[2, 0])) == (256, 17, 1)
    row = tiles[0, 5]
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    assert tiles[1, 0][5] == row[0]
