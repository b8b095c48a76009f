"""Opening a trail: what the checkpoint covers must be there; what lies beyond it is adopted if it is ours.

After an unclean stop the bundles may be ahead of the checkpoint and the partial tiles behind both. Entries beyond the checkpoint
are taken in if their seals open, which nobody without the key can bring about; the first that does not is a torn write, and is cut
off. A checkpoint that is missing or does not verify is never replaced: that would sign whatever was made of the trail.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from leadglass.errors import Damaged, TrailDamaged
from leadglass.seal.chunked import unseal
from leadglass.trail import layout
from leadglass.trail.disk import Disk
from leadglass.trail.entries import Entry, Leaf, seal_context
from leadglass.trail.files import TrailFiles
from leadglass.trail.layout import Record
from leadglass.trail.merkle import HASH_SIZE, TILE_WIDTH, Tree, leaf_hash, tile_width
from leadglass.trail.note import MAX_NOTE, Checkpoint, Signer

ADVICE = "nothing is served; restore trail/ from a copy, or run `leadglass trail verify` to see what differs"

_LEVELS = 8
"""256 to the 8th entries are more than there will be."""


@dataclass(frozen=True)
class Recovered:
    """What opening had to do after an unclean stop; all zero after a clean one."""

    adopted: int
    dropped_bytes: int
    rebuilt_tiles: int

    def __bool__(self) -> bool:
        return bool(self.adopted or self.dropped_bytes or self.rebuilt_tiles)


def open_sealed(key: bytes, origin: str, sequence: int, record: Record) -> Entry:
    """The entry in `record`; raises `TrailDamaged` unless its seal opens at this place and its leaf says the same."""
    try:
        entry = Entry.decode(unseal(key, seal_context(origin, sequence), record.sealed))
    except Damaged:
        raise TrailDamaged(f"entry {sequence} of the trail does not open: changed, moved or of another archive") from None
    if Leaf.of(entry, record.sealed).encode() != record.leaf:
        raise TrailDamaged(f"entry {sequence} of the trail does not fit its leaf")
    return entry


def open_files(disk: Disk, seal_key: bytes, signer: Signer) -> tuple[TrailFiles, Recovered]:
    """The files of an existing trail, repaired after an unclean stop; raises `TrailDamaged`."""
    (disk.folder / layout.CHECKPOINT_NEW).unlink(missing_ok=True)
    if _read(disk, layout.KEY, MAX_NOTE) != f"{signer.verifier.text}\n".encode():
        raise TrailDamaged(f"trail/key is not the key of this archive: {ADVICE}")
    note = _read(disk, layout.CHECKPOINT, MAX_NOTE + 1)
    try:
        checkpoint = Checkpoint.parse(note, signer.verifier)
    except TrailDamaged as error:
        raise TrailDamaged(f"{error}: {ADVICE}") from None
    bundle, position = divmod(checkpoint.size, TILE_WIDTH)
    last = _read(disk, layout.sealed_path(bundle), layout.MAX_BUNDLE) if position else b""
    records = layout.parse_records(last, position)
    tree, rebuilt = _tree(disk, checkpoint, records)
    length = sum(record.size for record in records)
    rebuilt += _mend_edge(disk, tree.size, records)
    files = TrailFiles(disk, signer, tree, length, note)
    adopted = _adoptable(disk, seal_key, signer.verifier.name, checkpoint.size, length)
    dropped = _drop_tail(disk, checkpoint.size, length, adopted)
    if adopted:
        files.commit(adopted, adopted=True)
        files.sync_checkpoint()
    _tidy(disk, files.size)
    return files, Recovered(len(adopted), dropped, rebuilt)


def _tidy(disk: Disk, size: int) -> None:
    """Remove the folders that a batch made and never came to use."""
    bundle = size // TILE_WIDTH
    paths = [layout.sealed_path(bundle), layout.entries_path(bundle)]
    paths += [layout.tile_path(level, size >> (8 * (level + 1))) for level in range(_LEVELS)]
    for path in paths:
        for folder in reversed(layout.parent_folders(path)):
            # Refused for a folder in use, which is the point.
            with suppress(OSError):
                disk.remove_folder(folder)


def _read(disk: Disk, path: str, limit: int) -> bytes:
    try:
        return disk.read(path, limit)
    except FileNotFoundError:
        raise TrailDamaged(f"trail/{path} is missing: {ADVICE}") from None


def _try_read(disk: Disk, path: str, limit: int) -> bytes:
    try:
        return disk.read(path, limit)
    except FileNotFoundError:
        return b""


def _hashes(records: list[Record], first: int) -> list[bytes]:
    for number, record in enumerate(records, first):
        if not hmac.compare_digest(Leaf.decode(record.leaf).sealed_hash, hashlib.sha256(record.sealed).digest()):
            raise TrailDamaged(f"entry {number} of the trail does not fit its leaf: {ADVICE}")
    return [leaf_hash(record.leaf) for record in records]


def _tree(disk: Disk, checkpoint: Checkpoint, records: list[Record]) -> tuple[Tree, int]:
    """The tree that the checkpoint signs, from the right-most tiles; from all bundles when those do not give it."""
    size = checkpoint.size
    edge = [_hashes(records, size - len(records))]
    level = 1
    while size >> (8 * level):
        width = tile_width(size, level)
        data = _try_read(disk, layout.tile_path(level, size >> (8 * (level + 1))), width * HASH_SIZE)
        edge.append([data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)])
        level += 1
    if all(len(edge[at]) == tile_width(size, at) for at in range(len(edge))):
        tree = Tree.from_edge(size, edge)
        if checkpoint.agrees_with(size, tree.root()):
            return tree, 0
    return _rebuild(disk, checkpoint)


def _rebuild(disk: Disk, checkpoint: Checkpoint) -> tuple[Tree, int]:
    """The tree and every tile, computed from the sealed bundles; raises `TrailDamaged` when they are not what was signed."""
    tree = Tree()
    tiles: dict[str, bytearray] = {}
    rewritten = 0
    for bundle in range(layout.bundle_count(checkpoint.size)):
        count = min(TILE_WIDTH, checkpoint.size - bundle * TILE_WIDTH)
        records = layout.parse_records(_read(disk, layout.sealed_path(bundle), layout.MAX_BUNDLE), count)
        for hash_ in _hashes(records, bundle * TILE_WIDTH):
            before = tree.size
            for level, node in tree.append(hash_):
                tiles.setdefault(layout.tile_path(level, before >> (8 * (level + 1))), bytearray()).extend(node)
    if not checkpoint.agrees_with(tree.size, tree.root()):
        raise TrailDamaged(f"the entries of the trail are not those that its checkpoint signs: {ADVICE}")
    for path, data in tiles.items():
        rewritten += _mend(disk, path, bytes(data))
    return tree, rewritten


def _mend_edge(disk: Disk, size: int, records: list[Record]) -> int:
    """Bring the partial tiles to exactly what the tree says; gives how many differed."""
    bundle = size // TILE_WIDTH
    mended = 0
    if records:
        mended += _mend(disk, layout.entries_path(bundle), b"".join(layout.encode_entry(record.leaf) for record in records))
        mended += _mend(disk, layout.tile_path(0, bundle), b"".join(leaf_hash(record.leaf) for record in records))
    level = 1
    while size >> (8 * level):
        path, length = layout.tile_path(level, size >> (8 * (level + 1))), tile_width(size, level) * HASH_SIZE
        if length and len(data := _try_read(disk, path, TILE_WIDTH * HASH_SIZE)) > length:
            mended += _mend(disk, path, data[:length])
        level += 1
    return mended


def _mend(disk: Disk, path: str, data: bytes) -> int:
    if _try_read(disk, path, len(data) + 1) == data:
        return 0
    for folder in layout.parent_folders(path):
        disk.make_folder(folder)
    disk.put(path, data)
    return 1


def _adoptable(disk: Disk, key: bytes, origin: str, size: int, length: int) -> list[Record]:
    """The records beyond the checkpoint whose seals open, in order, up to the first that is torn."""
    return list(_beyond(disk, size, length, lambda sequence, record: _opens(key, origin, sequence, record)))


def _opens(key: bytes, origin: str, sequence: int, record: Record) -> bool:
    try:
        open_sealed(key, origin, sequence, record)
    except TrailDamaged:
        return False
    return True


def _beyond(disk: Disk, size: int, length: int, genuine: Callable[[int, Record], bool]) -> Iterator[Record]:
    while data := _try_read(disk, layout.sealed_path(size // TILE_WIDTH), layout.MAX_BUNDLE):
        while True:
            record = layout.record_at(data, length)
            if record is None or not genuine(size, record):
                return
            yield record
            size, length = size + 1, length + record.size
            if size % TILE_WIDTH == 0:
                length = 0
                break


def _drop_tail(disk: Disk, size: int, length: int, adopted: list[Record]) -> int:
    """Cut the growing bundle behind its last genuine record; gives the bytes cut off."""
    for record in adopted:
        size, length = size + 1, length + record.size
        if size % TILE_WIDTH == 0:
            length = 0
    path = layout.sealed_path(size // TILE_WIDTH)
    try:
        descriptor = disk.open(path)
    except FileNotFoundError:
        return 0
    try:
        dropped = (disk.folder / path).stat().st_size - length
        if dropped and length:
            disk.truncate(descriptor, length)
            disk.sync(descriptor)
    finally:
        disk.close(descriptor)
    if not length:
        disk.remove(path)
    return dropped
