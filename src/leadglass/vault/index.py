"""The index: an encrypted SQLite that answers questions about blobs, and can be made again from them.

It is one writer and several readers (WAL). Rows need not be durable: blobs are, and `Vault.open` admits those that the index does not know.
So rows are held back and written many at a time, but always before the next question is answered.
"""

import json
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import apsw

from leadglass.dicom.header import Header
from leadglass.dicom.matching import DATE_OF, Match, Moments, matches, normalise
from leadglass.dicom.predicate import Condition, StudyPredicate
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.uid import Uid
from leadglass.errors import Damaged, NoRoom, StorageFailed
from leadglass.vault.asides import Asides, ConflictRow, Wanted
from leadglass.vault.blobs import BlobPlace, places_of
from leadglass.vault.database import REBUILD, connect, database_errors, require_our_form
from leadglass.vault.journal import Settlement, Standing
from leadglass.vault.rows import Entry, Exchange, RowWriter, StudyRow
from leadglass.vault.search import Search, admits_statement, instances_statement
from leadglass.vault.sql import CONTRADICTIONS, DUMP, SCHEMA, SCHEMA_VERSION

_HELD_BACK: Final = 256
"""Rows that may wait; 256 in one transaction cost 20 us each, one alone 90 us."""
_WRITER_CACHE_KIB: Final = 32 * 1024
_READER_CACHE_KIB: Final = 4 * 1024
_IDLE_READERS: Final = 8
_CHECKPOINT_PAGES: Final = 4000
_STEPS_BETWEEN_LOOKS: Final = 20_000
"""Of SQLite's machine: about a millisecond."""


@dataclass(frozen=True)
class InstanceRow:
    """Where one instance lies, and what a door must know before it opens it."""

    study: Uid
    series: Uid
    sop_instance: Uid
    sop_class: Uid
    transfer_syntax: Uid
    size: int
    """Bytes of the data set."""
    received_ns: int
    place: BlobPlace


@dataclass(frozen=True)
class KnownStudy:
    """What decides whether another object may join a study."""

    patient_id: str
    key_id: bytes
    first_blob_id: bytes


def _never() -> bool:
    return False


