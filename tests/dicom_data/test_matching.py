"""The kinds of matching of PS3.4 C.2.2.2, written out as a table by hand, and laws that hold for any value."""

import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.matching import (
    MAX_STARS,
    AnyOf,
    NameGroups,
    Range,
    Single,
    UidList,
    Universal,
    Wildcard,
    matches,
    name_groups,
    normalise,
    parse_match,
)
from leadglass.errors import BadQuery

YES = [
    # C.2.2.2.1 single value
    ("PatientID", "4711", "4711"),
    ("PatientID", " 4711 ", "4711"),
    ("PatientID", "4711", "4711 "),
    ("StudyDate", "20200229", "20200229"),
    ("StudyDate", "20200229", "2020.02.29"),
    ("StudyTime", "1015", "101500"),
    ("StudyTime", "10:15:00", "1015"),
    ("StudyTime", "101500", "101500.000000"),
    ("SeriesNumber", "1", "01"),
    ("SeriesNumber", "+7", "7 "),
    ("Rows", "512", "512"),
    ("Modality", "CT", "CT"),
    ("ModalitiesInStudy", "CT", "MR\\CT"),
    ("PatientID", "A_%", "A_%"),
    # person names: case, accents, groups, trailing components
    ("PatientName", "doe^john", "DOE^John"),
    ("PatientName", "MULLER^JURGEN", "Müller^Jürgen"),
    ("PatientName", "Müller^Jürgen", "Mu\u0308ller^Ju\u0308rgen"),
    ("PatientName", "GROSSMANN", "Großmann"),
    ("PatientName", "Doe^John", "Doe^John^^^"),
    ("PatientName", "Doe^John^^^", "Doe^John"),
    ("PatientName", "山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("PatientName", "yamada*", "Yamada^Tarou=山田^太郎"),
    ("PatientName", "Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("PatientName", "=山田*", "Yamada^Tarou=山田^太郎"),
    ("PatientName", "ﾔﾏﾀﾞ*", "ヤマダ^タロウ"),
    ("ReferringPhysicianName", "  House ^ Gregory", "HOUSE^GREGORY"),
    # C.2.2.2.2 UIDs
    ("StudyInstanceUID", "1.2.3", "1.2.3"),
    ("StudyInstanceUID", "1.2.3\\1.2.4", "1.2.4"),
    ("SOPClassesInStudy", "1.2.3\\1.2.4", "9.9\\1.2.4"),
    # C.2.2.2.3 universal
    ("PatientID", "", "4711"),
    ("PatientID", "", ""),
    ("PatientID", "*", ""),
    ("PatientID", "**", "4711"),
    ("StudyDate", "*", "20200101"),
    # C.2.2.2.4 wildcards
    ("PatientID", "47*", "4711"),
    ("PatientID", "*11", "4711"),
    ("PatientID", "4?1?", "4711"),
    ("PatientID", "*7*1", "4711"),
    ("PatientID", "4711*", "4711"),
    ("AccessionNumber", "*", "A"),
    ("PatientName", "d?e^*", "DOE^JOHN"),
    ("StudyDescription", "*thorax*", "CT thorax native"),
    ("BodyPartExamined", "?NEE", "KNEE"),
    # C.2.2.2.5 ranges
    ("StudyDate", "20200101-20200131", "20200101"),
    ("StudyDate", "20200101-20200131", "20200131"),
    ("StudyDate", "20200101-", "20991231"),
    ("StudyDate", "-20200131", "19000101"),
    ("StudyDate", "2020.01.01-20200131", "2020.01.15"),
    ("StudyTime", "10-11", "115959"),
    ("StudyTime", "1000-1030", "103059.999999"),
    ("StudyTime", "-12", "0001"),
    ("StudyTime", "235959.5-", "235959.5"),
    # C.2.2.2.7 several codes
    ("ModalitiesInStudy", "CT\\MR", "US\\MR"),
    ("Modality", "CT\\MR", "CT"),
]

NO = [
    ("PatientID", "4711", "4712"),
    ("PatientID", "4711", ""),
    ("PatientID", "abc", "ABC"),
    ("PatientID", "A_%", "AxB"),
    ("PatientID", "4?1", "4711"),
    ("PatientID", "?*", ""),
    ("PatientID", "a*", "ABC"),
    ("StudyDescription", "THORAX*", "thorax"),
    ("PatientName", "Doe", "Doe^John"),
    ("PatientName", "Doe^J", "Doe^John"),
    ("PatientName", "=yamada*", "Yamada^Tarou=山田^太郎"),
    ("PatientName", "Yamada*=田*", "Yamada^Tarou=山田^太郎"),
    ("PatientName", "か*", "が"),
    ("PatientName", "D*", ""),
    ("StudyDate", "20200101", "20200102"),
    ("StudyDate", "20200101-20200131", "20200201"),
    ("StudyDate", "20200101-", ""),
    ("StudyDate", "-20200131", ""),
    ("StudyTime", "10-11", "120000"),
    ("StudyTime", "10", "1015"),
    ("StudyInstanceUID", "1.2.3", "1.2.30"),
    ("StudyInstanceUID", "1.2.3\\1.2.4", "1.2.5"),
    ("ModalitiesInStudy", "CT\\MR", "US\\XA"),
    ("ModalitiesInStudy", "C", "CT"),
    ("SeriesNumber", "1", "11"),
]


@pytest.mark.parametrize(("keyword", "key", "value"), YES)
def test_it_matches(keyword: str, key: str, value: str) -> None:
    assert matches(keyword, parse_match(keyword, key), value)


@pytest.mark.parametrize(("keyword", "key", "value"), NO)
def test_it_does_not(keyword: str, key: str, value: str) -> None:
    assert not matches(keyword, parse_match(keyword, key), value)


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("StudyInstanceUID", "1.2.*"),
        ("StudyInstanceUID", "../../etc/passwd"),
        ("StudyInstanceUID", "1.2.3\\x"),
        ("StudyDate", "2020"),
        ("StudyDate", "2020010?"),
        ("StudyDate", "20200101-2020"),
        ("StudyDate", "-"),
        ("StudyDate", "20200101-20200102-20200103"),
        ("StudyTime", "1"),
        ("StudyTime", "25h"),
        ("PatientID", "A\\B"),
        ("Modality", "CT\\M*"),
        ("PatientID", "*a" * (MAX_STARS + 1)),
        ("PatientID", "a" * 100_000),
    ],
)
def test_what_the_standard_does_not_know_is_refused_without_repeating_it(keyword: str, key: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse_match(keyword, key)
    assert keyword in str(refused.value) or "asterisks" in str(refused.value)
    assert key not in str(refused.value) or key == "-"


def test_each_kind_has_its_type() -> None:
    assert parse_match("PatientID", "a") == Single("a")
    assert parse_match("PatientID", "") == Universal()
    assert parse_match("PatientID", "a***?") == Wildcard("a*?")
    assert parse_match("Modality", "CT\\MR") == AnyOf(("CT", "MR"))
    assert parse_match("StudyInstanceUID", "1.2\\1.3\\1.2") == UidList(("1.2", "1.3"))
    assert parse_match("StudyInstanceUID", "1.2\\1.2") == Single("1.2")
    assert parse_match("StudyDate", "-20200131") == Range(None, "20200131")
    assert parse_match("StudyTime", "10-1115") == Range("100000.000000", "111559.999999")
    assert parse_match("PatientName", "A*==B") == NameGroups((Wildcard("a*"), Universal(), Single("b")))


def test_like_and_prefix_are_for_an_index() -> None:
    wildcard = parse_match("PatientID", "a%_\\".replace("\\", "") + "?b*")
    assert isinstance(wildcard, Wildcard)
    assert (wildcard.like(), wildcard.prefix) == (r"a\%\__b%", "a%_")


def test_many_asterisks_end_at_once() -> None:
    match = parse_match("PatientID", "a*" * MAX_STARS + "b")
    begun = time.monotonic()
    assert not matches("PatientID", match, "a" * 10_000)
    assert time.monotonic() - begun < 5


LETTERS = st.text("ab%_?*^\\é", max_size=8).map(lambda text: text.replace("\\", ""))


@given(key=LETTERS, value=LETTERS)
def test_sql_gives_the_same_answer_as_the_reference(key: str, value: str) -> None:
    match = parse_match("PatientID", key)
    if not isinstance(match, Wildcard):
        return
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA case_sensitive_like = ON")
    stored = normalise("PatientID", value)
    (found,) = connection.execute(r"SELECT ? <> '' AND ? LIKE ? ESCAPE '\'", (stored, stored, match.like())).fetchone()
    connection.close()
    assert bool(found) == matches("PatientID", match, value)
    assert not found or stored.startswith(match.prefix)


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\\=*?"), max_size=30)


@given(PLAIN)
def test_a_value_matches_itself(value: str) -> None:
    for keyword in ("PatientName", "PatientID", "StudyDescription"):
        normal = name_groups(value)[0] if keyword == "PatientName" else normalise(keyword, value)
        assert not normal or matches(keyword, parse_match(keyword, value), value)
        assert matches(keyword, parse_match(keyword, ""), value)


@given(PLAIN)
def test_normal_forms_are_stable(value: str) -> None:
    assert normalise("PatientID", normalise("PatientID", value)) == normalise("PatientID", value)
    assert normalise("StudyTime", normalise("StudyTime", value)) == normalise("StudyTime", value)


@given(st.times(), st.times(), st.times())
def test_ranges_of_times_are_ranges_of_times(low: object, high: object, at: object) -> None:
    def text(moment: object) -> str:
        return f"{moment:%H%M%S.%f}"

    match = parse_match("StudyTime", f"{text(low)}-{text(high)}")
    assert matches("StudyTime", match, text(at)) == (text(low) <= text(at) <= text(high))
