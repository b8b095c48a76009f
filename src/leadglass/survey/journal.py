"""What a survey has found so far, line by line in `DIR/journal.jsonl`: a kill loses at most the systems that were being asked.

The first line says which survey it is, a `plan` line what each start had before it, and one line for each system what the probes saw
there; each ends in a code over all until there (`chain.py`). Resuming and merging judge from these observations again. A journal that was
changed, or is of another method version, is refused; one that was cut off is right as far as it goes.
"""

import dataclasses
import datetime as dt
import hashlib
import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeAlias, get_args

from pydantic import Field as Bounded
from pydantic import TypeAdapter

from leadglass.errors import ConfigurationError, WrongUsage
from leadglass.survey.addresses import IpAddress, RefusedTarget, System, is_opted_out
from leadglass.survey.chain import Chain
from leadglass.survey.control import ProvenControl
from leadglass.survey.folder import Folder, Lines
from leadglass.survey.observations import UNREACHED, Observation
from leadglass.survey.proving import Proving
from leadglass.survey.results import METHOD, Result, Results, judge
from leadglass.survey.scope import Authority, ExposureLimit, Scope
from leadglass.survey.shard import WHOLE, Shard

NAME = "journal.jsonl"
FORMAT = "leadglass survey journal 2"

Key: TypeAlias = tuple[int, int, int]
"""Which system: the target's place in the scope and, of a range, the version and number of its address; in the order of the scope."""
Outcome: TypeAlias = Sequence[Observation] | RefusedTarget
Count: TypeAlias = Annotated[int, Bounded(ge=0)]

_MAY_CHANGE: Final[Mapping[str, set[str] | bool]] = {
    "authority": {"authorised_by", "valid_until"},
    "limits": {"connections_per_second", "opt_out"},
    "control": True,
}
"""What may be other when a survey goes on: who renewed it, how gently, who asked to be left alone meanwhile, what proves control."""

_KINDS: Mapping[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Observation)}


@dataclass(frozen=True, slots=True)
class Begin:
    """Which survey a journal is of."""

    format: str
    method: str
    run_id: str
    started: str
    shard: str
    digest: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Plan:
    """What a start of the survey had before it: of all `systems` of the scope, those of its shard are `mine`."""

    systems: Count
    mine: Count
    refused: tuple[RefusedTarget, ...]
    authority: Authority
    """As this start had it: renewed since, perhaps."""
    opt_out: tuple[str, ...]
    """Who had asked to be left alone by then."""
    unproven: tuple[RefusedTarget, ...] = ()
    """Public hosts that are surveyed at less than the scope's level: nobody published that more is welcome."""
    proven: tuple[ProvenControl, ...] = ()

    def with_proofs(self, proving: Proving, asked: Collection[str], before: "Plan | None") -> "Plan":
        """With what was published for the hosts `asked` about now, and what an earlier start found of the others."""
        then_unproven, then_proven = (before.unproven, before.proven) if before else ((), ())
        unproven = (*(each for each in then_unproven if each.host not in asked), *proving.refused)
        proven = (*(each for each in then_proven if each.host not in asked), *proving.proven)
        return dataclasses.replace(self, unproven=unproven, proven=proven)


@dataclass(frozen=True, slots=True)
class Entry:
    """One system; no doors where an address of a range was silent; `fault` where we failed at it."""

    target: Count
    address: str
    seconds: Annotated[float, Bounded(ge=0, allow_inf_nan=False)]
    doors: tuple[Mapping[str, Any], ...] = ()
    fault: str = ""


_LINES: Mapping[str, TypeAdapter[Any]] = {kind.__name__.lower(): TypeAdapter(kind) for kind in (Begin, Plan, Entry)}


def digest_of(scope: Scope, ca_file: Path | None) -> str:
    """What two scopes that ask the same of the same systems share."""
    told = scope.model_dump(mode="json", exclude=dict(_MAY_CHANGE))
    authorities = hashlib.sha256(ca_file.read_bytes()).hexdigest() if ca_file else ""
    return hashlib.sha256(json.dumps([told, authorities], sort_keys=True).encode()).hexdigest()[:32]


