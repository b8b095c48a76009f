"""System by system: what is open in words, and what closes it; each thing is said once, so that a report of thousands stays small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leadglass.survey.findings import RULES, Finding, Severity
from leadglass.survey.observations import Dimse, Ending, ExposureLevel, Observation, Web, Write
from leadglass.survey.results import Result, Results

MAX_DETAILED = 2500
"""Systems described one by one, the worst first; the tables and results.json have all."""

MAX_SHOWN_QUIET = 2500
"""Systems without a finding that are listed by name."""

UNFOLDED = 5
"""Systems that are shown unfolded: the worst."""

_GENERAL: Mapping[str, str] = {rule.id: rule.remedy for rule in RULES}

_REACHED: Mapping[ExposureLevel, str] = {
    ExposureLevel.CLOSED: "no connection",
    ExposureLevel.OPEN_PORT: "connects, and shows nothing to a stranger",
    ExposureLevel.DICOM: "speaks DICOM and lets no stranger in",
    ExposureLevel.ASSOCIATION: "lets a stranger associate, and no more",
    ExposureLevel.QUERY_OFFERED: "offers queries to a stranger, and answers none",
    ExposureLevel.RECORDS: "answers a stranger's queries for patient records",
    ExposureLevel.IMAGES: "hands out images to a stranger",
}

_STOPPED: Mapping[Ending, str] = {
    Ending.TIMEOUT: "fell silent",
    Ending.OVER_A_BOUND: "sent more than a bound allows",
    Ending.NOT_THIS_PROTOCOL: "answered in another protocol",
    Ending.ABORTED: "aborted",
    Ending.TLS_FAILED: "the TLS handshake failed",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One finding of one system: the product's exact setting where it is known, else what holds for all."""

    finding: Finding
    closes: str
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One system of the report."""

    result: Result
    changes: Sequence[Change]
    unfolded: bool

    @property
    def worst(self) -> Severity:
        return max((change.finding.severity for change in self.changes), key=lambda severity: severity.rank)


@dataclass(frozen=True, slots=True)
class Listing:
    """The systems in the order of the report."""

    opened: Sequence[Shown]
    others: Sequence[Shown]
    quiet: Sequence[Result]
    left_out: int


def listing(results: Results) -> Listing:
    """Those that are open, then the others with a finding, each the worst first; then those with nothing to change."""
    loud = [result for result in results.worst_first if result.findings]
    quiet = [result for result in results.targets if not result.findings]
    shown = [Shown(result, changes(result), number < UNFOLDED) for number, result in enumerate(loud[:MAX_DETAILED])]
    return Listing(
        opened=[each for each in shown if each.result.level.is_open],
        others=[each for each in shown if not each.result.level.is_open],
        quiet=quiet[:MAX_SHOWN_QUIET],
        left_out=max(0, len(loud) - MAX_DETAILED) + max(0, len(quiet) - MAX_SHOWN_QUIET),
    )


def changes(result: Result) -> Sequence[Change]:
    """A system's findings; the remedy that all share is left to "What to do first" where the product's own setting is known."""
    return [_change(finding) for finding in result.findings]


def _change(finding: Finding) -> Change:
    general = _GENERAL.get(finding.id, "")
    exact = finding.remedy.removesuffix(general).strip() if general else ""
    return Change(finding, exact or finding.remedy, bool(exact))


_STORING: Mapping[Write, Sequence[str]] = {Write.OFFERED: ("offers storing",), Write.ACCEPTED: ("stored what it was sent",)}


def door_in_words(seen: Observation) -> str:
    """What one port let us see, of counts and enums alone.

    >>> from leadglass.survey.observations import Protocol, Transport
    >>> door_in_words(Dimse(104, Protocol.DIMSE, ExposureLevel.RECORDS, Write.OFFERED, Transport.PLAIN, Ending.DONE))
    "answers a stranger's queries for patient records; offers storing"
    """
    said = [_REACHED[seen.level]]
    if seen.ending in _STOPPED:
        said.append(_STOPPED[seen.ending])
    return "; ".join([*said, *(_of_dimse(seen) if isinstance(seen, Dimse) else _of_web(seen)), *_STORING.get(seen.write, ())])


def _of_dimse(seen: Dimse) -> Sequence[str]:
    said = [f"rejection: {seen.rejection.meaning.replace('-', ' ')}"] if seen.rejection is not None else []
    if seen.named_called_ae:
        said.append("only under the called AE title of the scope")
    if seen.query_status is not None:
        said.append(f"query status 0x{seen.query_status:04X}")
    return said


def _of_web(seen: Web) -> Sequence[str]:
    said = [f"open: {', '.join(seen.open_apis)}"] if seen.open_apis else []
    if seen.guarded_apis:
        said.append(f"asks for a sign-in: {', '.join(seen.guarded_apis)}")
    if seen.viewers:
        said.append(f"pages without sign-in: {', '.join(seen.viewers)}")
    if seen.directory_listing:
        said.append("lists its folders")
    if seen.catch_all:
        said.append("one page for every address, no interface")
    if seen.redirect_refused:
        said.append("sent us out of the scope; not followed")
    return said
