"""A survey from its scope to its report: nothing is sent before the authority, the addresses and the level have been checked."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from leadglass.errors import ConfigurationError
from leadglass.survey import control
from leadglass.survey import journal as journals
from leadglass.survey.addresses import Surroundings, System, surroundings_of_this_host, systems_of
from leadglass.survey.briefing import Probe
from leadglass.survey.folder import Folder, Identities, Seal
from leadglass.survey.journal import Journal, Key, Plan, SoFar
from leadglass.survey.probes import PROBES
from leadglass.survey.probing import Orders, Probing, Seen
from leadglass.survey.proving import prove
from leadglass.survey.report import write_reports
from leadglass.survey.results import Result, Results, to_json
from leadglass.survey.scope import ExposureLimit, Scope, load_scope
from leadglass.survey.shard import WHOLE, Shard
from leadglass.survey.stopping import Clock, Stop, clock_of_this_host
from leadglass.survey.workers import probe_in_workers

UNFINISHED = "unfinished"
"""An empty file in the folder of a survey that has systems left; what it is can be told without reading what is encrypted."""

SNAPSHOT_SECONDS = 10.0
"""How often results.json is written while the survey runs; more rarely where writing it takes longer than a twentieth of that."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a survey is; `asked` systems of those `done` were asked since this start, `seconds` ago."""

    done: int
    total: int
    found_open: int
    patients: int
    asked: int
    seconds: float

    @property
    def rate(self) -> float:
        """Systems a second."""
        return self.asked / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds, at the rate so far; None where nothing is known of it."""
        return (self.total - self.done) / self.rate if self.asked else None


Report: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Course:
    """How one start of a survey goes: which part of the scope, whether it goes on with what is in the folder, who may read that."""

    shard: Shard = WHOLE
    resume: bool = False
    seal: Seal = field(default_factory=Seal)
    identities: Identities = field(default_factory=Identities)
    clock: Clock = clock_of_this_host
    """By which the authority ends."""


def survey(
    scope_path: Path,
    out: Path,
    *,
    level: ExposureLimit | None = None,
    dry_run: bool = False,
    progress: Report | None = None,
    course: Course | None = None,
    probing: Probing = probe_in_workers,
) -> Results:
    """Survey what the scope names and write the reports into `out` (0700).

    With `dry_run` no socket is opened and nothing written: `Results.plan` says what would be sent to whom. Ctrl-C, SIGTERM and the end of
    the authority end it with what was found until then (`Results.stopped`, `Results.left`), which a course with `resume` goes on with.
    Raises `ConfigurationError` for a scope that is wrong or whose authority has ended, and for a folder that cannot be used.
    """
    course = course or Course()
    scope = load_scope(scope_path).lowered(level)
    scope.check_valid_at(course.clock())
    if dry_run:
        return asyncio.run(plan(scope, course.clock(), shard=course.shard))
    ca_file = scope_path.parent / scope.limits.ca_file if scope.limits.ca_file else None
    folder = Folder(out, course.seal, course.identities)
    return survey_into(folder, scope, ca_file=ca_file, course=course, progress=progress, probing=probing)


def survey_into(
    folder: Folder,
    scope: Scope,
    *,
    ca_file: Path | None = None,
    course: Course,
    progress: Report | None = None,
    probing: Probing = probe_in_workers,
) -> Results:
    """Begin a survey in `folder`, or go on with the one in it, and write the reports there; the caller has checked the authority."""
    so_far = journals.begin(scope, now=course.clock(), shard=course.shard, ca_file=ca_file)
    (check_begun if course.resume else check_folder)(folder)
    folder.make()
    with folder.appending(journals.NAME, anew=not course.resume) as lines:
        # Only now is the journal nobody else's.
        if course.resume:
            so_far = _resumed(folder, so_far)
        journal = Journal(lines, so_far.chain)
        if not course.resume:
            journal.begin(so_far.begin)
        folder.mark(UNFINISHED)
        results = asyncio.run(
            run(
                scope,
                clock=course.clock,
                ca_file=ca_file,
                progress=progress,
                probing=probing,
                so_far=so_far,
                kept=Kept(journal, _Keeper(folder)),
            )
        )
        write_reports(results, folder)
        if not results.left:
            folder.unmark(UNFINISHED)
    return results


class _Keeper:
    """Writes what is known while a survey runs: first every report, so that no earlier one stays beside it, then results.json."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._began = False

    def __call__(self, results: Results) -> None:
        if self._began:
            self._folder.write("results.json", to_json(results))
        else:
            write_reports(results, self._folder)
        self._began = True


