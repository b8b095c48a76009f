# ruff: noqa: S608 - every value is a bound parameter; what is written into the text are names of our own
"""Which studies can match a query at all, latest date first: taken from whatever index leaves the fewest of them.

Only time depends on this: every candidate is tested against all keys and the predicate (`search.rows_statement`), and every study that
passes those tests is a candidate. Sources are read piece by piece, so that a slow reader of the answer holds no transaction open.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, cast

import apsw

from leadglass.dicom.attributes import attribute
from leadglass.dicom.matching import AnyOf, Match, NameGroups, Range, Single, UidList, Universal, Wildcard
from leadglass.dicom.predicate import StudyPredicate
from leadglass.dicom.query import Query
from leadglass.vault.sql import LOOSE, ODD, SHARED, search_columns

FEW: Final = 5000
"""Candidates that are gathered and sorted: 5 ms. Of more, a source that is in order already is read."""
_SINGLED_OUT: Final = 64
"""So few candidates are tested in less time than it takes to find out which of them another index lacks."""
_FIRST_PIECE, _LARGEST_PIECE = 64, 1024
_LAST_CHARACTER: Final = "\U0010ffff"

_Key = tuple[str, int]
"""A study's normal date and its id: the order of every answer, both descending."""

_SEARCHED: Final = {
    **{keyword: keyword for keywords in SHARED.values() for keyword in keywords if attribute(keyword).vr != "PN"},
    "ModalitiesInStudy": "Modality",
    "SOPClassesInStudy": "SOPClassUID",
}
"""Keys that are matched by traits, and whose; policies compare names as strings, searches do not."""
_JUDGED: Final = frozenset(keyword for keywords in SHARED.values() for keyword in keywords)

_BY_UID: Final = {
    "SOPInstanceUID": (
        "SELECT s.StudyDate_n, s.id FROM instance_rows i JOIN series e ON e.id = i.series_id JOIN studies s ON s.id = e.study_id"
        " WHERE i.SOPInstanceUID"
    ),
    "StudyInstanceUID": "SELECT StudyDate_n, id FROM studies WHERE StudyInstanceUID",
    "SeriesInstanceUID": ("SELECT s.StudyDate_n, s.id FROM series e CROSS JOIN studies s ON s.id = e.study_id WHERE e.SeriesInstanceUID"),
}
_BY_TEXT: Final = ("PatientID", "AccessionNumber", "PatientName")


def _keys(cursor: apsw.Cursor) -> list[_Key]:
    return cast(list[_Key], cursor.fetchall())


@dataclass(frozen=True)
class _Ordered:
    """A source that gives its studies in order: the studies of a trait, or all, within a range of dates."""

    trait: int | None
    low: str | None
    high: str | None

    def _where(self) -> tuple[str, dict[str, str | int]]:
        tests: list[str] = []
        values: dict[str, str | int] = {}
        if self.trait is not None:
            tests.append("trait = :trait")
            values["trait"] = self.trait
        for name, operator, bound in (("low", ">=", self.low), ("high", "<=", self.high)):
            if bound is not None:
                tests.append(f"StudyDate_n {operator} :{name}")
                values[name] = bound
        return " AND ".join(tests) or "1", values

    @property
    def _names(self) -> tuple[str, str]:
        return ("studies", "id") if self.trait is None else ("study_traits", "study_id")

    def count(self, connection: apsw.Connection, most: int) -> int:
        """How many there are, at most `most`."""
        table, _ = self._names
        where, values = self._where()
        return int(connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT {most})", values).get)

    def keys(self, connection: apsw.Connection) -> Iterator[_Key]:
        """All of it, in pieces."""
        table, name = self._names
        where, values = self._where()
        select = f"SELECT StudyDate_n, {name} FROM {table} WHERE {where}"
        order = f"ORDER BY StudyDate_n DESC, {name} DESC LIMIT :most"
        size = _FIRST_PIECE
        piece = _keys(connection.execute(f"{select} {order}", {**values, "most": size}))
        while piece:
            yield from piece
            if len(piece) < size:
                return
            date, last = piece[-1]
            size = min(2 * size, _LARGEST_PIECE)
            # The rest of that date, then what is older: together a condition that no index would be used for.
            after = {**values, "date": date, "last": last, "most": size}
            piece = _keys(connection.execute(f"{select} AND StudyDate_n = :date AND {name} < :last {order}", after))
            if len(piece) < size:
                after = {**values, "date": date, "most": size - len(piece)}
                piece += _keys(connection.execute(f"{select} AND StudyDate_n < :date {order}", after))


