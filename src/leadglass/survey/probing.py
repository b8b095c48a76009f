"""Asking the systems: what whoever probes is told, what he brings home, and the one loop that asks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from pydantic import TypeAdapter

from leadglass.survey.addresses import RefusedTarget, System
from leadglass.survey.briefing import Briefing, Counted, Probe
from leadglass.survey.dialer import ScopedDialer
from leadglass.survey.observations import CountedBy, Dimse, Observation
from leadglass.survey.probes import PROBES
from leadglass.survey.tally import run_key

AT_ONCE = 512
"""Systems that are spoken to at the same time; each holds at most one connection."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What whoever probes is told of a run, beside the systems; it can be said in JSON."""

    per_second: float
    """Connections, of all systems together."""
    timeout: float
    max_matches: int
    run_id: str
    contact: str
    ca_file: Path | None = None
    write_probe: bool = False
    default_accounts: bool = False
    at_once: int = AT_ONCE


Seen: TypeAlias = tuple[Observation, ...] | RefusedTarget
"""The doors of one system, or why there is nothing to say of it."""

SEEN: TypeAdapter[tuple[int, Seen]] = TypeAdapter(tuple[int, Seen])
"""The index of a system and what was seen of it, to and from JSON: all that a process that probed has to say."""

Take: TypeAlias = Callable[[int, Seen], None]
"""Told of each system, by its index, as soon as it is known."""

Probing: TypeAlias = Callable[[Sequence[System], Orders, Take], Awaitable[None]]
"""Asks all systems and returns when `Take` was told of each."""


async def probe_here(systems: Sequence[System], orders: Orders, take: Take, *, probes: Sequence[Probe] = PROBES) -> None:
    """Ask in this process, `orders.at_once` systems at a time; a survey asks in `workers`, so that no patient's value comes here.

    A fault of ours at one system is told as its refusal, and the others are asked all the same.
    """
    briefing = Briefing(
        dialer=ScopedDialer(systems, per_second=orders.per_second, timeout=orders.timeout),
        timeout=orders.timeout,
        max_matches=orders.max_matches,
        run_id=orders.run_id,
        contact=orders.contact,
        key=run_key(),
        ca_file=orders.ca_file,
        write_probe=orders.write_probe,
        default_accounts=orders.default_accounts,
    )
    waiting = iter(enumerate(systems))

    async def work() -> None:
        for index, system in waiting:
            take(index, await _look_at(system, briefing, probes))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(orders.at_once, len(systems))):
            group.create_task(work())


async def _look_at(system: System, briefing: Briefing, probes: Sequence[Probe]) -> Seen:
    doors: list[Observation] = []
    for probe in probes:
        for port in probe.ports(system):
            try:
                doors.append(await probe.run(system, port, briefing))
                briefing = _knowing(briefing, doors[-1])
            except Exception as fault:  # noqa: BLE001 - one archive that we fail at must not cost the result of all the others
                return not_judged(system, f"our own fault at port {port} ({type(fault).__name__}); please report it")
    return tuple(sorted(doors, key=lambda seen: system.ports.index(seen.port)))


def _knowing(briefing: Briefing, seen: Observation) -> Briefing:
    """What the other doors of a system need not be asked any more: what a product has counted, a second object, a second sign-in."""
    if seen.synthetic_object is not None:
        # It is there, or may be: it was not answered.
        briefing = replace(briefing, write_probe=False)
    if isinstance(seen, Dimse):
        return briefing
    if seen.default_account is not None:
        briefing = replace(briefing, default_accounts=False)
    if seen.counted_by is CountedBy.COUNT_ENDPOINT and seen.records is not None and seen.records.exact and seen.product is not None:
        return replace(briefing, counted=Counted(seen.product, seen.records))
    return briefing


def not_judged(system: System, why: str) -> RefusedTarget:
    """A system of which there is nothing to say."""
    return RefusedTarget(system.target.name, str(system.address), f"not judged: {why}")
