"""Runs side by side: what became of every system, and nothing that another way of looking explains is read as growth."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from leadglass.cli import app
from leadglass.errors import ConfigurationError
from leadglass.survey.addresses import System
from leadglass.survey.compare import Change, Comparison, Verdict, compare, step
from leadglass.survey.folder import Folder
from leadglass.survey.observations import ExposureLevel, Observation, RecordCounts
from leadglass.survey.published import Run, read
from leadglass.survey.report import comparison as page
from leadglass.survey.report.page import policy
from tests.survey.playing import Played, door, play, scope_of
from tests.survey.test_survey_report import HOSTILE, Page

L = ExposureLevel


def doc(
    systems: Mapping[str, Mapping[str, Any]], *, at: str = "2026-01-01", method: str = "1", level: str = "count", **told: object
) -> Run:
    """A run as its results.json says it: host -> what differs from a plain archive that rejects strangers."""
    plain: dict[str, Any] = {"country": "FR", "site": "", "level": "dicom", "write": "refused", "records": None, "findings": []}
    targets = []
    for host, changes in systems.items():
        seen = {"name": f"at {host}", "host": host, **plain, **changes}
        targets.append({"doors": [{"port": 104, "level": seen["level"]}], **seen})
    opened = sum(L(each["level"]).is_open for each in targets)
    totals = {"open": opened, "studies": sum(each["records"]["studies"] for each in targets if each["records"])}
    survey = {"method": method, "started": at, "level": level, "run": at, "left": 0, **told}
    return Run.model_validate({"survey": survey, "targets": targets, "totals": {"systems": len(targets), **totals}, "where": f"run-{at}"})


def opened(studies: int = 100, level: L = L.RECORDS, *, exact: bool = True, **more: object) -> Mapping[str, Any]:
    return {"level": str(level), "records": {"patients": studies, "studies": studies, "instances": studies, "exact": exact}, **more}


def only(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, **after_told: object) -> Change:
    """What became of one system; None where the run does not list it."""
    asked: dict[str, Any] = {"ranges": [{"name": "r", "host": "10.0.0.0/24", "ports": [104]}]}
    one = doc({} if before is None else {"10.0.0.1": before}, **asked)
    other = doc({} if after is None else {"10.0.0.1": after}, at="2026-02-01", **{**asked, **after_told})
    (system,) = step(one, other).systems
    return system.change


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({"level": "association"}, {"level": "association"}, Change.UNCHANGED),
        ({"level": "association"}, {"level": "records"}, Change.WORSE),
        ({"level": "images"}, {"level": "records"}, Change.BETTER),
        ({"level": "records"}, {"level": "closed"}, Change.GONE),
        ({"level": "records"}, None, Change.GONE),
        ({"level": "closed"}, {"level": "open-port"}, Change.NEW),
        (None, {"level": "images"}, Change.NEW),
        (None, {"level": "closed"}, Change.UNCHANGED),
        ({"write": "refused"}, {"write": "offered"}, Change.WORSE),
        ({"write": "accepted"}, {"write": "refused"}, Change.BETTER),
        ({"write": "not-tried"}, {"write": "offered"}, Change.UNCHANGED),
        (opened(100), opened(109), Change.UNCHANGED),
        (opened(100), opened(111), Change.WORSE),
        (opened(100), opened(80), Change.BETTER),
        (opened(100), opened(900, exact=False), Change.UNCHANGED),
        ({"findings": [{"severity": "medium"}]}, {"findings": [{"severity": "high"}]}, Change.WORSE),
        ({"findings": []}, {"findings": [{"severity": "low"}]}, Change.UNCHANGED),
    ],
)
def test_what_became_of_a_system(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, change: Change) -> None:
    assert only(before, after) is change


def test_another_method_is_not_read_as_growth() -> None:
    for before, after in (({"level": "association"}, {"level": "records"}), (None, opened()), ({"level": "closed"}, {"level": "images"})):
        assert only(before, after) is not Change.UNCLEAR
        assert only(before, after, method="2") is Change.UNCLEAR
    assert only({"level": "images"}, {"level": "records"}, method="2") is Change.UNCLEAR
    assert only({"level": "images"}, None, method="2") is Change.GONE
    one = doc({f"10.0.0.{n}": {"level": "association"} for n in range(5)})
    other = doc({f"10.0.0.{n}": opened() for n in range(5)}, at="2026-02-01", method="2")
    assert [each.verdict for each in step(one, other).countries] == [Verdict.UNCLEAR]
    back = (
        doc({f"10.0.0.{n}": opened() for n in range(5)}),
        doc({f"10.0.0.{n}": {"level": "association"} for n in range(5)}, at="2026-03-01", method="2"),
    )
    assert [each.verdict for each in step(*back).countries] == [Verdict.UNCLEAR]


def test_looking_further_or_at_other_ports_is_not_growth() -> None:
    assert only({"level": "query-offered"}, {"level": "records"}, level="retrieve") is Change.UNCLEAR
    assert only({"level": "records"}, {"level": "query-offered"}, level="retrieve") is Change.BETTER
    assert only({"level": "records"}, {"level": "association"}, level="connect") is Change.UNCLEAR
    elsewhere = [{"port": 104, "level": "dicom"}, {"port": 8042, "level": "records"}]
    assert only({"level": "dicom"}, {"level": "records", "doors": elsewhere}) is Change.UNCLEAR
    assert only({"level": "records", "doors": elsewhere}, {"level": "dicom"}) is Change.UNCLEAR
    assert only(None, {"level": "records", "doors": elsewhere[1:]}) is Change.UNCLEAR


def test_what_was_not_asked_is_counted_apart() -> None:
    assert only({"level": "images"}, None, ranges=[]) is Change.NOT_ASKED_AFTER
    assert only({"level": "images"}, None, left=3) is Change.NOT_ASKED_AFTER
    assert only({"level": "images"}, None, refused=[{"host": "10.0.0.1"}]) is Change.NOT_ASKED_AFTER
    (system,) = step(doc({}), doc({"10.0.0.1": opened()}, at="2026-02-01")).systems
    assert system.change is Change.NOT_ASKED_BEFORE
    (country,) = step(doc({}), doc({"10.0.0.1": opened()}, at="2026-02-01")).countries
    assert (country.open_after, country.studies_after, country.verdict) == (0, 0, Verdict.UNCLEAR)


def country(before: int, after: int, *, of: int = 10, studies: tuple[int, int] = (100, 100)) -> Verdict:
    one = doc({f"10.0.0.{n}": opened(studies[0]) if n < before else {} for n in range(of)})
    other = doc({f"10.0.0.{n}": opened(studies[1]) if n < after else {} for n in range(of)}, at="2026-02-01")
    return step(one, other).countries[0].verdict


def test_good_bad_and_ugly() -> None:
    assert country(0, 0) is Verdict.CLEAR
    assert country(4, 0) is Verdict.GOOD
    assert country(4, 2) is Verdict.GOOD
    assert country(4, 3) is Verdict.BAD
    assert country(4, 4) is Verdict.BAD
    assert country(4, 5) is Verdict.UGLY
    assert country(0, 1) is Verdict.UGLY
    assert country(4, 3, studies=(100, 200)) is Verdict.UGLY


def test_a_system_that_was_renamed_or_moved_is_the_same() -> None:
    one = doc({"10.0.0.1": {"name": "old"}, "10.0.0.2": {"name": "PACS"}, "10.0.0.3": {"name": "gone"}})
    other = doc({"10.0.0.1": {"name": "new"}, "10.0.0.9": {"name": "PACS"}}, at="2026-02-01")
    changes = {each.shown.name: each.change for each in step(one, other).systems}
    assert changes == {"new": Change.UNCHANGED, "PACS": Change.UNCHANGED, "gone": Change.NOT_ASKED_AFTER}


LEVELS = st.dictionaries(
    st.integers(0, 30).map("10.0.0.{}".format), st.sampled_from([str(each) for each in L]).map(lambda each: {"level": each})
)


@given(LEVELS, LEVELS)
def test_every_system_has_one_change_and_a_run_is_as_itself(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    done = step(doc(one), doc(other, at="2026-02-01"))
    assert sum(done.changes.values()) == len(done.systems) == len({*one, *other})
    assert sum(sum(each.changes.values()) for each in done.countries) == len(done.systems)
    itself = step(doc(one), doc(one, at="2026-02-01"))
    assert itself.changes[Change.UNCHANGED] == len(one)
    back = step(doc(other), doc(one, at="2026-02-01"))
    assert back.changes[Change.WORSE] == done.changes[Change.BETTER]


def over_time(folder: Path, runs: int = 3) -> list[Path]:
    """Surveys of one scope whose archives are closed one after the other, but for one that opens."""
    folders = [folder / f"run{number}" for number in range(runs)]
    scope = scope_of({"name": HOSTILE, "host": f"10.0.0.0/{28}", "dimse_ports": [104], "country": "FR"})
    for number, out in enumerate(folders):

        def answer(system: System, number: int = number) -> Observation:
            last = int(system.address) % 256
            is_open = last > 4 * number or last == 1
            return door(L.RECORDS if is_open else L.CLOSED, records=RecordCounts(1, 2, 3, exact=True) if is_open else None)

        play(out, scope, Played(answer))
        path = out / "results.json"
        path.write_text(re.sub(r'"started": "[^"]+"', f'"started": "2026-0{number + 1}-01"', path.read_text()))
    return folders


def compared(folders: list[Path]) -> Comparison:
    return compare(read(Folder(each)) for each in folders)


def test_runs_of_the_survey_are_compared_from_end_to_end(tmp_path: Path) -> None:
    folders = over_time(tmp_path)
    told = CliRunner().invoke(app, ["survey", "compare", *map(str, reversed(folders)), "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    assert "2026-01-01 to 2026-02-01: 3 gone, 11 unchanged" in told.output
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [each["changes"]["gone"] for each in document["steps"]] == [3, 4]
    assert [each["totals"]["open"] for each in document["runs"]] == [14, 11, 7]
    assert [each["countries"][0]["verdict"] for each in document["steps"]] == ["bad", "bad"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}
    back = CliRunner().invoke(app, ["survey", "compare", *map(str, folders[:1] * 2), "--out", str(tmp_path / "out")])
    assert isinstance(back.exception, ConfigurationError)


def test_a_run_that_is_worse_ends_in_one(tmp_path: Path) -> None:
    better, worse = doc({"10.0.0.1": {}}), doc({"10.0.0.1": opened()}, at="2026-02-01")
    assert compare([better, worse]).exit_code == 1
    assert compare([worse, doc({"10.0.0.1": {}}, at="2026-03-01")]).exit_code == 0


def test_the_page_is_self_contained_and_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    raw = page.render(compared(over_time(tmp_path)))
    parsed = Page(raw)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(parsed.tags)
    assert {"src", "style"}.isdisjoint(name for name, _ in parsed.attributes)
    assert [value for name, value in parsed.attributes if name == "href"] == ["#content"]
    assert b"&lt;script&gt;alert(1)" in raw
    assert policy().encode() in raw.replace(b"&#39;", b"'")


def test_the_trend_is_broken_where_the_method_changes() -> None:
    runs = [doc({}, at=f"2026-0{n}-01", method="1" if n < 3 else "2") for n in range(1, 5)]
    line = page._trend(runs)[0]  # noqa: SLF001 - what the page draws
    assert [point.broken for point in line.points] == [False, False, True, False]
    assert len(line.segments) == 2
    html = page.render(compare(runs)).decode()
    assert "The method changed from 1 to 2" in html
    assert html.count('class="break"') == 3


def test_what_cannot_be_compared_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="two or more"):
        compare([doc({})])
    play(tmp_path / "a")
    path = tmp_path / "a" / "results.json"
    good = path.read_text()
    for bad in (
        "",
        "{}",
        "[]",
        "[" * 100_000,
        good.replace('"shard": null', '"shard": "1/2"'),
        good.replace('"10.2.0.0/27"', '"nonsense"'),
    ):
        path.write_text(bad)
        with pytest.raises(ConfigurationError, match=r"damaged|merge the shards"):
            read(Folder(tmp_path / "a"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    path.write_text(good)  # as it was
    told = CliRunner().invoke(app, ["survey", "compare", str(tmp_path / "a"), "--out", str(tmp_path / "out")])
    assert "is in use" in str(told.exception)


UNCOUNTED = {"level": "records", "records": None}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (opened(100), opened(900), Verdict.UGLY),
        # A bound that was raised, or a survey that did not count yet, is no growth of the archive.
        (opened(100, exact=False), opened(900), Verdict.BAD),
        (opened(100), opened(900, exact=False), Verdict.BAD),
        (UNCOUNTED, opened(900), Verdict.BAD),
        ({}, opened(900, exact=False), Verdict.UGLY),
        (opened(900, exact=False), {}, Verdict.GOOD),
    ],
)
def test_a_country_is_not_ugly_by_a_count_that_got_better(before: Mapping[str, Any], after: Mapping[str, Any], verdict: Verdict) -> None:
    (country,) = step(doc({"10.0.0.1": before}), doc({"10.0.0.1": after}, at="2026-02-01")).countries
    assert country.verdict is verdict
