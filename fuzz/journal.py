"""The journal, record by record and as a file that somebody changed: what is understood is what was written."""

import tempfile
from pathlib import Path

from leadglass.errors import Damaged
from leadglass.vault.journal import Conflict, ConflictKind, Journal, decode_conflict, encode_conflict

ARCHIVE, KEY = b"archive id 16 by", b"J" * 32
CONFLICTS = [Conflict(kind, bytes([number]) * 16, b"f" * 16, 10**18) for number, kind in enumerate(ConflictKind)]


def target(data: bytes) -> None:
    """As the plain text of a record, and as a whole file."""
    try:
        conflict = decode_conflict(data)
    except Damaged:
        pass
    else:
        if decode_conflict(encode_conflict(conflict)) != conflict:
            raise AssertionError(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(data)
        try:
            journal = Journal(path, ARCHIVE, KEY)
        except Damaged:
            return
        try:
            if list(journal) != CONFLICTS[: len(journal)]:
                raise AssertionError(data)
        except Damaged:
            pass
        finally:
            journal.close()


def seeds() -> list[bytes]:
    """Plain records, and a file with two."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        Journal.create(path, ARCHIVE)
        journal = Journal(path, ARCHIVE, KEY)
        for conflict in CONFLICTS:
            journal.append(conflict)
        journal.close()
        return [path.read_bytes(), *map(encode_conflict, CONFLICTS)]
