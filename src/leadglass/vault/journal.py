"""What the blobs do not say, sealed and append-only: which blob was put aside as being in conflict with which, and how that was settled.

A record's context is its number, so that records that were reordered or removed from the middle do not open.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from leadglass.errors import Damaged, SealBroken
from leadglass.seal.chunked import seal, sealed_size, unseal
from leadglass.vault.blobs import BLOB_ID_SIZE, BlobPlace
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


class Verdict(StrEnum):
    """How somebody settled a conflict."""

    ACCEPTED = "accepted"
    """What was put aside is served, in the place of whatever was served under its SOP Instance UID."""
    REJECTED = "rejected"
    """What was put aside stays aside."""


class State(StrEnum):
    """Where an object stands that was ever in conflict."""

    OPEN = "open"
    ACCEPTED = "accepted"
    """It is served."""
    REJECTED = "rejected"
    REPLACED = "replaced"
    """It was served until another was accepted in its place."""


@dataclass(frozen=True)
class Conflict:
    """One blob put aside, and one of those that were there first."""

    kind: ConflictKind
    blob_id: bytes
    first_blob_id: bytes
    since_ns: int


@dataclass(frozen=True)
class Settlement:
    """One verdict on one blob."""

    verdict: Verdict
    place: BlobPlace
    replaced: BlobPlace | None
    """What was served under its SOP Instance UID until then; None where nothing was, and of a rejected one."""
    since_ns: int
    intent: int
    """The sequence number of the trail's entry that says who asked for it."""


@dataclass(frozen=True)
class Standing:
    """What the journal says of one blob, all records taken together."""

    conflict: Conflict
    state: State
    settled_ns: int
    """0 while it is open."""


Record: TypeAlias = Conflict | Settlement


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

    def append(self, record: Record) -> int:
        """Durable before it returns the record's number. NoRoom or StorageFailed."""
        plain = encode_record(record)
        return self._records.append(lambda number: seal(self._key, self._context(number), plain))

    def read(self, number: int) -> Record:
        try:
            plain = unseal(self._key, self._context(number), self._records.read(number))
            return decode_record(plain)
        except SealBroken:
            raise SealBroken(f"record {number} of the journal was changed, moved or cut; restore it from its copy") from None

    def __iter__(self) -> Iterator[Record]:
        for number in range(len(self._records)):
            yield self.read(number)

    def close(self) -> None:
        self._records.close()

    def _context(self, number: int) -> bytes:
        return _CONTEXT + self._archive_id + number.to_bytes(8, "big")


def standings(records: Iterable[Record]) -> dict[bytes, Standing]:
    """Where every blob stands that a record names as put aside or as replaced, by its id."""
    found: dict[bytes, Standing] = {}

    def settle(blob_id: bytes, state: State, settled_ns: int, by: bytes) -> None:
        known = found.get(blob_id)
        # What was never put aside was served from the start: its conflict begins with the one that took its place.
        conflict = known.conflict if known is not None else Conflict(ConflictKind.SAME_INSTANCE, blob_id, by, settled_ns)
        found[blob_id] = Standing(conflict, state, settled_ns)

    for record in records:
        if isinstance(record, Conflict):
            found[record.blob_id] = Standing(record, State.OPEN, 0)
        else:
            if record.replaced is not None:
                settle(record.replaced.blob_id, State.REPLACED, record.since_ns, record.place.blob_id)
            settle(record.place.blob_id, State(record.verdict.value), record.since_ns, record.place.blob_id)
    return found


def _header(archive_id: bytes) -> bytes:
    return (_MAGIC + archive_id).ljust(RECORD_SIZE, b"\0")


def encode_record(record: Record) -> bytes:
    """The plain record, padded with spaces to its fixed size."""
    body: dict[str, Any]
    if isinstance(record, Conflict):
        body = {
            "record": "conflict",
            "kind": record.kind,
            "blob": record.blob_id.hex(),
            "first": record.first_blob_id.hex(),
            "since": record.since_ns,
        }
    else:
        body = {
            "record": "settled",
            "verdict": record.verdict,
            "blob": _encode_place(record.place),
            "replaced": None if record.replaced is None else _encode_place(record.replaced),
            "since": record.since_ns,
            "intent": record.intent,
        }
    return json.dumps(body, separators=(",", ":")).encode("ascii").ljust(_PLAIN_SIZE)


def decode_record(plain: bytes) -> Record:
    """Read `encode_record`; SealBroken if it is another kind of record than this version knows."""
    try:
        body = json.loads(plain)
        match body["record"]:
            case "conflict":
                return Conflict(ConflictKind(body["kind"]), _blob_id(body["blob"]), _blob_id(body["first"]), _number(body["since"]))
            case "settled":
                replaced = None if body["replaced"] is None else _decode_place(body["replaced"])
                moments = _number(body["since"]), _number(body["intent"])
                return Settlement(Verdict(body["verdict"]), _decode_place(body["blob"]), replaced, *moments)
    except (ValueError, TypeError, KeyError):
        pass
    raise SealBroken("a journal record is of a kind that this version of leadglass does not know")


def _encode_place(place: BlobPlace) -> list[int | str]:
    return [place.where, place.blob_id.hex()]


def _decode_place(written: Any) -> BlobPlace:  # noqa: ANN401 - what stands in JSON
    shard, blob_id = written
    return BlobPlace(_number(shard), _blob_id(blob_id))


def _blob_id(text: str) -> bytes:
    blob_id = bytes.fromhex(text)
    if len(blob_id) != BLOB_ID_SIZE:
        raise ValueError(text)
    return blob_id


def _number(number: Any) -> int:  # noqa: ANN401 - what stands in JSON
    if type(number) is not int or number < 0:
        raise TypeError(number)
    return number
