"""What every probe is told, and what a probe is; the list of them is `PROBES` in `probes/__init__.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from leadglass.survey.addresses import System
from leadglass.survey.dialer import Dialer
from leadglass.survey.observations import Observation, RecordCounts, WebProduct
from leadglass.survey.scope import Limits


def user_agent(run_id: str, contact: str) -> str:
    """Who we are, to a web server: the run, and whom to ask about it (RFC 9110 10.1.5)."""
    plain = "".join(each for each in contact if each.isascii() and each.isprintable() and each not in "()\\")
    return f"leadglass-survey/0.1 (run {run_id}; contact {plain[:120]})"


@dataclass(frozen=True, slots=True)
class Briefing:
    """The same for every probe of a run."""

    dialer: Dialer
    timeout: float
    """Seconds for each step of a conversation."""
    max_matches: int
    run_id: str
    """Six characters, in the calling AE title and the User-Agent: the operator finds us in his logs by it."""
    contact: str
    key: bytes = field(repr=False)
    """Of this run; identifiers are hashed under it while they are counted."""
    ca_file: Path | None = None
    write_probe: bool = False
    """Offer one marked synthetic object to be stored."""
    default_accounts: bool = False
    """Try the one documented account of a recognised product."""
    counted: "Counted | None" = None
    """Of this system, by the count endpoint of a door that was asked before."""

    @property
    def calling_aet(self) -> str:
        return f"LGSURVEY-{self.run_id}"

    @property
    def user_agent(self) -> str:
        return user_agent(self.run_id, self.contact)

    @property
    def counting_seconds(self) -> float:
        """Bound on counting one archive."""
        return 60 * self.timeout


@dataclass(frozen=True, slots=True)
class Counted:
    """A product's own count of its records: asking for every one of them again would only move patients' rows."""

    product: WebProduct
    records: RecordCounts


class Probe(Protocol):
    """One way of asking a system what a stranger gets from it."""

    name: str
    title: str

    def ports(self, system: System) -> Sequence[int]:
        """The ports of `system` that this probe speaks to."""
        ...

    def plan(self, system: System, limits: Limits) -> Sequence[str]:
        """What `run` would send to each of these ports, in words, for `--dry-run`."""
        ...

    async def run(self, system: System, port: int, briefing: Briefing) -> Observation:
        """Ask; never raises for what the other side does."""
        ...
