"""What accounts, peers and tokens have in common: rows in memory, sealed on disk, changed under a grant, and everyone told."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from leadglass.access.grant import AdministerGrant
from leadglass.access.sealed import SealedFile

T = TypeVar("T")


class Table(Generic[T]):
    """Rows by their key; a change is on disk before it is seen, and `changed` is called after it."""

    def __init__(self, file: SealedFile, decode: Callable[[dict[str, Any]], tuple[str, T]], encode: Callable[[T], dict[str, Any]]) -> None:
        self._file = file
        self._encode = encode
        self._rows = dict(decode(row) for row in file.load())
        self._lock = threading.RLock()
        self.changed: Callable[[], None] = lambda: None

    def get(self, key: str) -> T | None:
        return self._rows.get(key)

    def rows(self) -> tuple[T, ...]:
        return tuple(self._rows.values())

    def put(self, grant: AdministerGrant, key: str, make: Callable[[T | None], T]) -> T:
        """Put what `make` gives for the row that is there now; what it raises changes nothing."""
        if not isinstance(grant, AdministerGrant):
            raise TypeError("who is known is changed under an AdministerGrant")
        grant.require_open()
        with self._lock:
            row = make(self._rows.get(key))
            rows = {**self._rows, key: row}
            self._file.save([self._encode(one) for one in rows.values()])
            # A new dict, never an edited one: readers hold no lock.
            self._rows = rows
        self.changed()
        return row
