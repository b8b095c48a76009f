"""results.json as it is read back: what comparing runs needs of it, from this version or an older one; the rest is passed over."""

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as Bounded

from leadglass.errors import ConfigurationError
from leadglass.survey.findings import Severity
from leadglass.survey.folder import Folder
from leadglass.survey.observations import ExposureLevel, RecordCounts, Write
from leadglass.survey.results import Sums
from leadglass.survey.scope import ExposureLimit


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Range(_Part):
    host: str
    ports: tuple[int, ...] = ()


class _Refused(_Part):
    host: str = ""


class _Door(_Part):
    port: int
    level: ExposureLevel


class _Found(_Part):
    severity: Severity


class Seen(_Part):
    """One system, as a results.json has it."""

    name: str
    host: str
    country: str
    site: str
    level: ExposureLevel
    write: Write
    records: RecordCounts | None
    doors: tuple[_Door, ...] = ()
    findings: tuple[_Found, ...] = ()

    @property
    def answers(self) -> bool:
        return self.level is not ExposureLevel.CLOSED

    @property
    def ports(self) -> frozenset[int]:
        """Those that were asked."""
        return frozenset(door.port for door in self.doors)

    def level_at(self, ports: frozenset[int]) -> ExposureLevel:
        """What a stranger reaches through these ports alone."""
        return max((door.level for door in self.doors if door.port in ports), key=lambda level: level.rank, default=ExposureLevel.CLOSED)

    @property
    def writable(self) -> bool:
        return self.write in {Write.OFFERED, Write.ACCEPTED}

    @property
    def worst(self) -> int:
        """Rank of the worst finding; what a version may be affected by (low) is no change of the system."""
        return max((each.severity.rank for each in self.findings if each.severity is not Severity.LOW), default=-1)


class Told(_Part):
    """What it says of the run."""

    method: str
    started: str
    seconds: float = 0
    run: str = ""
    level: ExposureLimit
    left: int = 0
    shard: str | None = None
    scope: str = ""
    ranges: tuple[_Range, ...] = ()
    refused: tuple[_Refused, ...] = ()


class Run(_Part):
    """One results.json."""

    survey: Told
    targets: tuple[Seen, ...]
    totals: Sums
    where: str = Bounded(default="", exclude=True)

    def asker(self) -> Callable[[str], frozenset[int] | None]:
        """Which ports of a host this run asked although it does not list it, since nothing answered; None where it did not ask."""
        refused = {each.host for each in self.survey.refused}
        ranges = [(ip_network(each.host), frozenset(each.ports)) for each in self.survey.ranges]

        def asked(host: str) -> frozenset[int] | None:
            if self.survey.left or host in refused:
                return None
            try:
                address = ip_address(host)
            except ValueError:
                return None
            return next((ports for network, ports in ranges if address in network), None)

        return asked


def read(folder: Folder) -> Run:
    """The results in `folder`; raises `ConfigurationError`."""
    try:
        run = Run.model_validate(json.loads(folder.read("results.json")) | {"where": str(folder.path)})
        for each in run.survey.ranges:
            ip_network(each.host)
    except (ValueError, TypeError, RecursionError, ValidationError):
        raise ConfigurationError(f"the results.json in {folder.path} is not one of a survey, or is damaged: name another folder") from None
    if run.survey.shard:
        raise ConfigurationError(f"{folder.path} is shard {run.survey.shard} alone: merge the shards of the survey, then compare")
    return run
