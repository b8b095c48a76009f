"""Which addresses a scope allows: pure rules, then the systems to survey, each with its one address.

Private and loopback ranges are allowed where a target names them; a public address only with `unsafe_public_addresses` and when a
target names it as an address or range. Link-local, multicast and unspecified addresses never: they are the host's own plumbing (a cloud's
metadata service among them), never an archive. Opt-out wins over everything.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeAlias

from leadglass.survey.names import LOOK_UP_SECONDS, Resolve, look_up, resolve_by_system
from leadglass.survey.scope import ExposureLimit, IpNetwork, Limits, Scope, Target, spelled

IpAddress: TypeAlias = IPv4Address | IPv6Address

PRIVATE = tuple(ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"))

_NEVER = tuple(ip_network(text) for text in ("0.0.0.0/8", "2002::/16", "2001::/32", "fec0::/10", "64:ff9b::/96"))
"""This host (RFC 1122 3.2.1.3), 6to4, Teredo and NAT64, which lead to an IPv4 address that was not judged, and what site-local was."""
DNS_PORT = 53
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class System:
    """One archive at one address: what is surveyed, and at most how far."""

    target: Target
    address: IpAddress
    level: ExposureLimit
    from_range: bool
    beyond: ExposureLimit | None = None
    """How far the scope asks to go, where that needs proof of control over the host (`control.py`); None where `level` is all it asks."""

    @property
    def ports(self) -> tuple[int, ...]:
        return self.target.ports

    @property
    def may_be_touched(self) -> bool:
        """Whether `write_probe` and `default_accounts` hold: not at `connect`, nor at a public address where counting is not allowed."""
        needed = ExposureLimit.QUERY if is_private(self.address) else ExposureLimit.COUNT
        return self.level.reaches(needed)

    @property
    def server_name(self) -> str:
        """The name that the operator knows it by; the address where there is none."""
        # Without the root's dot: neither TLS (RFC 6066 3) nor a certificate's names have one.
        return str(self.address) if self.target.network is not None else self.target.host.rstrip(".")


@dataclass(frozen=True, slots=True)
class RefusedTarget:
    """A target that was not spoken to, or not so far as the scope asks, and why."""

    name: str
    host: str
    why: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a survey takes of the host that it runs on, and of the internet; a test has its own."""

    resolve: Resolve
    name_server: tuple[IpAddress, int] | None
    """The host's own, and its port; asked for proofs of control alone."""
    private: Sequence[IpNetwork] = PRIVATE
    https_ports: frozenset[int] = frozenset({443})
    http_ports: frozenset[int] = frozenset({80})
    """Where a file can prove control over a host: not on an archive's own port, where a stranger may be able to put one."""


def is_private(address: IpAddress, private: Sequence[IpNetwork] = PRIVATE) -> bool:
    """Whether `address` is loopback or of a private network (RFC 1918, RFC 4193)."""
    return any(address in network for network in private)


def is_opted_out(address: IpAddress, limits: Limits) -> bool:
    """Whether `address` asked to be left alone."""
    return any(address in opted_out(network) for network in limits.opt_out)


def opted_out(text: str) -> IPv4Network | IPv6Network:
    """The network that an entry of opt_out means: one of IPv4 addresses written as IPv6 is one of IPv4 addresses (RFC 4291 2.5.5.2).

    >>> opted_out("::ffff:10.0.0.8/125")
    IPv4Network('10.0.0.8/29')
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = network.network_address.ipv4_mapped
        return IPv4Network((int(first or 0), network.prefixlen - _MAPPED.prefixlen))
    return network


def refusal(address: IpAddress, scope: Scope, private: Sequence[IpNetwork] = PRIVATE) -> str:
    """Why this scope does not allow a packet to `address`; empty where it does."""
    if is_opted_out(address, scope.limits):
        return "it is in opt_out"
    if is_private(address, private):
        return ""
    plumbing = address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved
    if plumbing or any(address in network for network in _NEVER):
        return "link-local, multicast and reserved addresses are never surveyed"
    if not scope.limits.unsafe_public_addresses:
        return "it is a public address and unsafe_public_addresses is not set"
    if not any(address in network for target in scope.target if (network := target.network) is not None):
        return "it is a public address that no target names as an address or range"
    return ""


def allowed_level(address: IpAddress, limits: Limits, private: Sequence[IpNetwork] = PRIVATE) -> ExposureLimit:
    """How far the survey may go at `address` without proof of control over it: beyond `query` on public addresses by a mandate alone."""
    if is_private(address, private) or limits.unsafe_mandate:
        return limits.level
    return min(limits.level, ExposureLimit.QUERY, key=lambda level: level.rank)


def surroundings_of_this_host(resolv_conf: Path = Path("/etc/resolv.conf")) -> Surroundings:
    """The host's resolver, and the first name server that it is set to ask (resolv.conf(5))."""
    try:
        lines = resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    named = (each[1] for each in words if len(each) > 1 and each[0] == "nameserver")
    return Surroundings(resolve_by_system, next(((address, DNS_PORT) for text in named if (address := _address(text))), None))


