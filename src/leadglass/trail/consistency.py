"""Is the trail of now the trail of then, gone on? Shown as RFC 6962 section 2.1.2 shows it, from tiles and leaves that are here."""

from collections.abc import Collection

from leadglass.errors import TrailDamaged
from leadglass.trail import layout
from leadglass.trail.disk import Disk
from leadglass.trail.entries import Kind, Leaf
from leadglass.trail.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Tree, leaf_hash, tile_width
from leadglass.trail.note import Checkpoint


def entries_since(disk: Disk, then: Checkpoint, now: Checkpoint, kinds: Collection[Kind]) -> list[int]:
    """The numbers of the entries of `kinds` after `then`; raises `TrailDamaged` unless `now` signs all that `then` did, and more."""
    if then.size > now.size:
        raise TrailDamaged(f"it holds {now.size} entries, where there were {then.size}")
    tree = _tree_at(disk, then.size)
    if not then.agrees_with(tree.size, tree.root()):
        raise TrailDamaged(f"its first {then.size} entries are others")
    numbers = []
    while tree.size < now.size:
        bundle, position = divmod(tree.size, TILE_WIDTH)
        for leaf in _leaves(disk, bundle, min(TILE_WIDTH, now.size - bundle * TILE_WIDTH))[position:]:
            if Leaf.decode(leaf).kind in kinds:
                numbers.append(tree.size)
            tree.append(leaf_hash(leaf))
    if not now.agrees_with(tree.size, tree.root()):
        raise TrailDamaged(f"what came after its first {then.size} entries is not what was signed")
    return numbers


def _tree_at(disk: Disk, size: int) -> Tree:
    """The tree as it was at `size`, which no greater tree can forget: tiles only ever grow."""
    bundle, position = divmod(size, TILE_WIDTH)
    edge = [[leaf_hash(leaf) for leaf in _leaves(disk, bundle, position)]]
    level = 1
    while size >> (TILE_HEIGHT * level):
        width = tile_width(size, level)
        path = layout.tile_path(level, size >> (TILE_HEIGHT * (level + 1)))
        data = _read(disk, path, width * HASH_SIZE) if width else b""
        edge.append([data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)])
        level += 1
    if any(len(hashes) != tile_width(size, at) for at, hashes in enumerate(edge)):
        raise TrailDamaged("a tile of it is cut off")
    return Tree.from_edge(size, edge)


def _leaves(disk: Disk, bundle: int, count: int) -> list[bytes]:
    if not count:
        return []
    return [record.leaf for record in layout.parse_records(_read(disk, layout.sealed_path(bundle), layout.MAX_BUNDLE), count)]


def _read(disk: Disk, path: str, limit: int) -> bytes:
    try:
        return disk.read(path, limit)
    except OSError:
        raise TrailDamaged(f"trail/{path} cannot be read") from None
