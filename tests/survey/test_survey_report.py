"""The reports: the same numbers everywhere, nothing that runs, nothing from elsewhere, nothing of addresses where they are left out."""

import base64
import csv
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey import products
from leadglass.survey.addresses import RefusedTarget
from leadglass.survey.control import ProofBy, ProvenControl
from leadglass.survey.findings import RULES, Severity, Software, findings_of
from leadglass.survey.folder import Folder
from leadglass.survey.observations import (
    Certificate,
    ClientCertificate,
    DefaultAccount,
    Dimse,
    Ending,
    ExposureLevel,
    Field,
    KeyKind,
    Protocol,
    RecordCounts,
    SuiteWeakness,
    Tls,
    TlsVersion,
    Transport,
    Viewer,
    Web,
    WebApi,
    WebProduct,
    Write,
)
from leadglass.survey.remedies import SETTINGS
from leadglass.survey.report import first, html, sarif, systems, tables, text, worldmap, write_reports
from leadglass.survey.report.page import grouped
from leadglass.survey.report.public import without_addresses
from leadglass.survey.results import Result, Results, sums, to_json
from leadglass.survey.scope import ExposureLimit, Scope, parse_scope
from tests.survey.harness import scope_text
from tests.survey.invented import world

HOSTILE = "<script>alert(1)</script>\"'=HYPERLINK(1)"


def scope(**limits: object) -> Scope:
    return parse_scope(scope_text([{"name": "a", "host": "127.0.0.1", "dimse_ports": [104]}], limits=limits).encode())


def result(
    name: str = "North", level: ExposureLevel = ExposureLevel.IMAGES, records: RecordCounts | None = None, **changes: object
) -> Result:
    door = Dimse(104, Protocol.DIMSE, level, Write.OFFERED, Transport.PLAIN, Ending.DONE)
    software = Software(name="Orthanc", version=(1, 10, 1), confidence="confirmed")
    values: dict[str, Any] = {
        "name": name,
        "host": "10.20.0.3",
        "country": "FR",
        "site": "Lille",
        "level": level,
        "write": Write.OFFERED,
        "transport": Transport.PLAIN,
        "records": records,
        "fields": (Field.PATIENT_NAME,),
        "doors": (door,),
        "software": software,
        "findings": findings_of((door,), software),
        "open_viewers": 0,
    }
    return Result(**(values | changes))


def results(*targets: Result, **changes: object) -> Results:
    usual = Results(scope=scope(), started="2026-11-23T13:00:00+00:00", seconds=1.0, run_id="abc123", targets=targets)
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type] # the fields of Results


MIXED = results(
    result("A", ExposureLevel.IMAGES, RecordCounts(10, 20, 300, exact=True), open_viewers=2),
    result("B", ExposureLevel.RECORDS, RecordCounts(1, 2, 3, exact=False), country="DE", site="Bonn"),
    result("C", ExposureLevel.ASSOCIATION, None),
    result("D", ExposureLevel.CLOSED, None, findings=(), write=Write.NOT_TRIED, transport=None),
)


def test_the_sums_are_those_of_the_greenbone_report() -> None:
    totals = MIXED.totals
    assert (totals.systems, totals.open, totals.patients, totals.studies, totals.instances) == (4, 2, 11, 22, 303)
    assert (totals.instances_accessible, totals.open_viewers) == (300, 2)
    assert sums(()).systems == 0


def test_every_report_says_the_same() -> None:
    document = json.loads(to_json(MIXED))
    assert document["totals"]["studies"] == 22
    assert [each["country"] for each in document["countries"]] == ["DE", "FR"]
    assert sum(each["systems"] for each in document["countries"]) == document["totals"]["systems"]
    rows = list(csv.DictReader(io.StringIO(tables.targets(MIXED).decode())))
    assert [row["level"] for row in rows] == ["images", "records", "association", "closed"]
    assert [(row["patients"], row["exact"]) for row in rows] == [("10", "true"), ("1", "false"), ("", ""), ("", "")]
    assert "300" in tables.countries(MIXED).decode()
    assert "2 of 4 systems are open: at least 11 patients" in text.summary(MIXED)


