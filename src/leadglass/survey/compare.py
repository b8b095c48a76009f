"""Runs of the survey side by side: what is gone, better, unchanged, worse, new; and which countries are good, bad and ugly.

Only what both runs could have seen is compared. A change that a better detector, a survey that looks further, or other ports would
explain is `unclear`, and a system that one of the runs did not ask is counted apart: neither is read as growth. The words are those of
Greenbone's second report (November 2019); its thresholds were not published, ours are the constants below.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from leadglass.errors import ConfigurationError
from leadglass.survey.folder import Folder
from leadglass.survey.observations import ExposureLevel, Write
from leadglass.survey.published import Run, Seen
from leadglass.survey.results import Sums

GROWTH = 0.1
"""Of an open archive's studies: less is how archives grow from day to day, not a change of its exposure."""

GOOD = 0.5
"""A country is good where at least this share of the systems that were open is not any more."""


class Change(StrEnum):
    """What became of one system."""

    GONE = "gone"
    """It answered strangers in one way or another, and nothing answers there now."""
    BETTER = "better"
    UNCHANGED = "unchanged"
    WORSE = "worse"
    NEW = "new"
    """Nothing answered there, and now something does."""
    UNCLEAR = "unclear"
    """Seen otherwise, but the later run looked otherwise too: by another method version, or another level."""
    NOT_ASKED_BEFORE = "not-asked-before"
    NOT_ASKED_AFTER = "not-asked-after"


class Verdict(StrEnum):
    """Of a country; `clear` where nothing was and is open."""

    CLEAR = "clear"
    GOOD = "good"
    BAD = "bad"
    UGLY = "ugly"
    UNCLEAR = "unclear"


Levels: TypeAlias = tuple[tuple[ExposureLevel, ExposureLevel], tuple[ExposureLevel, ExposureLevel]]


@dataclass(frozen=True, slots=True)
class System:
    """One system in two runs; None where a run does not list it."""

    before: Seen | None
    after: Seen | None
    change: Change
    why: str

    @property
    def shown(self) -> Seen:
        seen = self.after or self.before
        assert seen is not None  # noqa: S101 - made of one of them
        return seen


