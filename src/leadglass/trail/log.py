"""The open trail: many threads append, one of them at a time writes for all that wait (group commit)."""

import errno
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from leadglass import logs
from leadglass.durable import make_folder
from leadglass.errors import TrailDamaged, TrailUnwritable
from leadglass.seal.chunked import seal
from leadglass.trail import layout, verify
from leadglass.trail.consistency import entries_since
from leadglass.trail.disk import Disk
from leadglass.trail.entries import Entry, Kind, Leaf, seal_context
from leadglass.trail.files import TrailFiles
from leadglass.trail.layout import Record
from leadglass.trail.merkle import TILE_WIDTH, Tree
from leadglass.trail.note import Checkpoint, Signer
from leadglass.trail.recovery import Recovered, open_files, open_sealed

Clock = Callable[[], int]
"""Nanoseconds since 1970 UTC, as `time.time_ns`."""

MAX_BATCH = 1024
MAX_PENDING = 8192
"""Entries that wait while the disk is full: a few MB of memory; beyond it nothing more is taken."""

COVER_SECONDS = 0.05
"""How long entries that are durable may wait for their tiles and the checkpoint, where somebody is in a hurry (`TrailLog.hurry`)."""
MAX_UNCOVERED = 1024

CHECKPOINT_SYNC_SECONDS = 1.0
"""A power cut may take the checkpoint back this far; the entries are durable regardless, and are adopted and signed at the next start."""