class _Reader:
    """A connection for one question at a time, with the reference meanings that its SQL calls."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.connection = connect(path, key, cache_kib=_READER_CACHE_KIB)
        self.connection.pragma("query_only", True)  # noqa: FBT003 - a pragma's value
        self._keys: Mapping[str, Match] = {}
        self._stopped: Callable[[], bool] = _never
        self.connection.set_progress_handler(self._is_stopped, _STEPS_BETWEEN_LOOKS)
        self.connection.create_scalar_function("leadglass_matches", self._matches, 2)
        self.connection.create_scalar_function("leadglass_moment", self._moment, 3)
        self.connection.create_scalar_function("leadglass_holds", _holds, 2, deterministic=True)

    @contextmanager
    def answering(self, keys: Mapping[str, Match], stopped: Callable[[], bool]) -> Iterator[None]:
        """For the length of one question: what its SQL may call, and whether its asker still wants to know."""
        self._keys, self._stopped = keys, stopped
        try:
            with suppress(apsw.InterruptError):
                yield
        finally:
            self._keys, self._stopped = {}, _never

    def _moment(self, *arguments: object) -> bool:
        keyword, date, time = (str(each) for each in arguments)
        match = self._keys[keyword]
        return isinstance(match, Moments) and match.hold(normalise(DATE_OF[keyword], date), normalise(keyword, time))

    def _is_stopped(self) -> bool:
        return self._stopped()

    def _matches(self, *arguments: object) -> bool:
        keyword, value = arguments
        return matches(str(keyword), self._keys[str(keyword)], str(value))


class Index:
    """Rows about everything that is stored; safe for several threads."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key
        self._lock = threading.RLock()
        self._held: dict[str, Entry] = {}
        self._held_studies: dict[str, KnownStudy] = {}
        self._held_series: set[tuple[str, str]] = set()
        self._idle: list[_Reader] = []
        with database_errors():
            self._writer = connect(path, key, cache_kib=_WRITER_CACHE_KIB)
            try:
                require_our_form(self._writer)
            except BaseException:
                self._writer.close()
                raise
            self._writer.wal_autocheckpoint(_CHECKPOINT_PAGES)
            self._rows = RowWriter(self._writer)
            self._asides = Asides(self._writer)
        self._latest = self.state("committed")

    @classmethod
    def create(cls, path: Path, key: bytes) -> Self:
        """Make an empty index at a path where nothing is."""
        path.touch(mode=0o600, exist_ok=False)
        with database_errors():
            connection = connect(path, key, cache_kib=_READER_CACHE_KIB)
            with connection:
                connection.execute(SCHEMA)
                connection.execute(
                    "INSERT INTO state VALUES ('schema', ?), ('shard', 0), ('committed', 0), ('journal', 0)", (SCHEMA_VERSION,)
                )
            connection.close()
        return cls(path, key)

    @classmethod
    def open(cls, path: Path, key: bytes) -> Self:
        """Open the index; Damaged if it is missing, changed, or another version's."""
        if not path.exists():
            raise Damaged(f"the index is missing; {REBUILD}")
        return cls(path, key)

    def add(self, entry: Entry) -> None:
        """Take a row; it is answered from now on. NoRoom or StorageFailed if the rows held back could not be written."""
        with self._lock, database_errors():
            if len(self._held) >= _HELD_BACK:
                self.flush()
            # Asked before anything is held: what fails here must leave no row behind for a blob that its deposit takes away.
            known = self._rows.study(entry.header.study)
            self._latest = max(self._latest, entry.committed_ns)
            self._held[entry.header.instance] = entry
            self._held_series.add((entry.header.study, entry.header.series))
            if known is None:
                self._held_studies.setdefault(entry.header.study, KnownStudy(entry.patient_id, entry.key_id, entry.place.blob_id))

    def put_aside(self, standing: Standing, place: BlobPlace, header: Header, digest: bytes | None = None) -> None:
        """Note a blob that is or was in conflict; no question is answered from it."""
        with self._lock, database_errors():
            self._asides.put(standing, place, header.instance, header.study, digest)

    @contextmanager
    def asides(self) -> Iterator[Asides]:
        """The table of conflicts, for a moment."""
        with self._lock, database_errors():
            yield self._asides

    def conflicts(self, wanted: Wanted) -> Iterator[ConflictRow]:
        """What was ever in conflict, by the blobs' ids."""
        batches = self._asides.rows(wanted)
        while True:
            with self._lock, database_errors():
                batch = next(batches, None)
            if batch is None:
                return
            yield from batch

    def settle(self, number: int, settlement: Settlement, exchange: Exchange) -> None:
        """Make record `number` of the journal true, all of it or nothing; harmless where it is already."""
        with self._lock, database_errors():
            self.flush()
            try:
                with self._writer:
                    self._exchange(settlement, exchange)
                    self._writer.execute("UPDATE state SET value = ? WHERE name = 'journal'", (number + 1,))
            except BaseException:
                self._rows.forget()
                raise
            if exchange.coming is not None:
                self._latest = max(self._latest, exchange.coming.committed_ns)

    def _exchange(self, settlement: Settlement, exchange: Exchange) -> None:
        if settlement.replaced is not None:
            self._asides.replace(settlement, self._rows.uids(settlement.replaced))
            self._rows.take_out(settlement.replaced, exchange.study_heir, exchange.series_heir)
        self._asides.settle(settlement)
        if exchange.coming is not None and self._rows.place(exchange.coming.header.instance) is None:
            self._rows.write([exchange.coming])

    def aside(self, instance: Uid) -> list[BlobPlace]:
        """Where objects of this instance lie that are kept aside."""
        with self._lock, database_errors():
            return self._asides.places(instance)

    def flush(self) -> None:
        """Write what was held back."""
        with self._lock:
            if not self._held:
                return
            with database_errors():
                self._rows.write(tuple(self._held.values()))
            self._held.clear()
            self._held_studies.clear()
            self._held_series.clear()

    @property
    def latest(self) -> int:
        """When the latest of all that is served was committed, in nanoseconds."""
        return self._latest

    def holds_study_and_series(self, header: Header) -> tuple[bool, bool]:
        """Whether the study, and within it the series, of an object are there already."""
        with self._lock, database_errors():
            if (header.study, header.series) in self._held_series:
                return True, True
            return self.study(header.study) is not None, self._rows.has_series(header.study, header.series)

    def admits(self, study: Uid, predicate: StudyPredicate) -> bool:
        """Whether a search within `predicate` finds the study as it is now."""
        if predicate.everything:
            return True
        statement = admits_statement(study, predicate)
        with self._reading() as reader:
            return reader.connection.execute(statement.text, statement.parameters).fetchone() is not None

    def study(self, study: Uid) -> KnownStudy | None:
        """The study's patient and key, if it is stored."""
        with self._lock, database_errors():
            held = self._held_studies.get(study)
            return held or _known_study(self._rows.study(study))

    def place(self, instance: Uid) -> BlobPlace | None:
        """Where the instance lies, if it is stored."""
        with self._lock, database_errors():
            held = self._held.get(instance)
            return held.place if held else self._rows.place(instance)

    def find(self, query: Query, predicate: StudyPredicate, stopped: Callable[[], bool] = _never) -> Generator[dict[str, str], None, None]:
        """The records that match, in the studies admitted, latest first; keywords to text. Close it, or read it to its end.

        `stopped` is asked every few milliseconds while it searches; when it says so, the records end.
        """
        if predicate.nothing:
            return
        with self._reading() as reader, reader.answering(query.keys, stopped):
            yield from Search(reader.connection, query, predicate, stopped).records()

    def instances(self, selection: Selection, predicate: StudyPredicate) -> Iterator[InstanceRow]:
        """The instances selected, in the studies admitted, ordered by study, series and number."""
        if predicate.nothing:
            return
        statement = instances_statement(selection, predicate)
        with self._reading() as reader:
            cursor = reader.connection.execute(statement.text, statement.parameters)
            try:
                for study, series, instance, sop_class, syntax, size, received, shard, blob in cursor:
                    uids = (Uid(study), Uid(series), Uid(instance), Uid(sop_class), Uid(syntax))
                    yield InstanceRow(*uids, size, received, BlobPlace(shard, blob))
            finally:
                cursor.close()

    def rows(self, sql: str, *parameters: str | bytes | int) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement of the vault's own."""
        with self._reading() as reader:
            cursor = reader.connection.execute(sql, parameters)
            try:
                yield from cursor
            finally:
                cursor.close()

    def blobs_in(self, shard: int) -> set[BlobPlace]:
        """Every place that the index knows in a shard, also of what was put aside."""
        sql = "SELECT shard, blob FROM {} WHERE shard BETWEEN ? AND ?"
        return {BlobPlace(*row) for table in ("instance_rows", "conflicts") for row in self.rows(sql.format(table), *places_of(shard))}

    def last_shard(self) -> int:
        """The highest shard that the index knows of."""
        sql = "SELECT max(ifnull((SELECT max(shard) FROM instance_rows), 0), ifnull((SELECT max(shard) FROM conflicts), 0))"
        return max(BlobPlace(row[0], b"").shard for row in self.rows(sql))

    def holds(self, blob_id: bytes, instance: Uid) -> bool:
        """Whether this blob is known as this instance, served or put aside, wherever it lies."""
        place = self.place(instance)
        return (place is not None and place.blob_id == blob_id) or any(aside.blob_id == blob_id for aside in self.aside(instance))

    def integrity(self) -> Iterator[str]:
        """What SQLite finds wrong with its pages, and where our tables contradict each other; Damaged if a page does not open."""
        for (text,) in self.rows("PRAGMA integrity_check(10)"):
            if text != "ok":
                yield "a page or an index of it is wrong"
        for name, sql in CONTRADICTIONS.items():
            if any(self.rows(f"{sql} LIMIT 1")):
                yield name

    def dump(self) -> Iterator[str]:
        """All that it says, one line a row, in an order that does not depend on how it was made."""
        for table, sql in DUMP.items():
            for row in self.rows(sql):
                yield f"{table} {json.dumps([value.hex() if isinstance(value, bytes) else value for value in row])}"

    def state(self, name: str) -> int:
        """A number the index keeps about itself."""
        with self._lock, database_errors():
            return int(self._writer.execute("SELECT value FROM state WHERE name = ?", (name,)).get)

    def set_state(self, name: str, value: int) -> None:
        """Keep a number, in order with the rows: it is there after a crash only if all rows added before it are."""
        with self._lock, database_errors():
            self.flush()
            self._writer.execute("UPDATE state SET value = ? WHERE name = ?", (value, name))

    def close(self) -> None:
        """Write everything and close; the WAL is folded into the database."""
        with self._lock:
            with suppress(NoRoom, StorageFailed, Damaged):
                self.flush()
            for reader in self._idle:
                reader.connection.close()
            self._idle.clear()
            self._writer.close()

    @contextmanager
    def _reading(self) -> Iterator[_Reader]:
        with database_errors():
            with suppress(NoRoom, StorageFailed):
                # A disk that takes no more must not stop the reading of what is there.
                self.flush()
            with self._lock:
                reader = self._idle.pop() if self._idle else None
            reader = reader or _Reader(self._path, self._key)
            try:
                yield reader
            finally:
                with self._lock:
                    if len(self._idle) < _IDLE_READERS:
                        self._idle.append(reader)
                        reader = None
                if reader is not None:
                    reader.connection.close()


def _holds(*arguments: object) -> bool:
    """A predicate's condition on an odd row; whichever attribute it is about, holding means the same."""
    values, text = arguments
    return Condition("PatientID", frozenset(json.loads(str(values)))).holds(str(text))


def _known_study(row: StudyRow | None) -> KnownStudy | None:
    return None if row is None else KnownStudy(row.patient_id, row.key_id, row.first[1])
