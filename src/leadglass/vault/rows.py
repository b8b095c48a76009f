"""Writing rows: which study and series row an object belongs to, and which object speaks for them.

A study's and a series' attributes are those of the object that was committed first, as the blobs' endings say, whatever the order in which
rows arrive: an index that is rebuilt is the same index.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import apsw

from leadglass.dicom.header import Header
from leadglass.dicom.uid import Uid
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.sql import LOOSE, ODD, OWN_ATTRIBUTES, SERIES_ATTRIBUTES, SHARED, STUDY_ATTRIBUTES, columns, row_values
from leadglass.vocabulary import Level

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")

_REMEMBERED: Final = 4096
"""Studies and series whose row is known without asking."""
_LARGEST_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True)
class Entry:
    """All that the index says about one stored object."""

    header: Header
    transfer_syntax: Uid
    size: int
    """Bytes of the data set."""
    received_ns: int
    committed_ns: int
    place: BlobPlace
    key_id: bytes

    @property
    def patient_id(self) -> str:
        return patient_id_of(self.header)

    @property
    def precedence(self) -> tuple[int, bytes]:
        """The lowest of a study speaks for it."""
        return self.committed_ns, self.place.blob_id


@dataclass(frozen=True)
class Exchange:
    """What a settlement means for the rows: who speaks in the place of the one who goes, and who comes."""

    study_heir: Entry | None = None
    series_heir: Entry | None = None
    coming: Entry | None = None


def patient_id_of(header: Header) -> str:
    """The Patient ID as studies are told apart by it; absent is empty."""
    return header.values.get("PatientID", "").strip(" \0")


class StudyRow(NamedTuple):
    """A study's row, as far as writing needs it."""

    id: int
    patient_id: str
    key_id: bytes
    first: tuple[int, bytes]


class _SeriesRow(NamedTuple):
    id: int
    first: tuple[int, bytes]


