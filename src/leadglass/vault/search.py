# ruff: noqa: S608 - every value is a bound parameter; what is written into the text are names of our own
"""A `Query` and a `StudyPredicate` as SQL: the predicate is part of the question, what it does not admit is in no answer.

`candidates` says which studies are worth testing; the statement here tests them, and gives the rows. It means what
`dicom.matching.matches` and `StudyPredicate` mean; a property test compares them.
Aliases: `s` studies, `e` series, `i` instances, `c` candidates, `o` other studies of the patient.
"""

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import apsw

from leadglass.dicom.attributes import DOOR, UNIQUE_KEY, Attribute, attribute
from leadglass.dicom.levels import ORDER
from leadglass.dicom.matching import DATE_OF, AnyOf, Match, Moments, NameGroups, Range, Single, UidList, Universal, Wildcard
from leadglass.dicom.predicate import Alternatives, Condition, Quantifier, StudyPredicate
from leadglass.dicom.query import Query, Selection
from leadglass.vault.candidates import Candidates
from leadglass.vault.sql import search_columns
from leadglass.vocabulary import Level

_ALIAS: Final = {Level.PATIENT: "s", Level.STUDY: "s", Level.SERIES: "e", Level.IMAGE: "i"}
_STUDIES: Final = "json_each(:studies) c CROSS JOIN studies s ON s.id = c.value"
_SERIES: Final = f"{_STUDIES} CROSS JOIN series e ON e.study_id = s.id"
_FROM: Final = {
    Level.PATIENT: _STUDIES,
    Level.STUDY: _STUDIES,
    Level.SERIES: _SERIES,
    Level.IMAGE: f"{_SERIES} CROSS JOIN instances i ON i.series_id = e.id",
}
_ORDER: Final = {
    Level.PATIENT: "c.key",
    Level.STUDY: "c.key",
    Level.SERIES: "c.key, e.id",
    Level.IMAGE: "c.key, e.id, i.number, i.id",
}
_LAST_CHARACTER: Final = "\U0010ffff"
_DOOR: Final = frozenset(entry.keyword for entry in DOOR)
_SAME_PATIENT: Final = "o.PatientID = s.PatientID AND o.IssuerOfPatientID = s.IssuerOfPatientID"

_TRAIT: Final = "FROM study_traits x CROSS JOIN traits t ON t.id = x.trait WHERE x.study_id = s.id AND t.keyword"
_TRAIT_OF: Final = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}

_COMPUTED: Final = {
    **{
        keyword: f"(SELECT ifnull(group_concat(value, '\\'), '') FROM (SELECT t.value {_TRAIT} = '{trait}' ORDER BY 1))"
        for keyword, trait in _TRAIT_OF.items()
    },
    "NumberOfStudyRelatedSeries": "(SELECT count(*) FROM series WHERE study_id = s.id)",
    "NumberOfStudyRelatedInstances": "(SELECT ifnull(sum(instances), 0) FROM series WHERE study_id = s.id)",
    "NumberOfSeriesRelatedInstances": "e.instances",
}
_PER_PATIENT: Final = {
    "NumberOfPatientRelatedStudies": "count(*)",
    "NumberOfPatientRelatedSeries": "ifnull(sum((SELECT count(*) FROM series WHERE study_id = o.id)), 0)",
    "NumberOfPatientRelatedInstances": "ifnull(sum((SELECT sum(instances) FROM series WHERE study_id = o.id)), 0)",
}


@dataclass(frozen=True)
class Statement:
    """SQL, its parameters by name, and the columns' keywords."""

    text: str
    parameters: dict[str, str | int]
    keywords: tuple[str, ...]


