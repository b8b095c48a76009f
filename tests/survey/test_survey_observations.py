"""No type in which a probe brings something home can hold text: tested by walking them all."""

import dataclasses
import types
import typing
from enum import Enum, StrEnum

import pytest

from leadglass.survey import negotiated, observations
from leadglass.survey.observations import Dimse, ExposureLevel, Rejection, RejectionMeaning, Web
from leadglass.survey.results import Result

EVERY_NAME = [*vars(observations).values(), *vars(negotiated).values()]


def holders_of_text(kind: object, where: str) -> list[str]:
    """The places under `kind` that could hold something that is not a number, a boolean or a word of ours."""
    origin = typing.get_origin(kind)
    if origin in {types.UnionType, typing.Union, tuple}:
        return [each for argument in typing.get_args(kind) for each in holders_of_text(argument, where)]
    if kind in {int, bool, types.NoneType, Ellipsis}:
        return []
    if isinstance(kind, type) and issubclass(kind, Enum):
        return []
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return [each for field in dataclasses.fields(kind) for each in holders_of_text(hints[field.name], f"{where}.{field.name}")]
    return [where]


def holders_of_numbers(kind: object, where: str) -> list[str]:
    """The places under `kind` that hold a number."""
    if typing.get_origin(kind) in {types.UnionType, typing.Union, tuple}:
        return [each for argument in typing.get_args(kind) for each in holders_of_numbers(argument, where)]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return [each for field in dataclasses.fields(kind) for each in holders_of_numbers(hints[field.name], f"{where}.{field.name}")]
    return [where] if kind in {int, float} else []


@pytest.mark.parametrize("kind", [Dimse, Web])
def test_an_observation_has_no_place_for_a_patient(kind: type) -> None:
    assert holders_of_text(kind, kind.__name__) == []


def test_a_result_has_text_of_the_scope_and_of_our_own_tables_alone() -> None:
    """Beside what the scope says, only findings and software have text: of `findings.py` and `data/`, tested by `test_survey_siege.py`."""
    of_the_scope = {"Result.name", "Result.host", "Result.country", "Result.site"}
    places = set(holders_of_text(Result, "Result"))
    assert {place for place in places if not place.startswith(("Result.software.", "Result.findings."))} == of_the_scope


def test_no_number_is_long_enough_for_a_birth_date_or_an_identifier() -> None:
    """Numbers are counts, ports, codes and versions: a name for each, so that a new one is thought about."""
    counts = {"patients", "studies", "instances", "listed_images", "days_left"}
    codes = {
        "port",
        "result",
        "source",
        "reason",
        "query_status",
        "store_status",
        "stow_status",
        "synthetic_object",
        "key_bits",
        "fingerprint",
    }
    versions = {"toolkit_version", "product_version"}
    found = {place.rpartition(".")[2] for kind in (Dimse, Web) for place in holders_of_numbers(kind, kind.__name__)}
    assert found <= counts | codes | versions
    assert found > versions


def test_the_walk_finds_a_place_for_text() -> None:
    inner = dataclasses.make_dataclass("Inner", [("name", str | None)])
    outer = dataclasses.make_dataclass(
        "Outer", [("inner", types.GenericAlias(tuple, (inner, ...))), ("count", int), ("raw", dict[str, int])]
    )
    assert holders_of_text(outer, "Outer") == ["Outer.inner.name", "Outer.raw"]


def test_observations_are_frozen_and_have_no_dictionary() -> None:
    kinds = [each for each in EVERY_NAME if isinstance(each, type) and dataclasses.is_dataclass(each)]
    assert len(kinds) >= 6
    assert all(getattr(each, "__dataclass_params__").frozen and "__slots__" in vars(each) for each in kinds)  # noqa: B009 - not in the stubs


def test_no_word_of_ours_takes_a_value_from_outside() -> None:
    for kind in EVERY_NAME:
        if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum:
            with pytest.raises(ValueError, match="is not a valid"):
                kind("Doe^John")


def test_levels_are_in_the_order_of_exposure() -> None:
    names = ["closed", "open-port", "dicom", "association", "query-offered", "records", "images"]
    assert [str(level) for level in sorted(ExposureLevel, key=lambda level: level.rank)] == names
    assert [level for level in ExposureLevel if level.is_open] == [ExposureLevel.RECORDS, ExposureLevel.IMAGES]


def test_only_two_of_all_rejections_speak_of_titles() -> None:
    meanings = {(source, reason): Rejection(1, source, reason).meaning for source in range(5) for reason in range(10)}
    of_titles = {key for key, meaning in meanings.items() if meaning in {RejectionMeaning.CALLED_AE, RejectionMeaning.CALLING_AE}}
    assert of_titles == {(1, 3), (1, 7)}
