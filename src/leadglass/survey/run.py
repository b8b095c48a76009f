"""A survey from its scope to its report: nothing is sent before the authority, the addresses and the level have been checked."""

import asyncio
import dataclasses
import datetime as dt
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from leadglass.errors import ConfigurationError
from leadglass.survey import control
from leadglass.survey.addresses import RefusedTarget, Surroundings, System, surroundings_of_this_host, systems_of
from leadglass.survey.briefing import Probe
from leadglass.survey.observations import UNREACHED
from leadglass.survey.probes import PROBES
from leadglass.survey.probing import Orders, Probing, Seen
from leadglass.survey.proving import prove
from leadglass.survey.report import write_reports
from leadglass.survey.results import Result, Results, judge
from leadglass.survey.scope import ExposureLimit, Scope, load_scope
from leadglass.survey.workers import probe_in_workers


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
    probing: Probing = probe_in_workers,
) -> Results:
    """Survey what the scope names and write the reports into `out` (0700).

    With `dry_run` no socket is opened and nothing written: `Results.plan` says what would be sent to whom. Raises `ConfigurationError`
    for a scope that is wrong or whose authority has ended.
    """
    scope = load_scope(scope_path).lowered(level)
    now = dt.datetime.now(dt.UTC)
    scope.check_valid_on(now.astimezone().date())
    if dry_run:
        return asyncio.run(plan(scope, now))
    check_folder(out)
    ca_file = scope_path.parent / scope.limits.ca_file if scope.limits.ca_file else None
    results = asyncio.run(run(scope, now=now, ca_file=ca_file, progress=progress, probing=probing))
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
    probing: Probing = probe_in_workers,
    surroundings: Surroundings | None = None,
) -> Results:
    """Survey every system of `scope`; the caller has checked its authority.

    A fault of ours at one system is reported with those that were refused, and the others are surveyed all the same. No patient's value
    comes into this process, unless `probing` is `probe_here`.
    """
    began = time.monotonic()
    surroundings = surroundings or surroundings_of_this_host()
    run_id = secrets.token_hex(3)
    named, refused = await systems_of(scope, surroundings.resolve, surroundings.private)
    proving = await prove(named, scope, surroundings, run_id=run_id)
    systems = proving.systems
    refused += proving.refused
    limits = scope.limits
    orders = Orders(
        per_second=limits.connections_per_second,
        timeout=limits.timeout_seconds,
        max_matches=limits.max_matches,
        run_id=run_id,
        contact=scope.authority.contact,
        ca_file=ca_file,
        write_probe=limits.write_probe,
        default_accounts=limits.default_accounts,
    )
    found: dict[int, Result] = {}
    opened = silent = 0
    refused_unasked = len(refused)

    def take(index: int, doors: Seen) -> None:
        nonlocal opened, silent
        if isinstance(doors, RefusedTarget):
            refused.append(doors)
        elif systems[index].from_range and all(seen.ending in UNREACHED for seen in doors):
            silent += 1
        else:
            found[index] = judge(systems[index], doors)
            opened += found[index].level.is_open
        if progress is not None:
            progress(Progress(len(found) + silent + len(refused) - refused_unasked, len(systems), opened, time.monotonic() - began))

    await probing(systems, orders, take)
    return Results(
        scope=scope,
        started=now.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        run_id=orders.run_id,
        targets=tuple(found[index] for index in sorted(found)),
        refused=tuple(refused),
        addresses_asked=len(systems),
        addresses_silent=silent,
        proven=tuple(proving.proven),
    )


async def plan(scope: Scope, now: dt.datetime, surroundings: Surroundings | None = None) -> Results:
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
