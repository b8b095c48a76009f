"""Small blobs in one file, one behind the other, so that one flush makes all durable that were written before it.

A pack only grows. Each record says up to where the pack was durable when it was written: what does not open behind the last such mark
is what a power cut left of something never acknowledged; before it, it is damage.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self
from zlib import crc32

from leadglass.durable import PRIVATE_FILE, sync_file, sync_names, write_all_at
from leadglass.seal.chunked import Bytes
from leadglass.vault.files import SharedSync

HEADER: Final = b"leadglass pack v1\n".ljust(64, b"\0")
_STORED: Final = b"LGBLOB1\n"
_VOID: Final = b"LGVOID1\n"
_HEAD: Final = struct.Struct(">8sII16sQ")
_CRC: Final = slice(8, 12)
_CHECKED: Final = 12
"""Where in a head what its CRC covers begins: a head of which a power cut left a part is none."""
HEAD_SIZE: Final = _HEAD.size
"""What stands before each blob: marker, CRC-32 of what follows it, the blob's length, its id, and up to where the pack was durable."""
MOST: Final = 64 * 1024 * 1024
"""A pack that has reached this takes nothing more: few enough bytes to be read through in a tenth of a second."""
AHEAD: Final = 4 * 1024 * 1024
"""Room that is taken ahead, so that a flush has no new length of the file to write as well: 190 us instead of 340."""
_AT_ONCE: Final = 1024 * 1024
_COPIED: Final = 64 * 1024


class Record(NamedTuple):
    """One record of a pack: where its blob begins, how long it is, whose it is."""

    at: int
    size: int
    blob_id: bytes
    void: bool
    durable: int
    """Everything before this place was durable when the record was written."""


