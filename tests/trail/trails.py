"""Small trails for the tests, an independent reading of them, and disks that are full, break, or lose power."""

import errno
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from leadglass.durable import PRIVATE_FOLDER
from leadglass.trail.disk import Disk
from leadglass.trail.entries import Entry, Kind
from leadglass.trail.layout import RESERVE, RESERVE_BYTES
from leadglass.trail.log import TrailLog
from leadglass.vocabulary import Action, Door

SEAL_KEY = bytes(range(32))
SEED = bytes(range(100, 132))
ORIGIN = "leadglass/test"


def entry(number: int = 0) -> Entry:
    return Entry(
        1_700_000_000_000_000_000 + number,
        Kind.INTENT,
        principal="peer:CT1",
        door=Door.DIMSE,
        address="127.0.0.1",
        action=Action.STORE,
        studies=(f"1.2.{number}",),
    )


def create(folder: Path, *, disk: Disk | None = None) -> TrailLog:
    return TrailLog.create(folder, SEAL_KEY, SEED, ORIGIN, disk=disk)


def reopen(folder: Path, *, disk: Disk | None = None, seed: bytes = SEED, seal_key: bytes = SEAL_KEY) -> TrailLog:
    return TrailLog.open(folder, seal_key, seed, ORIGIN, disk=disk)


def grown(folder: Path, entries: int, batch: int = 50) -> str:
    """A closed trail of so many entries; gives its verifier key."""
    log = create(folder)
    for number in range(entries):
        log.append(entry(number))
        if number % batch == 0:
            log.flush()
    log.close()
    return log.verifier_text


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def restore(folder: Path, files: dict[str, bytes]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() or path.is_symlink():
            path.unlink()
        else:
            path.rmdir()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


class FullDisk(Disk):
    """A disk with so much room; what is written beyond it stops short, as a real one does."""

    def __init__(self, folder: Path, room: int) -> None:
        super().__init__(folder)
        self.room = room

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        growth = max(0, offset + len(data) - os.fstat(descriptor).st_size)
        missing = self._used() + growth - self.room
        if growth and missing > 0:
            super().write_at(descriptor, data[: max(0, len(data) - missing)], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write_at(descriptor, data, offset)

    def allocate(self, path: str, size: int) -> None:
        if self._used() + size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(path, size)


class BreakingDisk(Disk):
    """A disk whose next sync fails when told so."""

    failing = False

    def sync(self, descriptor: int) -> None:
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(descriptor)


SECTOR = 512


@dataclass
class _File:
    durable: bytes = b""
    now: bytes = b""
    pending: list[Callable[[bytes], bytes]] = field(default_factory=list)


def _write(at: int, part: bytes) -> Callable[[bytes], bytes]:
    return lambda old: old[:at].ljust(at, b"\0") + part + old[at + len(part) :]


@dataclass
class PowerlessDisk(Disk):
    """A disk that remembers what is durable, and can be found at any moment as a power cut would leave it.

    Content is durable when it was synced, a name when its folder was. What was not may be there or not, each write for itself, torn
    at any sector, with the new length of its file or the old.
    """

    folder: Path
    files: dict[int, _File] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    durable_names: dict[str, int] = field(default_factory=dict)
    handles: dict[int, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    moments: list[Callable[[random.Random], tuple[set[str], dict[str, bytes]]]] = field(default_factory=list)

    def _open(self, descriptor: int, path: str) -> int:
        if path not in self.names:
            self.names[path] = len(self.files)
            self.files[self.names[path]] = _File()
        self.handles[descriptor] = self.names[path]
        return descriptor

    def open(self, path: str) -> int:
        return self._open(super().open(path), path)

    def create(self, path: str) -> int:
        return self._open(super().create(path), path)

    def close(self, descriptor: int) -> None:
        self.handles.pop(descriptor)
        super().close(descriptor)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        super().write_at(descriptor, data, offset)
        file = self.files[self.handles[descriptor]]
        start = 0
        while start < len(data):
            stop = min(len(data), (offset + start) // SECTOR * SECTOR + SECTOR - offset)
            file.pending.append(_write(offset + start, data[start:stop]))
            start = stop
        file.now = file.now[:offset].ljust(offset, b"\0") + data + file.now[offset + len(data) :]
        self.moments.append(self._moment())

    def truncate(self, descriptor: int, length: int) -> None:
        super().truncate(descriptor, length)
        file = self.files[self.handles[descriptor]]
        file.pending.append(lambda old: old[:length].ljust(length, b"\0"))
        file.now = file.now[:length].ljust(length, b"\0")

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        file = self.files[self.handles[descriptor]]
        file.durable, file.pending = file.now, []
        self.moments.append(self._moment())

    def sync_names(self, path: str) -> None:
        super().sync_names(path)
        parent = Path(path).parent
        for name in set(self.names) | set(self.durable_names):
            if Path(name).parent == parent:
                if name in self.names:
                    self.durable_names[name] = self.names[name]
                else:
                    self.durable_names.pop(name, None)
        self.moments.append(self._moment())

    def make_folder(self, path: str) -> None:
        super().make_folder(path)
        self.folders.add(path)

    def remove(self, path: str) -> None:
        super().remove(path)
        self.names.pop(path)

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.names[new] = self.names.pop(old)
        self.moments.append(self._moment())

    def allocate(self, path: str, size: int) -> None:
        super().allocate(path, size)
        self.names[path] = self.durable_names[path] = -1

    def _moment(self) -> Callable[[random.Random], tuple[set[str], dict[str, bytes]]]:
        """What may be found on this disk if power is lost now."""
        files = {number: (file.durable, tuple(file.pending)) for number, file in self.files.items()}
        names, durable, folders = dict(self.names), dict(self.durable_names), set(self.folders)

        def found(chance: random.Random) -> tuple[set[str], dict[str, bytes]]:
            survived = dict(durable)
            if names != durable and chance.random() < 0.5:
                survived = names
            contents = {}
            for name, number in survived.items():
                if number >= 0:
                    content, pending = files[number]
                    for write in pending:
                        if chance.random() < 0.5:
                            content = write(content)
                    # The bytes came to the disk, the new length of the file did not.
                    if chance.random() < 0.3:
                        content = content[: len(files[number][0])]
                    contents[name] = content
            return folders, contents

        return found


def lay_out(folder: Path, folders: Iterable[str], files: dict[str, bytes]) -> None:
    folder.mkdir(mode=PRIVATE_FOLDER)
    for name in sorted(folders):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / RESERVE).touch()
    os.truncate(folder / RESERVE, RESERVE_BYTES)
