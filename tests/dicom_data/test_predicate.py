"""Predicates are closed unless something in them opens them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY, Alternatives, Condition, Quantifier, StudyPredicate
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Level

CT = Condition("Modality", frozenset({"CT"}))
WARD = Condition("InstitutionName", frozenset({"North", "South"}), Quantifier.ALL)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "Modality": st.sampled_from(["", "CT", "MR", "CT\\MR"]),
        "InstitutionName": st.sampled_from(["", "North", " North ", "West"]),
        "StudyDate": st.sampled_from(["", "20100101", "20240101 ", "2010", "2010.1.1", "20100101\\20240101"]),
    },
)
OLD = Condition("StudyDate", until="20101231")
ALTERNATIVES = st.lists(st.lists(st.sampled_from([CT, WARD, OLD]), min_size=1, max_size=2).map(tuple), max_size=3).map(tuple)
PREDICATES = st.builds(StudyPredicate, ALTERNATIVES, st.booleans(), ALTERNATIVES)
PREDICATES |= st.builds(lambda one, two: one | two, PREDICATES, PREDICATES)


@given(VALUES)
def test_nothing_admits_nothing_and_everything_all(values: dict[str, str]) -> None:
    assert not NO_STUDY.admits(values)
    assert not StudyPredicate().admits(values)
    assert EVERY_STUDY.admits(values)


@given(PREDICATES, PREDICATES, VALUES)
def test_either_of_two_is_the_union(one: StudyPredicate, other: StudyPredicate, values: dict[str, str]) -> None:
    assert (one | other).admits(values) == (one.admits(values) or other.admits(values))
    assert (one | NO_STUDY).admits(values) == one.admits(values)
    assert one | EVERY_STUDY == EVERY_STUDY


@given(PREDICATES, PREDICATES, VALUES)
def test_both_of_two_is_what_each_admits(one: StudyPredicate, other: StudyPredicate, values: dict[str, str]) -> None:
    assert (one & other).admits(values) == (one.admits(values) and other.admits(values))
    assert (one & EVERY_STUDY).admits(values) == one.admits(values)
    assert (one & NO_STUDY).nothing


@given(PREDICATES, ALTERNATIVES, VALUES)
def test_what_is_taken_away_is_away(one: StudyPredicate, denied: Alternatives, values: dict[str, str]) -> None:
    assert one.without(denied).admits(values) == (one.admits(values) and not StudyPredicate(denied).admits(values))


@given(PREDICATES, VALUES)
def test_nothing_and_everything_are_what_they_say(predicate: StudyPredicate, values: dict[str, str]) -> None:
    assert not (predicate.nothing and predicate.admits(values))
    assert predicate.admits(values) or not predicate.everything


@pytest.mark.parametrize(
    ("text", "held"),
    [("20100101", True), (" 20100101 ", True), ("20101231", True), ("20110101", False), ("", False), ("2010", False), ("2010.01.01", False),
     ("20100101\\20240101", False), ("20100101\0", False), ("٢٠١٠٠١٠١", False)],
)  # fmt: skip
def test_a_range_holds_single_dates_of_eight_digits(text: str, *, held: bool) -> None:
    assert OLD.holds(text) is held


@pytest.mark.parametrize(
    ("keyword", "values", "since"),
    [("Modality", (), "20240101"), ("StudyDate", (), "2024"), ("StudyDate", ("20240101",), "20240101"), ("StudyDate", (), "٢٠٢٤٠١٠١")],
)
def test_a_range_is_of_dates_and_has_no_values(keyword: str, values: tuple[str, ...], since: str) -> None:
    with pytest.raises(ConfigurationError):
        Condition(keyword, frozenset(values), since=since)


@pytest.mark.parametrize(
    ("values", "admitted"),
    [
        ({"Modality": "CT", "InstitutionName": "North"}, True),
        ({"Modality": "CT\\MR", "InstitutionName": " South "}, True),
        ({"Modality": "CT"}, False),
        ({"Modality": "CT", "InstitutionName": ""}, False),
        ({"Modality": "ct", "InstitutionName": "North"}, False),
        ({}, False),
    ],
)
def test_all_conditions_of_an_alternative_must_hold(values: dict[str, str], admitted: bool) -> None:
    assert StudyPredicate(((CT, WARD),)).admits(values) is admitted


def test_an_alternative_without_conditions_is_a_mistake_and_not_everything() -> None:
    with pytest.raises(ValueError, match="EVERY_STUDY"):
        StudyPredicate(((CT,), ()))


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "Rows", "ModalitiesInStudy", "Nonsense"])
def test_only_attributes_of_studies_and_series_judge(keyword: str) -> None:
    with pytest.raises(ConfigurationError):
        Condition(keyword, frozenset({"x"}))


@pytest.mark.parametrize("values", [frozenset(), frozenset({""}), frozenset({"CT", " "})])
def test_an_empty_value_is_no_condition(values: frozenset[str]) -> None:
    with pytest.raises(ConfigurationError):
        Condition("Modality", values)


def test_a_condition_knows_its_level() -> None:
    assert [Condition(keyword, frozenset({"x"})).level for keyword in ("PatientID", "StudyDescription", "Modality")] == [
        Level.PATIENT,
        Level.STUDY,
        Level.SERIES,
    ]