class Candidates:
    """The candidates of one query within one predicate; iterate once."""

    def __init__(self, connection: apsw.Connection, query: Query, predicate: StudyPredicate) -> None:
        self._connection = connection
        self._keys = query.keys
        self._predicate = predicate
        date = query.keys.get("StudyDate")
        self._low = date.value if isinstance(date, Single) else date.low if isinstance(date, Range) else None
        self._high = date.value if isinstance(date, Single) else date.high if isinstance(date, Range) else None
        if isinstance(date, Range) and date.low is None:
            self._low = "\1"  # what is empty is no date
        self._has_dates = self._low is not None or self._high is not None

    def __iter__(self) -> Iterator[int]:
        streams = sorted(self._streams(), key=lambda stream: stream[0])
        count, sources = streams[0]
        few = self._gathered(min(count, FEW))
        if few is None:
            yield from self._merged(sources)
            return
        for count, sources in streams:
            if len(few) <= _SINGLED_OUT or count >= FEW:
                break
            few &= set(self._read(sources))
        yield from (study for _, study in sorted(few, reverse=True))

    def _read(self, sources: Iterable[_Ordered]) -> Iterator[_Key]:
        for source in sources:
            yield from source.keys(self._connection)

    def _merged(self, sources: list[_Ordered]) -> Iterator[int]:
        last = None
        for key in heapq.merge(*(source.keys(self._connection) for source in sources), reverse=True):
            if key != last:
                yield key[1]
            last = key

    # Sources in order ---------------------------------------------------------------------------

    def _streams(self) -> Iterator[tuple[int, list[_Ordered]]]:
        """Sets of sources each of which holds every candidate, with how many studies are in it; FEW stands for more too."""
        everything = [_Ordered(None, self._low, self._high), *self._odd("StudyDate", dated=False)]
        yield self._count(everything) if self._has_dates else (1 << 62), everything
        for keyword, trait_of in _SEARCHED.items():
            match = self._keys.get(keyword)
            if isinstance(match, Single | AnyOf | UidList):
                values = (match.value,) if isinstance(match, Single) else match.values if isinstance(match, AnyOf) else match.uids
                yield self._of_traits([(trait_of, value) for value in values])
        parts = self._predicate.parts
        if parts and not any(part.every for part in parts):
            alternatives = [
                min(
                    (
                        self._of_traits([(mark + c.keyword, value) for value in c.values for mark in ("", LOOSE)])
                        for c in conditions
                        if c.keyword in _JUDGED and c.values
                    ),
                    key=lambda stream: stream[0],
                    default=None,
                )
                for part in parts
                for conditions in part.any_of
            ]
            known = [each for each in alternatives if each is not None]
            if len(known) == len(alternatives):
                yield sum(count for count, _ in known), list(dict.fromkeys(source for _, sources in known for source in sources))

    def _of_traits(self, wanted: list[tuple[str, str]]) -> tuple[int, list[_Ordered]]:
        held = [
            row
            for keyword, value in wanted
            for row in self._connection.execute("SELECT id, studies FROM traits WHERE keyword = ? AND value = ?", (keyword, value))
        ]
        sources = [_Ordered(trait, self._low, self._high) for trait, _ in held]
        count = sum(studies for _, studies in held)
        if self._has_dates:
            sources += self._odd("StudyDate", dated=False)
            count = min(count, self._count(sources))
        return count, sources

    def _count(self, sources: list[_Ordered]) -> int:
        return sum(source.count(self._connection, FEW) for source in sources)

    def _odd(self, keyword: str, *, dated: bool = True) -> list[_Ordered]:
        """Studies whose value of this attribute no index holds as it is compared."""
        if not dated and not self._has_dates:
            return []
        row = self._connection.execute("SELECT id FROM traits WHERE keyword = ? AND value = ?", (ODD, keyword)).fetchone()
        return [] if row is None else [_Ordered(row[0], None, None)]

    # Sources that single out --------------------------------------------------------------------

    def _gathered(self, most: int) -> set[_Key] | None:
        """The studies that an index on a key leaves, if those are at most `most`."""
        found: set[_Key] | None = None
        for select, values, odd in self._pointed(walks=most >= FEW):
            rows = _keys(self._connection.execute(f"{select} LIMIT {most + 1}", values))
            if len(rows) > most:
                continue
            held = set(rows)
            for source in odd:
                held.update(islice(source.keys(self._connection), most + 1))
            if len(held) > most:
                continue
            found = held if found is None else found & held
            if len(found) <= _SINGLED_OUT:
                break
        return found

    def _pointed(self, *, walks: bool) -> Iterator[tuple[str, tuple[str, ...], list[_Ordered]]]:
        for keyword, select in _BY_UID.items():
            match = self._keys.get(keyword)
            if isinstance(match, Single):
                yield f"{select} = ?", (match.value,), []
            elif isinstance(match, UidList):
                yield f"{select} IN (SELECT value FROM json_each(?))", (json.dumps(match.uids),), []
        keyed = [(keyword, match) for keyword in _BY_TEXT if (match := self._keys.get(keyword)) is not None]
        # What stands there whole leaves fewest; what has no beginning costs a walk through an index.
        for keyword, match in sorted(keyed, key=lambda each: _vagueness(each[1])):
            select, values = _union(keyword, match)
            if select and (walks or _vagueness(match) < _A_WALK):
                yield f"SELECT * FROM ({select})", values, self._odd(keyword)


