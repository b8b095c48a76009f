"""The scope file: the written authorisation of a survey; whose archives, until when, which addresses, how far and how fast.

Reading it sends nothing; what it does not name is never spoken to (`addresses.py`, `dialer.py`).
"""

import csv
import datetime as dt
import difflib
import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from leadglass.errors import ConfigurationError

IpNetwork: TypeAlias = IPv4Network | IPv6Network

MAX_SCOPE_BYTES = 1 << 20
MAX_TARGETS_BYTES = 64 << 20
MAX_TARGETS = 100_000
MAX_RANGE_ADDRESSES = 1 << 16
"""A /16: more is a sweep of the internet, not a hospital."""

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_CSV_COLUMNS = ("name", "host", "dimse_ports", "web_ports", "country", "site", "called_aet")

Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
OptionalText: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
AeTitle: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*$")]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535, strict=True)]


def _once(ports: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(ports))


Ports: TypeAlias = Annotated[tuple[Port, ...], AfterValidator(_once)]
"""A port that is named twice is asked once."""


class ExposureLimit(StrEnum):
    """How far the survey itself goes, least first."""

    CONNECT = "connect"
    QUERY = "query"
    COUNT = "count"
    RETRIEVE = "retrieve"

    @property
    def rank(self) -> int:
        return list(ExposureLimit).index(self)

    def reaches(self, other: "ExposureLimit") -> bool:
        """Whether a survey of this limit does what `other` does."""
        return self.rank >= other.rank


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Authority(_Table):
    """Who allowed this survey; told to nobody but the reader of the report, save `contact`."""

    owner: Text
    authorised_by: Text
    contact: Text
    valid_until: dt.date
    """The last day on which the survey may run, as days are counted where it runs."""

    @property
    def ends(self) -> dt.datetime:
        """The first moment at which nothing may be sent any more."""
        if self.valid_until == dt.date.max:
            return dt.datetime.max.replace(tzinfo=dt.UTC)
        return dt.datetime.combine(self.valid_until + dt.timedelta(days=1), dt.time.min).astimezone()


class Control(_Table):
    """By which operators of public hosts can prove, to this survey alone, that a host is theirs (`control.py`)."""

    key: Annotated[SecretStr, Field(min_length=16, max_length=200)]
    """Random, and known to the surveyor alone: who reads what others published cannot use it for a survey of his own."""


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        try:
            fitting = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"not an address or range: write it like 10.20.0.9/32, got {text[:60]!r}") from None
        raise ValueError(f"{text} has bits beyond its prefix: write {fitting}") from None
    return text


def _host(text: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F:.]*[:/][0-9a-fA-F:./]*|[0-9./]+", text):
        return _network(text)
    if len(text) > 253 or not _NAME.fullmatch(text):
        raise ValueError(f"not an address, range or host name: {text[:60]!r}")
    return text


class Limits(_Table):
    """How far and how fast; every default is the gentler one."""

    level: ExposureLimit = ExposureLimit.QUERY
    connections_per_second: Annotated[float, Field(gt=0, le=10_000)] = 200
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    max_matches: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    write_probe: bool = False
    """One marked synthetic object is offered to be stored where storage is negotiated, and stays where it is accepted."""
    default_accounts: bool = False
    """The one documented account of a recognised product is tried, once."""
    unsafe_public_addresses: bool = False
    unsafe_mandate: OptionalText = ""
    """The legal basis for counting or retrieving on public addresses without proof of control; printed in every report."""
    opt_out: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """Addresses that asked to be left alone; they win over every target."""
    ca_file: str = ""


class Public(_Table):
    """What the edition of the report without addresses may name; the rest is left out or numbered there."""

    owner: bool = False
    """The owner, and who authorised the survey."""
    sites: bool = False


class Target(_Table):
    """One archive, or a range to look through."""

    name: Text
    host: Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_host)]
    dimse_ports: Ports = ()
    web_ports: Ports = ()
    country: OptionalText = ""
    site: OptionalText = ""
    called_aet: AeTitle = ""
    """An AE title is not a secret (PS3.15): asked with it after an invented one was rejected as unknown."""

    @model_validator(mode="after")
    def _has_separate_ports(self) -> Self:
        if not self.dimse_ports and not self.web_ports:
            raise ValueError("no ports: name dimse_ports, web_ports or both")
        if both := set(self.dimse_ports) & set(self.web_ports):
            raise ValueError(f"port {min(both)} is in dimse_ports and web_ports: HTTP is never sent to a DICOM port, so name it once")
        if (network := self.network) is not None and network.num_addresses > MAX_RANGE_ADDRESSES:
            raise ValueError(f"{self.host} is more than {MAX_RANGE_ADDRESSES} addresses: name smaller ranges")
        return self

    @property
    def ports(self) -> tuple[int, ...]:
        return self.dimse_ports + self.web_ports

    @cached_property
    def network(self) -> IpNetwork | None:
        """The address or range; None where the host is a name."""
        try:
            return ip_network(self.host)
        except ValueError:
            return None

    @property
    def is_range(self) -> bool:
        network = self.network
        return network is not None and network.num_addresses > 1


