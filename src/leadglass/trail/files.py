"""The growing files of the trail: one batch of entries is written whole, or not at all.

The order is what makes a batch survive: sealed bundle, its fdatasync, tiles (a full tile and every upper one synced), checkpoint. Tiles and
checkpoint may follow for several batches together.
So whatever the checkpoint covers is durable in the bundles, and the tiles can be computed from them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from leadglass.trail import layout
from leadglass.trail.disk import Disk
from leadglass.trail.layout import Record
from leadglass.trail.merkle import HASH_SIZE, TILE_WIDTH, Tree, leaf_hash
from leadglass.trail.note import Checkpoint, Signer


@dataclass
class _Growth:
    """Bytes to be added to one tile or bundle."""

    offset: int
    data: bytearray
    full: bool = False
    upper: bool = False


class TrailFiles:
    """Appends batches to trail/ and signs a checkpoint over each; used by one thread at a time."""

    def __init__(self, disk: Disk, signer: Signer, tree: Tree, bundle_bytes: int, checkpoint: bytes) -> None:
        self._disk = disk
        self._signer = signer
        self._tree = tree
        self._bundle_bytes = bundle_bytes
        self._uncovered: list[Record] = []
        self._handles: dict[str, int] = {}
        self._undo: list[Callable[[], None]] = []
        self.checkpoint = checkpoint
        self.broken = False
        """True after a failed sync: what the kernel still holds of it is unknown, so that nothing more is written until the next start."""

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return self._tree.size + len(self._uncovered)

    @property
    def covered(self) -> int:
        """Entries that the checkpoint signs, with all their tiles."""
        return self._tree.size

    def commit(self, records: Sequence[Record], *, adopted: bool = False) -> None:
        """Make `records` durable and covered by the checkpoint; with `adopted`, their sealed bytes are in the bundles already.

        Raises OSError after everything was put back as it was; `broken` is true when that was not possible.
        """
        before = self._bundle_bytes, list(self._uncovered)
        with self._all_or_nothing():
            try:
                self._append(records, adopted=adopted)
                self._cover()
            except BaseException:
                self._bundle_bytes, self._uncovered = before
                raise

    def append(self, records: Sequence[Record]) -> None:
        """Make `records` durable, to be covered by the next `commit` or `cover`; errors as `commit`."""
        before = self._bundle_bytes, list(self._uncovered)
        with self._all_or_nothing():
            try:
                self._append(records, adopted=False)
            except BaseException:
                self._bundle_bytes, self._uncovered = before
                raise

    def cover(self) -> None:
        """Let tiles and checkpoint follow what was appended; errors as `commit`, and it stays durable all the same."""
        with self._all_or_nothing():
            self._cover()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._undo = []
        try:
            yield
        except BaseException:
            self._roll_back()
            raise

    def _append(self, records: Sequence[Record], *, adopted: bool) -> None:
        for bundle, position, part in _parts(self.size, records):
            path = layout.sealed_path(bundle)
            sealed = b"".join(record.encode() for record in part)
            if adopted:
                self._sync(self._handle(path))
            else:
                self._grow(path, _Growth(self._bundle_bytes, bytearray(sealed)), sync=True, new=position == 0)
            self._uncovered += part
            if position + len(part) == TILE_WIDTH:
                self._forget(path)
                self._bundle_bytes = 0
            else:
                self._bundle_bytes += len(sealed)

    def _cover(self) -> None:
        tree = self._tree.copy()
        for bundle, position, part in _parts(tree.size, self._uncovered):
            self._cover_part(tree, bundle, position, part)
        note = self._signer.sign(Checkpoint(self._signer.verifier.name, tree.size, tree.root()).text)
        self._write_checkpoint(note)
        self._tree, self._uncovered, self.checkpoint = tree, [], note

    def _cover_part(self, tree: Tree, bundle: int, position: int, records: Sequence[Record]) -> None:
        full = position + len(records) == TILE_WIDTH
        growths = {layout.entries_path(bundle): _Growth(position * layout.ENTRY_SIZE, bytearray(), full=full)}
        for record in records:
            growths[layout.entries_path(bundle)].data += layout.encode_entry(record.leaf)
            position_before = tree.size
            for level, node in tree.append(leaf_hash(record.leaf)):
                index, column = divmod(position_before >> (8 * level), TILE_WIDTH)
                growth = growths.setdefault(layout.tile_path(level, index), _Growth(column * HASH_SIZE, bytearray(), upper=level > 0))
                growth.data += node
                growth.full = column == TILE_WIDTH - 1
        for tile, growth in growths.items():
            self._grow(tile, growth, sync=growth.full or growth.upper, new=growth.offset == 0)
            if growth.full:
                self._forget(tile)

    def _grow(self, path: str, growth: _Growth, *, sync: bool, new: bool) -> None:
        descriptor = self._handle(path)
        self._undo.append(lambda: self._cut(path, growth.offset))
        self._disk.write_at(descriptor, bytes(growth.data), growth.offset)
        if sync:
            self._sync(descriptor)
            if new or growth.full:
                self._disk.sync_names(path)

    def _handle(self, path: str) -> int:
        if path not in self._handles:
            try:
                self._handles[path] = self._disk.open(path)
            except FileNotFoundError:
                for folder in layout.parent_folders(path):
                    if not (self._disk.folder / folder).is_dir():
                        self._disk.make_folder(folder)
                        self._undo.append(lambda folder=folder: self._disk.remove_folder(folder))  # type: ignore[misc]
                self._handles[path] = self._disk.create(path)
        return self._handles[path]

    def _forget(self, path: str) -> None:
        descriptor = self._handles.pop(path, None)
        if descriptor is not None:
            self._disk.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        try:
            self._disk.sync(descriptor)
        except OSError:
            self.broken = True
            raise

    def _write_checkpoint(self, note: bytes) -> None:
        if len(note) == len(self.checkpoint):
            self._undo.append(lambda: self._disk.write_at(self._handle(layout.CHECKPOINT), self.checkpoint, 0))
            self._disk.write_at(self._handle(layout.CHECKPOINT), note, 0)
            return
        # The size has one digit more. In place, a power cut could leave the longer note in the shorter file.
        self._undo.append(lambda: (self._disk.folder / layout.CHECKPOINT_NEW).unlink(missing_ok=True))
        self._disk.put(layout.CHECKPOINT_NEW, note)
        self._forget(layout.CHECKPOINT)
        self._disk.rename(layout.CHECKPOINT_NEW, layout.CHECKPOINT)
        try:
            self._disk.sync_names(layout.CHECKPOINT)
        except OSError:
            self.broken = True
            raise

    def _cut(self, path: str, length: int) -> None:
        if length:
            self._disk.truncate(self._handle(path), length)
        else:
            self._forget(path)
            self._disk.remove(path)

    def _roll_back(self) -> None:
        """Put every file back as it was before the batch."""
        if self.broken:
            return
        try:
            for undo in reversed(self._undo):
                undo()
        except OSError:
            self.broken = True
        self._undo = []

    def sync_checkpoint(self) -> None:
        self._sync(self._handle(layout.CHECKPOINT))

    def close(self) -> None:
        """Sync what is still only in memory and let go of every file."""
        try:
            if not self.broken:
                for descriptor in [*self._handles.values(), self._handle(layout.CHECKPOINT)]:
                    self._sync(descriptor)
        finally:
            for path in list(self._handles):
                self._forget(path)


def _parts(size: int, records: Sequence[Record]) -> Iterator[tuple[int, int, list[Record]]]:
    """Records that follow `size` others, by bundle: its number, the place of the first in it, and those that go into it."""
    start = 0
    while start < len(records):
        bundle, position = divmod(size + start, TILE_WIDTH)
        part = list(records[start : start + TILE_WIDTH - position])
        yield bundle, position, part
        start += len(part)
