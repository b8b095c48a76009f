"""What a caller shows, and who that makes him: values only, nothing is looked up here."""

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leadglass.access.secret import Secret
from leadglass.dicom.predicate import EVERY_STUDY, StudyPredicate
from leadglass.errors import NotIdentified
from leadglass.vocabulary import Action, Role


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A DICOM peer over TLS: the certificate (DER) with which it proved its key, and the AE title that it claims."""

    certificate: bytes
    calling_ae: str
    address: str
    chain: tuple[bytes, ...] = ()
    """What else it sent: CAs between it and one that may be trusted."""
    user: "UserToken | None" = None


@dataclass(frozen=True, slots=True)
class UserToken:
    """Who uses a peer (PS3.7 D.3.3.7): a token, and the user name beside it where one was given."""

    token: "BearerToken"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class PlaintextPeer:
    """A DICOM peer without TLS: it proves nothing, and is believed only where the operator marked it so."""

    calling_ae: str
    address: str
    user: "UserToken | None" = None
    """Refused: it crossed the network where anybody could read it."""


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A program's token, as it stands behind `Authorization: Bearer`."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LocalUser:
    """The user at the other end of the control socket, as the kernel names him."""

    uid: int


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """What a browser shows of a session; it is believed at the pages alone."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PasswordAndCode:
    """What a person types to sign in; the name too is kept from print: it may be a password in the wrong place."""

    name: str = field(repr=False)
    password: Secret
    code: Secret


Credentials: TypeAlias = PeerCertificate | PlaintextPeer | BearerToken | LocalUser | SessionCookie


Attributes: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
ATTRIBUTES: Final = frozenset({"department", "institution", "modality", "physician", "patient"})
"""What an account may say of its person, each with several values; `physician` as ReferringPhysicianName writes it."""


class Kind(StrEnum):
    """What sort of principal; it begins the principal's id."""

    PEER = "peer"
    USER = "user"
    TOKEN = "token"  # noqa: S105
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever was identified at a door.

    `roles` and `name` are what the policy's rules speak of, `may` bounds what they give. It proves nothing by itself: the gate
    looks every principal up again before it admits him.
    """

    id: str
    kind: Kind
    name: str
    roles: frozenset[Role] = frozenset()
    may: frozenset[Action] = frozenset()
    credential: str = field(default="", repr=False)
    """What he proved himself with: the pin of a key, or an outside CA's voucher. A peer that no longer has it is no longer that peer."""
    ends: int = 0
    """When that ends, in nanoseconds since 1970, where no table says it: the first end in the chain to an outside CA."""
    user: "Principal | None" = None
    """The person at this peer: then both must be allowed what is asked."""
    attributes: Attributes = field(default=(), repr=False)
    """What is known of a person beside the name, that a rule may hold against a study: names of `ATTRIBUTES` with their values."""

    within: StudyPredicate = field(default=EVERY_STUDY, repr=False)
    """What the policy gives is given within these studies alone: what a token was made for."""

    def attribute(self, name: str) -> frozenset[str]:
        """The values of one attribute of the person; none if it is not known."""
        return frozenset(dict(self.attributes).get(name, ()))

    def at(self, peer: "Principal") -> "Principal":
        """This person at that peer."""
        return replace(peer, id=f"{self.id}+{peer.id}", user=self)


def parse_certificate(certificate: bytes) -> x509.Certificate:
    """The certificate in `certificate` (DER), whoever it came from; raises `NotIdentified` if it is none."""
    try:
        return x509.load_der_x509_certificate(certificate)
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise NotIdentified("not identified") from None


def spki_pin(certificate: bytes) -> str:
    """SHA-256 in hex of the public key (SubjectPublicKeyInfo) in a certificate (DER); raises `NotIdentified` if it is none."""
    try:
        key = parse_certificate(certificate).public_key()
        encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise NotIdentified("not identified") from None
    return hashlib.sha256(encoded).hexdigest()