class Scope(_Table):
    """Parsed once; everything after it trusts it."""

    targets: str = ""
    authority: Authority
    limits: Limits = Limits()
    control: Control | None = None
    public: Public = Public()
    target: tuple[Target, ...] = ()

    def lowered(self, level: ExposureLimit | None) -> "Scope":
        """This scope at `level`, which may only be lower than its own."""
        if level is None or level is self.limits.level:
            return self
        if level.rank > self.limits.level.rank:
            raise ConfigurationError(
                f"--level {level} is more than the scope allows ({self.limits.level}): have it authorised, then change limits.level there"
            )
        return self.model_copy(update={"limits": self.limits.model_copy(update={"level": level})})

    def check_valid_at(self, now: dt.datetime) -> None:
        """Refuse a scope whose authority has ended; called before any packet, a name look-up included."""
        if now >= self.authority.ends:
            raise ConfigurationError(
                f"the authority of this scope ended on {self.authority.valid_until}: have it renewed, then change authority.valid_until"
            )


def load_scope(path: Path) -> Scope:
    """The scope in `path`, with the targets of its CSV file.

    Raises `ConfigurationError`, which says what would be right.
    """
    scope = parse_scope(_read(path, MAX_SCOPE_BYTES))
    if scope.targets:
        rows = tuple(parse_targets(_read(path.parent / scope.targets, MAX_TARGETS_BYTES)))
        scope = scope.model_copy(update={"target": scope.target + rows})
    if not scope.target:
        raise ConfigurationError("the scope names no target: add a [[target]] with name, host and ports, or targets = 'targets.csv'")
    if scope.limits.ca_file and not (path.parent / scope.limits.ca_file).is_file():
        raise ConfigurationError(f"limits.ca_file {scope.limits.ca_file!r} is not there: its path is relative to the scope file")
    return scope


def parse_scope(raw: bytes) -> Scope:
    """The scope in the bytes of a TOML file."""
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"the scope is not TOML in UTF-8: {error}") from None
    try:
        return Scope.model_validate(table)
    except ValidationError as error:
        raise ConfigurationError("scope: " + "; ".join(_explain(detail) for detail in error.errors()[:5])) from None


def parse_targets(raw: bytes) -> Iterator[Target]:
    """The targets in the bytes of a CSV file: name,host,dimse_ports,web_ports,country,site; ports split by ';'."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError("targets: not UTF-8; save the file as UTF-8") from None
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    columns = rows.fieldnames or ()
    for column in columns:
        if column not in _CSV_COLUMNS:
            raise ConfigurationError(f"targets: unknown column {column[:40]!r}; known are {', '.join(_CSV_COLUMNS)}")
    for needed in ("name", "host"):
        if needed not in columns:
            raise ConfigurationError(f"targets: the column {needed} is missing; the first line is {','.join(_CSV_COLUMNS[:6])}")
    try:
        for count, row in enumerate(rows):
            if count >= MAX_TARGETS:
                raise ConfigurationError(f"targets: more than {MAX_TARGETS} lines; split the file")
            yield _target(row, rows.line_num)
    except csv.Error as error:
        raise ConfigurationError(f"targets line {rows.line_num}: {error}") from None


def _target(row: Mapping[str, Any], line: int) -> Target:
    if row.get(""):
        raise ConfigurationError(f"targets line {line}: more values than columns; ports are split by ';'")
    values: dict[str, Any] = {key: value for key, value in row.items() if key and value}
    try:
        for key in ("dimse_ports", "web_ports"):
            if key in values:
                values[key] = tuple(int(port) for port in values[key].split(";") if port.strip())
    except ValueError:
        raise ConfigurationError(f"targets line {line}: ports are numbers split by ';'") from None
    try:
        return Target.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"targets line {line}: " + "; ".join(_explain(detail) for detail in error.errors()[:5])) from None


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > most:
        raise ConfigurationError(f"{path} is larger than {most} bytes: not a scope")
    return raw


_TABLES: Mapping[str, type[BaseModel]] = {"authority": Authority, "limits": Limits, "control": Control, "public": Public, "target": Target}


def _explain(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}" if where else error["msg"].removeprefix("Value error, ")
    key = str(error["loc"][-1])
    table = next((part for part in error["loc"] if part in _TABLES), "")
    known = _TABLES[str(table)].model_fields if table else Scope.model_fields
    for name, model in _TABLES.items():
        if name != table and key in model.model_fields:
            return f"unknown key {where}: {key} belongs in [{name}]"
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"unknown key {where[:80]}: {hint}"


def spelled(address: str) -> str:
    """An address as it is compared: IPv4 inside IPv6 is IPv4.

    >>> spelled("::ffff:10.0.0.1")
    '10.0.0.1'
    """
    parsed = ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
