"""Where sealed bytes lie: opaque, random names in sequential shards; nothing stored is ever overwritten.

A blob is written to `incoming/NAME`, made durable there, moved to the current shard, and acknowledged once the shard's folder is durable:
what lies in a shard was whole when it got there, what lies in incoming was never acknowledged.
"""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol, Self

from leadglass.durable import PRIVATE_FILE, make_folder, sync_file, sync_folder, sync_names, write_all
from leadglass.errors import Damaged, StorageFailed
from leadglass.seal.chunked import Bytes
from leadglass.vault.room import Room, disk_errors

BLOB_ID_SIZE: Final = 16
SHARD_SIZE: Final = 4096
"""Blobs in a shard folder: few enough to list in a millisecond, so that a start after a crash looks at little."""
_SHARDS_PER_FOLDER: Final = 1000
_SHARD_PART: Final = re.compile(r"[0-9]{3}", re.ASCII)
_OWN_NAMES: Final = frozenset({"incoming", "journal", "journal.new"})
_NAME: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class BlobPlace(NamedTuple):
    """Where a blob lies: its shard's number and its random id."""

    shard: int
    blob_id: bytes


class OpenBlob(Protocol):
    """A stored blob; `pread` as `os.pread`."""

    size: int

    def pread(self, length: int, offset: int) -> bytes: ...

    def close(self) -> None: ...


class BlobWriter(Protocol):
    """A blob on its way in."""

    blob_id: bytes

    def write(self, data: Bytes) -> None:
        """Take every byte; NoRoom or StorageFailed, after which only `abandon` is left."""
        ...

    def reread(self) -> OpenBlob:
        """What was written so far, to be compared before it is committed."""
        ...

    def commit(self) -> BlobPlace:
        """Make it durable in a shard. NoRoom or StorageFailed, and nothing is kept."""
        ...

    def abandon(self) -> None:
        """Keep nothing; also after a failure, also twice."""
        ...


class BlobStore(Protocol):
    """Keeps blobs by place."""

    @property
    def shard(self) -> int:
        """No blob that is committed from now on lies in an earlier shard."""
        ...

    def create(self) -> BlobWriter: ...

    def open(self, place: BlobPlace) -> OpenBlob:
        """Damaged if there is none."""
        ...

    def remove(self, place: BlobPlace) -> None: ...

    def places_in(self, shard: int) -> list[BlobPlace]:
        """Every blob in this shard, in order."""
        ...

    def strangers(self) -> Iterator[str]:
        """What lies among the blobs and is none: one line each, naming nothing from outside."""
        ...

    def sweep(self) -> int:
        """Drop what an unclean stop left half written; returns how many there were."""
        ...


def _missing(place: BlobPlace) -> Damaged:
    return Damaged(f"blob {place.blob_id.hex()} of shard {place.shard} is missing; restore HOME/blobs from its copy")


