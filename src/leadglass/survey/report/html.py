"""`report.html`: one file that works offline, on a phone and in print; everything from outside is escaped."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jinja2

from leadglass.survey.findings import Severity
from leadglass.survey.observations import ExposureLevel, Transport, Write
from leadglass.survey.report import first, worldmap
from leadglass.survey.results import METHOD, Results, Sums, dotted

Key = TypeVar("Key")

MAX_DETAILED = 2000
"""Systems described one by one; the tables and results.json have all."""

MAX_STEPS = 8
"""Kinds of findings under "What to do first"; more are not first."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart: a share of the longest, in percent."""

    label: str
    count: int
    share: float
    kind: str


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("leadglass.survey.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["grouped"] = lambda number: f"{number:,}".replace(",", "\u202f")
    environment.filters["dotted"] = dotted
    environment.filters["short"] = worldmap.short
    return environment.get_template("report.html.j2")


def render(results: Results) -> bytes:
    """The report."""
    shown = results.worst_first[:MAX_DETAILED]
    steps = first.steps(results)
    return (
        _template()
        .render(
            results=results,
            totals=results.totals,
            stopped_early=sum(result.records is not None and not result.records.exact for result in results.targets),
            steps=steps[:MAX_STEPS],
            steps_left_out=len(steps[MAX_STEPS:]),
            world=worldmap.world_map(results),
            legend=worldmap.LEGEND,
            side=worldmap.TILE - 2,
            countries=_by_studies(results.by_country()),
            sites=_by_studies(results.by_site()),
            shown=shown,
            left_out=len(results.targets) - len(shown),
            charts=_charts(results),
            severities=_severities(results),
            has_addresses=any(result.host for result in results.targets) or not results.targets,
            method=METHOD,
        )
        .encode()
    )


def _by_studies(groups: Mapping[Key, Sums]) -> Sequence[tuple[Key, Sums]]:
    return sorted(groups.items(), key=lambda each: (-each[1].open, -each[1].studies, str(each[0])))


def _charts(results: Results) -> Sequence[tuple[str, Sequence[Bar]]]:
    levels = {level: sum(result.level is level for result in results.targets) for level in ExposureLevel}
    writes = {write: sum(result.write is write for result in results.targets) for write in Write}
    transports = {each: sum(result.transport is each for result in results.targets) for each in Transport}
    return (
        ("What a stranger reaches", _bars(levels, lambda level: "bad" if level.is_open else "good")),
        ("Whether a stranger may write", _bars(writes, lambda write: "bad" if write in {Write.OFFERED, Write.ACCEPTED} else "good")),
        ("Transport", _bars(transports, lambda each: "bad" if each is Transport.PLAIN else "good")),
    )


def _bars(counts: Mapping[Key, int], kind: Callable[[Key], str]) -> Sequence[Bar]:
    longest = max(counts.values(), default=0) or 1
    return [Bar(str(label), count, 100 * count / longest, kind(label)) for label, count in counts.items()]


def _severities(results: Results) -> Mapping[Severity, int]:
    found = [finding.severity for result in results.targets for finding in result.findings]
    return {severity: found.count(severity) for severity in reversed(list(Severity))}