@dataclass
class _Builder:
    """Collects parameters while conditions are written."""

    parameters: dict[str, str | int] = field(default_factory=dict)

    def bind(self, value: str | int) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return ":" + name

    def in_list(self, column: str, values: tuple[str, ...]) -> str:
        if len(values) == 1:
            return f"{column} = {self.bind(values[0])}"
        # One parameter however long the list is: statements stay few and short.
        return f"{column} IN (SELECT value FROM json_each({self.bind(json.dumps(values))}))"

    def compare(self, column: str, match: Match) -> str:
        """One column against one match, where the column is not odd; what is empty matches universally only."""
        match match:
            case Single(value):
                return f"{column} = {self.bind(value)}"
            case AnyOf(values) | UidList(values):
                return self.in_list(column, values)
            case Wildcard() as wildcard:
                return self._wildcard(column, wildcard)
            case Range(low, high):
                bounds = [f"{column} > ''"] if low is None else [f"{column} >= {self.bind(low)}"]
                bounds += [] if high is None else [f"{column} <= {self.bind(high)}"]
                return f"({' AND '.join(bounds)})"
            case _:
                return "1"

    def _wildcard(self, column: str, wildcard: Wildcard) -> str:
        # GLOB minds case, as matching does, and its two wildcards are DICOM's; only an opening bracket means something else to it.
        tests = [f"{column} GLOB {self.bind(wildcard.pattern.replace('[', '[[]'))}"]
        prefix = wildcard.prefix
        if prefix:
            tests += [f"{column} >= {self.bind(prefix)}", f"{column} < {self.bind(prefix + _LAST_CHARACTER)}"]
        else:
            tests.append(f"{column} > ''")
        return f"({' AND '.join(tests)})"

    def plain(self, entry: Attribute, match: Match) -> str:
        """An attribute's search columns against a match, for rows that are not odd."""
        alias = _ALIAS[entry.level]
        found = search_columns(entry)
        if isinstance(match, NameGroups):
            pairs = zip(found, match.groups, strict=True)
            return f"({' AND '.join(self.compare(f'{alias}.{column}', group) for column, group in pairs)})"
        if entry.vr == "PN":
            return f"({' OR '.join(self.compare(f'{alias}.{column}', match) for column in found)})"
        return self.compare(f"{alias}.{found[0]}", match)

    def judged(self, entry: Attribute) -> str:
        """The same by the reference meaning, which the reader that runs the statement lends."""
        return f"leadglass_matches('{entry.keyword}', {_ALIAS[entry.level]}.{entry.keyword})"

    def test(self, entry: Attribute, match: Match) -> str:
        """An attribute against a match, for any row."""
        if isinstance(match, Moments):
            alias = _ALIAS[entry.level]
            return f"leadglass_moment('{entry.keyword}', {alias}.{DATE_OF[entry.keyword]}, {alias}.{entry.keyword})"
        if entry.keyword in _TRAIT_OF:
            return f"EXISTS (SELECT 1 {_TRAIT} = '{_TRAIT_OF[entry.keyword]}' AND {self.compare('t.value', match)})"
        if not search_columns(entry):
            return self.judged(entry)
        if entry.vr == "UI":
            return self.plain(entry, match)
        return f"CASE WHEN {_ALIAS[entry.level]}.odd THEN {self.judged(entry)} ELSE {self.plain(entry, match)} END"

    def condition(self, condition: Condition, alias: str) -> str:
        """One condition of a predicate on the study `alias`."""
        holds = self._dated if condition.is_of_dates else self._valued
        if condition.level is not Level.SERIES:
            return holds(condition)(alias)
        some = f"EXISTS (SELECT 1 FROM series q WHERE q.study_id = {alias}.id"
        if condition.quantifier is Quantifier.ANY:
            return f"{some} AND {holds(condition)('q')})"
        return f"{some}) AND NOT {some} AND NOT {holds(condition)('q')})"

    def _valued(self, condition: Condition) -> Callable[[str], str]:
        values = tuple(sorted(condition.values))
        number = self.bind(json.dumps(values))

        def holds(row: str) -> str:
            column = f"{row}.{condition.keyword}"
            return f"CASE WHEN {row}.odd THEN leadglass_holds({number}, {column}) ELSE {self.in_list(column, values)} END"

        return holds

    def _dated(self, condition: Condition) -> Callable[[str], str]:
        since, until = self.bind(condition.since or ""), self.bind(condition.until or "99999999")

        def holds(row: str) -> str:
            date = f"trim({row}.{condition.keyword}, ' ')"
            return f"(length(CAST({date} AS BLOB)) = 8 AND {date} NOT GLOB '*[^0-9]*' AND {date} BETWEEN {since} AND {until})"

        return holds

    def visible(self, predicate: StudyPredicate, alias: str = "s") -> str:
        """The predicate on the study `alias`; one that admits nothing lets nothing through."""
        if predicate.everything:
            return "1"
        parts = (
            f"({'1' if part.every else self._any_met(part.any_of, alias)} AND NOT {self._any_met(part.none_of, alias)})"
            for part in predicate.parts
        )
        return f"({' OR '.join(parts) or '0'})"

    def _any_met(self, alternatives: Alternatives, alias: str) -> str:
        met = (" AND ".join(f"({self.condition(condition, alias)})" for condition in conditions) for conditions in alternatives)
        return f"({' OR '.join(met) or '0'})"


