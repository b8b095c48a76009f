"""`comparison.html`: runs of the survey side by side, in one file that works offline; everything from outside is escaped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leadglass.survey.compare import Change, Comparison, Country, Step, System, Verdict
from leadglass.survey.published import Run
from leadglass.survey.report import page, worldmap
from leadglass.survey.scope import ExposureLimit

LISTED = 500
"""Systems of one kind of change and step; comparison.json has all."""

WIDTH, HEIGHT, EDGE = 320, 110, 12

SHOWN = (Change.NEW, Change.WORSE, Change.UNCLEAR, Change.BETTER, Change.GONE)
"""Kinds of change whose systems are listed, in the order of their worth to who reads."""

_USUAL = (Change.GONE, Change.BETTER, Change.UNCHANGED, Change.WORSE, Change.NEW)
"""In the headline also where there is none."""

_COLOURS: Mapping[Change, str] = {
    Change.GONE: "good",
    Change.BETTER: "good",
    Change.UNCHANGED: "soft",
    Change.WORSE: "bad",
    Change.NEW: "bad",
    Change.UNCLEAR: "warn",
    Change.NOT_ASKED_BEFORE: "soft",
    Change.NOT_ASKED_AFTER: "soft",
}
_VERDICTS: Mapping[Verdict, str] = {
    Verdict.CLEAR: "good",
    Verdict.GOOD: "good",
    Verdict.BAD: "warn",
    Verdict.UGLY: "bad",
    Verdict.UNCLEAR: "warn",
}
"""Classes of the style."""

_WORST_FIRST = (Verdict.UGLY, Verdict.UNCLEAR, Verdict.BAD, Verdict.GOOD, Verdict.CLEAR)


@dataclass(frozen=True, slots=True)
class Point:
    """One run in a line of the trend; `broken` where it cannot be compared with the run before it."""

    x: float
    y: float
    value: int
    run: Run
    broken: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One number over all runs."""

    title: str
    points: Sequence[Point]

    @property
    def segments(self) -> Sequence[tuple[Point, Point]]:
        return [(one, other) for one, other in zip(self.points, self.points[1:], strict=False) if not other.broken]


def render(comparison: Comparison) -> bytes:
    """The page, the latest step first."""
    return page.render(
        "comparison.html.j2",
        comparison=comparison,
        steps=[(step, _worst_first(step.countries), _listed(step)) for step in reversed(comparison.steps)],
        trend=_trend(comparison.runs),
        changes=list(Change),
        usual=_USUAL,
        colours=_COLOURS,
        verdicts=_VERDICTS,
        counting=ExposureLimit.COUNT,
        retrieving=ExposureLimit.RETRIEVE,
        name_of=worldmap.name_of,
    )


def _worst_first(countries: Sequence[Country]) -> Sequence[Country]:
    return sorted(countries, key=lambda each: (_WORST_FIRST.index(each.verdict), -each.open_after, each.country))


def _listed(step: Step) -> Sequence[tuple[Change, Sequence[System], int]]:
    kinds = [(change, [each for each in step.systems if each.change is change]) for change in SHOWN]
    return [(change, systems[:LISTED], max(0, len(systems) - LISTED)) for change, systems in kinds if systems]


_NUMBERS: Sequence[tuple[str, Callable[[Run], int]]] = (
    ("open systems", lambda run: run.totals.open),
    ("studies", lambda run: run.totals.studies),
    ("images accessible", lambda run: run.totals.instances_accessible),
)


def _trend(runs: Sequence[Run]) -> Sequence[Line]:
    return [Line(title, _points(runs, number)) for title, number in _NUMBERS]


def _points(runs: Sequence[Run], number: Callable[[Run], int]) -> Sequence[Point]:
    values = [number(run) for run in runs]
    most = max(*values, 1)
    across = (WIDTH - 2 * EDGE) / max(1, len(runs) - 1)
    down = HEIGHT - 3 * EDGE
    return [
        Point(
            x=EDGE + place * across,
            y=HEIGHT - EDGE - down * value / most,
            value=value,
            run=run,
            broken=place > 0 and not alike(runs[place - 1], run),
        )
        for place, (run, value) in enumerate(zip(runs, values, strict=True))
    ]


def alike(one: Run, other: Run) -> bool:
    """Whether the numbers of two whole runs may stand on one line: same method, level and scope, and both were finished."""
    first, second = one.survey, other.survey
    same = (first.method, first.level, first.scope) == (second.method, second.level, second.scope)
    return same and first.left == second.left == 0
