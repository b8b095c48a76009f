"""The few ways in which leadglass makes bytes survive a power cut; nothing else calls fsync."""

import os
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def sync_file(descriptor: int) -> None:
    """Make what was written through `descriptor`, and the length it gave the file, survive; if this fails, never trust a second try."""
    os.fdatasync(descriptor)


def sync_names(descriptor: int) -> None:
    """Make the names in an open folder survive: a new or renamed file is only there after this."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """As `sync_names`, of the folder at that path."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_names(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` (0700) if it is missing, durably; its parent must exist."""
    try:
        folder.mkdir(mode=PRIVATE_FOLDER)
    except FileExistsError:
        return
    sync_folder(folder.parent)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte of `data`; `os.write` may stop short."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_all_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write every byte of `data` at `offset`; `os.pwrite` may stop short."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def replace_file(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Put `data` at `path`, whole or not at all, and durable on return."""
    temporary = path.with_name(path.name + ".new")
    # One that a crash left behind, or that somebody put there to be written through: never opened, always made anew.
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)
