"""Where sealed bytes lie: opaque, random names in sequential shards; nothing stored is ever overwritten.

What lies in a shard was whole when it got there, or was never acknowledged and says so.
"""

import os
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from leadglass.errors import Damaged
from leadglass.seal.chunked import Bytes

BLOB_ID_SIZE: Final = 16
SHARD_SIZE: Final = 4096
"""Blobs in a shard folder: few enough to list in a millisecond, so that a start after a crash looks at little."""
_OFFSET_BITS: Final = 40


class BlobPlace(NamedTuple):
    """Where a blob lies: its shard's number and its place within the shard's pack, in one number, and its random id."""

    where: int
    blob_id: bytes

    @classmethod
    def of(cls, shard: int, blob_id: bytes, at: int = 0) -> "BlobPlace":
        """In this shard: `at` is where it begins in the pack, 0 for a file of its own."""
        return cls(shard << _OFFSET_BITS | at, blob_id)

    @property
    def shard(self) -> int:
        return self.where >> _OFFSET_BITS

    @property
    def at(self) -> int:
        return self.where & ((1 << _OFFSET_BITS) - 1)


def places_of(shard: int) -> tuple[int, int]:
    """The lowest and the highest `where` of a shard."""
    return shard << _OFFSET_BITS, (shard + 1 << _OFFSET_BITS) - 1


class OpenBlob(Protocol):
    """A stored blob; `pread` as `os.pread`."""

    size: int

    def pread(self, length: int, offset: int) -> bytes: ...

    def close(self) -> None: ...


class BlobWriter(Protocol):
    """A blob on its way in."""

    blob_id: bytes

    def write(self, data: Bytes) -> None:
        """Take every byte, and perhaps keep the buffer; NoRoom or StorageFailed, after which only `abandon` is left."""
        ...

    def reread(self) -> OpenBlob:
        """What was written so far, to be compared before it is put."""
        ...

    def put(self) -> BlobPlace:
        """Put it into a shard: from here on it outlives the process, not yet a power cut. NoRoom or StorageFailed: nothing is kept."""
        ...

    def make_durable(self) -> None:
        """Return when what was put survives a power cut. StorageFailed: nobody knows, and the next start may find it or not."""
        ...

    def abandon(self) -> None:
        """Keep nothing; also after a failure, also twice."""
        ...


class BlobStore(Protocol):
    """Keeps blobs by place."""

    @property
    def shard(self) -> int:
        """No blob that is put from now on lies in an earlier shard."""
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

    def is_torn(self, place: BlobPlace) -> bool:
        """Whether a blob that does not open is what a power cut left of something never acknowledged; asked before anything is stored."""
        ...

    def sweep(self) -> int:
        """Drop what an unclean stop left half written; returns how many there were."""
        ...

    def close(self) -> None:
        """Let go of what is held open; nothing is stored afterwards."""
        ...


def missing(place: BlobPlace) -> Damaged:
    """What to raise where there is no such blob."""
    return Damaged(f"blob {place.blob_id.hex()} of shard {place.shard} is missing; restore HOME/blobs from its copy")


class BytesBlob:
    """A blob in memory."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self.size = len(data)

    def pread(self, length: int, offset: int) -> bytes:
        return bytes(self._data[offset : offset + length])

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
        return BytesBlob(bytes(self._data))

    def put(self) -> BlobPlace:
        return self._blobs.keep(self.blob_id, bytes(self._data))

    def make_durable(self) -> None:
        pass

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
            place = BlobPlace.of(self.shard, blob_id)
            self.kept[place] = data
            return place

    def open(self, place: BlobPlace) -> OpenBlob:
        try:
            return BytesBlob(self.kept[place])
        except KeyError:
            raise missing(place) from None

    def remove(self, place: BlobPlace) -> None:
        self.kept.pop(place, None)

    def places_in(self, shard: int) -> list[BlobPlace]:
        return sorted(place for place in self.kept if place.shard == shard)

    def strangers(self) -> Iterator[str]:
        yield from ()

    def is_torn(self, place: BlobPlace) -> bool:  # noqa: ARG002 - memory has no power cuts
        return False

    def sweep(self) -> int:
        return 0

    def close(self) -> None:
        pass