def rows_statement(query: Query, predicate: StudyPredicate) -> Statement:
    """The statement that answers `query` over the studies in `:studies`, a JSON array of ids, as far as `predicate` admits them."""
    builder = _Builder()
    keywords = _answered(query)
    selected = ", ".join(_expression(keyword, builder, predicate) for keyword in keywords)
    tests = [builder.visible(predicate)]
    for keyword, match in query.keys.items():
        if keyword not in _DOOR and not isinstance(match, Universal):
            tests.append(builder.test(attribute(keyword), match))
    if query.level is Level.PATIENT:
        # The latest study that may be seen speaks for its patient.
        later = "o.StudyDate_n >= s.StudyDate_n AND (o.StudyDate_n > s.StudyDate_n OR o.id > s.id)"
        tests.append(f"NOT EXISTS (SELECT 1 FROM studies o WHERE {_SAME_PATIENT} AND {later} AND {builder.visible(predicate, 'o')})")
    text = f"SELECT {selected} FROM {_FROM[query.level]} WHERE {' AND '.join(tests)} ORDER BY {_ORDER[query.level]}"
    return Statement(text, builder.parameters, keywords)


def admits_statement(study: str, predicate: StudyPredicate) -> Statement:
    """A statement that has a row if the study is there and `predicate` admits it."""
    builder = _Builder()
    text = f"SELECT 1 FROM studies s WHERE s.StudyInstanceUID = {builder.bind(study)} AND {builder.visible(predicate)}"
    return Statement(text, builder.parameters, ())


def _answered(query: Query) -> tuple[str, ...]:
    """What a row holds: the unique keys down to the level, what is asked back, and what was matched."""
    unique = [UNIQUE_KEY[level] for level in ORDER[: ORDER.index(query.level) + 1]]
    known = [keyword for keyword in (*query.returns, *query.keys) if _reaches(query.level, keyword)]
    return tuple(dict.fromkeys(unique + known))


def _reaches(level: Level, keyword: str) -> bool:
    """Whether rows of `level` have one value for this attribute; what the door answers of itself is not ours."""
    return keyword not in _DOOR and ORDER.index(attribute(keyword).level) <= ORDER.index(level)


def _expression(keyword: str, builder: _Builder, predicate: StudyPredicate) -> str:
    if keyword in _PER_PATIENT:
        return f"(SELECT {_PER_PATIENT[keyword]} FROM studies o WHERE {_SAME_PATIENT} AND {builder.visible(predicate, 'o')})"
    return _COMPUTED.get(keyword) or f"{_ALIAS[attribute(keyword).level]}.{keyword}"


class Search:
    """The rows of a query, found study by study among the candidates."""

    def __init__(self, connection: apsw.Connection, query: Query, predicate: StudyPredicate, stopped: Callable[[], bool]) -> None:
        self._connection = connection
        self._stopped = stopped
        self._query = query
        self._statement = rows_statement(query, predicate)
        self._candidates = Candidates(connection, query, predicate)

    def records(self) -> Generator[dict[str, str], None, None]:
        """Keywords to text, within the query's limit and offset."""
        end = None if self._query.limit is None else self._query.offset + self._query.limit
        keywords = self._statement.keywords
        for row in islice(self._rows(), self._query.offset, end):
            yield {keyword: value if isinstance(value, str) else str(value) for keyword, value in zip(keywords, row, strict=True)}

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        statement, candidates = self._statement, iter(self._candidates)
        size = 1 if self._query.level is Level.IMAGE else _FIRST_STUDIES
        while not self._stopped() and (studies := list(islice(candidates, size))):
            values = {**statement.parameters, "studies": json.dumps(studies)}
            count = 0
            for row in self._connection.execute(statement.text, values):
                count += 1
                yield row
            size = min(2 * size, _MOST_STUDIES) if count < _ROWS_AT_ONCE else max(1, size // 2)


_FIRST_STUDIES, _MOST_STUDIES = 16, 256
_ROWS_AT_ONCE: Final = 256


_INSTANCE_COLUMNS: Final = (
    "s.StudyInstanceUID, e.SeriesInstanceUID, i.SOPInstanceUID, i.SOPClassUID, i.transfer_syntax, i.size, i.received, i.shard, i.blob"
)


_INSTANCES: Final = "instances i JOIN series e ON e.id = i.series_id JOIN studies s ON s.id = e.study_id"


def instances_statement(selection: Selection, predicate: StudyPredicate) -> Statement:
    """Every instance of a selection in the studies that `predicate` admits, in the order of study, series and InstanceNumber."""
    builder = _Builder()
    tests = [builder.visible(predicate)]
    for column, uids in (
        ("s.StudyInstanceUID", selection.studies),
        ("e.SeriesInstanceUID", selection.series),
        ("i.SOPInstanceUID", selection.instances),
    ):
        if uids:
            tests.append(builder.in_list(column, tuple(uids)))
    if selection.patient_id is not None:
        tests.append(f"s.PatientID = {builder.bind(selection.patient_id)}")
    order = "s.id, i.series_id, i.number, i.id"
    text = f"SELECT {_INSTANCE_COLUMNS} FROM {_INSTANCES} WHERE {' AND '.join(tests)} ORDER BY {order}"
    return Statement(text, builder.parameters, ())
