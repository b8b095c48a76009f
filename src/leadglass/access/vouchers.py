"""Outside CAs: a hospital's own PKI vouches for a peer, by a chain to one named CA and a rule about the certificate's names.

What is checked, at each association, is RFC 5280's path validation (cryptography's `x509.verification`): signatures, validity, CA bits,
key usage, path length, name constraints, strong algorithms; of the peer's own certificate also that it is for TLS clients and no CA's.
Revocation lists are not asked: a peer is shut out by `leadglass peer revoke`.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from leadglass.access.clock import NANOSECONDS
from leadglass.access.identity import parse_certificate, spki_pin
from leadglass.access.subject import Names, SubjectRule, names_of
from leadglass.errors import NotIdentified, WrongUsage

MAX_CERTIFICATES: Final = 8
"""In a CA's file, and of what a peer sends beside its own."""
MAX_DEPTH: Final = 4
"""CAs between the named one and the peer."""
_MAX_FILE: Final = 64 * 1024
_MIN_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class Shown:
    """A peer's certificate, parsed once, and those it sent with it."""

    certificate: x509.Certificate
    sent: tuple[x509.Certificate, ...]
    names: Names

    @classmethod
    def of(cls, certificate: x509.Certificate, chain: Sequence[bytes]) -> Self:
        sent = []
        for encoded in chain[:MAX_CERTIFICATES]:
            try:
                sent.append(parse_certificate(encoded))
            except NotIdentified:
                continue
        return cls(certificate, tuple(sent), names_of(certificate))


@dataclass(frozen=True, slots=True)
class Voucher:
    """Who vouches for a peer, by what rule; certificates are DER, `authority` is the one CA that counts."""

    authority: bytes
    subject: SubjectRule
    intermediates: tuple[bytes, ...] = ()

    @property
    def id(self) -> str:
        """A digest of all of it: another CA or another rule is another voucher."""
        parts = [self.authority, str(self.subject).encode(), *self.intermediates]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    @property
    def ends(self) -> int:
        """When the CA's own certificate ends, in nanoseconds since 1970."""
        return _end(x509.load_der_x509_certificate(self.authority))

    @property
    def authority_name(self) -> str:
        """The CA's subject, as text."""
        return x509.load_der_x509_certificate(self.authority).subject.rfc4514_string()

    @property
    def keys(self) -> frozenset[str]:
        """The pins of the CA's key and its intermediates'."""
        return frozenset(map(_key_of, (self.authority, *self.intermediates)))

    @property
    def pem(self) -> str:
        """What a TLS handshake needs to follow the chain."""
        return "".join(map(_pem, (self.authority, *self.intermediates)))

    def vouches(self, shown: Shown, now: datetime, purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH) -> int | None:
        """Until when (nanoseconds since 1970) the chain holds, or None if this CA does not vouch for that certificate under that name.

        `purpose` is what the certificate must be for: a peer that calls is a TLS client, one that we call a server.
        """
        if not self.subject.matches(shown.names):
            return None
        intermediates = [*map(x509.load_der_x509_certificate, self.intermediates), *shown.sent]
        verifier = (
            PolicyBuilder()
            .store(Store([x509.load_der_x509_certificate(self.authority)]))
            .time(now)
            .max_chain_depth(MAX_DEPTH)
            .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=_of_a_device(purpose))
            .build_client_verifier()
        )
        try:
            chain = verifier.verify(shown.certificate, intermediates).chain
        except (VerificationError, ValueError, TypeError, UnsupportedAlgorithm):
            return None
        return min(map(_end, chain)) if len(chain) > 1 else None

    @classmethod
    def read(cls, pem: str, subject: str, now: datetime) -> Self:
        """The voucher in a CA's file (PEM): one CA, and intermediates that lead to it; WrongUsage says what is wrong with it.

        The CA is the one that signed itself, or the first where none did.
        """
        if len(pem) > _MAX_FILE:
            raise WrongUsage("the file given with --ca is over 64 KiB; it holds one CA and its intermediates")
        try:
            found = x509.load_pem_x509_certificates(pem.encode())
        except (ValueError, x509.InvalidVersion):
            raise WrongUsage(
                "the file given with --ca is not certificates in PEM; `openssl x509 -in FILE -out FILE.pem` makes it so"
            ) from None
        certificates = list(dict.fromkeys(found))
        if len(certificates) > MAX_CERTIFICATES:
            raise WrongUsage(f"the file given with --ca holds {len(certificates)} certificates; one CA and its intermediates are meant")
        for certificate in certificates:
            _require_authority(certificate, now)
        roots = [each for each in certificates if _issued(each, each)]
        if len(roots) > 1:
            raise WrongUsage("the file given with --ca holds several CAs that signed themselves; a peer has one")
        authority = (roots or certificates)[0]
        intermediates = [each for each in certificates if each != authority]
        for each in intermediates:
            if not any(_issued(each, issuer) for issuer in certificates if issuer != each):
                raise WrongUsage(f"{each.subject.rfc4514_string()} in the file given with --ca was not issued by the CA in it")
        rule = SubjectRule.parse(subject)
        return cls(_der(authority), rule, tuple(map(_der, intermediates)))

    def to_row(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "authority": base64.b64encode(self.authority).decode("ascii"),
            "intermediates": [base64.b64encode(each).decode("ascii") for each in self.intermediates],
            "subject": [list(term) for term in self.subject.terms],
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        rule = SubjectRule(tuple((kind, value) for kind, value in row["subject"]))
        return cls(base64.b64decode(row["authority"]), rule, tuple(map(base64.b64decode, row["intermediates"])))


def _no_authority(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError("a CA is no peer")


def _signs_handshakes(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("its key may not sign a handshake")


def _of_a_device(purpose: x509.ObjectIdentifier) -> ExtensionPolicy:
    """A device's certificate needs no alternative name, as a web server's does, but must say what it is for."""

    def has_purpose(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
        if purpose not in usage:
            raise ValueError("for something else")

    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, has_purpose)
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _no_authority)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_handshakes)
    )


def _require_authority(certificate: x509.Certificate, now: datetime) -> None:
    name = certificate.subject.rfc4514_string()
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        key = certificate.public_key()
    except (x509.ExtensionNotFound, ValueError, UnsupportedAlgorithm):
        raise WrongUsage(f"{name} is no CA by RFC 5280: it needs basicConstraints and keyUsage, and a key that can be used") from None
    if not constraints.value.ca or not constraints.critical or not usage.key_cert_sign:
        raise WrongUsage(f"{name} is no CA: basicConstraints must be critical, CA:TRUE, and keyUsage have keyCertSign")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise WrongUsage(f"{name} is not valid now: it holds from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}")
    strong = isinstance(key, ec.EllipticCurvePublicKey) or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS)
    if not strong:
        raise WrongUsage(f"the key of {name} cannot be relied on: RSA of {_MIN_RSA_BITS} bits or more, or an elliptic curve")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _end(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp()) * NANOSECONDS


def utc(nanoseconds: int) -> datetime:
    """A time since 1970 as certificates have it."""
    return datetime.fromtimestamp(nanoseconds // NANOSECONDS, UTC)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@lru_cache(maxsize=256)
def _pem(certificate: bytes) -> str:
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM).decode("ascii")


@lru_cache(maxsize=256)
def _key_of(certificate: bytes) -> str:
    return spki_pin(certificate)
