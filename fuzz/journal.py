"""The journal, record by record and as a file that somebody changed: what is understood is what was written."""

import tempfile
from pathlib import Path

from leadglass.errors import Damaged
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.journal import Conflict, ConflictKind, Journal, Record, Settlement, Verdict, decode_record, encode_record

ARCHIVE, KEY = b"archive id 16 by", b"J" * 32
PLACES = BlobPlace(3, b"p" * 16), BlobPlace(70_000, b"q" * 16)
RECORDS: list[Record] = [
    *(Conflict(kind, bytes([number]) * 16, b"f" * 16, 10**18) for number, kind in enumerate(ConflictKind)),
    Settlement(Verdict.ACCEPTED, *PLACES, 10**18, 77),
    Settlement(Verdict.REJECTED, PLACES[0], None, 10**18, 78),
]


def target(data: bytes) -> None:
    """As the plain text of a record, and as a whole file."""
    try:
        record = decode_record(data)
    except Damaged:
        pass
    else:
        if decode_record(encode_record(record)) != record:
            raise AssertionError(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(data)
        try:
            journal = Journal(path, ARCHIVE, KEY)
        except Damaged:
            return
        try:
            if list(journal) != RECORDS[: len(journal)]:
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
        for conflict in RECORDS:
            journal.append(conflict)
        journal.close()
        return [path.read_bytes(), *map(encode_record, RECORDS)]
