"""What is promised to be told later, such as a storage commitment: one small sealed file each, until it was told.

docs/formats.md draws them. The seal binds each to the archive and to its own name.
"""

import os
import re
import threading
from pathlib import Path
from typing import Final, Self

from leadglass.durable import make_folder, replace_file, sync_folder
from leadglass.errors import Damaged, SealBroken
from leadglass.seal.chunked import seal, unseal
from leadglass.vault.room import Room, disk_errors

ID_SIZE: Final = 16
MAX_CONTENT: Final = 8 * 1024 * 1024
_MAX_SEALED: Final = MAX_CONTENT + MAX_CONTENT // 8
_HALF_WRITTEN: Final = ".new"
_NAME: Final = re.compile(r"[0-9a-f]{32}")


class Outbox:
    """Sealed files in one folder, each written once and removed; safe for several threads."""

    def __init__(self, folder: Path, key: bytes, archive_id: bytes, room: Room) -> None:
        self._folder = folder
        self._key = key
        self._archive_id = archive_id
        self._room = room
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path, key: bytes, archive_id: bytes, room: Room) -> Self:
        """The outbox in `folder`, made where it is missing; what a crash left half written is removed."""
        make_folder(folder)
        for path in folder.glob(f"*{_HALF_WRITTEN}"):
            path.unlink()
        return cls(folder, key, archive_id, room)

    def put(self, content: bytes) -> str:
        """Keep it, durably; gives the name by which it is removed. NoRoom, StorageFailed."""
        if len(content) > MAX_CONTENT:
            raise ValueError("more than anything that is told later takes")
        self._room.require(len(content))
        name = os.urandom(ID_SIZE).hex()
        with disk_errors():
            replace_file(self._folder / name, seal(self._key, self._context(name), content))
        return name

    def remove(self, name: str) -> None:
        """It was told, or is not to be told any more; without effect where it is gone already."""
        (self._folder / name).unlink(missing_ok=True)
        sync_folder(self._folder)

    def names(self) -> list[str]:
        """Everything that is kept; Damaged for what is none of ours."""
        names = sorted(path.name for path in self._folder.iterdir() if path.suffix != _HALF_WRITTEN)
        if not all(map(_NAME.fullmatch, names)):
            raise Damaged("commitments/ holds something that is none of ours; take it away")
        return names

    def read(self, name: str) -> bytes:
        """What was kept under this name; SealBroken if it was changed, or is another's."""
        with (self._folder / name).open("rb") as file:
            sealed = file.read(_MAX_SEALED + 1)
        try:
            return unseal(self._key, self._context(name), sealed[:_MAX_SEALED])
        except SealBroken:
            raise SealBroken(f"commitments/{name} does not open: changed, or of another archive; remove it") from None

    def _context(self, name: str) -> bytes:
        return b"leadglass commitment v1\0" + self._archive_id + b"\0" + bytes.fromhex(name)
