"""The first numbers of this kind, given back: a fleet made of Greenbone's table of September 2019, and the survey's table of that fleet."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from leadglass.survey.run import survey
from tests.fleet import fleet
from tests.fleet.greenbone import COUNTRIES, Row, archives, published, rows
from tests.survey.test_survey_fleet import write_scope

COLUMNS = ("systems", "open", "studies", "instances", "instances_accessible", "open_viewers")


def surveyed(folder: Path, table: Sequence[Row]) -> dict[str, dict[str, int]]:
    """The survey's own table by country, and its totals as `WORLD`; countries.csv says the same."""
    systems = archives(table)
    scope = write_scope(folder, systems, connections_per_second=5000)
    with fleet(systems):
        survey(scope, folder / "out")
    document = json.loads((folder / "out" / "results.json").read_text())
    found = {each["country"]: {column: each[column] for column in COLUMNS} for each in document["countries"]}
    with (folder / "out" / "countries.csv").open(newline="") as file:
        assert {row["country"]: {column: int(row[column]) for column in COLUMNS} for row in csv.DictReader(file)} == found
    return found | {"WORLD": {column: document["totals"][column] for column in COLUMNS}}


def expected(table: Sequence[Row]) -> dict[str, dict[str, int]]:
    by_country = {row.country: {column: getattr(row, column) for column in COLUMNS} for row in table}
    return by_country | {"WORLD": {column: sum(getattr(row, column) for row in table) for column in COLUMNS}}


def test_what_was_published_is_in_the_table_and_what_was_not_is_marked() -> None:
    table = rows()
    for row in table:
        for column, value in published().get(row.country, {}).items():
            assert (column in row.synthetic) == (value is None)
            assert value in {None, getattr(row, column)}
        assert row.instances_accessible <= row.instances
    assert len(table) == COUNTRIES
    assert expected(table)["WORLD"] == {
        "systems": 2300,
        "open": 590,
        "studies": 24_300_000,
        "instances": 737_000_000,
        "instances_accessible": 400_000_000,
        "open_viewers": 39,
    }


def test_three_countries_are_given_back_as_published(tmp_path: Path) -> None:
    table = [row for row in rows() if row.country in {"DE", "CH", "SK"}]
    found = surveyed(tmp_path, table)
    assert found == expected(table)
    assert found["DE"] | {"systems": 0} == {
        "systems": 0,
        "open": 5,
        "studies": 15_000,
        "instances": 2_850_000,
        "instances_accessible": 1_380_000,
        "open_viewers": found["DE"]["open_viewers"],
    }
    assert (found["CH"]["open"], found["CH"]["studies"], found["CH"]["instances_accessible"]) == (2, 1571, 231_840)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_published_table_is_given_back(tmp_path: Path) -> None:
    table = rows()
    found = surveyed(tmp_path, table)
    assert found == expected(table)
    world = {column: value for column, value in published()["WORLD"].items() if value is not None}
    assert {column: found["WORLD"][column] for column in world} == world
