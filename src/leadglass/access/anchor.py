"""The anchor: what this archive last vouched for, so that single files put back to an older state are found.

It holds the trail's size and root and the digest of every table. A change of a table goes: anchor that accepts the old and the new
table, the new table, an entry of kind CHANGED. So at every moment a power cut leaves a state that `Anchor.problems` accepts, and an
anchor that lags more than one CHANGED behind the trail, or a table older than that entry, was put back by somebody.
"""

import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from leadglass import logs
from leadglass.access.clock import Clock
from leadglass.access.registry import Registry
from leadglass.access.sealed import SealedFile
from leadglass.errors import Damaged, StorageFailed, TrailDamaged, TrailUnwritable
from leadglass.trail.entries import Entry, Kind
from leadglass.trail.log import TrailLog
from leadglass.trail.note import Checkpoint

NAME = "anchor.sealed"
TABLES = ("users.sealed", "peers.sealed", "tokens.sealed", "holds.sealed")
MISSING = ("",)
"""What is accepted of a table that the anchor does not name: that there is none, as in archives of before there was this table."""
ADVICE = "somebody put back an older file: put the newer one back, or restore the whole of HOME from one copy"


@dataclass(frozen=True)
class Anchor:
    """One state that was vouched for; digests are SHA-256 in hex, by the name of the file."""

    checkpoint: Checkpoint
    tables: Mapping[str, tuple[str, ...]]
    """The accepted digests: one, or while a change is under way the old and the new one."""
    settings: Mapping[str, str]

    def row(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "origin": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.hex(),
            "tables": {name: list(digests) for name, digests in self.tables.items()},
            "settings": dict(self.settings),
        }

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        checkpoint = Checkpoint(row["origin"], row["size"], bytes.fromhex(row["root"]))
        return cls(checkpoint, {name: tuple(digests) for name, digests in row["tables"].items()}, row["settings"])

    def problems(self, found: Mapping[str, str], changes: int) -> list[str]:
        """What is wrong with tables of these digests, when the trail holds `changes` entries of kind CHANGED after the checkpoint."""
        under_way = any(len(accepted) > 1 for accepted in self.tables.values())
        problems = []
        if changes > under_way:
            problems.append(f"access/{NAME} is older than the trail, which tells of {changes} later changes of who is known: {ADVICE}")
        for name in dict.fromkeys((*self.tables, *found)):
            accepted = self.tables.get(name, MISSING)
            # A change that the trail tells of was made: the table before it is accepted no longer.
            if found.get(name, "") not in (accepted[-1:] if changes else accepted):
                problems.append(f"access/{name} is not the one that this archive last wrote: {ADVICE}")
        return problems


def _file(folder: Path, key: bytes, archive_id: bytes) -> SealedFile:
    return SealedFile(folder / NAME, key, archive_id, "anchor")


def read_anchor(folder: Path, key: bytes, archive_id: bytes) -> Anchor:
    """The anchor in HOME/access; raises `Damaged` when it is missing or does not open."""
    if not (folder / NAME).is_file():
        raise Damaged(f"access/{NAME} is missing, and nothing shows that no other file is older than it should be: {ADVICE}")
    return Anchor.of_row(_file(folder, key, archive_id).load()[0])


def _named(found: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: (digest,) for name, digest in found.items() if digest}