class Pack:
    """An open pack; one at a time may append, whoever appended may wait for the flush."""

    def __init__(self, path: Path) -> None:
        self._flushed = SharedSync()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.reserved = os.fstat(self._descriptor).st_size
        """Up to where the file has room, used or taken ahead."""
        self.is_broken = False
        """A flush failed, or what was refused could not be cut off: what it holds is unknown."""
        if _was_not_begun(self._descriptor):
            write_all_at(self._descriptor, HEADER, 0)
        # What a process left that was killed may be in memory only, and the next record says that it is durable.
        sync_file(self._descriptor)
        self.end, self.count = len(HEADER), 0
        whole = os.pread(self._descriptor, len(HEADER), 0) == HEADER
        for record in read_records(self._descriptor):
            whole = whole and record.at - HEAD_SIZE == self.end
            self.end, self.count = record.at + record.size, self.count + 1
        self._durable = self.end
        self.is_torn = not (whole and _is_zero(self._descriptor, self.end))
        """Something half written lies in it or behind its end: nothing is added to it, so that no later record calls that durable."""

    @classmethod
    def create(cls, path: Path, folder: int) -> Self:
        """An empty pack in the open `folder`, its name durable."""
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            try:
                write_all_at(descriptor, HEADER, 0)
            except OSError:
                # The next try needs the name.
                path.unlink()
                raise
            sync_file(descriptor)
            sync_names(folder)
        finally:
            os.close(descriptor)
        return cls(path)

    @property
    def is_full(self) -> bool:
        return self.is_torn or self.end >= MOST

    def append(self, blob_id: bytes, pieces: Sequence[Bytes], size: int, *, spare: int) -> int:
        """Add a blob of `size` bytes; gives where it begins. OSError, after which nothing of it is there.

        Room is taken ahead only while `spare` bytes, free when the blob is written, are so many that what is taken can be used up too.
        """
        at = self.end
        if spare >= 2 * AHEAD:
            self._take_ahead(at + HEAD_SIZE + size)
        head = bytearray(_HEAD.pack(_STORED, 0, size, blob_id, self._durable))
        head[_CRC] = crc32(head[_CHECKED:]).to_bytes(4, "big")
        # Copied once more where that costs less than a call for each.
        parts = [b"".join((head, *pieces))] if size <= _COPIED else [head, *pieces]
        end = at
        try:
            for part in parts:
                write_all_at(self._descriptor, part, end)
                end += len(part)
        except OSError:
            self._cut_off(at)
            raise
        self.end = end
        self.count += 1
        return at + HEAD_SIZE

    def make_durable(self) -> None:
        """Return when all that was appended before is durable, by one flush for all who wait; OSError, after which nobody knows."""
        self._flushed(self._flush)

    def _flush(self) -> None:
        end = self.end
        try:
            sync_file(self._descriptor)
        except OSError:
            self.is_broken = True
            raise
        self._durable = end

    def close(self) -> None:
        """Give back the room that was taken ahead, and let go; while nobody appends or waits."""
        if self._descriptor >= 0:
            if not self.is_torn:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self.end)
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()

    def _cut_off(self, at: int) -> None:
        """Drop what was written of a record that is refused: it would be found behind a shorter one that comes later."""
        try:
            os.ftruncate(self._descriptor, at)
        except OSError:
            self.is_broken = True
            raise
        self.reserved = at

    def _take_ahead(self, end: int) -> None:
        if end > self.reserved:
            step = -(-(end - self.reserved) // AHEAD) * AHEAD
            # Where a quota allows no such step the blobs may fit all the same.
            with suppress(OSError):
                os.posix_fallocate(self._descriptor, self.reserved, step)
                self.reserved += step


def read_records(descriptor: int) -> Iterator[Record]:
    """The records in order; bytes that are none are passed over up to the next that is one."""
    size = os.fstat(descriptor).st_size
    at = len(HEADER)
    while at + HEAD_SIZE <= size:
        record = _record_at(descriptor, at, size)
        if record is None:
            found = _next_marker(descriptor, at + 1)
            if found is None:
                return
            at = found
        else:
            yield record
            at = record.at + record.size


def is_in_order(descriptor: int) -> bool:
    """Whether a pack begins as packs do, and holds nothing but records where it was durable when the last of them was written."""
    if os.pread(descriptor, len(HEADER), 0) != HEADER:
        return False
    end = durable = len(HEADER)
    gaps = []
    for record in read_records(descriptor):
        if record.at - HEAD_SIZE != end:
            gaps.append(end)
        end, durable = record.at + record.size, max(durable, record.durable)
    return not any(gap < durable for gap in gaps)


def record_of(descriptor: int, at: int, blob_id: bytes) -> Record | None:
    """The record whose blob begins at `at`, unless it is another's, void or none."""
    record = _record_at(descriptor, at - HEAD_SIZE, os.fstat(descriptor).st_size)
    return record if record is not None and record.blob_id == blob_id and not record.void else None


def make_void(descriptor: int, record: Record) -> None:
    """Let a record that was never acknowledged count for nothing, durably."""
    write_all_at(descriptor, _VOID, record.at - HEAD_SIZE)
    sync_file(descriptor)


def _record_at(descriptor: int, at: int, end: int) -> Record | None:
    head = os.pread(descriptor, HEAD_SIZE, at) if at >= len(HEADER) else b""
    if len(head) != HEAD_SIZE:
        return None
    marker, checksum, size, blob_id, durable = _HEAD.unpack(head)
    if marker not in (_STORED, _VOID) or checksum != crc32(head[_CHECKED:]) or at + HEAD_SIZE + size > end or durable > at:
        return None
    return Record(at + HEAD_SIZE, size, blob_id, marker == _VOID, durable)


def _next_marker(descriptor: int, at: int) -> int | None:
    """Where the next marker begins; markers that end in nothing are told apart by whoever reads them."""
    overlap = len(_STORED) - 1
    while data := os.pread(descriptor, _AT_ONCE, at):
        found = [place for place in (data.find(_STORED), data.find(_VOID)) if place >= 0]
        if found:
            return at + min(found)
        if len(data) <= overlap:
            return None
        at += len(data) - overlap
    return None


def _was_not_begun(descriptor: int) -> bool:
    """Whether a power cut left the name of a pack and at most a part of its header: nothing was added before that was durable."""
    begun = os.pread(descriptor, len(HEADER), 0)
    return begun != HEADER and HEADER.startswith(begun.rstrip(b"\0")) and _is_zero(descriptor, len(HEADER))


def _is_zero(descriptor: int, at: int) -> bool:
    while data := os.pread(descriptor, _AT_ONCE, at):
        if data.count(0) != len(data):
            return False
        at += len(data)
    return True
