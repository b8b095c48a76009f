"""Looks for proofs of control over public hosts before these are surveyed beyond `query`; without one they are not, and it is said."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leadglass.survey import control, nameserver
from leadglass.survey.addresses import IpAddress, RefusedTarget, Surroundings, System, is_opted_out
from leadglass.survey.briefing import user_agent
from leadglass.survey.control import ProofBy, ProvenControl
from leadglass.survey.dialer import Dialer, ScopedDialer
from leadglass.survey.observations import Ending
from leadglass.survey.scope import ExposureLimit, Scope
from leadglass.survey.transport import stranger_context
from leadglass.survey.webclient import WebClient

MAX_FILE_BYTES = 4096
MAX_PTR_NAMES = 4
AT_ONCE = 64
"""Hosts whose file is asked for at the same time."""

_HOST_NAME = re.compile(r"(?=.{1,230}$)(?:[A-Za-z0-9_-]{1,63}\.)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proof:
    """How far its operator consents that a host is surveyed, and where that was found."""

    level: ExposureLimit
    by: ProofBy


@dataclass(frozen=True, slots=True)
class Proving:
    """The systems, each at the level that is proven; whose level stays below what the scope asks; and whose does not."""

    systems: Sequence[System]
    refused: Sequence[RefusedTarget]
    proven: Sequence[ProvenControl]


async def prove(systems: Sequence[System], scope: Scope, surroundings: Surroundings, *, run_id: str, per_second: float) -> Proving:
    """Each system at the level to which it may be surveyed; nobody is asked unless the scope has a control.key and goes beyond `query`.

    `per_second`: connections, of the part of the scope that is surveyed here. On return everybody may be asked again.
    """
    waiting = [system for system in systems if system.beyond is not None]
    found = await _search(waiting, scope, surroundings, run_id, per_second) if waiting and scope.control is not None else {}
    settled: list[System] = []
    refused: list[RefusedTarget] = []
    proven: list[ProvenControl] = []
    for system in systems:
        if system.beyond is None:
            settled.append(system)
            continue
        proof = found.get(system.address)
        level = min(proof.level, system.beyond, key=lambda each: each.rank) if proof else system.level
        if proof is not None:
            proven.append(ProvenControl(system.target.name, str(system.address), level, proof.by))
        if level is not system.beyond:
            why = control.unproven(scope, system, level, control.places(system, surroundings))
            refused.append(RefusedTarget(system.target.name, str(system.address), why))
        settled.append(replace(system, level=level, beyond=None))
    return Proving(settled, refused, proven)


async def _search(
    systems: Sequence[System], scope: Scope, surroundings: Surroundings, run_id: str, per_second: float
) -> Mapping[IpAddress, Proof]:
    limits = scope.limits
    server = surroundings.name_server
    if server is not None and is_opted_out(server[0], limits):
        server = None
    dialer = ScopedDialer(systems, per_second=per_second, timeout=limits.timeout_seconds, name_server=server)
    expected = control.values(scope)
    found = dict(await _in_dns(dialer, server, systems, expected, limits.timeout_seconds)) if server is not None else {}
    places = asyncio.Semaphore(AT_ONCE)

    async def look(system: System) -> None:
        async with places:
            # Several targets may be one host.
            for port, secure in control.file_ports(system, surroundings) if system.address not in found else ():
                agent = user_agent(run_id, scope.authority.contact)
                level = await _in_file(dialer, system, port, expected, secure=secure, timeout=limits.timeout_seconds, agent=agent)
                if level is not None:
                    found[system.address] = Proof(level, ProofBy.HTTPS_FILE if secure else ProofBy.HTTP_FILE)
                    return

    async with asyncio.TaskGroup() as group:
        for system in systems:
            if system.address not in found:
                group.create_task(look(system))
    # Who probes next has a dialer of his own, which knows nothing of these connections.
    await dialer.rest()
    return found


async def _in_dns(
    dialer: Dialer, server: tuple[IpAddress, int], systems: Sequence[System], expected: Mapping[str, ExposureLimit], timeout: float
) -> Mapping[IpAddress, Proof]:
    """The proofs in the reverse zone of each address, and under the name that its PTR record gives it."""
    zones = {system.address: control.reverse_name(system.address) for system in systems}
    first = [ask for zone in zones.values() for ask in (nameserver.txt(f"{control.LABEL}.{zone}"), nameserver.ptr(zone))]
    answers = await nameserver.ask(dialer, server, first, timeout)
    names = {address: _names(answers.get(nameserver.ptr(zone), ())) for address, zone in zones.items()}
    second = [nameserver.txt(name) for address in names for name in names[address]]
    answers = {**answers, **await nameserver.ask(dialer, server, second, timeout)}
    found: dict[IpAddress, Proof] = {}
    for address, zone in zones.items():
        places = [(ProofBy.REVERSE_ZONE, f"{control.LABEL}.{zone}"), *((ProofBy.PTR_NAME, name) for name in names[address])]
        for by, name in places:
            level = control.proven(answers.get(nameserver.txt(name), ()), expected)
            if level is not None and (address not in found or level.rank > found[address].level.rank):
                found[address] = Proof(level, by)
    return found


def _names(answered: Sequence[bytes]) -> Sequence[str]:
    """Where TXT records are asked for, of the names that a PTR record gave; what is no plain host name is passed over."""
    texts = [text.decode("ascii", "replace") for text in answered[:MAX_PTR_NAMES]]
    return [f"{control.LABEL}.{text}" for text in texts if _HOST_NAME.fullmatch(text)]


async def _in_file(
    dialer: Dialer, system: System, port: int, expected: Mapping[str, ExposureLimit], *, secure: bool, timeout: float, agent: str
) -> ExposureLimit | None:
    """The level in the file of the server at the address itself: asked for by the address (RFC 8738), no redirect followed.

    What a server gives under a name may be one customer's of many; what it gives without one is its administrator's.
    """
    bare = replace(system, target=system.target.model_copy(update={"host": str(system.address)}))
    tls = stranger_context() if secure else None
    async with WebClient(bare, port, dialer, tls=tls, timeout=timeout, user_agent=agent) as client:
        page = await client.get_here(control.WELL_KNOWN, accept="text/plain", most=MAX_FILE_BYTES)
    if isinstance(page, Ending) or page.status != 200 or not page.whole:
        return None
    return control.proven(page.body.split(b"\n"), expected)
