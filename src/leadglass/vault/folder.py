"""Blobs under HOME/blobs: small ones together in the packs of their shards, large ones as files of their own.

A large blob is written to `incoming/NAME`, made durable there, moved to the current shard, and acknowledged once the shard's folder is
durable. Small ones wait in memory until they are whole, are written into the pack, and whoever comes first syncs for all that were.
"""

import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from leadglass.durable import PRIVATE_FILE, make_folder, sync_file, sync_folder, write_all
from leadglass.errors import Damaged, NoRoom, StorageFailed
from leadglass.seal.chunked import Bytes
from leadglass.vault import packs
from leadglass.vault.blobs import BLOB_ID_SIZE, SHARD_SIZE, BlobPlace, BlobWriter, BytesBlob, OpenBlob, missing
from leadglass.vault.files import FileBlob, OpenFolder
from leadglass.vault.packs import Pack
from leadglass.vault.room import BELOW_RESERVE, Room, disk_errors

PACKED: Final = 1280 * 1024
"""Sealed bytes of the largest blob that goes into a pack: all that a door hands over in one piece, and no more than may wait in memory."""
_SHARDS_PER_FOLDER: Final = 1000
_SHARD_PART: Final = re.compile(r"[0-9]{3}", re.ASCII)
_OWN_NAMES: Final = frozenset({"incoming", "journal", "journal.new"})
_NAME: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PACK: Final = "pack"
_DISK_FAILED: Final = "the disk failed to make an object durable: nothing is stored until the disk was checked and leadglass restarted"