_A_WALK: Final = 2


def _vagueness(match: Match) -> int:
    if isinstance(match, NameGroups):
        return min(_vagueness(group) for group in match.groups)
    if isinstance(match, Wildcard):
        return 1 if match.prefix else _A_WALK
    return _A_WALK + 1 if isinstance(match, Universal) else 0


def _union(keyword: str, match: Match) -> tuple[str, tuple[str, ...]]:
    found = search_columns(attribute(keyword))
    if isinstance(match, NameGroups):
        # The most exact group alone: the others are tested with the rest.
        group, column = min(zip(match.groups, found, strict=True), key=lambda pair: _vagueness(pair[0]))
        return _select(column, group)
    # A study's groups may be alike: then it comes twice, and once into the set.
    arms = [_select(column, match) for column in found]
    return " UNION ALL ".join(select for select, _ in arms if select), tuple(value for _, values in arms for value in values)


def _select(column: str, match: Match) -> tuple[str, tuple[str, ...]]:
    # Not `> ''`: SQLite would begin its walk there, and not at the prefix.
    select = f"SELECT StudyDate_n, id FROM studies WHERE {column} != '' AND {column}"
    match match:
        case Single(value):
            return f"{select} = ?", (value,)
        case Wildcard(pattern) as wildcard:
            glob = pattern.replace("[", "[[]")
            if not wildcard.prefix:
                return f"{select} GLOB ?", (glob,)
            return f"{select} GLOB ? AND {column} >= ? AND {column} < ?", (glob, wildcard.prefix, wildcard.prefix + _LAST_CHARACTER)
        case _:
            return "", ()
