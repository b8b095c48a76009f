"""What accounts, peers and tokens have in common: rows in memory, sealed on disk, changed under a grant, and everyone told."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from leadglass.access.grant import AdministerGrant, SigningIn
from leadglass.access.sealed import SealedFile

T = TypeVar("T")


class Table(Generic[T]):
    """Rows by their key; a change is on disk before it is seen, and `changed` is called after it."""

    def __init__(
        self,
        file: SealedFile,
        decode: Callable[[dict[str, Any]], tuple[str, T]],
        encode: Callable[[T], dict[str, Any]],
        lock: "threading.RLock | None" = None,  # a function before Python 3.13
    ) -> None:
        self._file = file
        self._encode = encode
        self._rows = dict(decode(row) for row in file.load())
        # Tables that share a lock change one at a time: what one change asks of the other table stays true until it is made.
        self._lock = lock or threading.RLock()
        self.changed: Callable[[], None] = lambda: None

    def get(self, key: str) -> T | None:
        return self._rows.get(key)

    def rows(self) -> tuple[T, ...]:
        return tuple(self._rows.values())

    def put(self, grant: AdministerGrant | SigningIn, key: str, make: Callable[[T | None], T]) -> T:
        """Put what `make` gives for the row that is there now; what it raises changes nothing."""
        _require(grant, key)
        with self._lock:
            row = make(self._rows.get(key))
            self._replace({**self._rows, key: row})
        self.changed()
        return row

    def remove(self, grant: AdministerGrant, key: str) -> T | None:
        """Take a row out and give it; where there is none, nothing changes."""
        _require(grant, key)
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                return None
            self._replace({name: each for name, each in self._rows.items() if name != key})
        self.changed()
        return row

    def _replace(self, rows: dict[str, T]) -> None:
        self._file.save([self._encode(one) for one in rows.values()])
        # A new dict, never an edited one: readers hold no lock.
        self._rows = rows


def _require(grant: AdministerGrant | SigningIn, key: str) -> None:
    match grant:
        case AdministerGrant():
            grant.require_open()
        case SigningIn():
            grant.require(key)
        case _:
            raise TypeError("who is known is changed under an AdministerGrant, or by whoever signs in")
