"""Is this trail what its log signed? Needs the folder alone: no seal is opened, nothing of the archive is asked.

Every byte under trail/ is accounted for: each file is either derived from the entries and compared, or signed, or zeros of a
known length. Anything else that lies there is a problem.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from leadglass.errors import ConfigurationError, TrailDamaged
from leadglass.trail import layout
from leadglass.trail.disk import Disk
from leadglass.trail.entries import Kind, Leaf
from leadglass.trail.merkle import HASH_SIZE, TILE_WIDTH, Tree, leaf_hash
from leadglass.trail.note import MAX_NOTE, Checkpoint, Verifier

MAX_PROBLEMS = 100


@dataclass(frozen=True)
class Report:
    """What verification found; `ok` means that every byte is as it was signed."""

    size: int
    origin: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    changes: int = 0
    """Entries of kind CHANGED after what the archive vouched for."""

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(folder: Path, *, key: str | None = None, kept_checkpoint: bytes | None = None, vouched: Checkpoint | None = None) -> Report:
    """Verify the trail in `folder`, which nobody may be writing to; raises `ConfigurationError` for a `key` that is none.

    Without `key` the one in the folder is trusted, and the report says so. `kept_checkpoint` is an earlier checkpoint that was
    kept elsewhere: what it covered must still be there, unchanged, also if somebody has the signing key. `vouched` is
    the same for what the trail's own archive last knew of it.
    """
    trusted = None if key is None else Verifier.parse(key)
    notes: list[str] = []
    if trusted is None:
        try:
            trusted = Verifier.parse(Disk(folder).read(layout.KEY, MAX_NOTE).decode("ascii", "replace"))
        except (OSError, ConfigurationError):
            return Report(0, "", ("trail/key is missing or not a verifier key; give the one that was kept with --key",), ())
        notes.append("trail/key was taken on trust; whoever can replace it can replace all: give the one kept elsewhere with --key")
    if kept_checkpoint is None:
        notes.append(
            "no earlier checkpoint was given: that nothing was cut off since one was made is not shown; give one with --checkpoint"
        )
    verification = Verification(folder, trusted, kept_checkpoint, vouched)
    report = verification.finish()
    return replace(report, notes=(*notes, *report.notes))


class Verification:
    """One walk over a trail, from its first entry to its last, in bounded memory."""

    def __init__(self, folder: Path, verifier: Verifier, kept_checkpoint: bytes | None = None, vouched: Checkpoint | None = None) -> None:
        self._disk = Disk(folder)
        self._verifier = verifier
        self._tree = Tree()
        self._tiles: dict[str, bytearray] = {}
        self._problems: list[str] = []
        self._kept = self._parse_kept(kept_checkpoint)
        self._vouched = vouched
        self._changes = 0
        self._reserve_used = False

    def _problem(self, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(text)

    def _parse_kept(self, note: bytes | None) -> Checkpoint | None:
        if note is None:
            return None
        try:
            return Checkpoint.parse(note, self._verifier)
        except TrailDamaged:
            self._problem("the kept checkpoint was not signed by the key of this trail: one of the two is not what it claims to be")
            return None

    @property
    def size(self) -> int:
        """How many entries have been verified."""
        return self._tree.size

    def advance(self, size: int) -> bool:
        """Verify the entries up to `size`, which ends a bundle or is the last one there is; False when they are not all there."""
        while self._tree.size < size:
            bundle = self._tree.size // TILE_WIDTH
            if not self._bundle(bundle, min(TILE_WIDTH, size - bundle * TILE_WIDTH)):
                return False
        return True

    def _bundle(self, bundle: int, count: int) -> bool:
        path = layout.sealed_path(bundle)
        data = self._read(path, layout.MAX_BUNDLE + 1)
        try:
            records = layout.parse_records(data, count)
        except TrailDamaged:
            self._problem(f"trail/{path} is cut off or missing: entries from {self._tree.size} on cannot be verified")
            return False
        if len(data) != sum(record.size for record in records):
            self._problem(f"trail/{path} holds bytes behind its last entry")
        self._compare(layout.entries_path(bundle), b"".join(layout.encode_entry(record.leaf) for record in records))
        for record in records:
            self._entry(record)
        return True

    def _entry(self, record: layout.Record) -> None:
        number = self._tree.size
        try:
            leaf = Leaf.decode(record.leaf)
            if hashlib.sha256(record.sealed).digest() != leaf.sealed_hash:
                self._problem(f"entry {number}: the sealed entry is not the one that its leaf names")
            if leaf.kind in (Kind.RESERVE_USED, Kind.RESERVE_RESTORED):
                self._reserve_used = leaf.kind == Kind.RESERVE_USED
            if self._vouched is not None and number >= self._vouched.size:
                self._changes += leaf.kind == Kind.CHANGED
        except TrailDamaged:
            self._problem(f"entry {number}: its leaf is not one that leadglass writes")
        for level, node in self._tree.append(leaf_hash(record.leaf)):
            path = layout.tile_path(level, number >> (8 * (level + 1)))
            tile = self._tiles.setdefault(path, bytearray())
            tile += node
            if len(tile) == TILE_WIDTH * HASH_SIZE:
                self._compare(path, bytes(self._tiles.pop(path)))
        if self._kept is not None and self._kept.size == self._tree.size:
            self._check_kept(self._kept)
        if self._vouched is not None and self._vouched.size == self._tree.size:
            self._check_vouched(self._vouched)

    def _check_vouched(self, vouched: Checkpoint) -> None:
        if not vouched.agrees_with(self._tree.size, self._tree.root()):
            self._problem(f"the first {vouched.size} entries are not those that this archive last vouched for: trail/ was replaced")

    def _check_kept(self, kept: Checkpoint) -> None:
        if not kept.agrees_with(self._tree.size, self._tree.root()):
            self._problem(f"the first {kept.size} entries are not those that the kept checkpoint signed: history was rewritten")

    def finish(self) -> Report:
        """Verify what is left, the checkpoint over it, and that nothing else lies in the folder."""
        if self._read(layout.KEY, MAX_NOTE) != f"{self._verifier.text}\n".encode():
            self._problem("trail/key is not the key that this trail is verified with")
        if self._kept is not None and self._kept.size == 0:
            self._check_kept(self._kept)
        if self._vouched is not None and self._vouched.size == 0:
            self._check_vouched(self._vouched)
        size = self._tree.size
        try:
            checkpoint = Checkpoint.parse(self._read(layout.CHECKPOINT, MAX_NOTE + 1), self._verifier)
        except TrailDamaged:
            self._problem("trail/checkpoint is missing or was not signed by the key of this trail")
        else:
            size = checkpoint.size
            self.advance(size)
            self._check_signed(checkpoint)
        for path, tile in self._tiles.items():
            self._compare(path, bytes(tile))
        self._check_reserve()
        self._check_names(size)
        return Report(size, self._verifier.name, tuple(self._problems), (), self._changes)

    def _check_signed(self, checkpoint: Checkpoint) -> None:
        if self._tree.size == checkpoint.size and self._tree.root() != checkpoint.root:
            self._problem("the entries are not those that trail/checkpoint signs: something was changed, moved, removed or added")
        if self._tree.size > checkpoint.size:
            self._problem("trail/checkpoint covers fewer entries than were there a moment ago")
        if self._kept is not None and self._kept.size > checkpoint.size:
            self._problem(
                f"the kept checkpoint covers {self._kept.size} entries, but only {checkpoint.size} are left: the trail was cut off"
            )
        if self._vouched is not None and self._vouched.size > checkpoint.size:
            self._problem(
                f"trail/ is older than what this archive last vouched for: of {self._vouched.size} entries {checkpoint.size} are left"
            )

    def _check_reserve(self) -> None:
        try:
            zeros = self._disk.count_zeros(layout.RESERVE)
        except FileNotFoundError:
            if not self._reserve_used:
                self._problem("trail/reserve is missing, and no entry says that the disk was full")
        except OSError:
            self._problem("trail/reserve cannot be read")
        else:
            if zeros != layout.RESERVE_BYTES:
                self._problem(f"trail/reserve is not {layout.RESERVE_BYTES} zeros")

    def _check_names(self, size: int) -> None:
        expected = set(layout.expected_files(size)) | {layout.RESERVE}
        folders = {folder for path in expected for folder in layout.parent_folders(path)}
        for place, names, files in os.walk(self._disk.folder):
            prefix = Path(place).relative_to(self._disk.folder)
            found = {str(prefix / name) for name in files}
            links = {str(prefix / name) for name in names if (Path(place) / name).is_symlink()}
            for path in sorted((found - expected) | ({str(prefix / name) for name in names} - folders) | links):
                self._problem(f"trail/{path} does not belong there")

    def _compare(self, path: str, data: bytes) -> None:
        found = self._read_or_none(path, len(data) + 1)
        if found is None:
            self._problem(f"trail/{path} is missing")
        elif found != data:
            self._problem(f"trail/{path} does not follow from the entries")

    def _read(self, path: str, limit: int) -> bytes:
        return self._read_or_none(path, limit) or b""

    def _read_or_none(self, path: str, limit: int) -> bytes | None:
        try:
            return self._disk.read(path, limit)
        except OSError:
            return None
