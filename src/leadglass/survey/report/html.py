"""`report.html`: one file that works offline, on a phone and in print; everything from outside is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from leadglass.survey.control import WELL_KNOWN, ProofBy
from leadglass.survey.findings import Severity
from leadglass.survey.report import charts, definitions, first, page, systems, worldmap
from leadglass.survey.results import METHOD, Result, Results, Sums, sums
from leadglass.survey.scope import ExposureLimit

Key = TypeVar("Key")
Rows: TypeAlias = Sequence[tuple[Key, Sums]]

MAX_STEPS = 8
"""Kinds of findings that "What to do first" shows unfolded; more are not first."""

MAX_SITES = 500
"""Rows of the table by site; the rest is summed in one."""


PROOF_IN_WORDS: Mapping[ProofBy, str] = {
    ProofBy.REVERSE_ZONE: "a DNS TXT record in the reverse zone of the address",
    ProofBy.PTR_NAME: "a DNS TXT record under the name that the address's PTR record gives it",
    ProofBy.HTTPS_FILE: f"the file {WELL_KNOWN} of its web server, by HTTPS",
    ProofBy.HTTP_FILE: f"the file {WELL_KNOWN} of its web server, by HTTP",
}


@dataclass(frozen=True, slots=True)
class Reach:
    """What this survey asked at all, so that what it did not ask is not read as none."""

    counted: bool
    retrieved: bool
    stopped_early: int
    """Systems whose counts are "at least"."""
    uncounted: int
    """Open systems that gave no count."""


def render(results: Results, *, public: bool = False) -> bytes:
    """The report; `public` says that `results` have gone through `without_addresses`."""
    steps = first.steps(results)
    sites = _worst_first(results.by_site())
    return page.render(
        "report.html.j2",
        results=results,
        public=public,
        method=METHOD,
        totals=results.totals,
        reach=_reach(results),
        severities=_severities(results),
        steps=steps,
        fixes={step.id: number for number, step in enumerate(steps, 1)},
        max_steps=MAX_STEPS,
        world=worldmap.world_map(results),
        legend=worldmap.LEGEND,
        side=worldmap.TILE - 2,
        name_of=worldmap.name_of,
        countries=_worst_first(results.by_country()),
        sites=sites[:MAX_SITES],
        other_sites=_rest(results, sites[MAX_SITES:]),
        other_sites_count=len(sites[MAX_SITES:]),
        definitions=definitions.measure(results),
        only_associate=definitions.associates_without_records(results),
        charts=charts.charts(results),
        listing=systems.listing(results),
        door_in_words=systems.door_in_words,
        proof_in_words=PROOF_IN_WORDS,
    )


def _reach(results: Results) -> Reach:
    level = results.scope.limits.level
    counted = level.reaches(ExposureLimit.COUNT)
    opened = [result for result in results.targets if result.level.is_open]
    return Reach(
        counted=counted,
        retrieved=level.reaches(ExposureLimit.RETRIEVE),
        stopped_early=sum(result.records is not None and not result.records.exact for result in opened),
        uncounted=sum(result.records is None for result in opened) if counted else 0,
    )


def _worst_first(groups: Mapping[Key, Sums]) -> Rows[Key]:
    return sorted(groups.items(), key=lambda each: (-each[1].open, -each[1].studies, str(each[0])))


def _rest(results: Results, rows: Rows[tuple[str, str]]) -> Sums:
    left_out = {key for key, _ in rows}

    def is_left_out(result: Result) -> bool:
        return (result.country, result.site) in left_out

    return sums(filter(is_left_out, results.targets))


def _severities(results: Results) -> Mapping[Severity, int]:
    found = [finding.severity for result in results.targets for finding in result.findings]
    return {severity: found.count(severity) for severity in reversed(list(Severity))}
