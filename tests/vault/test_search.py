"""The SQL against the reference: `dicom.matching.matches` and the meaning of `StudyPredicate`, on archives drawn at random."""

import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.dicom.attributes import attribute
from leadglass.dicom.header import Header
from leadglass.dicom.matching import Match, Universal, matches, parse_match
from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY, Alternatives, Condition, Quantifier, StudyPredicate
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid
from leadglass.errors import BadQuery
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.index import Index
from leadglass.vault.rows import Entry
from leadglass.vocabulary import Level
from tests import synthetic

KEY = b"I" * 32
NAMES = [
    "DOE^JANE",
    "doe^jane",
    "Doe",
    "MÜLLER^JÜRGEN",
    "Müller",
    "ROE^RICHARD^^DR",
    "山田^太郎",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "=山田",
    "D[O]E",
    "50%_x",
    "",
    "A\\B",
    " DOE",
    "*",
    "X\\DOE^JANE",
]
TEXTS = ["", "CT", "MR", "ct", "CT\\MR", "North", " North", "North\\South", "a[b]c", "a*b", "100%", "a_b", "\u2003wide\u2003", "x'y", "é"]
DATES = ["", "2020010a", "20200101", "20200102", "2020.01.01", "20191231", "20200101\\20200102", "nonsense"]
TIMES = ["", "10", "1015", "101530.5", "101530", "235959.999999", "bad"]
NUMBERS = ["", "1", " +01", "2", "10", "x", "999999999999999999999"]
VALUES = {
    "PatientName": NAMES,
    "PatientID": ["P1", "P2", "", "p1", "P1\\P2", " P1"],
    "IssuerOfPatientID": ["", "A"],
    "StudyDate": DATES,
    "StudyTime": TIMES,
    "AccessionNumber": TEXTS,
    "StudyDescription": TEXTS,
    "ReferringPhysicianName": NAMES,
    "Modality": TEXTS,
    "InstitutionName": TEXTS,
    "SeriesNumber": NUMBERS,
    "SeriesDate": DATES,
    "InstanceNumber": NUMBERS,
    "ContentTime": TIMES,
}
KEYS = {
    "PatientName": [
        "DOE*",
        "doe^jane",
        "*JANE",
        "M?LLER*",
        "muller",
        "山田*",
        "Yamada*=山田*",
        "=山田*",
        "D[O]E",
        "d[*",
        "50%*",
        "*_x",
        "R*E^R*",
        "A",
        "B",
    ],
    "PatientID": ["P1", "P2", "P*", "?1", "p1"],
    "StudyDate": ["20200101", "20200101-", "-20200101", "20191231-20200101", "2020.01.01"],
    "StudyTime": ["10", "10-11", "-1015", "101530.5", "2359-"],
    "AccessionNumber": ["CT", "C*", "a[b]c", "a[*", "*%", "a_b", "North", "S*", "x'y"],
    "StudyDescription": ["*o*", "?orth", "wide", "é"],
    "ReferringPhysicianName": ["doe*", "=山田"],
    "Modality": ["CT", "CT\\MR", "M*"],
    "ModalitiesInStudy": ["CT", "CT\\MR", "M?", "c*"],
    "SOPClassesInStudy": ["1.2.840.1", "1.2.840.2\\1.2.840.3"],
    "InstitutionName": ["North", "South", "*th"],
    "SeriesNumber": ["1", "2"],
    "SeriesDate": ["20200101-20200102"],
    "InstanceNumber": ["1", "10"],
    "ContentTime": ["10-1016"],
    "SOPClassUID": ["1.2.840.1", "1.2.840.1\\1.2.840.2"],
    "StudyInstanceUID": ["1.1", "1.1\\1.3"],
    "SeriesInstanceUID": ["1.1.1", "1.1.1\\1.2.1"],
    "SOPInstanceUID": ["1.9.3", "1.9.0\\1.9.1"],
}
ORDER = [Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE]
STUDY_LEVEL = {name for name in KEYS if attribute(name).level in {Level.PATIENT, Level.STUDY}}


@st.composite
def archives(draw: st.DrawFn) -> list[Entry]:
    entries = []
    for number in range(draw(st.integers(1, 10))):
        study, series = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        values = {keyword: draw(st.sampled_from(texts)) for keyword, texts in VALUES.items() if draw(st.integers(0, 3))}
        values["PatientID"] = f"P{study}" if draw(st.booleans()) else values.get("PatientID", "")
        uids = {
            "StudyInstanceUID": f"1.{study}",
            "SeriesInstanceUID": f"1.{study}.{series}",
            "SOPInstanceUID": f"1.9.{number}",
            "SOPClassUID": f"1.2.840.{draw(st.integers(1, 3))}",
        }
        header = Header(
            MappingProxyType({**values, **uids}),
            Uid(uids["StudyInstanceUID"]),
            Uid(uids["SeriesInstanceUID"]),
            Uid(uids["SOPInstanceUID"]),
            Uid(uids["SOPClassUID"]),
        )
        committed = draw(st.integers(0, 3))
        entries.append(Entry(header, EXPLICIT_LITTLE_ENDIAN, 10, 0, committed, BlobPlace(0, os.urandom(16)), b"k" * 16))
    return entries


