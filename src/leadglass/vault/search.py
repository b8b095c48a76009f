# ruff: noqa: S608 - every value is a bound parameter; what is written into the text are names of our own
"""A `Query` and a `StudyPredicate` as one SQL statement: the predicate is part of the question, nothing is looked up before it.

The statement means what `dicom.matching.matches` and `StudyPredicate` mean; a property test compares them.
Aliases: `s` studies, `e` series, `i` instances, `m` study_modalities.
"""

import json
from dataclasses import dataclass, field
from typing import Final

from leadglass.dicom.attributes import DOOR, UNIQUE_KEY, Attribute, attribute
from leadglass.dicom.levels import ORDER
from leadglass.dicom.matching import AnyOf, Match, NameGroups, Range, Single, UidList, Universal, Wildcard
from leadglass.dicom.predicate import Condition, Quantifier, StudyPredicate
from leadglass.dicom.query import Query, Selection
from leadglass.vault.sql import search_columns
from leadglass.vocabulary import Level

_ALIAS: Final = {Level.PATIENT: "s", Level.STUDY: "s", Level.SERIES: "e", Level.IMAGE: "i"}
_FROM: Final = {
    Level.PATIENT: "studies s",
    Level.STUDY: "studies s",
    Level.SERIES: "series e JOIN studies s ON s.id = e.study_id",
    Level.IMAGE: "instances i JOIN series e ON e.id = i.series_id JOIN studies s ON s.id = e.study_id",
}
_BY_MODALITY: Final = "study_modalities m"
_LAST_CHARACTER: Final = "\U0010ffff"
_DOOR: Final = frozenset(entry.keyword for entry in DOOR)
_POINTED: Final = frozenset({"PatientID", "AccessionNumber", "StudyInstanceUID"})
"""Keys that leave a handful of studies, whatever else is asked."""

_SAME_PATIENT: Final = "o.PatientID = s.PatientID AND o.IssuerOfPatientID = s.IssuerOfPatientID"