RESERVE_RETRY_SECONDS = 60.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint, and how many entries it covers."""

    size: int
    note: bytes


class TrailLog:
    """Appends sealed entries to trail/ and signs each batch; thread-safe.

    `append` only queues. An entry is acknowledged when `flush` returns: durable, and covered by the signed checkpoint at once, or within
    COVER_SECONDS once somebody was in a hurry. Whoever asks for a checkpoint gets one that covers all that is acknowledged.
    """

    # Invariant: self._files.size + entries being written + len(self._pending) == self._next

    def __init__(self, disk: Disk, files: TrailFiles, seal_key: bytes, signer: Signer, clock: Clock) -> None:
        self._disk = disk
        self._files = files
        self._key = seal_key
        self._signer = signer
        self._clock = clock
        lock = threading.RLock()
        self._lock = threading.Condition(lock)
        self._wanted = threading.Condition(lock)
        self._writer: threading.Thread | None = None
        self._hurried = False
        self._cover_failed = False
        self._covered_at = time.monotonic()
        self._pending: list[Entry] = []
        self._next = files.size
        self._size = files.size
        self._writing = False
        self._waiting_for_stillness = 0
        self._failures = 0
        self._closed = False
        self._checkpoint_synced = time.monotonic()
        self._reserve_tried = time.monotonic()
        self._reserve_there = (disk.folder / layout.RESERVE).exists()
        self.recovered = Recovered(0, 0, 0)

    @classmethod
    def create(
        cls,
        folder: Path,
        seal_key: bytes,
        signing_seed: bytes,
        origin: str,
        clock: Clock = time.time_ns,
        *,
        disk: Disk | None = None,
    ) -> Self:
        """Start a trail in `folder`, which must not exist yet; `origin` names the log in every checkpoint, for ever."""
        if folder.exists():
            raise TrailDamaged(f"{folder} exists already; a trail is never started over")
        make_folder(folder)
        disk = disk or Disk(folder)
        signer = Signer(origin, signing_seed)
        disk.put(layout.KEY, f"{signer.verifier.text}\n".encode())
        disk.allocate(layout.RESERVE, layout.RESERVE_BYTES)
        tree = Tree()
        note = signer.sign(Checkpoint(origin, 0, tree.root()).text)
        disk.put(layout.CHECKPOINT, note)
        return cls(disk, TrailFiles(disk, signer, tree, 0, note), seal_key, signer, clock)

    @classmethod
    def open(
        cls,
        folder: Path,
        seal_key: bytes,
        signing_seed: bytes,
        origin: str,
        clock: Clock = time.time_ns,
        *,
        disk: Disk | None = None,
    ) -> Self:
        """Open the trail in `folder`; raises `TrailDamaged` unless a valid checkpoint covers what is there."""
        disk = disk or Disk(folder)
        signer = Signer(origin, signing_seed)
        try:
            files, recovered = open_files(disk, seal_key, signer)
        except OSError as error:
            raise TrailUnwritable(f"trail/ cannot be opened: {error.strerror}; nothing is served until it can") from None
        log = cls(disk, files, seal_key, signer, clock)
        log._begin(recovered)
        return log

    def _begin(self, recovered: Recovered) -> None:
        self.recovered = recovered
        if recovered:
            counts = {"adopted": recovered.adopted, "dropped-bytes": recovered.dropped_bytes, "rebuilt-tiles": recovered.rebuilt_tiles}
            self.append(Entry(self._clock(), Kind.RECOVERED, detail=counts))
        reserve = self._disk.folder / layout.RESERVE
        if not reserve.is_file() or reserve.stat().st_size != layout.RESERVE_BYTES:
            self._reserve_there = False
            self._restore_reserve()
            if not self._reserve_there:
                self.append(Entry(self._clock(), Kind.RESERVE_USED))
        if self._pending:
            try:
                self.flush()
            except TrailUnwritable:
                logs.warn("the disk is full: the trail was opened, and says so as soon as there is room")

    @property
    def size(self) -> int:
        """How many entries are acknowledged."""
        return self._size

    @property
    def verifier_text(self) -> str:
        """The verifier key, as in trail/key, to be kept elsewhere together with checkpoints."""
        return self._signer.verifier.text

    def checkpoint(self) -> bytes:
        """The current signed checkpoint, to be kept where nobody can reach both it and this archive."""
        return self.snapshot().note

    def snapshot(self) -> Snapshot:
        """The current checkpoint with the number of entries that it covers."""
        with self._still():
            self._cover()
            return Snapshot(self._files.covered, self._files.checkpoint)

    def head(self) -> Checkpoint:
        """What the current checkpoint signs."""
        return Checkpoint.parse(self.snapshot().note, self._signer.verifier)

    def since(self, then: Checkpoint, kinds: Collection[Kind]) -> list[int]:
        """The numbers of the entries of `kinds` after `then`; raises `TrailDamaged` when this trail does not go on from there."""
        return entries_since(self._disk, then, self.head(), kinds)

    def append(self, entry: Entry) -> int:
        """Queue `entry`; gives its sequence number. It is not acknowledged before `flush`; raises `TrailUnwritable`."""
        with self._lock:
            self._require_usable()
            if len(self._pending) >= MAX_PENDING:
                raise TrailUnwritable("the trail cannot be written and too much is waiting; make room on the disk that holds trail/")
            self._pending.append(entry)
            self._next += 1
            return self._next - 1

    def hurry(self) -> None:
        """Begin to write what is queued, in a thread of the trail's own, while the caller does something else before `flush`."""
        with self._lock:
            if self._writer is None:
                self._writer = threading.Thread(target=self._keep_writing, name="trail", daemon=True)
                self._writer.start()
            self._hurried = True
            self._wanted.notify()

    def _keep_writing(self) -> None:
        with self._lock:
            while not self._closed:
                may_write = not (self._writing or self._waiting_for_stillness or self._files.broken)
                since = time.monotonic() - self._covered_at
                waiting = self._files.size - self._files.covered
                if may_write and self._hurried:
                    self._hurried = False
                    if self._pending:
                        self._lead()
                elif may_write and waiting and (since >= COVER_SECONDS or waiting >= MAX_UNCOVERED):
                    self._exclusively(self._cover)
                else:
                    self._wanted.wait(max(COVER_SECONDS - since, 0.001) if waiting and not self._cover_failed else None)

    def _exclusively(self, work: Callable[[], object]) -> None:
        """Run `work` while nobody else writes; called with the lock held, which is let go meanwhile."""
        self._writing = True
        self._lock.release()
        try:
            work()
        finally:
            self._lock.acquire()
            self._writing = False
            self._lock.notify_all()

    def _cover(self) -> bool:
        """Let tiles and checkpoint follow what is durable; called while nobody else writes. Gives whether they do."""
        self._covered_at = time.monotonic()
        if self._files.size > self._files.covered and not self._files.broken:
            self._cover_failed = not self._try(self._files.cover)
            self._sync_checkpoint()
        return not self._cover_failed

    def flush(self, sequence: int | None = None) -> None:
        """Return when entry `sequence` (all that is queued, if None) is durable and signed; raises `TrailUnwritable`.

        After a failure the entries stay queued under their numbers, and are written as soon as that is possible again.
        """
        with self._lock:
            wanted = self._next if sequence is None else sequence + 1
            failures = self._failures
            while self._size < wanted:
                self._require_usable()
                if self._failures != failures:
                    raise TrailUnwritable("the trail cannot be written; make room on the disk that holds trail/")
                if self._writing or self._waiting_for_stillness:
                    self._lock.wait()
                else:
                    self._lead()

    def _require_usable(self) -> None:
        if self._closed:
            raise TrailUnwritable("the trail is closed; start leadglass again")
        if self._files.broken:
            raise TrailUnwritable("writing the trail failed in a way that only a restart can judge; check the disk, then start again")

    def _lead(self) -> None:
        """Write one batch for everybody who waits; called with the lock held, which is let go meanwhile."""
        batch = self._pending[:MAX_BATCH]
        del self._pending[: len(batch)]
        self._writing = True
        self._lock.release()
        try:
            self._write(batch)
        finally:
            self._lock.acquire()
            self._writing = False
            self._wanted.notify()
            if self._files.size > self._size:
                self._size = self._files.size
            else:
                self._pending[:0] = batch
                self._failures += 1
            self._lock.notify_all()

    def _write(self, batch: list[Entry]) -> None:
        if self._cover_failed and not self._cover():
            return
        first, origin = self._files.size, self._signer.verifier.name
        records = []
        for sequence, entry in enumerate(batch, first):
            sealed = seal(self._key, seal_context(origin, sequence), entry.encode())
            records.append(Record(Leaf.of(entry, sealed).encode(), sealed))
        write = self._files.commit if self._writer is None else self._files.append
        if not self._try(lambda: write(records)):
            return
        if self._writer is None:
            self._sync_checkpoint()
        if not self._reserve_there and time.monotonic() - self._reserve_tried > RESERVE_RETRY_SECONDS:
            self._restore_reserve()

    def _sync_checkpoint(self) -> None:
        now = time.monotonic()
        if now - self._checkpoint_synced > CHECKPOINT_SYNC_SECONDS:
            self._checkpoint_synced = now
            # A failure here marks the files as broken; what was written is durable all the same.
            with suppress(OSError):
                self._files.sync_checkpoint()

    def _try(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except OSError as error:
            if error.errno in _FULL and not self._files.broken and self._give_up_reserve():
                return self._try(write)
            logs.fault("the trail cannot be written: nothing is served until it can; look at the disk that holds trail/", error)
            return False
        return True

    def _give_up_reserve(self) -> bool:
        """Free the reserved room on a full disk; gives whether there was any."""
        if not self._reserve_there:
            return False
        try:
            self._disk.remove(layout.RESERVE)
            self._disk.sync_names(layout.RESERVE)
        except OSError:
            return False
        self._reserve_there = False
        self._reserve_tried = time.monotonic()
        logs.warn("the disk is full: the trail goes on in the room that was reserved for it; make room")
        self.append(Entry(self._clock(), Kind.RESERVE_USED))
        return True

    def _restore_reserve(self) -> None:
        self._reserve_tried = time.monotonic()
        try:
            self._disk.allocate(layout.RESERVE, layout.RESERVE_BYTES)
        except OSError:
            return
        self._reserve_there = True
        self.append(Entry(self._clock(), Kind.RESERVE_RESTORED))

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Entry]]:
        """Acknowledged entries from `start` up to `stop`, each with its number; raises `TrailDamaged` at one that was changed."""
        for number, _, entry in self.records(start, stop):
            yield number, entry

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Record, Entry]]:
        """As `read`, with what lies on disk for each."""
        end = self._size if stop is None else min(stop, self._size)
        origin = self._signer.verifier.name
        while start < end:
            bundle, position = divmod(start, TILE_WIDTH)
            count = min(TILE_WIDTH, end - bundle * TILE_WIDTH)
            try:
                data = self._disk.read(layout.sealed_path(bundle), layout.MAX_BUNDLE)
            except FileNotFoundError:
                raise TrailDamaged(f"trail/{layout.sealed_path(bundle)} is missing; restore trail/ from a copy") from None
            for record in layout.parse_records(data, count)[position:]:
                yield start, record, open_sealed(self._key, origin, start, record)
                start += 1

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Nothing is written to trail/ inside this block."""
        with self._lock:
            # Counted, so that a stream of writers cannot keep it waiting for ever.
            self._waiting_for_stillness += 1
            while self._writing:
                self._lock.wait()
            self._waiting_for_stillness -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._lock:
                self._writing = False
                self._wanted.notify()
                self._lock.notify_all()

    def verify(self, kept_checkpoint: bytes | None = None, vouched: Checkpoint | None = None) -> verify.Report:
        """Verify the whole trail while it is in use: full bundles first, the growing edge while writing pauses."""
        verification = verify.Verification(self._disk.folder, self._signer.verifier, kept_checkpoint, vouched)
        while verification.size < (full := self.snapshot().size // TILE_WIDTH * TILE_WIDTH) and verification.advance(full):
            pass
        with self._still():
            self._cover()
            return verification.finish()

    def close(self) -> None:
        """Flush, sync and let go; the trail can be opened again."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            with self._still():
                self._cover()
                self._closed = True
                self._files.close()
            with self._lock:
                self._wanted.notify()
            if self._writer is not None:
                self._writer.join()