class _FolderBlobWriter:
    """In memory while it is small, then a file in incoming/."""

    def __init__(self, store: "FolderBlobs") -> None:
        self._store = store
        self.blob_id = os.urandom(BLOB_ID_SIZE)
        self._pieces: list[Bytes] = []
        self._size = 0
        self._path = f"{store.incoming}/{self.blob_id.hex()}"
        self._descriptor = -1
        self._gone = True
        self._put_into: Pack | OpenFolder | None = None

    def write(self, data: Bytes) -> None:
        self._store.room.require(len(data), self._size)
        if self._descriptor < 0:
            if self._size + len(data) <= self._store.packed:
                self._pieces.append(data)
                self._size += len(data)
                return
            self._to_file()
        with disk_errors():
            write_all(self._descriptor, memoryview(data))

    def reread(self) -> OpenBlob:
        return BytesBlob(b"".join(self._pieces)) if self._descriptor < 0 else FileBlob(os.dup(self._descriptor))

    def put(self) -> BlobPlace:
        with disk_errors():
            if self._descriptor < 0:
                place, self._put_into = self._store.append(self.blob_id, self._pieces, self._size)
                return place
            try:
                # After a failed fsync this descriptor is given up, never synced again: the kernel may have dropped the pages (fsync(2)).
                sync_file(self._descriptor)
                place, self._put_into = self._store.move_in(self._path, self.blob_id)
                self._gone = True
            except BaseException:
                self.abandon()
                raise
            finally:
                self._close()
        return place

    def make_durable(self) -> None:
        if self._put_into is None:
            raise ValueError("only what was put somewhere can be made durable there")
        with disk_errors():
            self._store.make_durable(self._put_into)

    def abandon(self) -> None:
        if not self._gone:
            self._gone = True
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108 - once for every object: a Path costs more than the call
        self._close()

    def _to_file(self) -> None:
        with disk_errors():
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE)
            self._gone = False
            write_all(self._descriptor, b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FolderBlobs:
    """Blobs under HOME/blobs; safe for several threads of one process."""

    # Invariant: a record of a pack is acknowledged only after every byte of the pack before its end is durable.

    def __init__(self, folder: Path, room: Room, *, shard_size: int = SHARD_SIZE, packed: int = PACKED) -> None:
        self._folder = folder
        self.room = room
        self.packed = packed
        self.incoming = folder / "incoming"
        make_folder(folder)
        make_folder(self.incoming)
        self._lock = threading.Lock()
        self._failed = False
        self._shard_size = shard_size
        self._pack: Pack | None = None
        self._shard, self._held = self._last_shard()
        self._names = self._open_shard(self._shard)

    @classmethod
    def at(cls, folder: Path, reserve: int = 0, *, shard_size: int = SHARD_SIZE, packed: int = PACKED) -> Self:
        """The blobs in `folder`, which is made if missing; its parent must exist."""
        make_folder(folder)
        return cls(folder, Room(folder, reserve), shard_size=shard_size, packed=packed)

    @property
    def shard(self) -> int:
        return self._shard

    def create(self) -> BlobWriter:
        if self._failed:
            raise StorageFailed(_DISK_FAILED)
        self.room.require()
        return _FolderBlobWriter(self)

    def open(self, place: BlobPlace) -> OpenBlob:
        try:
            descriptor = os.open(self._path(place), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise missing(place) from None
        except OSError as error:
            raise Damaged(f"blob {place.blob_id.hex()} of shard {place.shard} cannot be opened: {error.strerror}") from None
        if not place.at:
            return FileBlob(descriptor)
        record = packs.record_of(descriptor, place.at, place.blob_id)
        if record is None:
            os.close(descriptor)
            raise missing(place)
        return FileBlob(descriptor, record.at, record.size)

    def remove(self, place: BlobPlace) -> None:
        with disk_errors():
            if not place.at:
                self._path(place).unlink(missing_ok=True)
                sync_folder(self._shard_folder(place.shard))
                return
            descriptor = os.open(self._path(place), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if (record := packs.record_of(descriptor, place.at, place.blob_id)) is not None:
                    packs.make_void(descriptor, record)
            finally:
                os.close(descriptor)

    def places_in(self, shard: int) -> list[BlobPlace]:
        try:
            with os.scandir(self._shard_folder(shard)) as entries:
                places = [BlobPlace.of(shard, bytes.fromhex(entry.name)) for entry in entries if _NAME.fullmatch(entry.name)]
        except FileNotFoundError:
            return []
        places += [BlobPlace.of(shard, record.blob_id, record.at) for record in self._records(shard) if not record.void]
        return sorted(places)

    def is_torn(self, place: BlobPlace) -> bool:
        return place.at > 0 and place.at >= max((record.durable for record in self._records(place.shard)), default=0)

    def strangers(self) -> Iterator[str]:
        for entry in os.scandir(self._folder):
            if not (_SHARD_PART.fullmatch(entry.name) or entry.name in _OWN_NAMES):
                yield "the blobs' folder holds something that is not ours"
        for upper in _numbered(self._folder):
            for entry in os.scandir(self._folder / f"{upper:03}"):
                if not (_SHARD_PART.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)):
                    yield f"folder {upper:03} of the blobs holds something that is no shard"
            for lower in _numbered(self._folder / f"{upper:03}"):
                yield from self._strangers_in(upper * _SHARDS_PER_FOLDER + lower)

    def sweep(self) -> int:
        names = list(self.incoming.iterdir())
        for path in names:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return len(names)

    def close(self) -> None:
        with self._lock:
            self._failed = True
            if self._pack is not None:
                self._pack.close()
                self._pack = None

    def append(self, blob_id: bytes, pieces: Sequence[Bytes], size: int) -> tuple[BlobPlace, Pack]:
        """Put a small blob into the current pack, which has yet to be made durable; OSError, NoRoom or StorageFailed."""
        with self._lock:
            if self._failed:
                raise StorageFailed(_DISK_FAILED)
            spare = self.room.spare(size + 2 * packs.AHEAD)
            if spare < size:
                # Though the pack may have room ahead for it: what is refused can be foreseen from the free room alone.
                raise NoRoom(BELOW_RESERVE)
            if self._held >= self._shard_size or (self._pack is not None and self._pack.is_full):
                self._next_shard()
            if self._pack is None:
                self._pack = Pack.create(self._pack_path(self._shard), self._names.descriptor)
            reserved = self._pack.reserved
            try:
                at = self._pack.append(blob_id, pieces, size, spare=spare)
            finally:
                self.room.take(self._pack.reserved - reserved)
                if self._pack.is_broken:
                    self._failed = True
            self._held += 1
            return BlobPlace.of(self._shard, blob_id, at), self._pack

    def move_in(self, path: str, blob_id: bytes) -> tuple[BlobPlace, OpenFolder]:
        """Move a durable file into the current shard, whose names have yet to be made durable; OSError or StorageFailed."""
        with self._lock:
            if self._failed:
                raise StorageFailed(_DISK_FAILED)
            if self._held >= self._shard_size:
                self._next_shard()
            os.rename(path, f"{self._names.path}/{blob_id.hex()}")  # noqa: PTH104 - as above
            self._held += 1
            return BlobPlace.of(self._shard, blob_id), self._names

    def make_durable(self, where: Pack | OpenFolder) -> None:
        """Return when what was put there survives a power cut; OSError, and then nothing more is stored."""
        if self._failed:
            raise StorageFailed(_DISK_FAILED)
        try:
            where.make_durable()
        except OSError:
            # Whether this and what was put before it is on the disk, nobody knows: acknowledge nothing more.
            self._failed = True
            raise

    def _next_shard(self) -> None:
        self._names = self._open_shard(self._shard + 1)
        self._shard, self._held = self._shard + 1, 0
        # Not closed here: somebody may be about to make it durable.
        self._pack = None

    def _open_shard(self, shard: int) -> OpenFolder:
        folder = self._shard_folder(shard)
        make_folder(folder.parent)
        make_folder(folder)
        return OpenFolder(folder)

    def _shard_folder(self, shard: int) -> Path:
        upper, lower = divmod(shard, _SHARDS_PER_FOLDER)
        return self._folder / f"{upper:03}" / f"{lower:03}"

    def _path(self, place: BlobPlace) -> Path:
        return self._pack_path(place.shard) if place.at else self._shard_folder(place.shard) / place.blob_id.hex()

    def _pack_path(self, shard: int) -> Path:
        return self._shard_folder(shard) / _PACK

    def _records(self, shard: int) -> Iterator[packs.Record]:
        try:
            descriptor = os.open(self._pack_path(shard), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            # None, or none of ours: `strangers` names it.
            return
        try:
            yield from packs.read_records(descriptor)
        finally:
            os.close(descriptor)

    def _strangers_in(self, shard: int) -> Iterator[str]:
        for entry in os.scandir(self._shard_folder(shard)):
            if not ((_NAME.fullmatch(entry.name) or entry.name == _PACK) and entry.is_file(follow_symlinks=False)):
                yield f"shard {shard} holds something that is no blob"
        with suppress(OSError):
            # A link there was named above.
            descriptor = os.open(self._pack_path(shard), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if not packs.is_in_order(descriptor):
                    yield f"the pack of shard {shard} holds bytes that are not as they were written"
            finally:
                os.close(descriptor)

    def _last_shard(self) -> tuple[int, int]:
        for upper in reversed(_numbered(self._folder)):
            for lower in reversed(_numbered(self._folder / f"{upper:03}")):
                shard = upper * _SHARDS_PER_FOLDER + lower
                held = sum(_NAME.fullmatch(path.name) is not None for path in self._shard_folder(shard).iterdir())
                with suppress(FileNotFoundError):
                    self._pack = Pack(self._pack_path(shard))
                    held += self._pack.count
                return shard, held
        return 0, 0


def _numbered(folder: Path) -> list[int]:
    """The numbered folders in `folder`, in order."""
    with os.scandir(folder) as entries:
        return sorted(int(entry.name) for entry in entries if _SHARD_PART.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False))