def test_the_terminal_too_says_what_was_not_counted_or_not_to_its_end() -> None:
    opened = RecordCounts(5, 6, 70, exact=False)
    some = dataclasses.replace(MIXED.targets[0], level=ExposureLevel.RECORDS, records=opened)
    assert "1 of 1 systems are open: at least 5 patients" in text.summary(dataclasses.replace(MIXED, targets=(some,)))
    uncounted = dataclasses.replace(some, records=None)
    assert "at least 5 patients, 6 studies" in text.summary(dataclasses.replace(MIXED, targets=(some, uncounted)))
    asked = dataclasses.replace(MIXED, targets=(uncounted,), scope=MIXED.scope.lowered(ExposureLimit.QUERY))
    assert "1 of 1 systems are open: records not counted at level query" in text.summary(asked)


def test_results_have_the_keys_that_other_programs_rely_on() -> None:
    document = json.loads(to_json(MIXED))
    assert {"method", "started", "seconds", "authority", "level"} <= document["survey"].keys()
    target = document["targets"][0]
    assert {
        "name",
        "host",
        "country",
        "site",
        "level",
        "write",
        "transport",
        "records",
        "fields",
        "doors",
        "product",
        "findings",
    } <= target.keys()
    assert target["records"] == {"patients": 10, "studies": 20, "instances": 300, "exact": True}
    assert document["targets"][2]["records"] is None
    assert {"name", "toolkit", "version", "confidence"} <= target["product"].keys()
    assert {"id", "severity", "title", "remedy"} <= target["findings"][0].keys()
    assert {"port", "protocol", "level", "detail"} <= target["doors"][0].keys()
    columns = {"systems", "open", "patients", "studies", "instances", "instances_accessible", "open_viewers"}
    assert document["totals"].keys() == columns
    assert document["countries"][0].keys() == columns | {"country"}


