"""What the trail asks of a file system; a class of its own so that tests can fill it up, record it and break it."""

import os
from pathlib import Path

from leadglass.durable import PRIVATE_FILE, make_folder, sync_folder

_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Somebody may have put a link or a pipe there: neither is followed nor waited for."""
_BLOCK = 64 * 1024
_ZEROS = bytes(_BLOCK)


class Disk:
    """The folder trail/ on a real file system. Paths are relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, path: str) -> int:
        """Open for reading and writing what is there already."""
        return os.open(self.folder / path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def create(self, path: str) -> int:
        """Open for reading and writing, made if it is missing; its name is durable only after `sync_names`."""
        return os.open(self.folder / path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync_names(self, path: str) -> None:
        """Make the names in the folder that holds `path` durable."""
        sync_folder((self.folder / path).parent)

    def make_folder(self, path: str) -> None:
        make_folder(self.folder / path)

    def remove_folder(self, path: str) -> None:
        (self.folder / path).rmdir()

    def remove(self, path: str) -> None:
        (self.folder / path).unlink()

    def rename(self, old: str, new: str) -> None:
        (self.folder / old).replace(self.folder / new)

    def allocate(self, path: str, size: int) -> None:
        """A file of `size` zeros whose room is really taken, durable; nothing is left behind when there is no room."""
        descriptor = self.create(path)
        try:
            os.ftruncate(descriptor, 0)
            os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)
        except OSError:
            self.remove(path)
            raise
        finally:
            os.close(descriptor)
        self.sync_names(path)

    def read(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes of the file; raises `FileNotFoundError`."""
        descriptor = os.open(self.folder / path, _READING)
        with open(descriptor, "rb") as file:  # noqa: PTH123 # a descriptor, opened with O_NOFOLLOW
            return file.read(limit)

    def count_zeros(self, path: str) -> int | None:
        """The length of a file that holds nothing but zeros; None for any other. Raises `FileNotFoundError`."""
        descriptor = os.open(self.folder / path, _READING)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 # as above
            buffer, length = bytearray(_BLOCK), 0
            while read := file.readinto(buffer):
                if buffer[:read] != _ZEROS[:read]:
                    return None
                length += read
            return length

    def put(self, path: str, data: bytes) -> None:
        """Write the whole file, durable with its name."""
        descriptor = self.create(path)
        try:
            self.truncate(descriptor, 0)
            self.write_at(descriptor, data, 0)
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        self.sync_names(path)
