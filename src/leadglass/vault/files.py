"""What a folder of blobs needs of the file system: one fsync for many renames, and a blob in a file or in a part of one."""

import os
import threading
from pathlib import Path

from leadglass.durable import sync_names
from leadglass.errors import Damaged


class SharedSync:
    """One fsync of a folder for everybody who renamed into it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._count = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._asked = 0
        self._done = 0

    @property
    def folder_descriptor(self) -> int:
        return self._descriptor

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


class FileBlob:
    """A blob in a file of its own, or a part of a pack."""

    def __init__(self, descriptor: int, start: int = 0, size: int | None = None) -> None:
        self._descriptor = descriptor
        self._start = start
        self.size = os.fstat(descriptor).st_size if size is None else size

    def pread(self, length: int, offset: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        at = self._start + offset
        try:
            data = os.pread(self._descriptor, length, at)
            while len(data) < length and (more := os.pread(self._descriptor, length - len(data), at + len(data))):
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