def digest_of(path: Path) -> str:
    """SHA-256 in hex of a file; empty when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def tables_in(folder: Path) -> dict[str, str]:
    """The digest of each table as it lies in HOME/access now."""
    return {name: digest_of(folder / name) for name in TABLES}


class Keeper:
    """Keeps the anchor of an open archive: every change of a table and of the settings goes through it. Thread-safe."""

    def __init__(self, folder: Path, file: SealedFile, trail: TrailLog, clock: Clock, anchor: Anchor) -> None:
        self._folder = folder
        self._file = file
        self._trail = trail
        self._clock = clock
        self._lock = threading.RLock()
        self._anchor = anchor
        self._written: Anchor | None = None

    @classmethod
    def create(
        cls, folder: Path, key: bytes, archive_id: bytes, registry: Registry, trail: TrailLog, clock: Clock, settings: Mapping[str, str]
    ) -> Self:
        """The first anchor of a new archive; `settings` are the digests of policy.toml and leadglass.toml."""
        anchor = Anchor(trail.head(), _named(registry.digests()), settings)
        keeper = cls(folder, _file(folder, key, archive_id), trail, clock, anchor)
        keeper._write()
        registry.guard(keeper.changing)
        return keeper

    @classmethod
    def open(cls, folder: Path, key: bytes, archive_id: bytes, registry: Registry, trail: TrailLog, clock: Clock) -> Self:
        """Hold trail and tables against the anchor; raises `TrailDamaged` or `Damaged` for what was put back to an older state."""
        anchor = read_anchor(folder, key, archive_id)
        try:
            later = trail.since(anchor.checkpoint, {Kind.CHANGED, Kind.CONFIGURED})
        except TrailDamaged as error:
            raise TrailDamaged(f"trail/ is older than what this archive last vouched for: {error}; {ADVICE}") from None
        entries = [entry for number in later for _, entry in trail.read(number, number + 1)]
        found = registry.digests()
        if problems := anchor.problems(found, sum(entry.kind is Kind.CHANGED for entry in entries)):
            raise Damaged("; ".join(problems))
        known = {str(entry.detail["file"]): str(entry.detail["now"]) for entry in entries if entry.kind is Kind.CONFIGURED}
        now = replace(anchor, tables=_named(found), settings={**anchor.settings, **known})
        keeper = cls(folder, _file(folder, key, archive_id), trail, clock, now)
        keeper._written = anchor
        registry.guard(keeper.changing)
        keeper.renew()
        return keeper

    def _write(self) -> None:
        anchor = replace(self._anchor, checkpoint=self._trail.head())
        if anchor != self._written:
            self._file.save([anchor.row()])
            self._written = anchor

    def renew(self) -> None:
        """Vouch for the state of now, also on a full disk: then the anchor before it goes on being true."""
        with self._lock:
            try:
                self._write()
            except OSError as error:
                logs.event(logging.WARNING, "the anchor could not be renewed", errno=error.errno)

    @contextmanager
    def changing(self, name: str, digest: str) -> Iterator[None]:
        """Around the replacement of table `name` by one of this digest; raises `StorageFailed` or `TrailUnwritable`."""
        with self._lock:
            # What the trail still owes must not be told after the anchor that is written now.
            self._trail.flush()
            before = self._anchor
            accepted = before.tables.get(name, MISSING)
            self._anchor = replace(before, tables={**before.tables, name: (*accepted, digest)})
            try:
                self._write()
            except OSError:
                self._anchor = before
                raise StorageFailed(f"access/{NAME} could not be written, so that nothing was changed; check the disk") from None
            try:
                yield
            finally:
                self._settle(name)
            self._trail.flush(self._trail.append(Entry(self._clock(), Kind.CHANGED, detail={"file": f"access/{name}"})))

    def _settle(self, name: str) -> None:
        """Accept of `name` what lies there now alone, if it is one of those that may."""
        found = digest_of(self._folder / name)
        if found in self._anchor.tables[name]:
            self._anchor = replace(self._anchor, tables={**self._anchor.tables, name: (found,)})

    def configured(self, settings: Mapping[str, str]) -> list[str]:
        """Note which of these files differ from those that were in force, and vouch for them; gives a sentence for each."""
        with self._lock:
            known = self._anchor.settings
            told = []
            for name, now in settings.items():
                was = known.get(name, "")
                if was == now:
                    continue
                self._trail.append(Entry(self._clock(), Kind.CONFIGURED, detail={"file": name, "was": was, "now": now}))
                told.append(f"{name} is not the one that was in force before: SHA-256 was {was[:12]}, is {now[:12]}; the trail says so")
            if told:
                # On a full disk the entry waits in memory, and the anchor for it.
                with suppress(TrailUnwritable):
                    self._trail.flush()
                    self._anchor = replace(self._anchor, settings={**known, **settings})
                    self.renew()
            return told

    def problems(self) -> list[str]:
        """What somebody changed under HOME/access since this archive was opened."""
        with self._lock:
            problems = self._anchor.problems(tables_in(self._folder), 0)
            try:
                on_disk = self._file.load()
            except Damaged as error:
                return [*problems, str(error)]
            if self._written is None or on_disk != [self._written.row()]:
                problems.append(f"access/{NAME} is not the one that this archive last wrote: {ADVICE}")
            return problems

    @property
    def checkpoint(self) -> Checkpoint:
        """How far the trail was vouched for when the anchor was last written."""
        return self._anchor.checkpoint if self._written is None else self._written.checkpoint