class Page(HTMLParser):
    """The tags and links of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.titles: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "title" and data.strip():
            self.titles.append(data)


def test_the_report_holds_nothing_that_runs_or_comes_from_elsewhere() -> None:
    page = Page(html.render(MIXED))
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in {"src", "srcset", "action", "data", "style"} or name.startswith("on")]
    assert b"url(" not in html.render(MIXED)
    anchors = {value for name, value in page.attributes if name == "id"}
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert links
    assert all(link.startswith("#") and link[1:] in anchors for link in links)


def test_the_policy_allows_the_one_style_by_its_hash_and_nothing_else() -> None:
    content = html.render(MIXED).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)">', content)
    (style,) = re.findall(r"<style>(.*?)</style>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    directives = dict(each.strip().split(" ", 1) for each in policy.replace("&#39;", "'").split(";"))
    assert directives == {"default-src": "'none'", "style-src": f"'sha256-{digest}'", "base-uri": "'none'", "form-action": "'none'"}
    assert content.index("Content-Security-Policy") < content.index("<style>")


def test_names_from_outside_cannot_become_html() -> None:
    hostile = results(result(HOSTILE, site=HOSTILE, country=HOSTILE), refused=(RefusedTarget(HOSTILE, HOSTILE, HOSTILE),))
    page = html.render(hostile)
    assert "script" not in Page(page).tags
    assert b"<b>&lt;script&gt;" in page.partition(b"Without a square:")[2]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\r="])
def test_names_from_outside_cannot_become_formulas(start: str) -> None:
    row = next(csv.DictReader(io.StringIO(tables.targets(results(result(f"{start}cmd()"))).decode())))
    assert row["name"].startswith("'")


def test_the_edition_without_addresses_has_none() -> None:
    named = results(
        result("North PACS", records=RecordCounts(1, 1, 1, exact=True)),
        refused=(RefusedTarget("South PACS", "10.9.9.9", "10.9.9.9 is public"),),
    )
    page = html.render(without_addresses(named), public=True).decode()
    assert not re.search(r"10\.\d+\.\d+\.\d+|North PACS|South PACS|port 104,", page)
    assert "port 104," in html.render(named).decode()
    assert "System 1" in page
    assert "France (FR): 1 of 1 system open, 1 patient, 1 study" in page
    assert "10.20.0.3" in html.render(named).decode()


def test_a_mandate_is_printed_in_every_report() -> None:
    mandated = results(result(), scope=scope(unsafe_mandate="Act 7, section 3"))
    assert json.loads(to_json(mandated))["survey"]["authority"]["unsafe_mandate"] == "Act 7, section 3"
    assert b"Act 7, section 3" in html.render(mandated)
    assert b"Act 7, section 3" in html.render(without_addresses(mandated), public=True)
    assert "Act 7, section 3" in text.summary(mandated)
    assert b"Act 7" not in html.render(results(result()))
    assert "mandate" not in text.summary(results(result()))


def test_who_proved_control_is_in_the_report_and_in_its_method() -> None:
    hosts = [ProvenControl(f"{by} <i>", f"198.18.7.{number}", ExposureLimit.COUNT, by) for number, by in enumerate(ProofBy)]
    page = html.render(dataclasses.replace(MIXED, proven=tuple(hosts))).decode()
    listed = page.partition('<h2 id="proven">')[2].partition("</ul>")[0]
    for number, by in enumerate(ProofBy):
        assert f"<bdi>{by} &lt;i&gt;</bdi> (198.18.7.{number}): up to level count, by " in listed
    assert '<a href="#proven">4 hosts</a>' in page.partition('<h2 id="method">')[2]
    assert '<a href="#proven">1 host</a>' in html.render(dataclasses.replace(MIXED, proven=tuple(hosts[:1]))).decode()
    assert "published his consent" not in html.render(MIXED).decode()
    public = results(result(), scope=scope(unsafe_public_addresses=True))
    assert "or in a file (none did)." in html.render(public).decode().replace("&#39;", "'")


def test_sarif_has_a_rule_for_every_result() -> None:
    document = json.loads(sarif.render(MIXED))
    (run,) = document["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert document["version"] == "2.1.0"
    assert {each["ruleId"] for each in run["results"]} == rules
    assert len(run["results"]) == sum(len(target.findings) for target in MIXED.targets)
    assert {each["level"] for each in run["results"]} <= {"error", "warning", "note"}


def test_the_worst_come_first() -> None:
    assert [each.name for each in MIXED.worst_first] == ["A", "B", "C", "D"]
    severities = [finding.severity.rank for finding in MIXED.targets[0].findings]
    assert severities == sorted(severities, reverse=True)


def test_the_exit_code_is_one_where_anything_is_to_be_changed() -> None:
    nothing = result("D", ExposureLevel.CLOSED, None, findings=())
    assert (MIXED.exit_code, results(nothing).exit_code, results().exit_code) == (1, 0, 0)
    assert results(nothing, refused=(RefusedTarget("a", "b", "c"),)).exit_code == 1


def test_archives_stand_side_by_side() -> None:
    table = text.side_by_side(MIXED, ["D", "A"])
    assert re.search(r"a stranger reaches +closed +images", table)
    assert re.search(r"patients +none +10", table)
    assert re.search(r"studies +at least 2", text.side_by_side(MIXED, ["B"]))


def test_reports_are_written_whole_over_an_earlier_survey(tmp_path: Path) -> None:
    write_reports(MIXED, Folder(tmp_path / "out"))
    write_reports(results(), Folder(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "results.json").read_bytes())["targets"] == []


# The map

COUNTRIES = st.sampled_from([place.code for place in worldmap.places()]) | st.text(max_size=5)


@given(st.lists(COUNTRIES, max_size=30))
def test_every_system_is_on_the_map_or_under_it(countries: list[str]) -> None:
    world = worldmap.world_map(results(*(result(country=country) for country in countries)))
    on_it = sum(tile.found.systems for tile in world.tiles if tile.found)
    assert on_it + sum(found.systems for _, found in world.unplaced) == len(countries)
    shown = {tile.place.code for tile in world.tiles if tile.found} | {country for country, _ in world.unplaced}
    assert all(country in shown or country.strip().upper() in shown for country in countries)


def test_a_square_tells_its_counts_and_what_has_none_stands_under_the_map() -> None:
    here = RecordCounts(10, 20, 300, exact=True)
    strange = [result(level=ExposureLevel.CLOSED, country=country) for country in ("XX", "Neverland", "")]
    page = html.render(results(result(records=here), result(country=" fr ", records=here), result(country="DE"), *strange))
    titles = Page(page).titles
    assert "France (FR): 2 of 2 systems open, 20 patients, 40 studies" in titles
    assert "Germany (DE): 1 of 1 system open, 0 patients, 0 studies" in titles
    assert "Italy: not in this survey" in titles
    under = page.decode().partition("Without a square:")[2].partition("</ul>")[0]
    assert re.findall(r"<b>(.*?)</b>: 0 of 1 system open, 0 patients", under) == ["country not said", "Neverland", "XX"]


def test_without_a_country_there_is_no_map_but_a_sentence() -> None:
    page = html.render(results(result(country="")))
    assert b"names no country" in page
    assert "On the map" in page.decode()
    assert not [title for title in Page(page).titles if "not in this survey" in title]
    assert "country not said" in page.decode()


def test_every_shade_is_in_the_legend_and_has_a_colour() -> None:
    page = html.render(MIXED).decode()
    assert worldmap.LEGEND.keys() == set(worldmap.Shade)
    assert all(meaning in page and f".{shade} rect {{ fill: #" in page for shade, meaning in worldmap.LEGEND.items())


def test_the_grid_has_a_square_of_its_own_for_each_country() -> None:
    places = worldmap.places()
    assert len({place.code for place in places}) == len({(place.column, place.row) for place in places}) == len(places) == 209
    assert all(re.fullmatch("[A-Z]{2}", place.code) and place.name for place in places)
    assert min(place.column for place in places) == min(place.row for place in places) == 0


@pytest.mark.parametrize(
    ("first_code", "way", "second_code"),
    [
        ("US", "west", "FR"),
        ("PT", "west", "ES"),
        ("FR", "west", "PL"),
        ("UA", "west", "CN"),
        ("BR", "west", "AO"),
        ("SN", "west", "KE"),
        ("SA", "west", "IN"),
        ("CN", "west", "JP"),
        ("ID", "west", "FJ"),
        ("CA", "north", "US"),
        ("MX", "north", "CO"),
        ("CO", "north", "CL"),
        ("NO", "north", "IT"),
        ("GR", "north", "LY"),
        ("EG", "north", "ZA"),
        ("RU", "north", "IN"),
        ("JP", "north", "AU"),
        ("GL", "north", "BR"),
    ],
)
def test_the_grid_looks_like_the_world(first_code: str, way: str, second_code: str) -> None:
    by_code = {place.code: place for place in worldmap.places()}
    one, other = by_code[first_code], by_code[second_code]
    assert one.column < other.column if way == "west" else one.row < other.row


# What to do first


def test_sums_of_counts_that_stopped_early_say_so() -> None:
    assert b"The counts of 1 system stopped early" in html.render(MIXED)
    assert b"stopped early" not in html.render(results(result(records=RecordCounts(1, 1, 1, exact=True))))


def test_what_to_do_first_is_the_worst_then_what_concerns_most_patients() -> None:
    few = result("A", ExposureLevel.IMAGES, RecordCounts(5, 9, 9, exact=True))
    many = result("B", ExposureLevel.RECORDS, RecordCounts(70, 90, 90, exact=True), software=Software())
    closed_one = result("C", ExposureLevel.ASSOCIATION, RecordCounts(900, 1, 1, exact=True))
    steps = first.steps(results(few, few, many, closed_one))
    assert [(step.id, step.systems, step.patients) for step in steps[:4]] == [
        ("records-open", 1, 70),
        ("images-open", 2, 10),
        ("store-offered", 4, 80),
        ("dicom-unencrypted", 4, 80),
    ]
    ranks = [step.severity.rank for step in steps]
    assert ranks == sorted(ranks, reverse=True)
    assert {step.id for step in steps} == {finding.id for each in (few, many, closed_one) for finding in each.findings}


def test_what_to_do_first_stands_first_with_its_numbers() -> None:
    page = html.render(MIXED).decode()
    part = page.partition(">What to do first</h2>")[2].partition("<h2")[0]
    assert page.index(">What to do first</h2>") < page.index(">On the map</h2>") < page.index(">By country</h2>")
    assert "Anyone can fetch images" in part
    assert "1 system, 10 patients exposed there" in part
    assert "3 systems, 11 patients exposed there" in part
    nothing = html.render(results(result(level=ExposureLevel.CLOSED, findings=()))).decode()
    assert '<ol class="steps">' not in nothing


def test_more_kinds_of_findings_than_are_first_are_counted() -> None:
    everything = findings_of(tuple(FINDINGS.values()), Software())
    page = html.render(results(result(findings=everything))).decode()
    assert page.partition('<ol class="steps">')[2].partition("</ol>")[0].count("<li") == html.MAX_STEPS
    assert f"{len(everything) - html.MAX_STEPS} more kinds of findings" in page


def test_the_remedy_of_a_step_is_one_sentence_for_every_product() -> None:
    for rule in RULES:
        found = findings_of((FINDINGS[rule.id],), Software(name="Orthanc"))
        step = next(step for step in first.steps(results(result(findings=found))) if step.id == rule.id)
        assert step.remedy.endswith(".")
        assert rule.remedy.startswith(step.remedy)
        assert ". " not in step.remedy


# Findings


def certificate(**changes: object) -> Certificate:
    usual: dict[str, Any] = {
        "days_left": 90,
        "not_yet_valid": False,
        "key": KeyKind.RSA,
        "key_bits": 3072,
        "sha1_signature": False,
        "self_signed": False,
        "published_key": False,
        "trusted": None,
        "name_matches": None,
    }
    return Certificate(**(usual | changes))


def closed(**changes: object) -> Dimse:
    usual: dict[str, Any] = {
        "port": 2762,
        "protocol": Protocol.DIMSE_TLS,
        "level": ExposureLevel.OPEN_PORT,
        "write": Write.REFUSED,
        "transport": Transport.MUTUAL_TLS,
        "ending": Ending.TLS_FAILED,
        "tls": Tls(TlsVersion.TLS_1_3, (), weak_suites=False, client_certificate=ClientCertificate.REQUIRED, certificate=certificate()),
    }
    return Dimse(**(usual | changes))


def page(**changes: object) -> Web:
    usual: dict[str, Any] = {
        "port": 443,
        "protocol": Protocol.DICOMWEB,
        "level": ExposureLevel.OPEN_PORT,
        "transport": Transport.TLS,
        "ending": Ending.DONE,
        "guarded_apis": (WebApi.QIDO,),
    }
    return Web(**(usual | changes))


def tls(**changes: object) -> Tls:
    usual: dict[str, Any] = {
        "version": TlsVersion.TLS_1_3,
        "old_versions": (),
        "weak_suites": False,
        "client_certificate": ClientCertificate.REQUIRED,
        "certificate": certificate(),
    }
    return Tls(**(usual | changes))


FINDINGS: dict[str, Dimse | Web] = {
    "images-open": closed(level=ExposureLevel.IMAGES),
    "records-open": closed(level=ExposureLevel.RECORDS),
    "product-interface-open": page(open_apis=(WebApi.ORTHANC_REST,)),
    "published-key": closed(tls=tls(certificate=certificate(published_key=True))),
    "store-offered": closed(write=Write.OFFERED),
    "directory-listing": page(directory_listing=True),
    "any-origin": page(any_origin_with_credentials=True),
    "any-origin-open": page(any_origin=True, open_apis=(WebApi.QIDO,)),
    "default-account": page(default_account=DefaultAccount.ACCEPTED),
    "viewer-credentials": page(config_holds_credentials=True),
    "viewer-configuration": page(config_names_service=True),
    "images-listed": page(listed_images=3),
    "store-accepted": closed(write=Write.ACCEPTED),
    "dicom-unencrypted": closed(level=ExposureLevel.ASSOCIATION, transport=Transport.PLAIN),
    "web-unencrypted": page(transport=Transport.PLAIN),
    "tls-old-version": closed(tls=tls(old_versions=(TlsVersion.TLS_1_0,))),
    "tls-no-protection": closed(tls=tls(weaknesses=(SuiteWeakness.NO_ENCRYPTION,))),
    "tls-weak-suites": closed(tls=tls(weak_suites=True)),
    "certificate-expired": closed(tls=tls(certificate=certificate(days_left=-1))),
    "certificate-untrusted": closed(tls=tls(certificate=certificate(trusted=False))),
    "certificate-weak": closed(tls=tls(certificate=certificate(key_bits=1024))),
    "certificate-name": closed(tls=tls(certificate=certificate(name_matches=False))),
    "certificate-expires-soon": closed(tls=tls(certificate=certificate(days_left=3))),
    "strangers-associate": closed(level=ExposureLevel.ASSOCIATION),
}


def test_every_rule_is_shown_to_hold() -> None:
    assert FINDINGS.keys() == {rule.id for rule in RULES}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_rule_holds_where_it_should(name: str) -> None:
    assert name in {finding.id for finding in findings_of((FINDINGS[name],), Software())}


@pytest.mark.parametrize("seen", [closed(), page(), closed(level=ExposureLevel.DICOM, transport=Transport.PLAIN, tls=None)])
def test_a_door_that_rejects_strangers_is_no_finding(seen: Dimse | Web) -> None:
    assert findings_of((seen,), Software()) == ()


def test_a_viewer_is_open_only_where_what_it_shows_is() -> None:
    guarded, opened = page(viewers=(Viewer.OHIF,)), page(viewers=(Viewer.OHIF,), open_apis=(WebApi.QIDO,), level=ExposureLevel.RECORDS)
    assert "viewer-open" not in {finding.id for finding in findings_of((guarded,), Software())}
    assert "viewer-open" in {finding.id for finding in findings_of((opened,), Software())}


def test_a_remedy_names_the_setting_of_the_product() -> None:
    (finding, *_) = findings_of((closed(level=ExposureLevel.RECORDS),), Software(name="Orthanc"))
    assert "DicomAlwaysAllowFind" in finding.remedy
    assert finding.severity is Severity.CRITICAL


def test_every_setting_is_for_a_finding_and_a_product_that_there_are() -> None:
    software = {name for row in products.fingerprints() for name in (row.product, row.toolkit)} | set(WebProduct)
    assert SETTINGS.keys() <= {rule.id for rule in RULES} | {"viewer-open"}
    assert {name for settings in SETTINGS.values() for name in settings} <= software


@pytest.mark.parametrize("name", ["images-open", "records-open", "store-offered", "strangers-associate", "dicom-unencrypted"])
@pytest.mark.parametrize("software", ["Orthanc", "dcm4chee-arc", "DCMTK", "pynetdicom"])
def test_what_is_open_has_the_setting_that_closes_it(name: str, software: str) -> None:
    (finding,) = [each for each in findings_of((FINDINGS[name],), Software(name=software)) if each.id == name]
    assert finding.remedy.startswith(SETTINGS[name][software])


def test_advisories_say_possibly() -> None:
    found = findings_of((closed(),), Software(name="Orthanc", version=(1, 10, 1), toolkit="DCMTK", toolkit_version=(3, 6, 7)))
    assert {finding.id for finding in found} == {"advisory-orthanc", "advisory-dcmtk"}
    assert all("possibly" in finding.title and finding.severity is Severity.LOW for finding in found)
    assert findings_of((closed(),), Software(name="Orthanc", version=(1, 12, 11))) == ()


def test_a_partial_run_and_a_shard_are_named_as_such_in_every_report() -> None:
    part = dataclasses.replace(MIXED, left=7, shard="3/16")
    for edition in (html.render(part).decode(), html.render(without_addresses(part), public=True).decode()):
        assert "Partial: 7 systems were not asked yet" in edition
        assert "Shard 3/16:" in edition
    (run,) = json.loads(sarif.render(part))["runs"]
    assert run["invocations"] == [{"executionSuccessful": False}]
    assert (run["properties"]["left"], run["properties"]["shard"]) == (7, "3/16")
    assert "partial: 7 systems" in text.summary(part)
    assert "shard 3/16" in text.summary(part)
    assert "Partial" not in html.render(MIXED).decode()


def test_a_run_that_its_authority_outlived_not_says_so_in_every_report() -> None:
    ended = dataclasses.replace(MIXED, left=7, authority_ended=True)
    for edition in (html.render(ended).decode(), html.render(without_addresses(ended), public=True).decode()):
        assert "The authority of the scope ended while it ran" in edition
    (run,) = json.loads(sarif.render(ended))["runs"]
    assert run["properties"]["stopped"] == json.loads(to_json(ended))["survey"]["stopped"] == "authority-ended"
    assert "the authority ended on" in text.summary(ended)
    assert (ended.exit_code, json.loads(to_json(MIXED))["survey"]["stopped"]) == (2, None)
    assert "partial" not in text.summary(MIXED)


# Size


def test_a_report_stays_small() -> None:
    assert len(html.render(world(systems=200, opened=51, countries=40))) < 500_000


@pytest.mark.long
def test_a_report_of_any_size_stays_usable() -> None:
    greenbone = world()
    page = html.render(greenbone)
    assert len(page) < 4_000_000
    assert page.count(b'<details class="system') == sum(bool(each.findings) for each in greenbone.targets)
    shown = html.render(dataclasses.replace(greenbone, targets=greenbone.targets * 20))
    assert len(shown) < 10_000_000
    assert shown.count(b'<details class="system') == systems.MAX_DETAILED
    left_out = 20 * len(greenbone.targets) - systems.MAX_DETAILED - systems.MAX_SHOWN_QUIET
    assert f"{grouped(left_out)} more systems are in results.json and targets.csv" in shown.decode()


def test_sites_beyond_the_table_are_summed_in_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MAX_SITES", 3)
    page = html.render(results(*(result(site=f"Site {number}", records=RecordCounts(1, 2, 3, exact=True)) for number in range(9)))).decode()
    table = page.partition('<h2 id="sites">')[2].partition("</table>")[0]
    assert table.count('<th scope="row">') == 4
    assert "6 more sites" in table
    assert "<td>12</td>" in table.partition("6 more sites")[2]
