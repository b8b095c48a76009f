"""The reports: the same numbers everywhere, nothing that runs, nothing from elsewhere, nothing of addresses where they are left out."""

import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from leadglass.survey.addresses import RefusedTarget
from leadglass.survey.findings import RULES, Severity, Software, findings_of
from leadglass.survey.observations import (
    Certificate,
    ClientCertificate,
    Dimse,
    Ending,
    ExposureLevel,
    Field,
    KeyKind,
    Protocol,
    RecordCounts,
    Tls,
    TlsVersion,
    Transport,
    Viewer,
    Web,
    WebApi,
    Write,
)
from leadglass.survey.report import html, sarif, tables, text, write_reports
from leadglass.survey.results import Result, Results, sums, to_json, without_addresses
from leadglass.survey.scope import Scope, parse_scope
from tests.survey.harness import scope_text

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
    assert "2 of 4 systems are open: 11 patients" in text.summary(MIXED)


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
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_report_holds_nothing_that_runs_or_comes_from_elsewhere() -> None:
    page = Page(html.render(MIXED))
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in {"src", "href", "srcset", "action", "data"} or name.startswith("on")]
    assert b"url(" not in html.render(MIXED)
    assert page.tags.count("article") == 4
    assert page.tags.count("svg") == 3


def test_names_from_outside_cannot_become_html() -> None:
    hostile = results(result(HOSTILE, site=HOSTILE, country=HOSTILE), refused=(RefusedTarget(HOSTILE, HOSTILE, HOSTILE),))
    page = html.render(hostile)
    assert "script" not in Page(page).tags
    assert b"&lt;script&gt;" in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\r="])
def test_names_from_outside_cannot_become_formulas(start: str) -> None:
    row = next(csv.DictReader(io.StringIO(tables.targets(results(result(f"{start}cmd()"))).decode())))
    assert row["name"].startswith("'")


def test_the_edition_without_addresses_has_none() -> None:
    named = results(
        result("North PACS", records=RecordCounts(1, 1, 1, exact=True)),
        refused=(RefusedTarget("South PACS", "10.9.9.9", "10.9.9.9 is public"),),
    )
    page = html.render(without_addresses(named)).decode()
    assert not re.search(r"10\.\d+\.\d+\.\d+|North PACS|South PACS|port 104|dimse 104", page)
    assert "System 1" in page
    assert "10.20.0.3" in html.render(named).decode()


def test_a_mandate_is_printed_in_every_report() -> None:
    mandated = results(result(), scope=scope(unsafe_mandate="Act 7, section 3"))
    assert json.loads(to_json(mandated))["survey"]["authority"]["unsafe_mandate"] == "Act 7, section 3"
    assert b"Act 7, section 3" in html.render(mandated)
    assert b"Act 7, section 3" in html.render(without_addresses(mandated))
    assert b"Act 7" not in html.render(results(result()))


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
    write_reports(MIXED, tmp_path / "out")
    write_reports(results(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_bytes())["targets"] == []


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
        "level": ExposureLevel.CLOSED,
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
    "dicom-unencrypted": closed(level=ExposureLevel.ASSOCIATION, transport=Transport.PLAIN),
    "web-unencrypted": page(transport=Transport.PLAIN),
    "tls-old-version": closed(tls=tls(old_versions=(TlsVersion.TLS_1_0,))),
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


def test_advisories_say_possibly() -> None:
    found = findings_of((closed(),), Software(name="Orthanc", version=(1, 10, 1), toolkit="DCMTK", toolkit_version=(3, 6, 7)))
    assert {finding.id for finding in found} == {"advisory-orthanc", "advisory-dcmtk"}
    assert all("possibly" in finding.title and finding.severity is Severity.LOW for finding in found)
    assert findings_of((closed(),), Software(name="Orthanc", version=(1, 12, 11))) == ()
