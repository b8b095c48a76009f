"""The bar charts: counts of systems, each also told in words by its template."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leadglass.survey.observations import ExposureLevel, Field, Transport, Write
from leadglass.survey.report import worldmap
from leadglass.survey.results import Result, Results

MOST_BARS = 10

_SIZES = ((10, "up to 10"), (100, "11 to 100"), (1000, "101 to 1,000"), (10_000, "1,001 to 10,000"), (100_000, "10,001 to 100,000"))


@dataclass(frozen=True, slots=True)
class Bar:
    """`share` is that of the longest bar, in percent; `kind` is a class of the style: bad, good or plain."""

    label: str
    count: int
    share: float
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure."""

    title: str
    unit: str
    bars: Sequence[Bar]


def bars(counts: Mapping[str, int], kind: Callable[[str], str]) -> Sequence[Bar]:
    """A bar for each count, in their order.

    >>> [bar.share for bar in bars({"open": 4, "closed": 1}, lambda label: "plain")]
    [100.0, 25.0]
    """
    longest = max(counts.values(), default=0) or 1
    return [Bar(label, count, 100 * count / longest, kind(label)) for label, count in counts.items()]


def charts(results: Results) -> Sequence[Chart]:
    """The report's charts; one that would have no bar is left out."""
    opened = [result for result in results.targets if result.level.is_open]
    writable = {str(Write.OFFERED), str(Write.ACCEPTED)}
    open_levels = {str(level) for level in ExposureLevel if level.is_open}
    countries = Counter(worldmap.name_of(result.country) or "not said" for result in opened)
    software = Counter(result.software.name or result.software.toolkit or "not recognised" for result in opened)
    fields = Counter(field for result in results.targets for field in result.fields)
    plain, bad = (lambda _: "plain"), (lambda _: "bad")
    drawn = (
        Chart("What a stranger reaches", "systems", bars(_all(results, ExposureLevel, "level"), lambda each: _kind(each in open_levels))),
        Chart("Whether a stranger may write", "systems", bars(_all(results, Write, "write"), lambda each: _kind(each in writable))),
        Chart("Transport", "systems", bars(_all(results, Transport, "transport"), lambda each: _kind(each == Transport.PLAIN))),
        Chart("Where the open systems are", "open systems", bars(_most(countries), bad)),
        Chart("What the open systems run", "open systems", bars(_most(software), plain)),
        Chart("How much they hold", "open systems, by studies", bars(_sizes(opened), plain)),
        Chart("Filled fields seen", "systems", bars({str(field): fields[field] for field in Field if fields[field]}, plain)),
    )
    return [chart for chart in drawn if any(bar.count for bar in chart.bars)]


def _kind(is_bad: bool) -> str:  # noqa: FBT001 - the one question
    return "bad" if is_bad else "good"


def _all(results: Results, kinds: type[ExposureLevel | Write | Transport], attribute: str) -> dict[str, int]:
    found = Counter(getattr(result, attribute) for result in results.targets)
    return {str(kind): found[kind] for kind in kinds}


def _most(counts: Counter[str]) -> dict[str, int]:
    """The highest counts first; what is beyond them is one bar."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    rest = sum(count for _, count in ordered[MOST_BARS:])
    return dict(ordered[:MOST_BARS]) | ({f"{len(ordered) - MOST_BARS} others": rest} if rest else {})


def _sizes(opened: Sequence[Result]) -> dict[str, int]:
    labels = [label for _, label in _SIZES] + ["more than 100,000"]
    sized = Counter(_size(result.records.studies) for result in opened if result.records is not None)
    return {label: sized[label] for label in labels} if sized else {}


def _size(studies: int) -> str:
    return next((label for most, label in _SIZES if studies <= most), "more than 100,000")
