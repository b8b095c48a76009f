"""What a caller shows, and who that makes him: values only, nothing is looked up here."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leadglass.errors import NotIdentified
from leadglass.vocabulary import Action, Role


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A DICOM peer over TLS: the certificate (DER) with which it proved its key, and the AE title that it claims."""

    certificate: bytes
    calling_ae: str
    address: str


@dataclass(frozen=True, slots=True)
class PlaintextPeer:
    """A DICOM peer without TLS: it proves nothing, and is believed only where the operator marked it so."""

    calling_ae: str
    address: str


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A program's token, as it stands behind `Authorization: Bearer`."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LocalUser:
    """The user at the other end of the control socket, as the kernel names him."""

    uid: int


Credentials: TypeAlias = PeerCertificate | PlaintextPeer | BearerToken | LocalUser


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
    """What he proved himself with: the pin of a key, or nothing. A peer whose key is no longer pinned is no longer that peer."""


def spki_pin(certificate: bytes) -> str:
    """SHA-256 in hex of the public key (SubjectPublicKeyInfo) in a certificate (DER); raises `NotIdentified` if it is none."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError):
        raise NotIdentified("not identified") from None
    return hashlib.sha256(encoded).hexdigest()
