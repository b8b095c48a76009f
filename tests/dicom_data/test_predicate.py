"""Predicates are closed unless something in them opens them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY, Condition, Quantifier, StudyPredicate
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Level

CT = Condition("Modality", frozenset({"CT"}))
WARD = Condition("InstitutionName", frozenset({"North", "South"}), Quantifier.ALL)
VALUES = st.dictionaries(
    st.sampled_from(["Modality", "InstitutionName", "PatientID"]), st.sampled_from(["", "CT", "MR", "CT\\MR", "North", " North "])
)
PREDICATES = st.builds(
    StudyPredicate, st.lists(st.lists(st.sampled_from([CT, WARD]), min_size=1, max_size=2).map(tuple), max_size=3).map(tuple), st.booleans()
)


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