@dataclass(slots=True)
class SoFar:
    """What is known of each system; `plan` is that of the last start."""

    begin: Begin
    plan: Plan | None = None
    found: dict[Key, Result] = field(default_factory=dict)
    silent: set[Key] = field(default_factory=set)
    faults: dict[Key, RefusedTarget] = field(default_factory=dict)
    seconds: float = 0.0
    chain: Chain = field(default_factory=Chain)
    """Where the journal goes on."""

    @property
    def scope(self) -> Scope:
        return self.begin.scope

    @property
    def shard(self) -> Shard:
        return Shard.parse(self.begin.shard)

    @property
    def done(self) -> int:
        return len(self.found) + len(self.silent) + len(self.faults)

    @property
    def left(self) -> int:
        """Systems that were not asked yet."""
        return max(0, self.plan.mine - self.done) if self.plan else 0

    def keys(self) -> set[Key]:
        return {*self.found, *self.silent, *self.faults}

    def take(self, key: Key, system: System, outcome: Outcome) -> None:
        """Judge what was seen at one system, in the place of what was known of it before."""
        self.faults.pop(key, None)
        self.found.pop(key, None)
        self.silent.discard(key)
        if isinstance(outcome, RefusedTarget):
            self.faults[key] = outcome
        elif system.from_range and all(seen.ending in UNREACHED for seen in outcome):
            self.silent.add(key)
        else:
            self.found[key] = judge(system, outcome)

    def only(self, keys: Iterable[Key]) -> Self:
        """This without the systems that are not among `keys`: they are not of the scope any more."""
        kept = set(keys)
        return dataclasses.replace(
            self,
            found={key: each for key, each in self.found.items() if key in kept},
            silent=self.silent & kept,
            faults={key: each for key, each in self.faults.items() if key in kept},
        )

    def results(self) -> Results:
        """What a report is made from, systems in the order of the scope."""
        plan = self.plan or Plan(0, 0, (), self.scope.authority, self.scope.limits.opt_out)
        places = {target.name: place for place, target in reversed(tuple(enumerate(self.scope.target)))}

        def in_scope(each: RefusedTarget | ProvenControl) -> tuple[int, int, int]:
            """Whichever start or shard found it out."""
            address = ip_address(each.host)
            return places[each.name], address.version, int(address)

        return Results(
            scope=self.scope,
            started=self.begin.started,
            seconds=self.seconds,
            run_id=self.begin.run_id,
            targets=tuple(self.found[key] for key in sorted(self.found)),
            refused=(*plan.refused, *sorted(plan.unproven, key=in_scope), *(self.faults[key] for key in sorted(self.faults))),
            addresses_asked=self.done,
            addresses_silent=len(self.silent),
            left=self.left,
            shard="" if self.shard.is_whole else self.begin.shard,
            faults=len(self.faults),
            digest=self.begin.digest,
            proven=tuple(sorted(plan.proven, key=in_scope)),
        )


def begin(scope: Scope, *, now: dt.datetime, shard: Shard = WHOLE, ca_file: Path | None = None) -> SoFar:
    """A survey of which nothing is known yet, with a run id of its own."""
    run_id, started = secrets.token_hex(3), now.isoformat(timespec="seconds")
    # The key of the proofs is nobody's business but the scope file's.
    return SoFar(Begin(FORMAT, METHOD, run_id, started, str(shard), digest_of(scope, ca_file), scope.model_copy(update={"control": None})))


def keyed(scope: Scope, systems: Iterable[System]) -> Iterator[tuple[Key, System]]:
    """Each system with its key; targets are told apart by identity, since two lines of a scope may say the same."""
    places = {id(target): place for place, target in enumerate(scope.target)}
    for system in systems:
        yield _key(places[id(system.target)], system), system


def _key(place: int, system: System) -> Key:
    return (place, system.address.version, int(system.address)) if system.from_range else (place, 0, 0)


class Journal:
    """The journal of a survey that is running."""

    def __init__(self, lines: Lines, chain: Chain) -> None:
        self._lines = lines
        self._chain = chain

    def begin(self, begun: Begin) -> None:
        self._add("begin", begun)

    def plan(self, plan: Plan) -> None:
        self._add("plan", plan)

    def take(self, key: Key, system: System, outcome: Outcome, seconds: float) -> None:
        """Write down what was seen at one system."""
        if isinstance(outcome, RefusedTarget):
            self._add("entry", Entry(key[0], str(system.address), round(seconds, 3), fault=outcome.why))
            return
        silent = system.from_range and all(seen.ending in UNREACHED for seen in outcome)
        doors = () if silent else tuple(encoded(seen) for seen in outcome)
        self._add("entry", Entry(key[0], str(system.address), round(seconds, 3), doors))

    def _add(self, kind: str, content: object) -> None:
        self._lines.add(self._chain.link(b'{"%s":%s}' % (kind.encode(), _LINES[kind].dump_json(content))))


