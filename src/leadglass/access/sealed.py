"""A small table kept sealed in one file, replaced whole or not at all."""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

from leadglass.durable import replace_file
from leadglass.errors import Damaged, SealBroken
from leadglass.seal.chunked import seal, unseal

FORMAT_VERSION = 1
MAX_SEALED_BYTES = 64 * 1024 * 1024
"""Over a hundred thousand tokens; a file beyond it is not ours."""


Changing: TypeAlias = Callable[[str, str], AbstractContextManager[None]]
"""Is given the file's name and the digest that it is about to have, and surrounds the replacement."""


def _unguarded(_name: str, _digest: str) -> AbstractContextManager[None]:
    return nullcontext()


class SealedFile:
    """Rows of plain JSON values under a key; the seal binds them to the archive and to what they are."""

    def __init__(self, path: Path, key: bytes, archive_id: bytes, what: str, *, may_be_missing: bool = False) -> None:
        """`may_be_missing` is for a table that older archives do not have: it is empty then, and the anchor knows whether it was there."""
        self._path = path
        self._may_be_missing = may_be_missing
        self._key = key
        self._what = what
        self._context = b"leadglass access v1\0" + archive_id + b"\0" + what.encode()
        self.changing: Changing = _unguarded
        self.digest = ""
        """SHA-256 in hex of the file as it was last read; empty when there was none."""

    @property
    def name(self) -> str:
        return self._path.name

    def load(self) -> list[dict[str, Any]]:
        """The rows; raises `Damaged` when the file is missing, changed, or another one's."""
        try:
            with self._path.open("rb") as file:
                sealed = file.read(MAX_SEALED_BYTES + 1)
        except FileNotFoundError:
            if self._may_be_missing:
                self.digest = ""
                return []
            raise Damaged(f"access/{self._path.name} is missing: who is known is lost with it; restore HOME/access from a copy") from None
        try:
            table = json.loads(unseal(self._key, self._context, sealed[:MAX_SEALED_BYTES]))
        except (SealBroken, ValueError):
            raise SealBroken(f"access/{self._path.name} does not open: changed, or of another archive; restore it from a copy") from None
        if table.get("v") != FORMAT_VERSION:
            raise Damaged(f"access/{self._path.name} has a format version that this leadglass does not know; use a newer one")
        self.digest = hashlib.sha256(sealed).hexdigest()
        rows: list[dict[str, Any]] = table[self._what]
        return rows

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Replace the rows; durable on return."""
        table = {"v": FORMAT_VERSION, self._what: rows}
        sealed = seal(self._key, self._context, json.dumps(table, separators=(",", ":")).encode())
        with self.changing(self._path.name, hashlib.sha256(sealed).hexdigest()):
            replace_file(self._path, sealed)
