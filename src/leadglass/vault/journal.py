"""What the blobs do not say, sealed and append-only: so far, which blob was put aside as being in conflict with which.

A record's context is its number, so that records that were reordered or removed from the middle do not open.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from leadglass.errors import Damaged, SealBroken
from leadglass.seal.chunked import seal, sealed_size, unseal
from leadglass.vault.blobs import BLOB_ID_SIZE
from leadglass.vault.records import RecordFile

RECORD_SIZE: Final = 512
"""A disk's sector, so that a power cut leaves a record whole or not there."""
_MAGIC: Final = b"leadglass journal v1\n"
_CONTEXT: Final = b"leadglass journal v1\0"
_PLAIN_SIZE: Final = RECORD_SIZE - sealed_size(0)


class ConflictKind(StrEnum):
    """Why an object was put aside."""

    SAME_INSTANCE = "same-instance"
    """Its SOP Instance UID was there, with other content."""
    OTHER_PATIENT = "other-patient"
    """Its Study Instance UID was there, under another Patient ID."""
    UNSEEN_STUDY = "unseen-study"
    """Its study was there, and whoever sent it may not see that study."""


@dataclass(frozen=True)
class Conflict:
    """One blob put aside, and one of those that were there first."""

    kind: ConflictKind
    blob_id: bytes
    first_blob_id: bytes
    since_ns: int


class Journal:
    """The open journal; safe for several threads. SealBroken wherever a record was changed."""

    def __init__(self, path: Path, archive_id: bytes, key: bytes) -> None:
        self._records = RecordFile(path, _header(archive_id), damaged=Damaged)
        self._archive_id = archive_id
        self._key = key

    @staticmethod
    def create(path: Path, archive_id: bytes) -> None:
        """Put an empty journal in place, durably."""
        RecordFile.replace(path, _header(archive_id))

    def __len__(self) -> int:
        return len(self._records)

    def append(self, conflict: Conflict) -> int:
        """Durable before it returns the record's number. NoRoom or StorageFailed."""
        plain = encode_conflict(conflict)
        return self._records.append(lambda number: seal(self._key, self._context(number), plain))

    def read(self, number: int) -> Conflict:
        try:
            plain = unseal(self._key, self._context(number), self._records.read(number))
            return decode_conflict(plain)
        except SealBroken:
            raise SealBroken(f"record {number} of the journal was changed, moved or cut; restore it from its copy") from None

    def __iter__(self) -> Iterator[Conflict]:
        for number in range(len(self._records)):
            yield self.read(number)

    def close(self) -> None:
        self._records.close()

    def _context(self, number: int) -> bytes:
        return _CONTEXT + self._archive_id + number.to_bytes(8, "big")


def _header(archive_id: bytes) -> bytes:
    return (_MAGIC + archive_id).ljust(RECORD_SIZE, b"\0")


def encode_conflict(conflict: Conflict) -> bytes:
    """The plain record, padded with spaces to its fixed size."""
    body = {
        "record": "conflict",
        "kind": conflict.kind,
        "blob": conflict.blob_id.hex(),
        "first": conflict.first_blob_id.hex(),
        "since": conflict.since_ns,
    }
    return json.dumps(body, separators=(",", ":")).encode("ascii").ljust(_PLAIN_SIZE)


def decode_conflict(plain: bytes) -> Conflict:
    """Read `encode_conflict`; SealBroken if it is another kind of record than this version knows."""
    try:
        body = json.loads(plain)
        conflict = Conflict(ConflictKind(body["kind"]), bytes.fromhex(body["blob"]), bytes.fromhex(body["first"]), body["since"])
        if (
            body["record"] == "conflict"
            and isinstance(body["since"], int)
            and len(conflict.blob_id) == len(conflict.first_blob_id) == BLOB_ID_SIZE
        ):
            return conflict
    except (ValueError, TypeError, KeyError):
        pass
    raise SealBroken("a journal record is of a kind that this version of leadglass does not know")
