"""What a survey found, system by system, then by country and in all: `results.json`, from which every report is made."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, TypeAlias

import pydantic_core

from leadglass.survey import products
from leadglass.survey.addresses import RefusedTarget, System
from leadglass.survey.control import ProvenControl
from leadglass.survey.findings import Finding, Software, findings_of, open_viewers
from leadglass.survey.observations import Dimse, ExposureLevel, Field, Observation, RecordCounts, Transport, Web, WebProduct, Write
from leadglass.survey.scope import Scope

METHOD = "3"
"""Changes whenever the same archive could be judged differently, so that a better detector is not read as growth."""

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """One system."""

    name: str
    host: str
    country: str
    site: str
    level: ExposureLevel
    write: Write
    transport: Transport | None
    records: RecordCounts | None
    fields: tuple[Field, ...]
    doors: tuple[Observation, ...]
    software: Software
    findings: tuple[Finding, ...]
    open_viewers: int

    @property
    def instances_accessible(self) -> int:
        """Images that a stranger can fetch, as the first Greenbone report counts them."""
        return self.records.instances if self.records and self.level is ExposureLevel.IMAGES else 0


@dataclass(frozen=True, slots=True)
class Sums:
    """Greenbone's columns, for a country, a site or all."""

    systems: int = 0
    open: int = 0
    patients: int = 0
    studies: int = 0
    instances: int = 0
    instances_accessible: int = 0
    open_viewers: int = 0


class Stopped(StrEnum):
    """Why a survey ended before all systems were asked."""

    SIGNAL = "signal"
    AUTHORITY_ENDED = "authority-ended"


@dataclass(frozen=True, slots=True)
class Results:
    """A whole survey."""

    scope: Scope
    started: str
    seconds: float
    run_id: str
    targets: tuple[Result, ...]
    refused: tuple[RefusedTarget, ...] = ()
    addresses_asked: int = 0
    addresses_silent: int = 0
    """Addresses of a range where nothing answered: not systems, and not listed."""
    plan: tuple[str, ...] = ()
    """Of a dry run: what would have been sent to whom."""
    proven: tuple[ProvenControl, ...] = ()
    """Public hosts whose operators published that they may be surveyed beyond `query`."""
    left: int = 0
    """Systems that were not asked yet: more than 0 where the survey was stopped, or still runs."""
    shard: str = ""
    """I/N where these are a part of the scope's systems."""
    faults: int = 0
    """Systems of `refused` that we failed at ourselves."""
    digest: str = ""
    """What two surveys of the same scope share."""
    signal: int = 0
    """What stopped the survey; 0 where nothing did."""
    authority_ended: bool = False
    """The scope's authority ended while it ran, which stopped it."""

    @property
    def totals(self) -> Sums:
        return sums(self.targets)

    @property
    def stopped(self) -> Stopped | None:
        """What stopped the survey; None where it came to its end, still runs, or was killed."""
        if self.authority_ended:
            return Stopped.AUTHORITY_ENDED
        return Stopped.SIGNAL if self.signal else None

    @property
    def exit_code(self) -> int:
        """Fit for CI.

        2 where the authority ended before the survey did, 3 where we failed at a system, 1 where there is anything to change or a target
        was refused, 0 where all is well.
        """
        if self.authority_ended:
            return 2
        if self.faults:
            return 3
        return 1 if self.refused or any(result.findings for result in self.targets) else 0

    @property
    def worst_first(self) -> tuple[Result, ...]:
        return tuple(sorted(self.targets, key=_badness, reverse=True))

    def by_country(self) -> Mapping[str, Sums]:
        return _grouped(self.targets, lambda result: result.country)

    def by_site(self) -> Mapping[tuple[str, str], Sums]:
        return _grouped(self.targets, lambda result: (result.country, result.site))


def _badness(result: Result) -> tuple[int, int, int, int]:
    worst = max((finding.severity.rank for finding in result.findings), default=-1)
    counts = result.records
    return (result.level.rank if result.level.is_open else -1, worst, counts.patients if counts else 0, result.level.rank)


def _grouped(targets: Iterable[Result], key: Any) -> dict[Any, Sums]:  # noqa: ANN401 - any sortable key
    groups: dict[Any, list[Result]] = {}
    for result in targets:
        groups.setdefault(key(result), []).append(result)
    return {name: sums(groups[name]) for name in sorted(groups)}


def sums(targets: Iterable[Result]) -> Sums:
    """The columns of a table's row."""
    listed = list(targets)
    opened = [result for result in listed if result.level.is_open]
    counted = [result.records for result in opened if result.records is not None]
    return Sums(
        systems=len(listed),
        open=len(opened),
        patients=sum(each.patients for each in counted),
        studies=sum(each.studies for each in counted),
        instances=sum(each.instances for each in counted),
        instances_accessible=sum(result.instances_accessible for result in listed),
        open_viewers=sum(result.open_viewers for result in listed),
    )


def judge(system: System, doors: Sequence[Observation]) -> Result:
    """One system's result from what the probes saw at its doors."""
    software = _software(doors)
    fields = {field for seen in doors for field in seen.fields}
    counted = [seen.records for seen in doors if seen.records is not None]
    writes = [seen.write for seen in doors]
    return Result(
        name=system.target.name,
        host=str(system.address) if system.from_range else system.target.host,
        country=system.target.country,
        site=system.target.site,
        level=max((seen.level for seen in doors), key=lambda level: level.rank, default=ExposureLevel.CLOSED),
        write=max(writes, key=list(Write).index, default=Write.NOT_TRIED),
        transport=_transport(doors),
        # Several doors lead to one archive: the fullest count is its size, never a sum.
        records=max(counted, key=lambda each: (each.studies, each.exact, each.instances), default=None),
        fields=tuple(each for each in Field if each in fields),
        doors=tuple(doors),
        software=software,
        findings=findings_of(doors, software),
        open_viewers=open_viewers(doors),
    )


