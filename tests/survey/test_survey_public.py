"""The edition without addresses leaks neither host, name nor site: by search, in what is printed and in the value it is printed from."""

import dataclasses
import html as markup
import re

from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey.addresses import RefusedTarget
from leadglass.survey.control import ProofBy, ProvenControl
from leadglass.survey.observations import ExposureLevel
from leadglass.survey.report import html
from leadglass.survey.report.public import NOT_NAMED, without_addresses
from leadglass.survey.results import Result, Results
from leadglass.survey.scope import ExposureLimit, Scope, parse_scope
from tests.survey.harness import scope_text
from tests.survey.invented import world

PLANTED = (
    "Zyzzyva",
    "zq-pacs.example",
    "10.77.66.55",
    "QXJVWSITE",
    "QXJVWOWNER",
    "QXJVWBOSS",
    "QXJVWMAIL",
    "QXJVWLAND",
    "10.77.0.0",
    "qxjvw-ca.pem",
    "QXJVWDIGEST",
)


def planted_scope(**public: object) -> Scope:
    target = {"name": "Zyzzyva North", "host": "zq-pacs.example", "dimse_ports": [104], "site": "QXJVWSITE", "country": "QXJVWLAND"}
    authority = {"owner": "QXJVWOWNER trust", "authorised_by": "QXJVWBOSS", "contact": "QXJVWMAIL@example.org"}
    return parse_scope(
        scope_text([target], authority=authority, limits={"opt_out": ["10.77.0.0/16"], "ca_file": "qxjvw-ca.pem"}, public=public).encode()
    )


def planted(scope: Scope, number: int = 3) -> Results:
    """Every text that a scope can hold is one of those planted, at every system."""
    made = world(systems=number, opened=1, countries=1)
    targets = tuple(
        dataclasses.replace(each, name=f"Zyzzyva {at}", host=host, site="QXJVWSITE south", country=country)
        for at, (each, host, country) in enumerate(
            zip(made.targets, ["zq-pacs.example", "10.77.66.55", "a"] * number, ["FR", "QXJVWLAND", "qxjvwland"] * number, strict=False)
        )
    )
    refused = (RefusedTarget("Zyzzyva out", "10.77.66.55", "zq-pacs.example is not named: 10.77.66.55"),)
    proven = (ProvenControl("Zyzzyva proven", "10.77.66.55", ExposureLimit.COUNT, ProofBy.HTTPS_FILE),)
    return dataclasses.replace(
        made, scope=scope, targets=targets, refused=refused, proven=proven, plan=("10.77.66.55 port 104: echo",), digest="QXJVWDIGEST"
    )


def found_in(text: str) -> set[str]:
    """What of the planted texts is in `text`, however it is written in HTML, and in any case."""
    seen = markup.unescape(text).lower()
    return {each for each in PLANTED if each.lower() in seen}


def test_nothing_planted_is_in_the_edition_without_addresses() -> None:
    edition = without_addresses(planted(planted_scope()))
    assert found_in(html.render(edition, public=True).decode()) == set()
    assert found_in(repr(edition)) == set()


def test_the_search_finds_what_is_there() -> None:
    named = planted(planted_scope())
    assert found_in(repr(named)) == set(PLANTED)
    assert found_in(html.render(named).decode()) >= {
        "Zyzzyva",
        "zq-pacs.example",
        "10.77.66.55",
        "QXJVWSITE",
        "QXJVWOWNER",
        "QXJVWBOSS",
        "QXJVWLAND",
    }


def test_the_scope_says_what_may_be_named() -> None:
    sites = html.render(without_addresses(planted(planted_scope(sites=True))), public=True).decode()
    owner = html.render(without_addresses(planted(planted_scope(owner=True))), public=True).decode()
    assert found_in(sites) == {"QXJVWSITE"}
    assert found_in(owner) == {"QXJVWOWNER", "QXJVWBOSS"}
    assert NOT_NAMED in sites


def test_no_address_of_a_whole_survey_is_in_it() -> None:
    named = world(systems=120, opened=40, countries=12)
    page = html.render(without_addresses(named), public=True).decode()
    words = set(re.findall(r"[\w.:-]+", markup.unescape(page)))
    assert words & {result.host for result in named.targets} == set()
    assert not [result.name for result in named.targets if result.name in page]
    assert not [result.site for result in named.targets if result.site in page]
    assert not re.search(r"\b10\.20\.|(?<!-)\bport \d+,", page)


@given(st.lists(st.tuples(st.text(min_size=4, max_size=12), st.text(min_size=4, max_size=12), st.text(max_size=6)), min_size=1, max_size=4))
def test_the_sums_of_the_edition_are_those_of_the_report(told: list[tuple[str, str, str]]) -> None:
    made = world(systems=len(told), opened=1, countries=1)
    targets = tuple(
        dataclasses.replace(each, name=name, site=site, country=country)
        for each, (name, site, country) in zip(made.targets, told, strict=True)
    )
    named = dataclasses.replace(made, targets=targets)
    edition = without_addresses(named)
    assert edition.totals == named.totals
    assert len(edition.by_site()) <= len(named.by_site())
    assert {result.name for result in edition.targets} == {f"System {number}" for number in range(1, len(told) + 1)}


def test_systems_are_numbered_from_the_worst_so_that_the_order_of_the_scope_is_not_told() -> None:
    named = world(systems=40, opened=10, countries=3)
    levels = [result.level.is_open for result in without_addresses(named).targets]
    assert levels == sorted(levels, reverse=True)
    assert [is_open(each) for each in named.targets] != levels


def is_open(result: Result) -> bool:
    return result.level in {ExposureLevel.RECORDS, ExposureLevel.IMAGES}
