"""JSON from a stranger's server: bounded, and read for counts and presence alone (PS3.18 annex F)."""

import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from leadglass.survey.observations import Field
from leadglass.survey.tally import Tally, whole_number

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_JSON_BYTES = 2 << 20

PATIENT_ID = "00100020"
ISSUER = "00100021"
STUDY = "0020000D"
SERIES = "0020000E"
INSTANCE = "00080018"
STUDY_INSTANCES = "00201208"

FIELD_TAGS: Mapping[Field, str] = {
    Field.PATIENT_NAME: "00100010",
    Field.PATIENT_ID: PATIENT_ID,
    Field.PATIENT_BIRTH_DATE: "00100030",
    Field.PATIENT_SEX: "00100040",
    Field.ISSUER_OF_PATIENT_ID: ISSUER,
    Field.OTHER_PATIENT_IDS: "00101000",
    Field.STUDY_DATE: "00080020",
    Field.STUDY_TIME: "00080030",
    Field.ACCESSION_NUMBER: "00080050",
    Field.STUDY_DESCRIPTION: "00081030",
    Field.REFERRING_PHYSICIAN_NAME: "00080090",
    Field.INSTITUTION_NAME: "00080080",
}


def parse(raw: bytes) -> Json:
    """The JSON value in `raw`; None for what is none, too large or too deep."""
    if len(raw) > MAX_JSON_BYTES:
        return None
    try:
        value: Json = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value


def rows(value: Json) -> list[Mapping[str, Json]] | None:
    """The data sets of a QIDO-RS answer; None where it is not one: an array of objects whose keys are tags."""
    if not isinstance(value, list):
        return None
    found: list[Mapping[str, Json]] = []
    for each in value:
        if not isinstance(each, dict) or not all(_is_tag(key) for key in each):
            return None
        found.append(each)
    return found


def _is_tag(key: str) -> bool:
    return len(key) == 8 and all(each in "0123456789ABCDEFabcdef" for each in key)


def text_of(row: Mapping[str, Json], tag: str) -> str:
    """The first value of an attribute as text; empty where there is none."""
    attribute = row.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    first = values[0] if isinstance(values, list) and values else ""
    return str(first) if isinstance(first, str | int) and not isinstance(first, bool) else ""


def has_value(row: Mapping[str, Json], tag: str) -> bool:
    """Whether an attribute is there and not empty; of a name, in any of its writings (PS3.18 F.2.2)."""
    attribute = row.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return isinstance(values, list) and any(any(each.values()) if isinstance(each, dict) else each not in (None, "") for each in values)


def fields_of(row: Mapping[str, Json]) -> tuple[Field, ...]:
    """Which of the reported attributes have a value; the values are dropped with the row."""
    return tuple(each for each, tag in FIELD_TAGS.items() if has_value(row, tag))


def tally_rows(found: list[Mapping[str, Json]], tally: Tally) -> bool:
    """Count the studies of a page; False where one did not say how many images it has, or could not be told from others."""
    is_sure = True
    for row in found:
        patient, study, images = text_of(row, PATIENT_ID), text_of(row, STUDY), whole_number(text_of(row, STUDY_INSTANCES))
        is_sure = is_sure and images is not None and bool(patient.strip()) and bool(study.strip())
        tally.add(text_of(row, ISSUER), patient, study, images or 0)
    return is_sure


def whole_numbers(value: Json, keys: tuple[str, ...]) -> tuple[int, ...] | None:
    """The counts under `keys` of an object, as a product's count endpoint gives them, numbers or digits in text."""
    if not isinstance(value, dict):
        return None
    return tuple(found) if len(found := list(_numbers(value, keys))) == len(keys) else None


def _numbers(value: Mapping[str, Json], keys: tuple[str, ...]) -> Iterator[int]:
    for key in keys:
        number = value.get(key)
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**12:
            yield number
        elif isinstance(number, str) and number.isascii() and number.isdigit() and len(number) <= 12:
            yield int(number)