@st.composite
def queries(draw: st.DrawFn) -> Query:
    level = draw(st.sampled_from(ORDER))
    allowed = [name for name in KEYS if ORDER.index(attribute(name).level) <= ORDER.index(level)]
    keys: dict[str, Match] = {}
    for keyword in draw(st.lists(st.sampled_from(allowed), max_size=3, unique=True)):
        match = parse_match(keyword, draw(st.sampled_from(KEYS[keyword])))
        if not isinstance(match, Universal):
            keys[keyword] = match
    return Query(level, keys, ())


_DATES = st.sampled_from(["19991231", "20191231", "20200101", "20200102", "20991231"])
CONDITIONS = st.one_of(
    st.builds(
        Condition,
        st.sampled_from(["Modality", "InstitutionName", "PatientID", "PatientName", "StudyDescription"]),
        st.frozensets(st.sampled_from(["CT", "MR", "North", "South", "P1", "P2", "DOE", "wide", "A"]), min_size=1, max_size=2),
        st.sampled_from(Quantifier),
    ),
    st.builds(
        lambda keyword, quantifier, since, until: Condition(keyword, quantifier=quantifier, since=since, until=until),
        st.sampled_from(["StudyDate", "PatientBirthDate", "SeriesDate"]),
        st.sampled_from(Quantifier),
        _DATES,
        st.none() | _DATES,
    ),
)
ALTERNATIVES = st.lists(st.lists(CONDITIONS, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple)
PARTS = st.builds(StudyPredicate, ALTERNATIVES, st.booleans(), ALTERNATIVES)
PREDICATES = st.one_of(
    st.just(EVERY_STUDY),
    st.just(NO_STUDY),
    PARTS,
    st.builds(lambda one, two: one | two, PARTS, PARTS),
    st.builds(lambda one, two: one & two, PARTS, PARTS),
    st.builds(lambda part, denied: part.without(denied), PARTS, ALTERNATIVES),
)


class Model:
    """The meaning of an archive, a query and a predicate, by going through everything."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        # Whoever was received first speaks for a study and a series: put in last, it stays.
        latest_first = sorted(entries, key=lambda entry: entry.precedence, reverse=True)
        self.studies: dict[str, Mapping[str, str]] = {entry.header.study: entry.header.values for entry in latest_first}
        self.series: dict[tuple[str, str], Mapping[str, str]] = {
            (entry.header.study, entry.header.series): entry.header.values for entry in latest_first
        }

    def series_of(self, study: str) -> list[Mapping[str, str]]:
        return [values for (owner, _), values in self.series.items() if owner == study]

    def admits(self, study: str, predicate: StudyPredicate) -> bool:
        def met(alternatives: Alternatives) -> bool:
            return any(all(self._holds(study, condition) for condition in conditions) for conditions in alternatives)

        return any((part.every or met(part.any_of)) and not met(part.none_of) for part in (predicate, *predicate.also))

    def _holds(self, study: str, condition: Condition) -> bool:
        if condition.level is not Level.SERIES:
            return condition.holds(self.studies[study].get(condition.keyword, ""))
        held = [condition.holds(values.get(condition.keyword, "")) for values in self.series_of(study)]
        return all(held) if condition.quantifier is Quantifier.ALL else any(held)

    def value(self, keyword: str, entry: Entry) -> str:
        study = entry.header.study
        if keyword == "ModalitiesInStudy":
            return "\\".join(values.get("Modality", "") for values in self.series_of(study))
        if keyword == "SOPClassesInStudy":
            return "\\".join(other.header.sop_class for other in self.entries if other.header.study == study)
        level = attribute(keyword).level
        if level in {Level.PATIENT, Level.STUDY}:
            return self.studies[entry.header.study].get(keyword, "")
        if level is Level.SERIES:
            return self.series[study, entry.header.series].get(keyword, "")
        return entry.header.values.get(keyword, "")

    def answers(self, query: Query, predicate: StudyPredicate) -> Iterator[Entry]:
        for entry in self.entries:
            if self.admits(entry.header.study, predicate) and all(
                matches(keyword, match, self.value(keyword, entry)) for keyword, match in query.keys.items()
            ):
                yield entry


def identity(level: Level, entry: Entry) -> tuple[str, ...]:
    header = entry.header
    return (header.study, header.series, header.instance)[: ORDER.index(level)]


def index_of(entries: list[Entry], folder: str) -> Index:
    index = Index.create(Path(folder) / "index.db", KEY)
    for entry in entries:
        index.add(entry)
    return index


@given(archives(), st.lists(st.tuples(queries(), PREDICATES), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_index_answers_as_the_reference_does(entries: list[Entry], asked: list[tuple[Query, StudyPredicate]]) -> None:
    model = Model(entries)
    with tempfile.TemporaryDirectory() as folder:
        index = index_of(entries, folder)
        for query, predicate in asked:
            if query.level is Level.PATIENT:
                continue
            found = [
                tuple(record[name] for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID") if name in record)
                for record in index.find(query, predicate)
            ]
            assert len(found) == len(set(found))
            assert set(found) == {identity(query.level, entry) for entry in model.answers(query, predicate)}, query.keys
        index.close()


@given(archives(), PREDICATES)
@settings(max_examples=25, deadline=None)
def test_patients_are_those_of_the_visible_studies(entries: list[Entry], predicate: StudyPredicate) -> None:
    model = Model(entries)
    counts = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")
    with tempfile.TemporaryDirectory() as folder:
        index = index_of(entries, folder)
        found = {
            (row["PatientID"], row["IssuerOfPatientID"]): tuple(int(row[name]) for name in counts)
            for row in index.find(Query(Level.PATIENT, {}, ("IssuerOfPatientID", *counts)), predicate)
        }
        expected: dict[tuple[str, str], tuple[int, int, int]] = {}
        for study, values in model.studies.items():
            if model.admits(study, predicate):
                patient = (values.get("PatientID", "").strip(" \0"), values.get("IssuerOfPatientID", "").strip(" \0"))
                studies, series, instances = expected.get(patient, (0, 0, 0))
                more = sum(entry.header.study == study for entry in entries)
                expected[patient] = (studies + 1, series + len(model.series_of(study)), instances + more)
        assert found == expected
        index.close()


@given(archives(), st.lists(st.tuples(queries(), PREDICATES), min_size=1, max_size=4), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_pages_fit_together(entries: list[Entry], asked: list[tuple[Query, StudyPredicate]], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index = index_of(entries, folder)
        for query, predicate in asked:
            whole = list(index.find(query, predicate))
            pages = [
                list(index.find(Query(query.level, query.keys, query.returns, size, at), predicate))
                for at in range(0, len(whole) + size, size)
            ]
            assert list(itertools.chain(*pages)) == whole
        index.close()


@given(archives())
@settings(max_examples=25, deadline=None)
def test_the_index_does_not_depend_on_the_order_of_arrival(entries: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first, second = index_of(entries, one), index_of(entries[::-1], other)
        # Rows that arrive one by one, and all at once.
        for entry in entries[:1]:
            assert second.place(entry.header.instance) == entry.place
            second.flush()
        assert list(first.dump()) == list(second.dump())
        assert list(first.integrity()) == []
        first.close()
        second.close()


@given(
    archives(),
    PREDICATES,
    st.lists(st.sampled_from(["1.1", "1.2"])),
    st.lists(st.sampled_from(["1.1.1", "1.2.2"])),
    st.lists(st.sampled_from(["1.9.0", "1.9.1"])),
)
@settings(max_examples=25, deadline=None)
def test_a_selection_is_what_it_names_and_may_be_seen(
    entries: list[Entry], predicate: StudyPredicate, studies: list[str], series: list[str], instances: list[str]
) -> None:
    if not (studies or series or instances):
        return
    model = Model(entries)
    selection = Selection(tuple(map(Uid, studies)), tuple(map(Uid, series)), tuple(map(Uid, instances)))
    with tempfile.TemporaryDirectory() as folder:
        index = index_of(entries, folder)
        found = {row.sop_instance for row in index.instances(selection, predicate)}
        index.close()
    assert found == {
        entry.header.instance
        for entry in entries
        if model.admits(entry.header.study, predicate)
        and (not studies or entry.header.study in studies)
        and (not series or entry.header.series in series)
        and (not instances or entry.header.instance in instances)
    }


def entry_of(number: int, study: int, series: int, **values: str) -> Entry:
    uids = {
        "StudyInstanceUID": f"1.{study}",
        "SeriesInstanceUID": f"1.{study}.{series}",
        "SOPInstanceUID": f"1.9.{number}",
        "SOPClassUID": "1.2.840.1",
    }
    header = Header(MappingProxyType({**values, **uids}), *(Uid(uid) for uid in uids.values()))
    return Entry(header, EXPLICIT_LITTLE_ENDIAN, 10, 0, number, BlobPlace(0, os.urandom(16)), b"k" * 16)


@pytest.mark.parametrize("spelling", ["{}", "{}\\OT", " {}\u2003"], ids=["plain", "several values", "odd spaces"])
@pytest.mark.parametrize(
    ("quantifier", "values", "seen"),
    [
        ("any", {"CT"}, {"1.1", "1.2"}),
        ("all", {"CT"}, {"1.1"}),
        ("all", {"CT", "MR"}, {"1.1", "1.2", "1.3"}),
        ("any", {"MR"}, {"1.2", "1.3"}),
        ("all", {"MR"}, {"1.3"}),
        ("any", {"US"}, set()),
    ],
)
def test_any_and_all_series(tmp_path: Path, spelling: str, quantifier: str, values: set[str], seen: set[str]) -> None:
    """Study 1 has CT alone, study 2 CT and MR, study 3 MR alone, study 4 says nothing."""
    modalities = [(1, 1, "CT"), (1, 2, "CT"), (2, 1, "CT"), (2, 2, "MR"), (3, 1, "MR")]
    index = Index.create(tmp_path / "index.db", KEY)
    for number, (study, series, modality) in enumerate(modalities):
        index.add(entry_of(number, study, series, Modality=spelling.format(modality)))
    index.add(entry_of(9, 4, 1))
    predicate = StudyPredicate(((Condition("Modality", frozenset(values), Quantifier(quantifier)),),))
    assert {row["StudyInstanceUID"] for row in index.find(Query(Level.STUDY, {}, ()), predicate)} == seen
    assert {row.study for row in index.instances(Selection(studies=tuple(Uid(f"1.{n}") for n in range(1, 5))), predicate)} == seen
    index.close()


@pytest.mark.parametrize(("modality", "seen"), [("CT", ["1"]), ("MR", ["1"]), ("US", [])])
def test_a_patient_is_told_of_by_what_may_be_seen_of_him(tmp_path: Path, modality: str, seen: list[str]) -> None:
    """Two studies of one patient: whichever is hidden, the other answers for him, with its own spelling of his name."""
    index = Index.create(tmp_path / "index.db", KEY)
    index.add(entry_of(1, 1, 1, PatientID="P1", PatientName="CT^NAME", Modality="CT"))
    index.add(entry_of(2, 2, 1, PatientID="P1", PatientName="MR^NAME", Modality="MR"))
    predicate = StudyPredicate(((Condition("Modality", frozenset({modality})),),))
    found = list(index.find(Query(Level.PATIENT, {}, ("PatientName", "NumberOfPatientRelatedStudies")), predicate))
    assert [row["NumberOfPatientRelatedStudies"] for row in found] == seen
    assert [row["PatientName"] for row in found] == [f"{modality}^NAME"] * len(seen)
    index.close()


def test_quotes_and_wildcards_of_sql_mean_nothing(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index.db", KEY)
    for text in ("' OR 1=1 --", "%", "_", "[", "';DROP TABLE studies;--"):
        for keyword in ("PatientID", "PatientName", "AccessionNumber"):
            assert list(index.find(Query(Level.STUDY, {keyword: parse_match(keyword, text)}, ()), EVERY_STUDY)) == []
    with pytest.raises(BadQuery):
        parse_match("StudyInstanceUID", "1.2' OR '1'='1")
    index.close()


def test_a_search_ends_when_it_is_told_to_also_before_its_first_row(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index.db", KEY)
    synthetic.fill(index, 4)
    description = parse_match("StudyDescription", "*NOTHING*HAS*THIS*")
    looks: list[bool] = []

    def stopped() -> bool:
        looks.append(True)
        return len(looks) > 1

    assert list(index.find(Query(Level.STUDY, {"StudyDescription": description}, ()), EVERY_STUDY, stopped)) == []
    assert len(looks) == 2, "it was not asked in the middle, or went on"
    assert len(list(index.find(Query(Level.STUDY, {}, ()), EVERY_STUDY))) == 4 * synthetic.STUDIES_A_DAY
    index.close()


@pytest.mark.parametrize("days", [1, 23])
def test_a_copied_index_is_as_one_that_was_written(tmp_path: Path, days: int) -> None:
    """What the bench asks at ten million instances is what rows written one by one would be."""
    index, other = Index.create(tmp_path / "index.db", KEY), Index.create(tmp_path / "other.db", KEY)
    synthetic.fill(index, days)
    assert list(index.integrity()) == []
    for entry in synthetic.Study(days - 1, 17).entries():
        other.add(entry)
    study = {"StudyInstanceUID": parse_match("StudyInstanceUID", synthetic.Study(days - 1, 17).uid)}
    returns = (
        "PatientName",
        "PatientID",
        "StudyDate",
        "AccessionNumber",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances",
        "SOPClassesInStudy",
    )
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        query = Query(level, study, returns)
        assert list(index.find(query, EVERY_STUDY)) == list(other.find(query, EVERY_STUDY))
    index.close()
    other.close()
