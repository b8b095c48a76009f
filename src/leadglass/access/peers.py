"""The DICOM peers: an AE title, the keys pinned for it or the outside CA that vouches for it, where it may call from, what it was given."""

import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from leadglass.access.clock import NANOSECONDS, Clock
from leadglass.access.grant import AdministerGrant
from leadglass.access.identity import parse_certificate, spki_pin
from leadglass.access.sealed import SealedFile
from leadglass.access.table import Table
from leadglass.access.vouchers import Shown, Voucher, utc
from leadglass.errors import NotAllowed, NotIdentified, WrongUsage
from leadglass.vocabulary import Action

_AE_TITLE = re.compile(r"[A-Za-z0-9 @:._,/*+=()<>!#$%&'-]{1,16}", re.ASCII)
"""PS3.5 6.2, AE, without what a shell, a path or the trail could trip over."""
GRANTABLE = frozenset({Action.STORE, Action.FIND, Action.GET, Action.MOVE})
UNPROVEN = frozenset({Action.ECHO, Action.STORE})
"""All that a peer may do who proves nothing: it can hand something in, and is given nothing."""
ALONE = frozenset({Action.ECHO})
"""All that a peer may do that needs a person, without one."""
MAX_PROOFS = 2
"""Keys, and outside CAs, that hold at once: the newest and the one before."""
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
    vouchers: tuple[Voucher, ...] = ()
    needs_user: bool = False
    """Without a person's token it may do nothing but echo."""
    barred: frozenset[str] = frozenset()
    """Pins of keys that it had when it was revoked: they never are its again, whoever vouches for them."""
    issued_after: int = 0
    """Certificates of an outside CA that begin before this (nanoseconds since 1970) are from before a revocation, and refused."""

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
        if self.unsafe_plaintext and not self.may <= UNPROVEN and not self.pins and not self.vouchers:
            raise WrongUsage(f"peer {self.ae_title} without TLS may only be given store: it cannot prove who it is")

    @property
    def rights(self) -> frozenset[Action]:
        """What it may once it has proven itself, with whoever it needs at it."""
        return self.may | {Action.ECHO}

    @property
    def unproven_rights(self) -> frozenset[Action]:
        """What it may without TLS."""
        return self.rights & UNPROVEN if self.unsafe_plaintext else frozenset()

    def alone(self, rights: frozenset[Action]) -> frozenset[Action]:
        """What is left of its rights without a person."""
        return rights & ALONE if self.needs_user else rights

    @property
    def ends(self) -> int:
        """When the last of its certificates, or of the CAs that vouch for it, ends (nanoseconds since 1970); 0 if it has none."""
        return max((*(pin.not_after for pin in self.pins), *(voucher.ends for voucher in self.vouchers)), default=0)

    def has_pinned(self, pin: str) -> bool:
        """Whether a key is pinned for it, ended or not."""
        return any(hmac.compare_digest(each.sha256, pin) for each in self.pins)

    def vouched(self, shown: Shown, now: int, purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH) -> tuple[str, int] | None:
        """By which of its vouchers (see `credential_of`) this certificate is its, and until when; None if by none.

        `purpose` is what the certificate must be for: a peer that calls is a TLS client, one that we call a server.
        """
        if not self._is_new(shown.certificate):
            return None
        for voucher in reversed(self.vouchers):
            ends = voucher.vouches(shown, utc(now), purpose)
            if ends is not None:
                return self.credential_of(voucher), ends
        return None

    def identified_by(self, certificate: bytes, now: int, chain: tuple[bytes, ...] = (), others: Iterable["Peer"] = ()) -> bool:
        """Whether a server that shows this certificate (DER), with this chain, is this peer: its key or its CA's word for a TLS server.

        As with one that calls, the word of a CA counts for no key that is pinned for one of the `others`, nor for a certificate that is
        also theirs.
        """
        try:
            parsed, pin = parse_certificate(certificate), spki_pin(certificate)
        except NotIdentified:
            return False
        if self.revoked or pin in self.barred or not parsed.not_valid_before_utc <= utc(now) <= parsed.not_valid_after_utc:
            return False
        if any(each.sha256 == pin and each.not_after >= now for each in self.pins):
            return True
        shown, server = Shown.of(parsed, chain), ExtendedKeyUsageOID.SERVER_AUTH
        if self.vouched(shown, now, server) is None:
            return False
        return not any(each.has_pinned(pin) or (not each.revoked and each.vouched(shown, now, server)) for each in others)

    def _is_new(self, certificate: x509.Certificate) -> bool:
        """Whether the certificate is from after the last revocation; one that begins within its second may be from before."""
        return int(certificate.not_valid_before_utc.timestamp()) * NANOSECONDS >= self.issued_after

    @property
    def authorities(self) -> str:
        """The outside CAs (PEM) that vouch for it."""
        return "".join(voucher.pem for voucher in self.vouchers)

    def credential_of(self, voucher: Voucher) -> str:
        """What a peer that came by this voucher proved itself with; another after each revocation."""
        return f"{voucher.id}:{self.issued_after}"

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
    # What follows is not in rows of before there were outside CAs.
    vouchers = tuple(map(Voucher.from_row, row.get("vouchers", ())))
    later = {
        "needs_user": row.get("needs_user", False),
        "barred": frozenset(row.get("barred", ())),
        "issued_after": row.get("issued_after", 0),
    }
    return row["ae_title"], Peer(row["ae_title"], tuple(row["networks"]), may, pins, vouchers=vouchers, **rest, **later)


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
        "vouchers": [voucher.to_row() for voucher in peer.vouchers],
        "needs_user": peer.needs_user,
        "barred": sorted(peer.barred),
        "issued_after": peer.issued_after,
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
        """A new peer; raises `WrongUsage` when it could never be identified, or when its AE title, key or rule is another's."""
        if not peer.pins and not peer.vouchers and not peer.unsafe_plaintext:
            raise WrongUsage(f"peer {peer.ae_title} needs a key: --issue DIR, --csr FILE, --certificate FILE, or --ca FILE --subject RULE")
        self._refuse_shared(peer.ae_title, peer.pins, peer.vouchers)

        def make(existing: Peer | None) -> Peer:
            if existing is None:
                return peer
            if not existing.revoked:
                raise WrongUsage(f"there is a peer {peer.ae_title} already; renew its certificate, or revoke it first")
            barred = existing.barred | {pin.sha256 for pin in existing.pins}
            if barred & {pin.sha256 for pin in peer.pins}:
                raise WrongUsage(f"peer {peer.ae_title} was revoked with this key; give it a new one")
            return replace(peer, barred=barred, issued_after=existing.issued_after)

        return self.table.put(grant, peer.ae_title, make)

    def renew(self, grant: AdministerGrant, ae_title: str, proof: Pin | Voucher, *, only: bool = False) -> Peer:
        """A further key, or outside CA; what it had goes on until it ends, so that nothing stands still meanwhile, unless `only`."""
        pins = (proof,) if isinstance(proof, Pin) else ()
        vouchers = (proof,) if isinstance(proof, Voucher) else ()
        self._refuse_shared(ae_title, pins, vouchers)

        def make(existing: Peer | None) -> Peer:
            if existing is None or existing.revoked:
                raise NotAllowed(f"there is no peer {ae_title} to renew; `leadglass peer list HOME` shows them")
            if existing.barred & {pin.sha256 for pin in pins}:
                raise WrongUsage(f"peer {ae_title} was revoked with this key; give it a new one")
            if only:
                return replace(existing, pins=pins, vouchers=vouchers)
            now, new = self._clock(), {pin.sha256 for pin in pins}
            old_pins = [pin for pin in existing.pins if pin.sha256 not in new and pin.not_after > now]
            old_vouchers = [each for each in existing.vouchers if each not in vouchers and each.ends > now]
            return replace(existing, pins=(*old_pins, *pins)[-MAX_PROOFS:], vouchers=(*old_vouchers, *vouchers)[-MAX_PROOFS:])

        return self.table.put(grant, ae_title, make)

    def revoke(self, grant: AdministerGrant, ae_title: str) -> Peer:
        """Refuse a peer from now on, also on its live associations."""

        def make(existing: Peer | None) -> Peer:
            if existing is None:
                raise NotAllowed(f"there is no peer {ae_title}; `leadglass peer list HOME` shows them")
            if existing.revoked:
                return existing
            # Which of an outside CA's certificates it was for nobody here can tell: all that were issued until now are out.
            return replace(existing, revoked=True, issued_after=self._clock())

        return self.table.put(grant, ae_title, make)

    def _refuse_shared(self, ae_title: str, pins: tuple[Pin, ...], vouchers: tuple[Voucher, ...]) -> None:
        """Raise `WrongUsage` where a certificate could be this peer's and another's: each has its own."""
        wanted = {pin.sha256 for pin in pins}
        for other in self.table.rows():
            if other.ae_title == ae_title:
                continue
            if wanted & {pin.sha256 for pin in other.pins}:
                raise WrongUsage(f"this key is pinned for peer {other.ae_title}; every peer has its own")
            if not other.revoked and any(_overlap(mine, its) for mine in vouchers for its in other.vouchers):
                raise WrongUsage(f"one certificate could match this rule and that of peer {other.ae_title}: say in what they differ")


def _overlap(one: Voucher, other: Voucher) -> bool:
    return bool(one.keys & other.keys) and one.subject.could_share(other.subject)