class _SharedSync:
    """One fsync of a folder for everybody who renamed into it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._count = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._asked = 0
        self._done = 0

    def __call__(self) -> None:
        """Return once a sync that began after this call has ended; OSError if it failed."""
        with self._count:
            self._asked += 1
            mine = self._asked
        with self._one_at_a_time:
            if self._done >= mine:
                return
            covers = self._asked
            sync_names(self._descriptor)
            self._done = covers

    def __del__(self) -> None:
        # Not closed earlier: a thread that renamed into a full shard may still be about to sync it.
        os.close(self._descriptor)


class _FileBlob:
    """A blob in a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def pread(self, length: int, offset: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length and (more := os.pread(self._descriptor, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise Damaged(f"a blob cannot be read: {error.strerror}; check the disk") from None
        return data

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


class _FolderBlobWriter:
    """A file in incoming/, made at the first write."""

    def __init__(self, store: "FolderBlobs") -> None:
        self._store = store
        self.blob_id = os.urandom(BLOB_ID_SIZE)
        self._path = f"{store.incoming}/{self.blob_id.hex()}"
        self._descriptor = -1
        self._gone = True

    def write(self, data: Bytes) -> None:
        self._store.room.require(len(data))
        with disk_errors():
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE)
                self._gone = False
            write_all(self._descriptor, memoryview(data))

    def reread(self) -> OpenBlob:
        return _FileBlob(os.dup(self._descriptor))

    def commit(self) -> BlobPlace:
        try:
            with disk_errors():
                # After a failed fsync this descriptor is given up, never synced again: the kernel may have dropped the pages (fsync(2)).
                sync_file(self._descriptor)
                place = self._store.settle(self._path, self.blob_id)
            self._gone = True
            return place
        except BaseException:
            self.abandon()
            raise
        finally:
            self._close()

    def abandon(self) -> None:
        if not self._gone:
            self._gone = True
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108 - once for every object: a Path costs more than the call
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FolderBlobs:
    """Blobs as files under HOME/blobs; safe for several threads of one process."""

    def __init__(self, folder: Path, room: Room, *, shard_size: int = SHARD_SIZE) -> None:
        self._folder = folder
        self.room = room
        self.incoming = folder / "incoming"
        make_folder(folder)
        make_folder(self.incoming)
        self._lock = threading.Lock()
        self._failed = False
        self._shard_size = shard_size
        self._shard, self._held = self._last_shard()
        self._sync = self._open_shard(self._shard)

    @classmethod
    def at(cls, folder: Path, reserve: int = 0, *, shard_size: int = SHARD_SIZE) -> Self:
        """The blobs in `folder`, which is made if missing; its parent must exist."""
        make_folder(folder)
        return cls(folder, Room(folder, reserve), shard_size=shard_size)

    @property
    def shard(self) -> int:
        return self._shard

    def create(self) -> BlobWriter:
        if self._failed:
            raise StorageFailed(
                "the disk failed to make an object durable: nothing is stored until the disk was checked and leadglass restarted"
            )
        self.room.require()
        return _FolderBlobWriter(self)

    def open(self, place: BlobPlace) -> OpenBlob:
        try:
            return _FileBlob(os.open(self._path(place), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
        except FileNotFoundError:
            raise _missing(place) from None
        except OSError as error:
            raise Damaged(f"blob {place.blob_id.hex()} of shard {place.shard} cannot be opened: {error.strerror}") from None

    def remove(self, place: BlobPlace) -> None:
        with disk_errors():
            self._path(place).unlink(missing_ok=True)
            sync_folder(self._shard_folder(place.shard))

    def places_in(self, shard: int) -> list[BlobPlace]:
        try:
            with os.scandir(self._shard_folder(shard)) as entries:
                names = sorted(entry.name for entry in entries if _NAME.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        return [BlobPlace(shard, bytes.fromhex(name)) for name in names]

    def strangers(self) -> Iterator[str]:
        for entry in os.scandir(self._folder):
            if not (_SHARD_PART.fullmatch(entry.name) or entry.name in _OWN_NAMES):
                yield "the blobs' folder holds something that is not ours"
        for upper in _numbered(self._folder):
            for entry in os.scandir(self._folder / f"{upper:03}"):
                if not (_SHARD_PART.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)):
                    yield f"folder {upper:03} of the blobs holds something that is no shard"
            for lower in _numbered(self._folder / f"{upper:03}"):
                shard = upper * _SHARDS_PER_FOLDER + lower
                for entry in os.scandir(self._shard_folder(shard)):
                    if not (_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)):
                        yield f"shard {shard} holds something that is no blob"

    def sweep(self) -> int:
        names = list(self.incoming.iterdir())
        for path in names:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return len(names)

    def settle(self, path: str, blob_id: bytes) -> BlobPlace:
        """Move a durable file into the current shard and make its name durable too."""
        with self._lock:
            if self._held >= self._shard_size:
                self._next_shard()
            self._held += 1
            place, sync = BlobPlace(self._shard, blob_id), self._sync
            target = f"{sync.folder}/{blob_id.hex()}"
            os.rename(path, target)  # noqa: PTH104 - as above
        try:
            sync()
        except OSError:
            # Whether this and earlier names of the folder are on the disk, nobody knows: acknowledge nothing more.
            self._failed = True
            os.unlink(target)  # noqa: PTH108 - as above
            raise
        return place

    def _next_shard(self) -> None:
        self._sync = self._open_shard(self._shard + 1)
        self._shard, self._held = self._shard + 1, 0

    def _open_shard(self, shard: int) -> _SharedSync:
        folder = self._shard_folder(shard)
        make_folder(folder.parent)
        make_folder(folder)
        return _SharedSync(folder)

    def _shard_folder(self, shard: int) -> Path:
        upper, lower = divmod(shard, _SHARDS_PER_FOLDER)
        return self._folder / f"{upper:03}" / f"{lower:03}"

    def _path(self, place: BlobPlace) -> Path:
        return self._shard_folder(place.shard) / place.blob_id.hex()

    def _last_shard(self) -> tuple[int, int]:
        for upper in reversed(_numbered(self._folder)):
            for lower in reversed(_numbered(self._folder / f"{upper:03}")):
                shard = upper * _SHARDS_PER_FOLDER + lower
                return shard, len(list(self._shard_folder(shard).iterdir()))
        return 0, 0


def _numbered(folder: Path) -> list[int]:
    """The numbered folders in `folder`, in order."""
    with os.scandir(folder) as entries:
        return sorted(int(entry.name) for entry in entries if _SHARD_PART.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False))


class _MemoryBlob:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def pread(self, length: int, offset: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        pass


class _MemoryBlobWriter:
    def __init__(self, blobs: "MemoryBlobs") -> None:
        self.blob_id = os.urandom(BLOB_ID_SIZE)
        self._blobs = blobs
        self._data = bytearray()

    def write(self, data: Bytes) -> None:
        self._data += data

    def reread(self) -> OpenBlob:
        return _MemoryBlob(bytes(self._data))

    def commit(self) -> BlobPlace:
        return self._blobs.keep(self.blob_id, bytes(self._data))

    def abandon(self) -> None:
        self._data.clear()


class MemoryBlobs:
    """Blobs in memory, for tests; the same suite tests it."""

    def __init__(self, *, shard_size: int = SHARD_SIZE) -> None:
        self.kept: dict[BlobPlace, bytes] = {}
        self._shard_size = shard_size
        self._lock = threading.Lock()

    @property
    def shard(self) -> int:
        return len(self.kept) // self._shard_size

    def create(self) -> BlobWriter:
        return _MemoryBlobWriter(self)

    def keep(self, blob_id: bytes, data: bytes) -> BlobPlace:
        with self._lock:
            place = BlobPlace(self.shard, blob_id)
            self.kept[place] = data
            return place

    def open(self, place: BlobPlace) -> OpenBlob:
        try:
            return _MemoryBlob(self.kept[place])
        except KeyError:
            raise _missing(place) from None

    def remove(self, place: BlobPlace) -> None:
        self.kept.pop(place, None)

    def places_in(self, shard: int) -> list[BlobPlace]:
        return sorted(place for place in self.kept if place.shard == shard)

    def strangers(self) -> Iterator[str]:
        yield from ()

    def sweep(self) -> int:
        return 0
