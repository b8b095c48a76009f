"""What a folder of blobs needs of the file system: one sync for many writers, and a blob in a file or in a part of one."""

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from leadglass.durable import sync_names
from leadglass.errors import Damaged


class SharedSync:
    """One sync for everybody who wrote meanwhile: whoever comes first syncs, the others find it done."""

    def __init__(self) -> None:
        self._count = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._asked = 0
        self._done = 0

    def __call__(self, sync: Callable[[], object]) -> None:
        """Return once a `sync` that began after this call has ended; OSError if it failed."""
        with self._count:
            self._asked += 1
            mine = self._asked
        with self._one_at_a_time:
            if self._done >= mine:
                return
            covers = self._asked
            sync()
            self._done = covers


class OpenFolder:
    """A folder into which files are renamed."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder)
        self.descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._shared = SharedSync()

    def make_durable(self) -> None:
        """Return when every name that is in it now will survive a power cut; OSError if nobody knows."""
        self._shared(partial(sync_names, self.descriptor))

    def __del__(self) -> None:
        # Not closed earlier: a thread that renamed into a full shard may still be about to sync it.
        os.close(self.descriptor)


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
