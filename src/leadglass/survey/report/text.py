"""The survey on a terminal: a summary, and archives side by side."""

import math
from collections.abc import Callable, Sequence

from leadglass.survey.compare import Comparison, Verdict
from leadglass.survey.results import Result, Results
from leadglass.survey.scope import ExposureLimit

_LISTED = 20
_WIDEST = 42


def summary(results: Results) -> str:
    """The headline numbers and the worst systems, as lines of text."""
    totals = results.totals
    viewers = f"{_count(totals.open_viewers, 'viewer')} without sign-in"
    lines = [f"{totals.open} of {totals.systems} systems are open: {_sum(results)}; {viewers}", ""]
    if results.left:
        ended = (
            f": the authority ended on {results.scope.authority.valid_until}, and nothing more was sent" if results.authority_ended else ""
        )
        lines.insert(1, f"partial: {results.left} systems were not asked yet{ended}")
    if results.shard:
        lines.insert(1, f"shard {results.shard}: one part of the scope's systems")
    if mandate := results.scope.limits.unsafe_mandate:
        lines.insert(1, f"counted on public addresses without proof of control, on this mandate: {mandate}")
    shown = [result for result in results.worst_first if result.findings][:_LISTED]
    for result in shown:
        lines.append(f"{result.name} ({result.host}): {result.level}, {_records(result)}")
        lines += [f"  {finding.severity:<8} {finding.title}" for finding in result.findings]
    if not shown:
        lines.append("no finding")
    more = sum(bool(result.findings) for result in results.targets) - len(shown)
    if more > 0:
        lines.append(f"... and {more} more systems with findings, in the report")
    lines += [f"{each.name} ({each.host}): {each.why}" for each in results.refused[:_LISTED]]
    return "\n".join(lines)


def _sum(results: Results) -> str:
    """The records of all open systems; what was not asked is not none, and what was not counted to its end not all."""
    if not results.scope.limits.level.reaches(ExposureLimit.COUNT):
        return f"records not counted at level {results.scope.limits.level}"
    totals = results.totals
    images = f"{_count(totals.instances, 'image')}, {totals.instances_accessible} of them accessible"
    all_counted = all(result.records is not None and result.records.exact for result in results.targets if result.level.is_open)
    return f"{'' if all_counted else 'at least '}{_count(totals.patients, 'patient')}, {totals.studies} studies, {images}"


def pace(rate: float, remaining: float | None) -> str:
    """How fast it goes, and how long it will take.

    >>> pace(41.25, 3725.0), pace(0.5, 59.2), pace(0.0, None)
    ('41/s, 1:02:05 left', '0.5/s, 0:01:00 left', '')
    """
    if remaining is None:
        return ""
    seconds = math.ceil(remaining)
    left = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
    return f"{rate:.0f}/s, {left}" if rate >= 10 else f"{rate:.1f}/s, {left}"


def plan(results: Results) -> str:
    """What a dry run would send to whom."""
    refused = [f"{each.name} ({each.host}): {each.why}" for each in results.refused]
    return "\n".join([f"level {results.scope.limits.level}; nothing was sent", *results.plan, *refused])


_ROWS: Sequence[tuple[str, Callable[[Result], str]]] = (
    ("a stranger reaches", lambda result: str(result.level)),
    ("may write", lambda result: str(result.write)),
    ("transport", lambda result: str(result.transport or "-")),
    ("patients", lambda result: _number(result, "patients")),
    ("studies", lambda result: _number(result, "studies")),
    ("images", lambda result: _number(result, "instances")),
    ("fields exposed", lambda result: ", ".join(result.fields) or "none"),
    ("findings", lambda result: str(len(result.findings) or "none")),
)


def side_by_side(results: Results, names: Sequence[str]) -> str:
    """A table with one column for each of `names`, targets of the scope."""
    chosen = [next(result for result in results.targets if result.name == name) for name in names]
    rows = [("", list(names))] + [(label, [show(result) for result in chosen]) for label, show in _ROWS]
    wrapped = [(label, [_wrapped(text) for text in cells]) for label, cells in rows]
    widths = [max(len(line) for _, cells in wrapped for line in cells[column]) for column in range(len(chosen))]
    first = max(len(label) for label, _ in rows)
    lines: list[str] = []
    for label, cells in wrapped:
        for at in range(max(len(cell) for cell in cells)):
            parts = [(cell[at] if at < len(cell) else "").ljust(width) for cell, width in zip(cells, widths, strict=True)]
            lines.append("  ".join([(label if at == 0 else "").ljust(first), *parts]).rstrip())
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _WIDEST:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _number(result: Result, name: str) -> str:
    if result.records is None:
        return "not counted" if result.level.is_open else "none"
    number = getattr(result.records, name)
    return str(number) if result.records.exact else f"at least {number}"


def _records(result: Result) -> str:
    return f"patients {_number(result, 'patients')}, studies {_number(result, 'studies')}, images {_number(result, 'instances')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def comparison(compared: Comparison) -> str:
    """What became of the systems from each run to the next, and which countries are ugly."""
    lines = []
    for step in compared.steps:
        counts = ", ".join(f"{count} {change}" for change, count in step.changes.items() if count)
        lines.append(f"{step.before.survey.started} to {step.after.survey.started}: {counts or 'no system'}")
        if not step.same_method:
            was, now = step.before.survey.method, step.after.survey.method
            lines.append(f"  the method changed from {was} to {now}: what it may explain is unclear, not worse or new")
        named = {verdict: [each.country or "not said" for each in step.countries if each.verdict is verdict] for verdict in Verdict}
        lines += [f"  {verdict}: {', '.join(names)}" for verdict, names in named.items() if names]
    return "\n".join(lines)