def encoded(seen: Observation) -> Mapping[str, Any]:
    """An observation as JSON has it, under the name of its class.

    >>> from leadglass.survey.observations import *
    >>> door = Dimse(104, Protocol.DIMSE, ExposureLevel.DICOM, Write.NOT_TRIED, Transport.PLAIN, Ending.DONE, Rejection(1, 1, 7))
    >>> decoded(encoded(door)) == door
    True
    """
    name = type(seen).__name__
    return {name: _KINDS[name].dump_python(seen, mode="json", exclude_defaults=True)}


def decoded(told: Mapping[str, Any]) -> Observation:
    """The observation that `encoded` told; raises `ValueError`."""
    ((name, content),) = told.items()
    if name not in _KINDS:
        raise ValueError(f"an observation of an unknown kind: {name[:40]!r}")
    observation: Observation = _KINDS[name].validate_python(content)
    return observation


def load(folder: Folder) -> SoFar:
    """What the journal in `folder` says of who had not opted out at its last start; raises `ConfigurationError` where it is damaged."""
    so_far: SoFar | None = None
    chain = Chain()
    asked: dict[Key, IpAddress] = {}
    for number, line in enumerate(folder.lines(NAME), 1):
        try:
            if so_far is None:
                _check_version(folder, line)
            kind, content = _parsed(chain.check(line))
            if so_far is None:
                so_far = _begun(kind, content, chain)
            elif kind == "plan":
                so_far.plan = content
                so_far.begin = _as_of(so_far.begin, content)
            elif kind == "entry":
                key, address = _put(so_far, content)
                asked[key] = address
            else:
                raise ValueError("begun twice")
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ConfigurationError(f"line {number} of the journal in {folder.path} is damaged: survey again, into a new folder") from None
    if so_far is None:
        raise ConfigurationError(f"the journal in {folder.path} is empty: survey again, into a new folder")
    limits = so_far.scope.limits
    return so_far.only(key for key, address in asked.items() if not is_opted_out(address, limits))


def _as_of(begun: Begin, plan: Plan) -> Begin:
    """The survey with what may have changed since it was begun."""
    limits = begun.scope.limits.model_copy(update={"opt_out": plan.opt_out})
    return dataclasses.replace(begun, scope=begun.scope.model_copy(update={"limits": limits, "authority": plan.authority}))


def _parsed(line: bytes) -> tuple[str, Any]:
    ((kind, content),) = json.loads(line).items()
    return kind, _LINES[kind].validate_python(content)


def _check_version(folder: Folder, line: bytes) -> None:
    """Refuse a journal of another version by its first line, before it is read as one of this version."""
    begun = json.loads(line)["begin"]
    if (begun["format"], begun["method"]) != (FORMAT, METHOD):
        raise ConfigurationError(
            f"{folder.path} was surveyed by another version (method {str(begun['method'])[:20]!r}, and this is method {METHOD}): "
            "go on with the version of leadglass that began it, or survey again into a new folder"
        )


def _begun(kind: str, content: Any, chain: Chain) -> SoFar:  # noqa: ANN401 - one of three kinds of lines
    if kind != "begin":
        raise ValueError("not the first line of a journal")
    try:
        is_shard = str(Shard.parse(content.shard)) == content.shard
    except WrongUsage:
        is_shard = False
    if not is_shard:
        raise ValueError("not a shard")
    return SoFar(content, chain=chain)


def _put(so_far: SoFar, entry: Entry) -> tuple[Key, IpAddress]:
    target = so_far.scope.target[entry.target]
    system = System(target, ip_address(entry.address), ExposureLimit.CONNECT, from_range=target.is_range)
    outcome = RefusedTarget(target.name, entry.address, entry.fault) if entry.fault else tuple(decoded(told) for told in entry.doors)
    key = _key(entry.target, system)
    so_far.take(key, system, outcome)
    so_far.seconds = max(so_far.seconds, entry.seconds)
    return key, system.address
