"""SQLite as the index uses it: encrypted, its complaints turned into ours, of one form."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from leadglass.errors import Damaged, NoRoom, StorageFailed
from leadglass.vault.sql import SCHEMA_VERSION

REBUILD: Final = "run `leadglass index rebuild HOME`"


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn SQLite's complaints into ours; none of its messages is passed on, as they may hold values."""
    try:
        yield
    except apsw.FullError:
        raise NoRoom("the disk is full: the index could not be written; free some room") from None
    except (apsw.CorruptError, apsw.NotADBError):
        raise Damaged(f"the index was changed or damaged; {REBUILD}") from None
    except (apsw.IOError, apsw.CantOpenError):
        raise StorageFailed("the index could not be read or written; check the disk") from None


def connect(path: Path, key: bytes, *, cache_kib: int) -> apsw.Connection:
    """Open an encrypted database with a raw key of 32 bytes."""
    connection = apsw.Connection(str(path))
    # ChaCha20-Poly1305: every page carries its tag, a changed byte is an error and not another answer.
    connection.pragma("cipher", "chacha20")
    connection.pragma("hexkey", ("raw:" + key.hex()).encode("ascii").hex())
    connection.pragma("page_size", 8192)
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", "NORMAL")
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("trusted_schema", False)  # noqa: FBT003 - a pragma's value
    connection.set_busy_timeout(10_000)
    return connection


def require_our_form(connection: apsw.Connection) -> None:
    """Raise Damaged for an index of another version, or of nobody; before anything else is asked, since another form has another."""
    try:
        version = int(connection.execute("SELECT value FROM state WHERE name = 'schema'").get)
    except (apsw.SQLError, TypeError):
        raise Damaged(f"the index is not one of ours; {REBUILD}") from None
    if version != SCHEMA_VERSION:
        raise Damaged(f"the index has the form of another version of leadglass ({version}, not {SCHEMA_VERSION}); {REBUILD}")