def _transport(doors: Sequence[Observation]) -> Transport | None:
    """How DICOM is protected on the way: the weakest DIMSE door; of the web only where there is no DIMSE door that speaks."""
    spoken: dict[bool, list[Transport]] = {True: [], False: []}
    for seen in doors:
        if seen.transport is not None:
            spoken[isinstance(seen, Dimse)].append(seen.transport)
    return min(spoken[True] or spoken[False], key=list(Transport).index, default=None)


_WEB_EVIDENCE = "its own answer over HTTP"


def _software(doors: Sequence[Observation]) -> Software:
    software = Software()
    for seen in doors:
        if isinstance(seen, Dimse) and seen.fingerprint is not None:
            row = products.fingerprints()[seen.fingerprint]
            is_product = bool(row.product)
            software = Software(
                name=row.product,
                toolkit=row.toolkit,
                version=seen.toolkit_version if is_product else None,
                toolkit_version=seen.toolkit_version,
                confidence=row.confidence,
                evidence=row.evidence,
            )
    for seen in doors:
        if isinstance(seen, Web) and seen.product is not None and seen.product is not WebProduct.OHIF:
            software = dataclasses.replace(
                software, name=str(seen.product), version=seen.product_version, confidence="confirmed", evidence=_WEB_EVIDENCE
            )
    return software


def to_json(results: Results) -> bytes:
    """`results.json`: other programs read it, so its keys stay."""
    scope = results.scope
    authority = {
        "owner": scope.authority.owner,
        "authorised_by": scope.authority.authorised_by,
        "contact": scope.authority.contact,
        "valid_until": scope.authority.valid_until.isoformat(),
    }
    if scope.limits.unsafe_mandate:
        authority["unsafe_mandate"] = scope.limits.unsafe_mandate
    document = {
        "survey": {
            "method": METHOD,
            "started": results.started,
            "seconds": round(results.seconds, 1),
            "run": results.run_id,
            "complete": results.left == 0,
            "left": results.left,
            "stopped": results.stopped,
            "shard": results.shard or None,
            "scope": results.digest,
            "ranges": [{"name": target.name, "host": target.host, "ports": target.ports} for target in scope.target if target.is_range],
            "authority": authority,
            "level": str(scope.limits.level),
            "addresses": {"asked": results.addresses_asked, "silent": results.addresses_silent},
            "refused": [dataclasses.asdict(each) for each in results.refused],
            "proven": [dataclasses.asdict(each) for each in results.proven],
        },
        "targets": [_target(result) for result in results.targets],
        "countries": [{"country": country} | dataclasses.asdict(each) for country, each in results.by_country().items()],
        "totals": dataclasses.asdict(results.totals),
    }
    return pydantic_core.to_json(document, indent=1) + b"\n"


def _target(result: Result) -> Json:
    software = result.software
    return {
        "name": result.name,
        "host": result.host,
        "country": result.country,
        "site": result.site,
        "level": str(result.level),
        "write": str(result.write),
        "transport": str(result.transport) if result.transport else None,
        "records": dataclasses.asdict(result.records) if result.records else None,
        "fields": [str(each) for each in result.fields],
        "doors": [_door(seen) for seen in result.doors],
        "product": {
            "name": software.name or None,
            "toolkit": software.toolkit or None,
            "version": dotted(software.version) or None,
            "toolkit_version": dotted(software.toolkit_version) or None,
            "confidence": software.confidence or None,
            "evidence": software.evidence or None,
        },
        "open_viewers": result.open_viewers,
        "findings": [dataclasses.asdict(each) for each in result.findings],
    }


NAMED_ELSEWHERE = frozenset({"port", "protocol", "level", "fingerprint"})
"""What of an observation is not in a door's detail."""

DETAIL_AS_TEXT = frozenset({"query_status", "store_status", "synthetic_object", "toolkit_version", "product_version"})
"""What is written there as people write it."""


def _door(seen: Observation) -> Json:
    detail = {
        key: value
        for key, value in _plain(dataclasses.asdict(seen)).items()
        if key not in NAMED_ELSEWHERE and value not in (None, [], False)
    }
    if isinstance(seen, Dimse):
        if seen.rejection is not None:
            detail["rejection"] = dict(detail["rejection"]) | {"meaning": str(seen.rejection.meaning)}
        if seen.query_status is not None:
            detail["query_status"] = f"0x{seen.query_status:04X}"
        if seen.store_status is not None:
            detail["store_status"] = f"0x{seen.store_status:04X}"
        if seen.toolkit_version is not None:
            detail["toolkit_version"] = dotted(seen.toolkit_version)
    elif seen.product_version is not None:
        detail["product_version"] = dotted(seen.product_version)
    if seen.synthetic_object is not None:
        detail["synthetic_object"] = f"2.25.{seen.synthetic_object}"
    return {"port": seen.port, "protocol": str(seen.protocol), "level": str(seen.level), "detail": detail}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a dataclass
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def dotted(version: Sequence[int] | None) -> str:
    """A version as people write it; empty where there is none."""
    return ".".join(str(part) for part in version or ())