def check_folder(folder: Folder) -> None:
    """Refuse a folder that holds anything but a finished survey's results, before the first packet."""
    out = folder.path
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not folder.has("results.json") and not folder.has(journals.NAME)):
        raise ConfigurationError(f"{out} is in use: name a new folder, or one that holds the results of an earlier survey")
    if folder.seal.is_on != folder.is_encrypted("results.json") and folder.has("results.json"):
        raise ConfigurationError(f"{out} holds a survey that is {'not ' * folder.seal.is_on}encrypted: name a new folder")
    if folder.is_marked(UNFINISHED):
        raise ConfigurationError(f"{out} holds a survey that was not finished: go on with it (--resume), or name a new folder")


def check_begun(folder: Folder) -> None:
    """Refuse a folder that holds no survey to go on with, or one that is sealed otherwise."""
    if not folder.has(journals.NAME):
        raise ConfigurationError(f"{folder.path} holds no survey to go on with: begin one without --resume")
    if folder.seal.is_on != folder.is_encrypted(journals.NAME):
        asked = "without --encrypt-to" if folder.seal.is_on else "with --encrypt-to, as it was begun"
        raise ConfigurationError(f"the survey in {folder.path} is {'not ' * folder.seal.is_on}encrypted: go on with it {asked}")


def _resumed(folder: Folder, begun: SoFar) -> SoFar:
    """What the survey in `folder` has found; refused where it is not the one that was begun there."""
    so_far = journals.load(folder)
    if so_far.begin.digest != begun.begin.digest:
        raise ConfigurationError(
            f"the survey in {folder.path} was begun with another scope, level or ca_file: go on with those, or survey into a new folder"
        )
    if so_far.shard != begun.shard:
        raise ConfigurationError(f"the survey in {folder.path} is of shard {so_far.shard}: go on with --shard {so_far.shard}")
    # As it stands now: who has asked to be left alone meanwhile, and at what rate.
    return dataclasses.replace(so_far, begin=dataclasses.replace(so_far.begin, scope=begun.scope))


@dataclass(frozen=True, slots=True)
class Kept:
    """Where what is found is written while the survey runs."""

    journal: Journal
    snapshot: Callable[[Results], None]


async def run(
    scope: Scope,
    *,
    clock: Clock = clock_of_this_host,
    ca_file: Path | None = None,
    progress: Report | None = None,
    probing: Probing = probe_in_workers,
    surroundings: Surroundings | None = None,
    so_far: SoFar | None = None,
    kept: Kept | None = None,
) -> Results:
    """Survey every system of `scope` that `so_far` does not know, of its shard; at the latest until the scope's authority ends.

    A fault of ours at one system is reported with those that were refused, and the others are surveyed all the same. No patient's value
    comes into this process, unless `probing` is `probe_here`. Raises `ConfigurationError` where the authority ends before it is known which
    systems these are.
    """
    began = time.monotonic()
    surroundings = surroundings or surroundings_of_this_host()
    so_far = so_far or journals.begin(scope, now=clock(), ca_file=ca_file)
    stop = Stop()
    async with stop.before(scope.authority.ends, clock):
        before_it = await stop.supervise(_planned(scope, surroundings, so_far))
        if before_it is None:
            raise ConfigurationError(
                f"the authority of this scope ended on {scope.authority.valid_until}, before any system was asked: have it renewed, "
                "then change authority.valid_until"
            )
        found, waiting, planned = before_it
        if kept is not None:
            kept.journal.plan(planned)
        known, before = found.done, found.seconds
        opened = _Opened(found.found.values())

        def take(index: int, seen: Seen) -> None:
            key, system = waiting[index]
            seconds = time.monotonic() - began
            found.seconds = before + seconds
            if kept is not None:
                kept.journal.take(key, system, seen, found.seconds)
            found.take(key, system, seen)
            if progress is not None:
                opened.add(found.found.get(key))
                progress(Progress(found.done, planned.mine, opened.systems, opened.patients, found.done - known, seconds))

        with stop.by_signals():
            async with _snapshots(found, kept.snapshot if kept is not None else None):
                await stop.supervise(probing([system for _, system in waiting], _orders(scope, found, ca_file), take))
    found.seconds = before + time.monotonic() - began
    return dataclasses.replace(found.results(), signal=stop.signal, authority_ended=stop.authority_ended and found.left > 0)