def _insert(table: str, names: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - our own names


def _update(table: str, names: Sequence[str]) -> str:
    return f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608 - our own names


_STUDY_NAMES: Final = (*columns(STUDY_ATTRIBUTES), "odd", "first_committed", "first_blob", "key_id")
_SERIES_NAMES: Final = (*columns(SERIES_ATTRIBUTES), "odd", "first_committed", "first_blob")
_INSERT_STUDY: Final = _insert("studies", _STUDY_NAMES)
_UPDATE_STUDY: Final = _update("studies", _STUDY_NAMES)
_INSERT_SERIES: Final = _insert("series", (*_SERIES_NAMES, "study_id", "instances"))
_UPDATE_SERIES: Final = _update("series", _SERIES_NAMES)
_INSERT_INSTANCE: Final = _insert(
    "instance_rows",
    ("series_id", *columns(OWN_ATTRIBUTES), "number", "sop_class", "transfer_syntax", "size", "received", "shard", "blob"),
)
_WHERE: Final = "SELECT i.id, e.id, e.study_id FROM instance_rows i JOIN series e ON e.id = i.series_id WHERE i.shard = ? AND i.blob = ?"
_UIDS: Final = (
    "SELECT i.SOPInstanceUID, s.StudyInstanceUID FROM instance_rows i JOIN series e ON e.id = i.series_id"
    " JOIN studies s ON s.id = e.study_id WHERE i.shard = ? AND i.blob = ?"
)
_LATEST: Final = "UPDATE state SET value = max(value, ?) WHERE name = 'committed'"
_COUNT: Final = "UPDATE series SET instances = instances + ? WHERE id = ?"
_ADD_TRAIT: Final = "INSERT OR IGNORE INTO study_traits SELECT ?, StudyDate_n, id FROM studies WHERE id = ?"
_COUNT_TRAIT: Final = "UPDATE traits SET studies = studies + ? WHERE id = ?"
_CLASSES: Final = (
    "SELECT DISTINCT u.uid FROM series e JOIN instance_rows i ON i.series_id = e.id JOIN uids u ON u.id = i.sop_class WHERE e.study_id = ?"
)


class RowWriter:
    """Writes through one connection; whoever holds the index's lock may call."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._studies: OrderedDict[str, StudyRow] = OrderedDict()
        self._series: OrderedDict[tuple[int, str], _SeriesRow] = OrderedDict()
        self._traits: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._with_trait: OrderedDict[tuple[int, int], bool] = OrderedDict()
        self._uids: OrderedDict[str, int] = OrderedDict()

    def study(self, study: str) -> StudyRow | None:
        """The study's row, if there is one."""
        found = self._studies.get(study)
        if found is None:
            sql = "SELECT id, PatientID, key_id, first_committed, first_blob FROM studies WHERE StudyInstanceUID = ?"
            row = self._connection.execute(sql, (study,)).fetchone()
            if row is None:
                return None
            found = StudyRow(row[0], row[1], row[2], (row[3], row[4]))
            _remember(self._studies, study, found)
        return found

    def has_series(self, study: str, series: str) -> bool:
        """Whether the series has a row."""
        row = self.study(study)
        return row is not None and self._known_series(row.id, series) is not None

    def place(self, instance: str) -> BlobPlace | None:
        """Where the instance lies, if it has a row."""
        row = self._connection.execute("SELECT shard, blob FROM instance_rows WHERE SOPInstanceUID = ?", (instance,)).fetchone()
        return None if row is None else BlobPlace(row[0], row[1])

    def write(self, entries: Sequence[Entry]) -> None:
        """All of them in one transaction, or none."""
        try:
            with self._connection:
                self._write(entries)
        except BaseException:
            self.forget()
            raise

    def uids(self, place: BlobPlace) -> tuple[Uid, Uid] | None:
        """The SOP Instance UID and the Study Instance UID of what is served from there."""
        row = self._connection.execute(_UIDS, tuple(place)).fetchone()
        return None if row is None else (Uid(row[0]), Uid(row[1]))

    def take_out(self, place: BlobPlace, study_heir: Entry | None, series_heir: Entry | None) -> None:
        """Serve this blob no more; whoever spoke through it, its heir speaks for. To be called within a transaction."""
        row = self._connection.execute(_WHERE, tuple(place)).fetchone()
        if row is None:
            return
        instance_id, series_id, study_id = row
        self.forget()
        self._connection.execute("DELETE FROM instance_rows WHERE id = ?", (instance_id,))
        self._connection.execute(_COUNT, (-1, series_id))
        if self._connection.execute("SELECT instances FROM series WHERE id = ?", (series_id,)).get == 0:
            self._connection.execute("DELETE FROM series WHERE id = ?", (series_id,))
        elif series_heir is not None:
            odd, values = row_values(SERIES_ATTRIBUTES, series_heir.header.values)
            self._connection.execute(_UPDATE_SERIES, (*values, bool(odd), *series_heir.precedence, series_id))
        if self._connection.execute("SELECT 1 FROM series WHERE study_id = ? LIMIT 1", (study_id,)).fetchone() is None:
            self.drop_traits(study_id)
            self._connection.execute("DELETE FROM studies WHERE id = ?", (study_id,))
            return
        if study_heir is not None:
            odd, values = row_values(STUDY_ATTRIBUTES, study_heir.header.values)
            self._connection.execute(_UPDATE_STUDY, (*values, bool(odd), *study_heir.precedence, study_heir.key_id, study_id))
        self.traits_again(study_id)

    def forget(self) -> None:
        """Drop what is remembered: it may name rows that were rolled back, or are to be changed past it."""
        for remembered in (self._studies, self._series, self._traits, self._with_trait, self._uids):
            remembered.clear()

    def _write(self, entries: Sequence[Entry]) -> None:
        added: Counter[int] = Counter()
        instances = []
        classes = []
        for entry in entries:
            study = self._study_row(entry)
            series = self._series_row(entry, study)
            added[series.id] += 1
            classes.append((study.id, entry.header.sop_class))
            _, values = row_values(OWN_ATTRIBUTES, entry.header.values)
            uids = self._uid(entry.header.sop_class), self._uid(entry.transfer_syntax)
            where = (entry.size, entry.received_ns, *entry.place)
            instances.append((series.id, *values, _number(entry.header), *uids, *where))
        self._connection.executemany(_INSERT_INSTANCE, instances)
        for study_id, sop_class in classes:
            # Last: a study whose traits were made again in between was asked for those of rows that are there.
            self._add_trait(study_id, "SOPClassUID", sop_class)
        self._connection.executemany(_COUNT, [(count, row) for row, count in added.items()])
        self._connection.execute(_LATEST, (max(entry.committed_ns for entry in entries),))

    def _study_row(self, entry: Entry) -> StudyRow:
        known = self.study(entry.header.study)
        if known is not None and known.first <= entry.precedence:
            return known
        odd, values = row_values(STUDY_ATTRIBUTES, entry.header.values)
        fields = (*values, bool(odd), *entry.precedence, entry.key_id)
        if known is None:
            self._connection.execute(_INSERT_STUDY, fields)
            row = StudyRow(self._connection.last_insert_rowid(), entry.patient_id, entry.key_id, entry.precedence)
            self._add_study_traits(row.id, odd, dict(zip(columns(STUDY_ATTRIBUTES), values, strict=True)))
        else:
            self._connection.execute(_UPDATE_STUDY, (*fields, known.id))
            row = known._replace(first=entry.precedence, key_id=entry.key_id)
            self.traits_again(row.id)
        _remember(self._studies, entry.header.study, row)
        return row

    def _series_row(self, entry: Entry, study: StudyRow) -> _SeriesRow:
        known = self._known_series(study.id, entry.header.series)
        if known is not None and known.first <= entry.precedence:
            return known
        odd, values = row_values(SERIES_ATTRIBUTES, entry.header.values)
        fields = (*values, bool(odd), *entry.precedence)
        if known is None:
            self._connection.execute(_INSERT_SERIES, (*fields, study.id, 0))
            row = _SeriesRow(self._connection.last_insert_rowid(), entry.precedence)
            for keyword in SHARED[Level.SERIES]:
                self._add_values(study.id, keyword, entry.header.values.get(keyword, ""))
        else:
            self._connection.execute(_UPDATE_SERIES, (*fields, known.id))
            row = known._replace(first=entry.precedence)
            self.traits_again(study.id)
        _remember(self._series, (study.id, entry.header.series), row)
        return row

    def _known_series(self, study_id: int, series: str) -> _SeriesRow | None:
        found = self._series.get((study_id, series))
        if found is None:
            sql = "SELECT id, first_committed, first_blob FROM series WHERE study_id = ? AND SeriesInstanceUID = ?"
            row = self._connection.execute(sql, (study_id, series)).fetchone()
            if row is None:
                return None
            found = _SeriesRow(row[0], (row[1], row[2]))
            _remember(self._series, (study_id, series), found)
        return found

    def _add_study_traits(self, study_id: int, odd: Iterable[str], values: Mapping[str, str]) -> None:
        for keyword in odd:
            self._add_trait(study_id, ODD, keyword)
        for keyword in SHARED[Level.STUDY]:
            self._add_values(study_id, keyword, values[keyword])

    def _add_values(self, study_id: int, keyword: str, text: str) -> None:
        for component in text.split("\\"):
            value, loose = component.strip(" \0"), component.strip()
            if value:
                self._add_trait(study_id, keyword, value)
            if loose and loose != value:
                self._add_trait(study_id, LOOSE + keyword, loose)

    def _add_trait(self, study_id: int, keyword: str, value: str) -> None:
        trait = self._trait(keyword, value)
        if (study_id, trait) in self._with_trait:
            return
        self._connection.execute(_ADD_TRAIT, (trait, study_id))
        if self._connection.changes():
            self._connection.execute(_COUNT_TRAIT, (1, trait))
        _remember(self._with_trait, (study_id, trait), True)  # noqa: FBT003 - a set that forgets

    def _trait(self, keyword: str, value: str) -> int:
        found = self._traits.get((keyword, value))
        if found is None:
            row = self._connection.execute("SELECT id FROM traits WHERE keyword = ? AND value = ?", (keyword, value)).fetchone()
            if row is None:
                self._connection.execute("INSERT INTO traits (keyword, value, studies) VALUES (?, ?, 0)", (keyword, value))
            found = int(row[0]) if row else self._connection.last_insert_rowid()
            _remember(self._traits, (keyword, value), found)
        return found

    def drop_traits(self, study_id: int) -> None:
        """Take away all of a study's traits, as before it goes or gets them anew."""
        for trait in self._column("SELECT trait FROM study_traits WHERE study_id = ?", study_id):
            self._connection.execute(_COUNT_TRAIT, (-1, trait))
            self._with_trait.pop((study_id, trait), None)
        self._connection.execute("DELETE FROM study_traits WHERE study_id = ?", (study_id,))

    def traits_again(self, study_id: int) -> None:
        """Find out a study's traits from the rows of its own, its series and its instances."""
        self.drop_traits(study_id)
        names = [entry.keyword for entry in STUDY_ATTRIBUTES]
        values = self._connection.execute(f"SELECT {', '.join(names)} FROM studies WHERE id = ?", (study_id,)).get  # noqa: S608 - our own names
        said = dict(zip(names, values, strict=True))
        odd, _ = row_values(STUDY_ATTRIBUTES, said)
        self._add_study_traits(study_id, odd, said)
        for keyword in SHARED[Level.SERIES]:
            for text in self._column(f"SELECT {keyword} FROM series WHERE study_id = ?", study_id):  # noqa: S608 - our own names
                self._add_values(study_id, keyword, text)
        for uid in self._column(_CLASSES, study_id):
            self._add_trait(study_id, "SOPClassUID", uid)

    def _column(self, sql: str, study_id: int) -> list[Any]:
        """The first column of the rows about a study."""
        return [row[0] for row in self._connection.execute(sql, (study_id,)).fetchall()]

    def _uid(self, uid: str) -> int:
        found = self._uids.get(uid)
        if found is None:
            row = self._connection.execute("SELECT id FROM uids WHERE uid = ?", (uid,)).fetchone()
            if row is None:
                self._connection.execute("INSERT INTO uids (uid) VALUES (?)", (uid,))
            found = int(row[0]) if row else self._connection.last_insert_rowid()
            _remember(self._uids, uid, found)
        return found


def _number(header: Header) -> int:
    """InstanceNumber to order by; what is none comes first."""
    text = header.values.get("InstanceNumber", "").strip()
    try:
        number = int(text)
    except ValueError:
        return -1
    return number if abs(number) <= _LARGEST_NUMBER else -1


def _remember(known: OrderedDict[_Key, _Row], key: _Key, row: _Row) -> None:
    known[key] = row
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
