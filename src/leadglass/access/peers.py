"""The DICOM peers: an AE title, the keys pinned for it, where it may call from, and what it was given."""

import ipaddress
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self, TypeAlias

from cryptography import x509

from leadglass.access.clock import NANOSECONDS, Clock
from leadglass.access.grant import AdministerGrant
from leadglass.access.identity import spki_pin
from leadglass.access.sealed import SealedFile
from leadglass.access.table import Table
from leadglass.errors import NotAllowed, WrongUsage
from leadglass.vocabulary import Action

_AE_TITLE = re.compile(r"[A-Za-z0-9 @:._,/*+=()<>!#$%&'-]{1,16}", re.ASCII)
"""PS3.5 6.2, AE, without what a shell, a path or the trail could trip over."""
GRANTABLE = frozenset({Action.STORE, Action.FIND, Action.GET, Action.MOVE})
UNPROVEN = frozenset({Action.ECHO, Action.STORE})
"""All that a peer may do who proves nothing: it can hand something in, and is given nothing."""
MAX_PINS = 2
_PORT_LIMIT = 65536

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Pin:
    """A public key (SHA-256 in hex of its SubjectPublicKeyInfo) and the end of its certificate (nanoseconds since 1970)."""

    sha256: str
    not_after: int

    @classmethod
    def of(cls, certificate: bytes) -> Self:
        """The pin of a certificate (DER)."""
        ends = x509.load_der_x509_certificate(certificate).not_valid_after_utc
        return cls(spki_pin(certificate), int(ends.timestamp()) * NANOSECONDS)


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer; `networks` are CIDRs, `host` and `port` make it a destination of C-MOVE."""

    ae_title: str
    networks: tuple[str, ...]
    may: frozenset[Action]
    pins: tuple[Pin, ...] = ()
    host: str | None = None
    port: int | None = None
    unsafe_plaintext: bool = False
    revoked: bool = False

    def __post_init__(self) -> None:
        if not _AE_TITLE.fullmatch(self.ae_title) or self.ae_title != self.ae_title.strip():
            raise WrongUsage("an AE title is 1 to 16 ASCII letters, digits and common signs, without spaces around it")
        if not self.networks:
            raise WrongUsage(f"peer {self.ae_title} needs --address: a network such as 10.20.0.5/32 from which it calls")
        for network in self.networks:
            parse_network(network)
        if not self.may <= GRANTABLE:
            raise WrongUsage(f"a peer may be given {', '.join(sorted(GRANTABLE))}; echo comes with being known")
        if (self.host is None) != (self.port is None) or (self.port is not None and not 0 < self.port < _PORT_LIMIT):
            raise WrongUsage(f"peer {self.ae_title} needs both --host and --port (1 to 65535) to be a destination, or neither")
        if self.unsafe_plaintext and not self.may <= UNPROVEN and not self.pins:
            raise WrongUsage(f"peer {self.ae_title} without TLS may only be given store: it cannot prove who it is")

    @property
    def rights(self) -> frozenset[Action]:
        return self.may | {Action.ECHO}

    def calls_from(self, address: str) -> bool:
        """Whether `address` lies in one of its networks; an IPv4 address mapped into IPv6 counts as what it is."""
        return _lies_in(address, self.networks)


@lru_cache(maxsize=1024)
def _lies_in(address: str, networks: tuple[str, ...]) -> bool:
    # Asked for every object that a peer sends; parsing both sides each time took 3% of storing it.
    try:
        caller = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
    return any(caller in parse_network(network) for network in networks)


def parse_network(text: str) -> Network:
    """A CIDR as typed; raises `WrongUsage` for host bits, which would say more than one thing."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise WrongUsage(f"{text!r} is not a network: expected something like 10.20.0.0/28 or 10.20.0.5/32") from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise WrongUsage(f"{text!r} is IPv4 written as IPv6: write it as IPv4, callers are compared so")
    return network


def _decode(row: dict[str, Any]) -> tuple[str, Peer]:
    pins = tuple(Pin(pin["sha256"], pin["not_after"]) for pin in row["pins"])
    may = frozenset(Action(action) for action in row["may"])
    rest = {name: row[name] for name in ("host", "port", "unsafe_plaintext", "revoked")}
    return row["ae_title"], Peer(row["ae_title"], tuple(row["networks"]), may, pins, **rest)


def _encode(peer: Peer) -> dict[str, Any]:
    return {
        "ae_title": peer.ae_title,
        "networks": list(peer.networks),
        "may": sorted(peer.may),
        "pins": [{"sha256": pin.sha256, "not_after": pin.not_after} for pin in peer.pins],
        "host": peer.host,
        "port": peer.port,
        "unsafe_plaintext": peer.unsafe_plaintext,
        "revoked": peer.revoked,
    }


class Peers:
    """Who is known as a peer; a revoked one may be added again, with a new key."""

    def __init__(self, file: SealedFile, clock: Clock) -> None:
        self.table = Table(file, _decode, _encode)
        self._clock = clock

    def get(self, ae_title: str) -> Peer | None:
        return self.table.get(ae_title)

    def list(self) -> tuple[Peer, ...]:
        return self.table.rows()

    def add(self, grant: AdministerGrant, peer: Peer) -> Peer:
        """A new peer; raises `WrongUsage` when it could never be identified, or when its AE title or its key is another's."""
        if not peer.pins and not peer.unsafe_plaintext:
            raise WrongUsage(f"peer {peer.ae_title} needs a key: --issue DIR, --csr FILE or --certificate FILE")
        self._refuse_shared_keys(peer.ae_title, peer.pins)

        def make(existing: Peer | None) -> Peer:
            if existing is not None and not existing.revoked:
                raise WrongUsage(f"there is a peer {peer.ae_title} already; renew its certificate, or revoke it first")
            if existing is not None and {pin.sha256 for pin in existing.pins} & {pin.sha256 for pin in peer.pins}:
                raise WrongUsage(f"peer {peer.ae_title} was revoked with this key; give it a new one")
            return peer

        return self.table.put(grant, peer.ae_title, make)

    def renew(self, grant: AdministerGrant, ae_title: str, pin: Pin) -> Peer:
        """Pin a further key; the one before goes on until its certificate ends, so that nothing stands still meanwhile."""
        self._refuse_shared_keys(ae_title, (pin,))

        def make(existing: Peer | None) -> Peer:
            if existing is None or existing.revoked:
                raise NotAllowed(f"there is no peer {ae_title} to renew; `leadglass peer list HOME` shows them")
            others = [old for old in existing.pins if old.sha256 != pin.sha256 and old.not_after > self._clock()]
            return replace(existing, pins=(*others, pin)[-MAX_PINS:])

        return self.table.put(grant, ae_title, make)

    def revoke(self, grant: AdministerGrant, ae_title: str) -> Peer:
        """Refuse a peer from now on, also on its live associations."""

        def make(existing: Peer | None) -> Peer:
            if existing is None:
                raise NotAllowed(f"there is no peer {ae_title}; `leadglass peer list HOME` shows them")
            return replace(existing, revoked=True)

        return self.table.put(grant, ae_title, make)

    def _refuse_shared_keys(self, ae_title: str, pins: tuple[Pin, ...]) -> None:
        wanted = {pin.sha256 for pin in pins}
        for other in self.table.rows():
            if other.ae_title != ae_title and wanted & {pin.sha256 for pin in other.pins}:
                raise WrongUsage(f"this key is pinned for peer {other.ae_title}; every peer has its own")
