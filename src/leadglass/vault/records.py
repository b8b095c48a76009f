"""An append-only file of records of one size: what the key table and the journal lie in.

Invariant: `os.fstat(fd).st_size == (count + 1) * record_size`; the first place holds a header that is known byte for byte.
A record is durable before `append` returns. What a power cut can leave behind it, a part of a record or zeros, is trimmed at open;
anything else is left for whoever opens the records' seals to find.
"""

import os
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from leadglass.durable import PRIVATE_FILE, sync_file, sync_folder, write_all
from leadglass.errors import Damaged, StorageFailed
from leadglass.vault.room import disk_errors

_AT_ONCE: Final = 1024
"""Records read at a time when all are read."""


class RecordFile:
    """Records by number, from 0; safe for several threads."""

    def __init__(self, path: Path, header: bytes, *, damaged: type[Damaged]) -> None:
        self._size = len(header)
        self._lock = threading.Lock()
        self._name = path.name
        self._damaged = damaged
        self._failed = False
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise damaged(f"{self._name} is missing; restore it from its copy") from None
        if os.pread(self._descriptor, self._size, 0) != header:
            os.close(self._descriptor)
            raise damaged(f"{self._name} does not begin as it was written; restore it from its copy")
        self._count = os.fstat(self._descriptor).st_size // self._size - 1
        self._trim()

    @staticmethod
    def replace(path: Path, header: bytes, records: Iterable[bytes] = ()) -> None:
        """Put a file with these records in place, whole or not at all; in pieces, since it may be larger than memory should be."""
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            write_all(descriptor, header)
            remaining = iter(records)
            while batch := b"".join(islice(remaining, _AT_ONCE)):
                write_all(descriptor, batch)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)

    def __len__(self) -> int:
        return self._count

    def read(self, number: int) -> bytes:
        """The record, or no bytes if there is none of that number."""
        if not 0 <= number < self._count:
            return b""
        return os.pread(self._descriptor, self._size, (number + 1) * self._size)

    def read_from(self, start: int) -> list[bytes]:
        """Up to 1,024 records beginning with `start`; none at the end."""
        data = os.pread(self._descriptor, min(_AT_ONCE, self._count - start) * self._size, (start + 1) * self._size)
        return [data[at : at + self._size] for at in range(0, len(data), self._size)]

    def append(self, make: Callable[[int], bytes]) -> int:
        """Add the record that `make` gives for its number, and return the number once it is durable.

        NoRoom or StorageFailed if it was not taken; after a failed fsync the file takes nothing more.
        """
        with self._lock:
            number = self._count
            with disk_errors():
                self._write(number, make(number))
            return number

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, number: int, record: bytes) -> None:
        if self._failed:
            raise StorageFailed(f"{self._name} could not be made durable earlier; check the disk, then restart")
        if len(record) != self._size:
            raise ValueError("a record has exactly its size")
        os.lseek(self._descriptor, (number + 1) * self._size, os.SEEK_SET)
        try:
            write_all(self._descriptor, record)
        except OSError:
            # Nothing was promised yet; without this the rest of a record would stay in the way of the next.
            os.ftruncate(self._descriptor, (number + 1) * self._size)
            raise
        # After a failed fsync nobody knows what is on the disk, and a second one may lie (fsync(2), NOTES).
        self._failed = True
        sync_file(self._descriptor)
        self._failed = False
        self._count = number + 1

    def _trim(self) -> None:
        """Cut off a part of a record, and zeros: neither was ever acknowledged."""
        zeros = bytes(self._size)
        while self._count and os.pread(self._descriptor, self._size, self._count * self._size) == zeros:
            self._count -= 1
        end = (self._count + 1) * self._size
        if os.fstat(self._descriptor).st_size != end:
            os.ftruncate(self._descriptor, end)
            sync_file(self._descriptor)
