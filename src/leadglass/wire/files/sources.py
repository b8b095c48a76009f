"""Where an import finds its files: named files, folders and zips, each opened only when its turn comes.

A file's name often is a patient's: it is a label for the user's own terminal and goes nowhere else.
"""

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from typing_extensions import Buffer

from leadglass.errors import BadArchiveFile

MAX_ZIP_ENTRIES = 1_000_000
MAX_RATIO = 200
"""Uncompressed to compressed bytes of one zip entry; images with wide black borders reach about 100, bombs 1,000."""
RATIO_FLOOR = 16 * 1024 * 1024
"""Below this size an entry's ratio does no harm."""

_FAULTS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, OverflowError, RuntimeError)
"""What zipfile raises for a file that is not what it claims to be (NotImplementedError is a RuntimeError)."""


@dataclass(frozen=True)
class Candidate:
    """A file that may be an object; `label` is for the user's own terminal alone."""

    label: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Unusable:
    """Something named that cannot be taken, and why."""

    label: str
    why: str


def find(paths: list[Path]) -> Generator[Candidate | Unusable, None, None]:
    """Every file at, in and under `paths`; links found on the way are not followed, nested zips not opened."""
    for path in paths:
        yield from _at(path, named_by_user=True)


def _at(path: Path, *, named_by_user: bool) -> Iterator[Candidate | Unusable]:
    try:
        status = path.stat() if named_by_user else path.lstat()
        if stat.S_ISDIR(status.st_mode):
            for child in sorted(path.iterdir()):
                yield from _at(child, named_by_user=False)
        elif stat.S_ISLNK(status.st_mode):
            yield Unusable(str(path), "a link: not followed; name its target to import it")
        elif not stat.S_ISREG(status.st_mode):
            yield Unusable(str(path), "not a regular file")
        elif _is_zip(path):
            yield from _in_zip(path)
        else:
            yield Candidate(str(path), status.st_size, partial(_open_regular, path))
    except OSError as error:
        yield Unusable(str(path), f"cannot be read: {error.strerror}")


def _open_regular(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadArchiveFile("it is no longer a regular file")
    return os.fdopen(descriptor, "rb")


def _is_zip(path: Path) -> bool:
    with _open_regular(path) as file:
        return file.read(4) in {b"PK\x03\x04", b"PK\x05\x06"}


def _in_zip(path: Path) -> Iterator[Candidate | Unusable]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ZIP_ENTRIES:
                yield Unusable(str(path), f"a zip of more than {MAX_ZIP_ENTRIES} entries: split it")
                return
            overlapping = _overlapping(entries)
            for entry in entries:
                label = f"{path}!{entry.filename}"
                if entry.filename.endswith("/"):
                    continue
                why = "its bytes overlap another entry's: a zip bomb" if entry.header_offset in overlapping else _refusal(entry)
                if why:
                    yield Unusable(label, why)
                else:
                    yield Candidate(label, entry.file_size, partial(_open_entry, archive, entry))
    except _FAULTS as error:
        yield Unusable(str(path), f"a broken zip ({type(error).__name__}): make it again, or unpack it and import the folder")


def _overlapping(entries: list[zipfile.ZipInfo]) -> set[int]:
    """Offsets of entries that begin before the one in front of them can have ended."""
    found: set[int] = set()
    end = 0
    for entry in sorted(entries, key=lambda each: each.header_offset):
        if entry.header_offset < end:
            found.add(entry.header_offset)
        end = max(end, entry.header_offset + 30 + entry.compress_size)
    return found


def _refusal(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 0x1:
        return "encrypted: unpack it first"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link: not followed"
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "compressed by a method that is not taken (only stored and deflated are)"
    if entry.file_size > RATIO_FLOOR and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        return f"more than {MAX_RATIO} times its compressed size: taken for a zip bomb; unpack it first if it is not"
    return ""


def _open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    """A forward reader over the entry; a nested zip is refused."""
    try:
        opened = archive.open(entry)
    except _FAULTS as error:
        raise _damaged(error) from None
    reader = io.BufferedReader(_Entry(opened), 256 * 1024)
    if reader.peek(4)[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        reader.close()
        raise BadArchiveFile("a zip inside a zip is not opened: unpack it first")
    return reader


def _damaged(error: Exception) -> BadArchiveFile:
    return BadArchiveFile(f"the zip entry is damaged ({type(error).__name__}): make the zip again")


class _Entry(io.RawIOBase):
    """An entry whose faults are ours to tell; zipfile itself gives no byte beyond the size that the directory declares."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._source.read(min(len(view), 256 * 1024))
        except _FAULTS as error:
            raise _damaged(error) from None
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._source.close()
        super().close()
