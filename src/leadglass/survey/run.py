"""A survey from its scope to its report: nothing is sent before the authority, the addresses and the level have been checked."""

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from leadglass.errors import ConfigurationError
from leadglass.survey.addresses import RefusedTarget, System, resolve_by_system, systems_of
from leadglass.survey.briefing import Briefing, Probe
from leadglass.survey.dialer import ScopedDialer
from leadglass.survey.observations import UNREACHED, Observation
from leadglass.survey.probes import PROBES
from leadglass.survey.report import write_reports
from leadglass.survey.results import Result, Results, judge
from leadglass.survey.scope import ExposureLimit, Scope, load_scope
from leadglass.survey.tally import run_key

AT_ONCE = 512
"""Systems that are spoken to at the same time; each holds at most one connection."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a survey is."""

    done: int
    total: int
    found_open: int
    seconds: float


Report: TypeAlias = Callable[[Progress], None]


def survey(
    scope_path: Path,
    out: Path,
    *,
    level: ExposureLimit | None = None,
    dry_run: bool = False,
    progress: Report | None = None,
) -> Results:
    """Survey what the scope names and write the reports into `out` (0700).

    With `dry_run` no socket is opened and nothing written: `Results.plan` says what would be sent to whom. Raises `ConfigurationError`
    for a scope that is wrong or whose authority has ended.
    """
    scope = load_scope(scope_path).lowered(level)
    now = dt.datetime.now(dt.UTC)
    scope.check_valid_on(now.astimezone().date())
    if dry_run:
        return asyncio.run(_plan(scope, now))
    check_folder(out)
    ca_file = scope_path.parent / scope.limits.ca_file if scope.limits.ca_file else None
    results = asyncio.run(run(scope, now=now, ca_file=ca_file, progress=progress))
    write_reports(results, out)
    return results


def check_folder(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier survey's results, before the first packet."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "results.json").exists())):
        raise ConfigurationError(f"{out} is in use: name a new folder, or one that holds the results of an earlier survey")


async def run(
    scope: Scope,
    *,
    now: dt.datetime,
    ca_file: Path | None = None,
    progress: Report | None = None,
    probes: Sequence[Probe] = PROBES,
) -> Results:
    """Survey every system of `scope`; the caller has checked its authority.

    A fault of ours at one system is reported with those that were refused, and the others are surveyed all the same.
    """
    began = time.monotonic()
    systems, refused = await systems_of(scope, resolve_by_system)
    limits = scope.limits
    briefing = Briefing(
        dialer=ScopedDialer(systems, per_second=limits.connections_per_second, timeout=limits.timeout_seconds),
        timeout=limits.timeout_seconds,
        max_matches=limits.max_matches,
        run_id=secrets.token_hex(3),
        contact=scope.authority.contact,
        key=run_key(),
        ca_file=ca_file,
    )
    found: dict[int, Result] = {}
    silent = 0
    refused_unasked = len(refused)

    def take(index: int, doors: Sequence[Observation] | RefusedTarget) -> None:
        nonlocal silent
        if isinstance(doors, RefusedTarget):
            refused.append(doors)
        elif systems[index].from_range and all(seen.ending in UNREACHED for seen in doors):
            silent += 1
        else:
            found[index] = judge(systems[index], doors)
        if progress is not None:
            opened = sum(result.level.is_open for result in found.values())
            progress(Progress(len(found) + silent + len(refused) - refused_unasked, len(systems), opened, time.monotonic() - began))

    await _look_at_all(systems, briefing, probes, take)
    return Results(
        scope=scope,
        started=now.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        run_id=briefing.run_id,
        targets=tuple(found[index] for index in sorted(found)),
        refused=tuple(refused),
        addresses_asked=len(systems),
        addresses_silent=silent,
    )


async def _look_at_all(
    systems: Sequence[System],
    briefing: Briefing,
    probes: Sequence[Probe],
    take: Callable[[int, Sequence[Observation] | RefusedTarget], None],
) -> None:
    """Hand each system's doors to `take` as they become known, `AT_ONCE` systems at a time."""
    waiting = iter(enumerate(systems))

    async def work() -> None:
        for index, system in waiting:
            take(index, await _look_at(system, briefing, probes))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(systems))):
            group.create_task(work())


async def _look_at(system: System, briefing: Briefing, probes: Sequence[Probe]) -> Sequence[Observation] | RefusedTarget:
    doors: list[Observation] = []
    for probe in probes:
        for port in probe.ports(system):
            try:
                doors.append(await probe.run(system, port, briefing))
            except Exception as fault:  # noqa: BLE001 - one archive that we fail at must not cost the result of all the others
                why = f"not judged: our own fault at port {port} ({type(fault).__name__}); please report it"
                return RefusedTarget(system.target.name, str(system.address), why)
    return doors


async def _plan(scope: Scope, now: dt.datetime) -> Results:
    """What would be sent to whom; names are not looked up, since that would send something."""
    names: dict[str, str] = {}

    async def remember(name: str) -> Sequence[str]:
        names[name] = name
        return ()

    systems, refused = await systems_of(scope, remember)
    lines = [f"{name}: would be resolved, and spoken to if the scope allows its address" for name in names]
    for system in systems:
        for probe in PROBES:
            lines += [f"{system.address} port {port}: {step}" for port in probe.ports(system) for step in probe.plan(system)]
    really_refused = [each for each in refused if each.host not in names]
    return Results(scope, now.isoformat(timespec="seconds"), 0.0, "", (), tuple(really_refused), plan=tuple(lines))
