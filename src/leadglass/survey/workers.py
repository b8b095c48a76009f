"""Probing in processes of its own, as many as cores: what patients' values they meet ends with them.

A worker is executed, not forked, and is told its systems on its standard input; it says on its standard output what it saw, and nothing
else: `probing.SEEN`, in which no patient's text has a place. It ends when it has said all, and when its input ends, however we end.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from leadglass.survey.addresses import System
from leadglass.survey.dialer import neighbourhood
from leadglass.survey.probing import SEEN, Orders, Take, not_judged
from leadglass.survey.stopping import ENDING_SECONDS

ERRAND: TypeAdapter[tuple[Orders, tuple[System, ...]]] = TypeAdapter(tuple[Orders, tuple[System, ...]])
"""What a worker is told, to and from JSON."""

ENOUGH_FOR_ONE = 64
"""Systems for which a second process would take longer to start than it saves."""

ATTEMPTS = 2
"""An archive at which a worker ends, out of memory for example, must not cost the results of all others."""

MAX_LINE = 16 << 20
"""Bytes of what is said of one system; a range of doors has a few thousand."""


async def probe_in_workers(systems: Sequence[System], orders: Orders, take: Take) -> None:
    """Ask in processes of their own; each has whole neighbourhoods, and the part of the rate that its systems are of all."""
    parts = shares(systems, min(len(os.sched_getaffinity(0)), -(-len(systems) // ENOUGH_FOR_ONE)))
    async with asyncio.TaskGroup() as group:
        for part in parts:
            share = len(part) / len(systems)
            own = replace(orders, per_second=orders.per_second * share, at_once=max(1, round(orders.at_once * share)))
            group.create_task(_probe(part, own, take))


def shares(systems: Sequence[System], workers: int) -> list[dict[int, System]]:
    """The systems, by their index, in at most so many parts of about the same size; none splits a neighbourhood.

    So the limits for one address, and for one /24, hold without a word between the workers.
    """
    near: dict[str, dict[int, System]] = defaultdict(dict)
    for index, system in enumerate(systems):
        near[neighbourhood(system.address)][index] = system
    parts: list[dict[int, System]] = [{} for _ in range(max(1, workers))]
    for group in sorted(near.values(), key=len, reverse=True):
        min(parts, key=len).update(group)
    return [dict(sorted(part.items())) for part in parts if part]


async def _probe(part: Mapping[int, System], orders: Orders, take: Take) -> None:
    """Have one part asked; by another worker where one ends before it has said all."""
    left = dict(part)
    for _ in range(ATTEMPTS):
        if left:
            await _one_worker(left, orders, take)
    for index, system in left.items():
        take(index, not_judged(system, "the process that asked it ended before it had an answer; run the survey again"))


async def _one_worker(left: dict[int, System], orders: Orders, take: Take) -> None:
    """Start a worker for the systems that are `left`, and take them out one by one as it tells of them."""
    indexes = list(left)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "leadglass.survey.worker",
        stdin=PIPE,
        stdout=PIPE,
        # A fault's words could hold what an archive said.
        stderr=DEVNULL,
        # Ctrl-C is for us: we tell the workers.
        start_new_session=True,
        limit=MAX_LINE,
    )
    try:
        with contextlib.suppress(ConnectionError, ValueError, ValidationError, IndexError):
            await _tell(process, ERRAND.dump_json((orders, tuple(left.values()))))
            while line := await _stdout(process).readline():
                place, seen = SEEN.validate_json(line)
                if left.pop(indexes[place], None) is not None:
                    take(indexes[place], seen)
    finally:
        await _end(process)


def _stdout(process: Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise RuntimeError("a worker was started without pipes")
    return process.stdout


async def _tell(process: Process, errand: bytes) -> None:
    if process.stdin is None:
        raise RuntimeError("a worker was started without pipes")
    process.stdin.write(errand + b"\n")
    await process.stdin.drain()


async def _end(process: Process) -> None:
    """Let it stop by itself, then no longer."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(ENDING_SECONDS):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