def _orders(scope: Scope, found: SoFar, ca_file: Path | None) -> Orders:
    limits = scope.limits
    return Orders(
        per_second=_rate(scope, found.shard),
        timeout=limits.timeout_seconds,
        max_matches=limits.max_matches,
        run_id=found.begin.run_id,
        contact=scope.authority.contact,
        ca_file=ca_file,
        write_probe=limits.write_probe,
        default_accounts=limits.default_accounts,
    )


def _rate(scope: Scope, shard: Shard) -> float:
    """Connections a second of one shard: however many machines work at the same time, together they stay within the scope's."""
    return scope.limits.connections_per_second / shard.count


async def _planned(scope: Scope, surroundings: Surroundings, so_far: SoFar) -> tuple[SoFar, Sequence[tuple[Key, System]], Plan]:
    """What is known already of the systems of its shard, those that are left, each at the level that is proven, and both counted."""
    systems, refused = await systems_of(scope, surroundings.resolve, surroundings.private)
    mine = [(key, system) for key, system in journals.keyed(scope, systems) if so_far.shard.takes(system.address)]
    found = so_far.only(key for key, _ in mine)
    # What we failed at is not finished.
    found.faults.clear()
    known = found.keys()
    waiting = [(key, system) for key, system in mine if key not in known]
    unproven = [system for _, system in waiting]
    proving = await prove(unproven, scope, surroundings, run_id=found.begin.run_id, per_second=_rate(scope, found.shard))
    asked = {str(system.address) for _, system in waiting}
    planned = Plan(len(systems), len(mine), tuple(refused), scope.authority, scope.limits.opt_out)
    found.plan = planned.with_proofs(proving, asked, found.plan)
    return found, [(key, system) for (key, _), system in zip(waiting, proving.systems, strict=True)], found.plan


class _Opened:
    """The open systems so far; added up as they come, since a survey has many."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.systems = self.patients = 0
        for result in results:
            self.add(result)

    def add(self, result: Result | None) -> None:
        if result is not None and result.level.is_open:
            self.systems += 1
            self.patients += result.records.patients if result.records else 0


@contextlib.asynccontextmanager
async def _snapshots(found: SoFar, snapshot: Callable[[Results], None] | None) -> AsyncIterator[None]:
    """Hand what is known to `snapshot` now and then, in a thread; it costs at most a twentieth of the time."""
    if snapshot is None:
        yield
        return
    write = snapshot
    write(found.results())

    async def write_now_and_then() -> None:
        pause, written = SNAPSHOT_SECONDS, found.done
        while True:
            await asyncio.sleep(pause)
            if found.done == written:
                continue
            began = time.monotonic()
            written = found.done
            await asyncio.to_thread(write, found.results())
            pause = max(SNAPSHOT_SECONDS, 20 * (time.monotonic() - began))

    writing = asyncio.create_task(write_now_and_then())
    try:
        yield
    finally:
        if writing.done():
            await writing
        writing.cancel()
        # A thread cannot be stopped: what it writes is to be there before the last reports are.
        with contextlib.suppress(asyncio.CancelledError):
            await writing


async def plan(scope: Scope, now: dt.datetime, surroundings: Surroundings | None = None, *, shard: Shard = WHOLE) -> Results:
    """What would be sent to whom; names are not looked up, since that would send something."""
    surroundings = surroundings or surroundings_of_this_host()
    names: dict[str, str] = {}

    async def remember(name: str) -> Sequence[str]:
        names[name] = name
        return ()

    systems, refused = await systems_of(scope, remember, surroundings.private)
    lines = [f"{name}: would be resolved, and spoken to if the scope allows its address" for name in names]
    lines += control.plan(scope, systems, surroundings)
    for system in systems:
        if shard.takes(system.address):
            for probe in PROBES:
                lines += [f"{system.address} port {port}: {step}" for port in probe.ports(system) for step in _steps(probe, system, scope)]
    really_refused = [each for each in refused if each.host not in names]
    return Results(scope, now.isoformat(timespec="seconds"), 0.0, "", (), tuple(really_refused), plan=tuple(lines))


def _steps(probe: Probe, system: System, scope: Scope) -> Sequence[str]:
    """What `probe` would send, and what more it would send to a host that is proven to be the owner's."""
    sure = list(probe.plan(system, scope.limits))
    if system.beyond is None or scope.control is None:
        return sure
    further = probe.plan(dataclasses.replace(system, level=system.beyond), scope.limits)
    return sure + [f"if control is proven: {step}" for step in further if step not in sure]