@dataclass(frozen=True, slots=True)
class Country:
    """One country in two runs; what only one of them asked is not in its numbers."""

    country: str
    changes: Mapping[Change, int]
    open_before: int
    open_after: int
    studies_before: int
    studies_after: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Step:
    """From one run to a later one."""

    before: Run
    after: Run
    systems: Sequence[System]
    countries: Sequence[Country]

    @property
    def same_method(self) -> bool:
        return self.before.survey.method == self.after.survey.method

    @property
    def changes(self) -> Mapping[Change, int]:
        return _counted(self.systems)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs in the order of their time, and a step from each to the next."""

    runs: Sequence[Run]
    steps: Sequence[Step]

    @property
    def exit_code(self) -> int:
        """1 where the latest step leaves or finds anything worse or new."""
        changes = self.steps[-1].changes
        return 1 if changes[Change.WORSE] or changes[Change.NEW] else 0


def check_folder(folder: Folder) -> None:
    """Refuse a folder that holds anything but an earlier comparison."""
    out = folder.path
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not folder.has("comparison.json"))):
        raise ConfigurationError(f"{out} is in use: name a new folder, or one that holds an earlier comparison")
    if folder.has("comparison.json") and folder.is_encrypted("comparison.json") != folder.seal.is_on:
        raise ConfigurationError(f"{out} holds a comparison that is {'not ' * folder.seal.is_on}encrypted: name a new folder")


def compare(runs: Iterable[Run]) -> Comparison:
    """The runs by their time; raises `ConfigurationError` where there are fewer than two, or one twice."""
    ordered = sorted(runs, key=lambda run: run.survey.started)
    if len(ordered) < 2:
        raise ConfigurationError("one survey has nothing to be compared with: name the folders of two or more")
    for one, other in itertools.pairwise(ordered):
        if (one.survey.started, one.survey.run) == (other.survey.started, other.survey.run):
            raise ConfigurationError(f"{one.where} and {other.where} are the same run: name each once")
    return Comparison(ordered, [step(before, after) for before, after in itertools.pairwise(ordered)])


def step(before: Run, after: Run) -> Step:
    """What became of every system."""
    judged = _judge(before, after)
    systems = [judged(old, new) for old, new in _pairs(before.targets, after.targets)]
    countries: dict[str, list[System]] = {}
    for system in systems:
        countries.setdefault(system.shown.country, []).append(system)
    return Step(before, after, systems, [_country(name, countries[name]) for name in sorted(countries)])


def _pairs(before: Sequence[Seen], after: Sequence[Seen]) -> list[tuple[Seen | None, Seen | None]]:
    """The same system of both runs: by name and address, else by an address or a name that only one has on each side."""
    pairs: list[tuple[Seen | None, Seen | None]] = []
    left, right = list(before), list(after)
    for key in (lambda seen: (seen.name, seen.host), lambda seen: seen.host, lambda seen: seen.name):
        once_left, once_right = _once(left, key), _once(right, key)
        both = once_left.keys() & once_right.keys()
        pairs += [(once_left[each], once_right[each]) for each in once_left if each in both]
        left = [seen for seen in left if once_left.get(key(seen)) is not seen or key(seen) not in both]
        right = [seen for seen in right if once_right.get(key(seen)) is not seen or key(seen) not in both]
    return pairs + [(seen, None) for seen in left] + [(None, seen) for seen in right]


def _once(systems: Sequence[Seen], key: Any) -> dict[Any, Seen]:  # noqa: ANN401 - any hashable key
    counts = Counter(key(seen) for seen in systems)
    return {key(seen): seen for seen in systems if counts[key(seen)] == 1}


def _judge(before: Run, after: Run) -> Callable[[Seen | None, Seen | None], System]:
    asked_before, asked_after = before.asker(), after.asker()

    def judged(old: Seen | None, new: Seen | None) -> System:
        ports_before = old.ports if old else asked_before(new.host) if new else None
        ports_after = new.ports if new else asked_after(old.host) if old else None
        if ports_before is None:
            return System(old, new, Change.NOT_ASKED_BEFORE, "the earlier run did not ask it")
        if ports_after is None:
            return System(old, new, Change.NOT_ASKED_AFTER, "the later run did not ask it")
        change, why = _change(old, new)
        doubt = _doubt(before, after, change, _levels(old, new, ports_before & ports_after))
        return System(old, new, Change.UNCLEAR, f"{why}; but {doubt}") if doubt else System(old, new, change, why)

    return judged


def _levels(old: Seen | None, new: Seen | None, ports: frozenset[int]) -> Levels:
    """What each run saw, and what it saw at the ports that both asked."""
    pair = [(seen.level, seen.level_at(ports)) if seen else (ExposureLevel.CLOSED, ExposureLevel.CLOSED) for seen in (old, new)]
    return pair[0], pair[1]


def _change(old: Seen | None, new: Seen | None) -> tuple[Change, str]:
    was, now = old is not None and old.answers, new is not None and new.answers
    if old is None or new is None or not (was and now):
        if was:
            return Change.GONE, "nothing answers there now"
        return (Change.NEW, "answers now") if now else (Change.UNCHANGED, "")
    direction, why = _direction(old, new)
    return {1: Change.WORSE, -1: Change.BETTER, 0: Change.UNCHANGED}[direction], why


def _doubt(before: Run, after: Run, change: Change, levels: Levels) -> str:
    """What else than the system may explain a change; empty where nothing does."""
    if change in {Change.UNCHANGED, Change.GONE}:
        return ""
    if before.survey.method != after.survey.method:
        return "the method changed"
    further = after.survey.level.rank - before.survey.level.rank
    if change is Change.WORSE and further > 0:
        return "the later run looked further"
    if change is Change.BETTER and further < 0:
        return "the later run looked less far"
    (was, was_there), (now, now_there) = levels
    if now.rank > was.rank and now_there.rank <= was.rank:
        return "the later run asked other ports"
    if now.rank < was.rank and was_there.rank <= now.rank:
        return "the later run asked other ports"
    return ""


def _direction(old: Seen, new: Seen) -> tuple[int, str]:
    """1 where `new` is worse, -1 where it is better, and by what: the level first, then writing, then how much is exposed."""
    if old.level is not new.level:
        return (1 if new.level.rank > old.level.rank else -1), f"{old.level} is now {new.level}"
    if old.writable is not new.writable and Write.NOT_TRIED not in {old.write, new.write}:
        return (1, "strangers may write now") if new.writable else (-1, "strangers may not write any more")
    if new.level.is_open and old.records is not None and new.records is not None and old.records.exact and new.records.exact:
        most, least = max(old.records.studies, new.records.studies), min(old.records.studies, new.records.studies)
        if most - least > GROWTH * old.records.studies:
            return (1 if new.records.studies > old.records.studies else -1), f"{old.records.studies} studies are now {new.records.studies}"
    if old.worst != new.worst:
        return (1, "a graver finding") if new.worst > old.worst else (-1, "the gravest finding is gone")
    return 0, ""


def _counted(systems: Iterable[System]) -> Mapping[Change, int]:
    counts = Counter(system.change for system in systems)
    return {change: counts[change] for change in Change}


def _country(name: str, systems: Sequence[System]) -> Country:
    both = [each for each in systems if each.change not in {Change.NOT_ASKED_BEFORE, Change.NOT_ASKED_AFTER}]
    before, after = _exposed(each.before for each in both), _exposed(each.after for each in both)
    # As it would be if what is unclear had not changed at all: where that is another verdict, there is none.
    surely = _exposed(each.before if each.change is Change.UNCLEAR else each.after for each in both)
    # What was not counted, or not to its end, cannot be seen to grow.
    sized = [each for each in both if not _is_open(each.before) or all(map(_is_exact, filter(_is_open, (each.before, each.after))))]
    known, grown = _exposed(each.before for each in sized), _exposed(each.after for each in sized)
    surely_grown = _exposed(each.before if each.change is Change.UNCLEAR else each.after for each in sized)
    verdict = _verdict((before[0], known[1]), (after[0], grown[1]))
    if not both or verdict is not _verdict((before[0], known[1]), (surely[0], surely_grown[1])):
        verdict = Verdict.UNCLEAR
    return Country(name, _counted(systems), before[0], after[0], before[1], after[1], verdict)


def _is_open(seen: Seen | None) -> bool:
    return seen is not None and seen.level.is_open


def _is_exact(seen: Seen | None) -> bool:
    return seen is not None and seen.records is not None and seen.records.exact


def _exposed(systems: Iterable[Seen | None]) -> tuple[int, int]:
    """How many are open, and their studies."""
    opened = [seen for seen in systems if seen is not None and seen.level.is_open]
    return len(opened), sum(seen.records.studies for seen in opened if seen.records is not None)


def _verdict(before: tuple[int, int], after: tuple[int, int]) -> Verdict:
    if before[0] == after[0] == 0:
        return Verdict.CLEAR
    if after[0] > before[0] or after[1] > (1 + GROWTH) * before[1]:
        return Verdict.UGLY
    return Verdict.GOOD if after[0] <= (1 - GOOD) * before[0] else Verdict.BAD


def to_json(comparison: Comparison) -> bytes:
    """`comparison.json`."""
    document = {
        "runs": [_run(run) for run in comparison.runs],
        "steps": [
            {
                "from": one.before.survey.started,
                "to": one.after.survey.started,
                "same_method": one.same_method,
                "changes": one.changes,
                "countries": [_country_row(each) for each in one.countries],
                "systems": [_system_row(each) for each in one.systems],
            }
            for one in comparison.steps
        ],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _run(run: Run) -> Mapping[str, Any]:
    told = run.survey
    return {
        "started": told.started,
        "run": told.run,
        "method": told.method,
        "level": told.level,
        "scope": told.scope,
        "complete": told.left == 0,
        "totals": {name: getattr(run.totals, name) for name in Sums.__slots__},
    }


def _country_row(each: Country) -> Mapping[str, Any]:
    return {
        "country": each.country,
        "verdict": each.verdict,
        "changes": each.changes,
        "open": [each.open_before, each.open_after],
        "studies": [each.studies_before, each.studies_after],
    }


def _system_row(each: System) -> Mapping[str, Any]:
    shown = each.shown
    return {
        "name": shown.name,
        "host": shown.host,
        "country": shown.country,
        "site": shown.site,
        "change": each.change,
        "why": each.why,
        "level": [seen.level if seen else None for seen in (each.before, each.after)],
        "studies": [seen.records.studies if seen and seen.records else None for seen in (each.before, each.after)],
    }