_COMPUTED: Final = {
    "ModalitiesInStudy": r"(SELECT ifnull(group_concat(Modality, '\'), '') FROM"
    " (SELECT DISTINCT Modality FROM study_modalities WHERE study_id = s.id ORDER BY 1))",
    "SOPClassesInStudy": r"(SELECT ifnull(group_concat(c, '\'), '') FROM (SELECT DISTINCT x.SOPClassUID AS c FROM series y"
    " JOIN instances x ON x.series_id = y.id WHERE y.study_id = s.id ORDER BY 1))",
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


@dataclass(frozen=True)
class Facts:
    """What the statement may leave out because no row needs it; asked of the index first, in microseconds."""

    odd_studies: bool
    other_scripts: bool


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

    def plain(self, entry: Attribute, match: Match, *, other_scripts: bool = True) -> str:
        """An attribute's search columns against a match, for rows that are not odd."""
        alias = _ALIAS[entry.level]
        found = search_columns(entry)
        if isinstance(match, NameGroups):
            pairs = zip(found, match.groups, strict=True)
            return f"({' AND '.join(self.compare(f'{alias}.{column}', group) for column, group in pairs)})"
        if entry.vr == "PN" and (other_scripts or entry.keyword != "PatientName"):
            return f"({' OR '.join(self.compare(f'{alias}.{column}', match) for column in found)})"
        return self.compare(f"{alias}.{found[0]}", match)

    def judged(self, entry: Attribute) -> str:
        """The same by the reference meaning, which the reader that runs the statement lends."""
        return f"leadglass_matches('{entry.keyword}', {_ALIAS[entry.level]}.{entry.keyword})"

    def below_study(self, entry: Attribute, match: Match) -> str:
        if not search_columns(entry):
            return self.judged(entry)
        if entry.vr == "UI":
            return self.plain(entry, match)
        return f"CASE WHEN {_ALIAS[entry.level]}.odd THEN {self.judged(entry)} ELSE {self.plain(entry, match)} END"

    def condition(self, condition: Condition, alias: str) -> str:
        """One condition of a predicate on the study `alias`."""
        values = tuple(sorted(condition.values))
        number = self.bind(json.dumps(values))

        def holds(row: str) -> str:
            column = f"{row}.{condition.keyword}"
            return f"CASE WHEN {row}.odd THEN leadglass_holds({number}, {column}) ELSE {self.in_list(column, values)} END"

        if condition.level is not Level.SERIES:
            return holds(alias)
        some = f"EXISTS (SELECT 1 FROM series q WHERE q.study_id = {alias}.id"
        if condition.quantifier is Quantifier.ANY:
            return f"{some} AND {holds('q')})"
        return f"{some}) AND NOT {some} AND NOT {holds('q')})"

    def visible(self, predicate: StudyPredicate, alias: str = "s") -> str:
        """The predicate on the study `alias`; one without alternatives lets nothing through."""
        if predicate.everything:
            return "1"
        alternatives = (
            " AND ".join(f"({self.condition(condition, alias)})" for condition in conditions) for conditions in predicate.any_of
        )
        return f"({' OR '.join(alternatives)})" if predicate.any_of else "0"


def find_statement(query: Query, predicate: StudyPredicate, facts: Facts) -> Statement:
    """The statement that answers `query` over the studies that `predicate` admits."""
    builder = _Builder()
    keywords = _answered(query)
    visible = builder.visible(predicate)
    selected = ", ".join(f"{_expression(keyword, builder, predicate)} AS {keyword}" for keyword in keywords)
    order, source = _order(query), _source(query)
    tests = [_arm_tests(builder, query, source, facts, odd=False)]
    if facts.odd_studies:
        tests.append(_arm_tests(builder, query, _FROM[query.level], facts, odd=True))
    if query.level is Level.PATIENT:
        newer = f"SELECT 1 FROM studies o WHERE {_SAME_PATIENT} AND o.id > s.id AND {builder.visible(predicate, 'o')}"
        visible += f" AND NOT EXISTS ({newer})"
    arms = [
        f"SELECT {selected}, {_order_columns(order, driven)} FROM {driven} WHERE {' AND '.join([visible, *arm])}"
        for driven, arm in zip((source, _FROM[query.level]), tests, strict=False)
    ]
    ordering = ", ".join(f"o{number}{' DESC' if term.endswith(' DESC') else ''}" for number, term in enumerate(order))
    text = " UNION ALL ".join(arms)
    limit = -1 if query.limit is None else query.limit
    text += f" ORDER BY {ordering} LIMIT {builder.bind(limit)} OFFSET {builder.bind(query.offset)}"
    return Statement(text, builder.parameters, keywords)


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


def _drives(query: Query) -> str | None:
    """The key whose index the rows are read from, for studies asked for by something vague."""
    if query.level is not Level.STUDY or not _POINTED.isdisjoint(query.keys):
        return None
    name = query.keys.get("PatientName")
    if isinstance(name, Single) or (isinstance(name, Wildcard) and name.prefix):
        return "PatientName"
    return "ModalitiesInStudy" if isinstance(query.keys.get("ModalitiesInStudy"), Single) else "StudyDate"


def _source(query: Query) -> str:
    if _drives(query) == "ModalitiesInStudy":
        return f"{_BY_MODALITY} CROSS JOIN studies s ON s.id = m.study_id"
    return _FROM[query.level]


def _order(query: Query) -> tuple[str, ...]:
    """A fixed order for every query, so that pages fit together; the one in which the index is read, so that nothing is sorted."""
    if query.level is Level.SERIES:
        return "e.study_id", "e.id"
    if query.level is Level.IMAGE:
        return "i.series_id", "i.number", "i.id"
    drives = _drives(query)
    if drives == "PatientName":
        return "s.PatientName_a", "s.id"
    return "s.StudyDate_n DESC", "s.id DESC"


def _order_columns(order: tuple[str, ...], source: str) -> str:
    columns = [term.split()[0] for term in order]
    if source.startswith(_BY_MODALITY):
        columns = ["m.StudyDate_n", "m.study_id"]
    return ", ".join(f"{column} AS o{number}" for number, column in enumerate(columns))


def _arm_tests(builder: _Builder, query: Query, source: str, facts: Facts, *, odd: bool) -> list[str]:
    """The keys' tests for rows whose study is odd, or for those whose study is not: each kind is found by the index that fits it."""
    tests = [f"s.odd = {int(odd)}"] if facts.odd_studies else []
    for keyword, match in query.keys.items():
        entry = attribute(keyword)
        if keyword in _DOOR or isinstance(match, Universal):
            continue
        if keyword == "ModalitiesInStudy":
            tests.append(_modality_test(builder, match, source))
        elif keyword == "StudyDate" and source.startswith(_BY_MODALITY):
            tests.append(builder.compare("m.StudyDate_n", match))
        elif keyword in _COMPUTED:
            tests.append(f"leadglass_matches('{keyword}', CAST({_COMPUTED[keyword]} AS TEXT))")
        elif entry.level in {Level.PATIENT, Level.STUDY}:
            by_column = entry.vr == "UI" or not odd
            tests.append(builder.plain(entry, match, other_scripts=facts.other_scripts) if by_column else builder.judged(entry))
        else:
            tests.append(builder.below_study(entry, match))
    return tests


def _modality_test(builder: _Builder, match: Match, source: str) -> str:
    if source.startswith(_BY_MODALITY):
        return builder.compare("m.Modality", match)
    return f"EXISTS (SELECT 1 FROM study_modalities x WHERE x.study_id = s.id AND {builder.compare('x.Modality', match)})"


_INSTANCE_COLUMNS: Final = (
    "s.StudyInstanceUID, e.SeriesInstanceUID, i.SOPInstanceUID, i.SOPClassUID, i.transfer_syntax, i.size, i.received, i.shard, i.blob"
)


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
    text = f"SELECT {_INSTANCE_COLUMNS} FROM {_FROM[Level.IMAGE]} WHERE {' AND '.join(tests)} ORDER BY {order}"
    return Statement(text, builder.parameters, ())
