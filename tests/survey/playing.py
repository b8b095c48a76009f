"""A probe that answers from its table instead of from a network, and surveys by it: what a run makes of observations, without a server."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from leadglass.survey.addresses import System
from leadglass.survey.briefing import Briefing
from leadglass.survey.folder import Folder, Identities, Seal
from leadglass.survey.observations import (
    Dimse,
    Ending,
    ExposureLevel,
    Field,
    Observation,
    Protocol,
    RecordCounts,
    Rejection,
    Service,
    Transport,
    Write,
)
from leadglass.survey.probing import probe_here
from leadglass.survey.results import Results
from leadglass.survey.run import Course, Progress, survey_into
from leadglass.survey.scope import Limits, Scope, parse_scope
from leadglass.survey.shard import WHOLE, Shard
from tests.survey.harness import scope_text

LEVELS = list(ExposureLevel)


def door(level: ExposureLevel, port: int = 104, records: RecordCounts | None = None) -> Dimse:
    """What would have been seen at an archive of this level."""
    if level is ExposureLevel.CLOSED:
        return Dimse(port, Protocol.DIMSE, level, Write.NOT_TRIED, None, Ending.REFUSED)
    if level is ExposureLevel.DICOM:
        rejected = Rejection(1, 1, 7)
        return Dimse(port, Protocol.DIMSE, level, Write.REFUSED, Transport.PLAIN, Ending.DONE, rejected)
    fields = (Field.PATIENT_NAME, Field.STUDY_DATE) if records else ()
    write = Write.OFFERED if level.is_open else Write.REFUSED
    seen = Dimse(port, Protocol.DIMSE, level, write, Transport.PLAIN, Ending.DONE, None, accepted=(Service.VERIFICATION,))
    return Dimse(**{name: getattr(seen, name) for name in seen.__slots__} | {"records": records, "fields": fields})


def by_address(system: System) -> Observation:
    """Every level in turn, by the last byte of the address; the open ones have as many studies as that byte says."""
    last = int(system.address) % 256
    level = LEVELS[last % len(LEVELS)]
    return door(level, system.target.dimse_ports[0], RecordCounts(last, 2 * last, 30 * last, exact=True) if level.is_open else None)


class Played:
    """Asks nobody; remembers whom it would have asked. `pause` seconds pass for each system."""

    name = "played"
    title = "answers from a table"

    def __init__(self, answer: Callable[[System], Observation] = by_address, pause: float = 0.0) -> None:
        self.answer = answer
        self.pause = pause
        self.asked: list[str] = []

    def ports(self, system: System) -> Sequence[int]:
        return system.target.dimse_ports[:1]

    def plan(self, system: System, limits: Limits) -> Sequence[str]:  # noqa: ARG002 - as probes have it
        return [f"nothing, to {system.address}"]

    async def run(self, system: System, port: int, briefing: Briefing) -> Observation:
        assert briefing.dialer is not None
        assert port in system.ports
        self.asked.append(str(system.address))
        await asyncio.sleep(self.pause)
        return self.answer(system)


MIXED = (
    {"name": "North", "host": "10.1.0.7", "dimse_ports": [104], "country": "FR", "site": "Lille"},
    {"name": "wards", "host": "10.2.0.0/27", "dimse_ports": [11112], "country": "DE"},
    {"name": "outside", "host": "8.8.8.8", "dimse_ports": [104]},
    {"name": "South", "host": "10.1.0.5", "dimse_ports": [104], "country": "FR"},
    {"name": "South again", "host": "10.1.0.5", "dimse_ports": [11112], "country": "FR"},
    {"name": "link", "host": "169.254.169.254", "dimse_ports": [104]},
)


def scope_of(*targets: Mapping[str, object], **limits: object) -> Scope:
    return parse_scope(scope_text(targets or MIXED, limits=limits).encode())


def play(
    out: Path,
    scope: Scope | None = None,
    probe: Played | None = None,
    *,
    shard: Shard = WHOLE,
    resume: bool = False,
    recipients: Sequence[str] = (),
    identity: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """A survey into `out`, by a probe that asks nobody."""
    course = Course(shard, resume, Seal(recipients), Identities(identity))
    folder = Folder(out, course.seal, course.identities)
    asking = partial(probe_here, probes=[probe or Played()])
    return survey_into(folder, scope or scope_of(), course=course, progress=progress, probing=asking)
