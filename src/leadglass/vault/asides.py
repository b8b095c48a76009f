"""The index's table of conflicts: every object that was ever put aside or replaced, and where it stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import apsw

from leadglass.dicom.uid import Uid
from leadglass.vault.blobs import BLOB_ID_SIZE, BlobPlace
from leadglass.vault.journal import Conflict, ConflictKind, Settlement, Standing, State, standings

_COLUMNS: Final = "blob, shard, kind, first_blob, since, SOPInstanceUID, StudyInstanceUID, state, settled"
_PUT: Final = f"INSERT OR REPLACE INTO conflicts ({_COLUMNS}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names
_AT_ONCE: Final = 500


@dataclass(frozen=True)
class ConflictRow:
    """One row of the table."""

    place: BlobPlace
    conflict: Conflict
    instance: Uid
    study: Uid
    """The study that the object says it belongs to."""
    state: State
    settled_ns: int
    """0 while it is open."""


@dataclass(frozen=True)
class Wanted:
    """Which rows are asked for; what is None or False does not restrict, but for what is settled, which is left out."""

    kind: ConflictKind | None = None
    study: Uid | None = None
    settled: bool = False
    prefix: str = ""
    """The beginning of the blob's id in hexadecimal."""


class Asides:
    """Writes through one connection; whoever holds the index's lock may call."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def put(self, standing: Standing, place: BlobPlace, instance: Uid, study: Uid, digest: bytes | None = None) -> None:
        conflict = standing.conflict
        what = (place.blob_id, place.where, conflict.kind.value, conflict.first_blob_id, conflict.since_ns, instance, study)
        self._connection.execute(_PUT, (*what, standing.state.value, standing.settled_ns, digest))

    def settle(self, settlement: Settlement) -> None:
        """Note the verdict where the blob has a row."""
        sql = "UPDATE conflicts SET state = ?, settled = ? WHERE blob = ?"
        self._connection.execute(sql, (settlement.verdict.value, settlement.since_ns, settlement.place.blob_id))

    def replace(self, settlement: Settlement, uids: tuple[Uid, Uid] | None) -> None:
        """Note that what was served is replaced; `uids` (instance, study) where it still was."""
        place = settlement.replaced
        assert place is not None  # noqa: S101 - for the type checker
        sql = "UPDATE conflicts SET state = 'replaced', settled = ? WHERE blob = ?"
        self._connection.execute(sql, (settlement.since_ns, place.blob_id))
        if not self._connection.changes() and uids is not None:
            self.put(standings([settlement])[place.blob_id], place, *uids)

    def places(self, instance: Uid) -> list[BlobPlace]:
        """Where objects of this instance lie that are kept aside."""
        sql = "SELECT shard, blob FROM conflicts WHERE SOPInstanceUID = ? AND state != 'accepted'"
        return [BlobPlace(*row) for row in self._connection.execute(sql, (instance,))]

    def unread(self, instance: Uid) -> list[BlobPlace]:
        """Those of them whose digest is not known yet."""
        sql = "SELECT shard, blob FROM conflicts WHERE SOPInstanceUID = ? AND digest IS NULL AND state != 'accepted'"
        return [BlobPlace(*row) for row in self._connection.execute(sql, (instance,))]

    def note_digest(self, blob_id: bytes, digest: bytes) -> None:
        self._connection.execute("UPDATE conflicts SET digest = ? WHERE blob = ?", (digest, blob_id))

    def holds(self, instance: Uid, digest: bytes) -> bool:
        """Whether one with this digest is kept aside."""
        sql = "SELECT 1 FROM conflicts WHERE SOPInstanceUID = ? AND digest = ? AND state != 'accepted' LIMIT 1"
        return self._connection.execute(sql, (instance, digest)).fetchone() is not None

    def count(self) -> int:
        """How many conflicts are open."""
        return int(self._connection.execute("SELECT count(*) FROM conflicts WHERE state = 'open'").get)

    def rows(self, wanted: Wanted) -> Iterator[list[ConflictRow]]:
        """What is wanted, by the ids, some at a time, so that nothing is kept locked while the taker works."""
        low, high = _bounds(wanted.prefix)
        tests = ["blob > ?", "blob <= ?"]
        values: list[str] = []
        for column, value in (("kind", wanted.kind), ("StudyInstanceUID", wanted.study)):
            if value is not None:
                tests.append(f"{column} = ?")
                values.append(str(value))
        if not wanted.settled:
            tests.append("state = 'open'")
        sql = f"SELECT {_COLUMNS} FROM conflicts WHERE {' AND '.join(tests)} ORDER BY blob LIMIT {_AT_ONCE}"  # noqa: S608 - our own names
        while batch := [_row(row) for row in self._connection.execute(sql, (low, high, *values)).fetchall()]:
            yield batch
            low = batch[-1].place.blob_id


def _row(row: tuple[Any, ...]) -> ConflictRow:
    blob, shard, kind, first, since, instance, study, state, settled = row
    conflict = Conflict(ConflictKind(kind), blob, first, since)
    return ConflictRow(BlobPlace(shard, blob), conflict, Uid(instance), Uid(study), State(state), settled)


def _bounds(digits: str) -> tuple[bytes, bytes]:
    """The ids that begin with these hexadecimal digits: above the first, up to the second."""
    low = bytes.fromhex(digits.ljust(2 * BLOB_ID_SIZE, "0"))
    before = (int.from_bytes(low, "big") - 1).to_bytes(BLOB_ID_SIZE, "big") if any(low) else b""
    return before, bytes.fromhex(digits.ljust(2 * BLOB_ID_SIZE, "f"))