def _address(text: str) -> IpAddress | None:
    try:
        return ip_address(spelled(text))
    except ValueError:
        return None


async def systems_of(scope: Scope, resolve: Resolve, private: Sequence[IpNetwork] = PRIVATE) -> tuple[list[System], list[RefusedTarget]]:
    """Every system that the scope names and allows, in its order, names resolved once and for all, and what was refused.

    A port of an address is of one system alone, so that nobody is counted twice: of the first target that names it. An address that a
    target names by itself is left out of the ranges that hold it.
    """
    found = await look_up((target.host for target in scope.target if target.network is None), resolve)
    taken = _Taken(scope, private)
    for place, target in enumerate(scope.target):
        if target.network is None:
            taken.add_named(place, target, found[target.host])
        elif not target.is_range:
            taken.add(place, target, target.network.network_address)
    named = taken.addresses
    for place, target in enumerate(scope.target):
        if target.is_range and target.network is not None:
            taken.add_range(place, target, target.network.hosts(), named)
    # The sort is stable: of a range, in the order of its addresses.
    return [system for _, system in sorted(taken.systems, key=_place)], [each for _, each in sorted(taken.refused, key=_place)]


def _place(each: tuple[int, object]) -> int:
    return each[0]


class _Taken:
    """The systems that a scope allows, and the targets that it does not, each with the place of its target in the scope."""

    def __init__(self, scope: Scope, private: Sequence[IpNetwork]) -> None:
        self._scope = scope
        self._private = private
        self._holders: dict[IpAddress, dict[int, str]] = {}
        """Of each address the ports that are taken, and by which target."""
        self.systems: list[tuple[int, System]] = []
        self.refused: list[tuple[int, RefusedTarget]] = []

    @property
    def addresses(self) -> frozenset[IpAddress]:
        """Those that are taken."""
        return frozenset(self._holders)

    def add_named(self, place: int, target: Target, found: Sequence[str] | None) -> None:
        """The first address of a name, if it leads nowhere else."""
        if found is None:
            why = (
                f"its name was not looked up: no answer came within {LOOK_UP_SECONDS:.0f} s; see to the resolver, then go on with --resume"
            )
            self._refuse(place, target, target.host, why)
            return
        # Resolvers give them in any order: every start, and every shard, is to take the same one.
        addresses = sorted((ip_address(spelled(text)) for text in found), key=lambda address: (address.version, int(address)))
        if not addresses:
            self._refuse(place, target, target.host, "the name has no address")
            return
        # One address outside is enough to refuse: the name is then not only the owner's.
        for address in addresses:
            if why := refusal(address, self._scope, self._private):
                self._refuse(place, target, target.host, f"the name leads to {address}: {why}")
                return
        self.add(place, target, addresses[0])

    def add(self, place: int, target: Target, address: IpAddress) -> None:
        """The one address of a target."""
        address = ip_address(spelled(str(address)))
        if why := refusal(address, self._scope, self._private):
            self._refuse(place, target, str(address), why)
        elif both := self._taken_ports(target, address):
            whose = self._holders[address][both[0]]
            self._refuse(place, target, str(address), f"its port {both[0]} is surveyed as {whose}: name a port of an address in one target")
        else:
            self._take(place, target, address)

    def add_range(self, place: int, target: Target, addresses: Iterable[IpAddress], named: Container[IpAddress]) -> None:
        """Each address of a range but those that are `named` by themselves, or that another range has."""
        in_part = 0
        for each in addresses:
            address = ip_address(spelled(str(each)))
            if address in named:
                continue
            if why := refusal(address, self._scope, self._private):
                self._refuse(place, target, str(address), why)
            elif both := self._taken_ports(target, address):
                in_part += len(both) < len(target.ports)
            else:
                self._take(place, target, address)
        if in_part:
            why = f"some ports of {in_part} of its addresses are surveyed by another range: name a port of an address in one target"
            self._refuse(place, target, target.host, why)

    def _taken_ports(self, target: Target, address: IpAddress) -> Sequence[int]:
        taken = self._holders.get(address, {})
        return [port for port in target.ports if port in taken]

    def _take(self, place: int, target: Target, address: IpAddress) -> None:
        self._holders.setdefault(address, {}).update(dict.fromkeys(target.ports, target.name))
        wanted = self._scope.limits.level
        level = allowed_level(address, self._scope.limits, self._private)
        beyond = wanted if level is not wanted else None
        self.systems.append((place, System(target=target, address=address, level=level, from_range=target.is_range, beyond=beyond)))

    def _refuse(self, place: int, target: Target, host: str, why: str) -> None:
        self.refused.append((place, RefusedTarget(target.name, host, why)))
