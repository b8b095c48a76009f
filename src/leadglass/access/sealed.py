"""A small table kept sealed in one file, replaced whole or not at all."""

import json
from pathlib import Path
from typing import Any

from leadglass.durable import replace_file
from leadglass.errors import Damaged, SealBroken
from leadglass.seal.chunked import seal, unseal

FORMAT_VERSION = 1
MAX_SEALED_BYTES = 64 * 1024 * 1024
"""Over a hundred thousand tokens; a file beyond it is not ours."""


class SealedFile:
    """Rows of plain JSON values under a key; the seal binds them to the archive and to what they are."""

    def __init__(self, path: Path, key: bytes, archive_id: bytes, what: str) -> None:
        self._path = path
        self._key = key
        self._what = what
        self._context = b"leadglass access v1\0" + archive_id + b"\0" + what.encode()

    def load(self) -> list[dict[str, Any]]:
        """The rows; raises `Damaged` when the file is missing, changed, or another one's."""
        try:
            with self._path.open("rb") as file:
                sealed = file.read(MAX_SEALED_BYTES + 1)
        except FileNotFoundError:
            raise Damaged(f"access/{self._path.name} is missing: who is known is lost with it; restore HOME/access from a copy") from None
        try:
            table = json.loads(unseal(self._key, self._context, sealed[:MAX_SEALED_BYTES]))
        except (SealBroken, ValueError):
            raise SealBroken(f"access/{self._path.name} does not open: changed, or of another archive; restore it from a copy") from None
        if table.get("v") != FORMAT_VERSION:
            raise Damaged(f"access/{self._path.name} has a format version that this leadglass does not know; use a newer one")
        rows: list[dict[str, Any]] = table[self._what]
        return rows

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Replace the rows; durable on return."""
        table = {"v": FORMAT_VERSION, self._what: rows}
        replace_file(self._path, seal(self._key, self._context, json.dumps(table, separators=(",", ":")).encode()))
