"""The same numbers in results.json, the CSV files, SARIF and the page, whatever the names; and SARIF by its own schema."""

import collections
import csv
import dataclasses
import io
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey.report import html, page, sarif, tables
from leadglass.survey.results import Results, Sums, to_json
from tests.architecture.tree import ROOT
from tests.peers import require
from tests.survey.invented import scope, world

SCHEMA = ROOT / ".venv/npm/node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json"
JUDGE = """
const ajv = new (require("ajv"))({schemaId: "auto", meta: false, allErrors: true, unknownFormats: "ignore"});
ajv.addMetaSchema(require("ajv/lib/refs/json-schema-draft-04.json"));
const judge = ajv.compile(JSON.parse(require("fs").readFileSync(process.argv[1])));
judge(JSON.parse(require("fs").readFileSync(0)));
console.log(JSON.stringify((judge.errors || []).map(each => each.dataPath + " " + each.message)));
"""

NAMES = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["=1+1", "a;=cmd()", '"', "a\nb", "[x](http://y) {0}", "\u2028", "\u202eabc", "</title>", ",,"]
)


MADE = world(systems=60, opened=30, countries=5)


@st.composite
def surveys(draw: st.DrawFn) -> Results:
    chosen = draw(st.lists(st.sampled_from(MADE.targets), min_size=1, max_size=6))
    targets = tuple(dataclasses.replace(each, name=draw(NAMES), site=draw(NAMES), country=draw(NAMES)) for each in chosen)
    return dataclasses.replace(MADE, targets=targets)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def added(records: list[dict[str, str]]) -> dict[str, int]:
    """The columns of a table, summed."""
    names = ("patients", "studies", "instances", "instances_accessible", "open_viewers")
    sums = {name: sum(int(row[name] or 0) for row in records) for name in names}
    return {"systems": len(records), "open": sum(row["open"] == "true" for row in records)} | sums


@given(surveys())
def test_every_table_gives_the_totals_of_the_results(results: Results) -> None:
    document = json.loads(to_json(results))
    totals = document["totals"]
    targets, countries = rows(tables.targets(results)), rows(tables.countries(results))
    assert added(targets) == totals
    assert {name: sum(int(row[name]) for row in countries) for name in totals} == totals
    assert [{name: int(row[name]) for name in totals} for row in countries] == [
        {name: each[name] for name in totals} for each in document["countries"]
    ]
    assert [row["level"] for row in targets] == [each["level"] for each in document["targets"]]


@given(surveys())
def test_sarif_has_the_findings_of_the_results_each_at_its_line_of_the_table(results: Results) -> None:
    document = json.loads(to_json(results))
    (run,) = json.loads(sarif.render(results))["runs"]
    lines = tables.targets(results).decode().split("\n")
    assert len(lines) == len(results.targets) + 2
    for each in run["results"]:
        (place,) = each["locations"]
        line = next(csv.reader([lines[place["physicalLocation"]["region"]["startLine"] - 1]]))
        assert line[0] == tables.cell(place["logicalLocations"][0]["name"])
    told = collections.Counter((each["locations"][0]["physicalLocation"]["region"]["startLine"], each["ruleId"]) for each in run["results"])
    expected = collections.Counter(
        (number, finding["id"]) for number, target in enumerate(document["targets"], tables.FIRST_LINE) for finding in target["findings"]
    )
    assert told == expected
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {each["ruleId"] for each in run["results"]}


@given(surveys())
def test_no_cell_begins_a_formula_in_whatever_way_it_is_parted(results: Results) -> None:
    for row in csv.reader(io.StringIO(tables.targets(results).decode(), newline="")):
        for value in row:
            assert not [part for part in value.split(";") if part.lstrip().startswith(("=", "+", "-", "@"))]
            assert value.isprintable()


def test_the_page_shows_the_totals() -> None:
    results = world(systems=200, opened=50, countries=20)
    shown = html.render(results).decode()
    foot = shown.partition("<tfoot>")[2].partition("</tfoot>")[0]
    for field in dataclasses.fields(Sums):
        number = getattr(results.totals, field.name)
        assert number > 0
        assert f">{page.grouped(number)}</td>" in foot


def objections(document: bytes) -> Any:  # noqa: ANN401 - JSON
    if not SCHEMA.exists():
        pytest.skip("the SARIF schema is not installed: `make peers` installs it")
    judged = subprocess.run([require("node"), "-e", JUDGE, SCHEMA], input=document, cwd=ROOT / ".venv/npm", capture_output=True, check=True)
    return json.loads(judged.stdout)


def test_sarif_is_what_its_schema_says() -> None:
    named = world(systems=60, opened=20, countries=5, scope=scope(unsafe_mandate="Act 7"))
    targets = tuple(dataclasses.replace(each, name="</a>[x](y) {0}\u202e", country="", site="") for each in named.targets)
    assert objections(sarif.render(named)) == []
    assert objections(sarif.render(dataclasses.replace(named, targets=targets))) == []
    assert objections(sarif.render(dataclasses.replace(named, targets=()))) == []


def test_the_schema_objects_to_what_is_not_sarif() -> None:
    document = json.loads(sarif.render(world(systems=6, opened=2, countries=1)))
    document["runs"][0]["results"][0]["level"] = "fatal"
    document["runs"][0]["invocations"] = [{}]
    assert len(objections(json.dumps(document).encode())) >= 2


def test_a_finding_keeps_its_fingerprint_from_run_to_run() -> None:
    first, again = (world(systems=20, opened=5, countries=2, run_id=run) for run in ("aaa111", "bbb222"))
    prints = [[each["partialFingerprints"] for each in json.loads(sarif.render(run))["runs"][0]["results"]] for run in (first, again)]
    assert prints[0] == prints[1]
    assert len({each["leadglass/v1"] for each in prints[0]}) == len(prints[0])


def test_sarif_names_the_mandate() -> None:
    (run,) = json.loads(sarif.render(world(systems=2, opened=1, countries=1, scope=scope(unsafe_mandate="Act 7"))))["runs"]
    assert run["properties"]["unsafeMandate"] == "Act 7"
    assert run["properties"]["owner"] == "Ministry of Health (invented)"
