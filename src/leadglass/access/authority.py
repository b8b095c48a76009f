"""The archive's own certificate authority: its certificate, the server's, and one for every peer.

It vouches for nothing by itself: a peer is known by its pinned key (`peers`). It is there so that TLS has a chain to check.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leadglass.access.clock import NANOSECONDS, Clock
from leadglass.access.grant import AdministerGrant
from leadglass.access.identity import spki_pin
from leadglass.access.secret import Secret
from leadglass.durable import make_folder, replace_file
from leadglass.errors import Damaged, SealBroken, WrongUsage
from leadglass.seal.chunked import seal, unseal

RSA_BITS = 3072
"""dcmtk 3.6.7 cannot use ECDSA with TLS 1.2 in its default profile; 3072 bits is what BSI and NIST ask for beyond 2030."""
CA_DAYS = 3653
CERTIFICATE_DAYS = 398
_ALWAYS = ("localhost", "127.0.0.1", "::1")
_BACKDATED = timedelta(minutes=5)
"""For clocks of peers that are a little behind."""
_MIN_RSA_BITS = 2048
_LONGEST_CSR = 64 * 1024
_CA_CERTIFICATE, _CA_KEY = "ca.cert.pem", "ca.key.sealed"
_SERVER_CERTIFICATE, _SERVER_KEY = "server.cert.pem", "server.key.pem"
_TRUSTED = "trusted.pem"


@dataclass(frozen=True)
class Issued:
    """A peer's certificate; the key is here only if we made it, and nowhere else."""

    certificate_pem: bytes
    certificate_der: bytes
    ca_pem: bytes
    key_pem: Secret | None


class Authority:
    """The CA under HOME/tls. Its key lies sealed; the server's key lies encrypted, as TLS libraries take it."""

    def __init__(self, folder: Path, key: bytes, archive_id: bytes, clock: Clock) -> None:
        self._folder = folder
        self._key = key
        self._archive_id = archive_id
        self._clock = clock
        self.ca_file = folder / _CA_CERTIFICATE
        self.trust_file = folder / _TRUSTED
        """What TLS accepts a chain to: our CA, and certificates that were handed in. Being in it makes nobody a peer."""
        self.server_certificate = folder / _SERVER_CERTIFICATE
        self.server_key = folder / _SERVER_KEY

    @classmethod
    def create(cls, folder: Path, key: bytes, archive_id: bytes, hostnames: Sequence[str], clock: Clock) -> Self:
        """A new CA and server certificate in `folder`, which must not exist."""
        if folder.exists():
            raise WrongUsage(f"{folder} exists already; a certificate authority is never started over")
        make_folder(folder)
        authority = cls(folder, key, archive_id, clock)
        ca_key = _generate()
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, f"leadglass CA {archive_id.hex()[:16]}"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "leadglass"),
            ]
        )
        builder = authority._builder(name, name, ca_key.public_key(), CA_DAYS).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        certificate = builder.add_extension(_usage(signs_certificates=True), critical=True).sign(ca_key, hashes.SHA256())
        encoded = ca_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        replace_file(folder / _CA_KEY, seal(key, authority._context, encoded))
        replace_file(authority.ca_file, certificate.public_bytes(Encoding.PEM))
        replace_file(authority.trust_file, certificate.public_bytes(Encoding.PEM))
        authority._make_server(hostnames)
        return authority

    @classmethod
    def open(cls, folder: Path, key: bytes, archive_id: bytes, clock: Clock) -> Self:
        """The CA in `folder`; raises `Damaged` when a part is missing or the sealed key does not belong to its certificate."""
        authority = cls(folder, key, archive_id, clock)
        for name in (_CA_CERTIFICATE, _CA_KEY, _TRUSTED, _SERVER_CERTIFICATE, _SERVER_KEY):
            if not (folder / name).is_file():
                raise Damaged(f"tls/{name} is missing; restore HOME/tls from a copy")
        authority._load_ca()
        return authority

    @property
    def _context(self) -> bytes:
        return b"leadglass ca key v1\0" + self._archive_id

    @property
    def server_key_password(self) -> Secret:
        """What `ssl` needs to read `server_key`."""
        info = b"leadglass server key password v1\0" + self._archive_id
        return Secret(HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(self._key).hex())

    def _load_ca(self) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        try:
            key = load_der_private_key(unseal(self._key, self._context, (self._folder / _CA_KEY).read_bytes()), None)
            certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        except (SealBroken, ValueError):
            raise Damaged("the CA's key or certificate under tls/ does not open: changed, or of another archive") from None
        if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
            raise Damaged("the CA's certificate under tls/ does not belong to its key; restore HOME/tls from a copy")
        return key, certificate

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() // NANOSECONDS, UTC)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now() - _BACKDATED)
            .not_valid_after(self._now() + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def _sign(
        self,
        subject: str,
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
        days: int,
        purposes: Sequence[x509.ObjectIdentifier],
        names: Sequence[str],
    ) -> x509.Certificate:
        ca_key, ca = self._load_ca()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = (
            self._builder(name, ca.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(one) for one in names]), critical=False)
        return builder.sign(ca_key, hashes.SHA256())

    def _make_server(self, hostnames: Sequence[str]) -> None:
        names = list(dict.fromkeys([*hostnames, *_ALWAYS]))
        key = _generate()
        # A client too: of the destinations of C-MOVE, and of those to whom a storage commitment is reported.
        purposes = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        certificate = self._sign(names[0][:64], key.public_key(), CERTIFICATE_DAYS, purposes, names)
        encryption = BestAvailableEncryption(self.server_key_password.reveal_bytes())
        replace_file(self.server_key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        replace_file(self.server_certificate, certificate.public_bytes(Encoding.PEM))

    @property
    def pin(self) -> str:
        """The pin of the CA's own key."""
        return spki_pin(x509.load_pem_x509_certificate(self.ca_file.read_bytes()).public_bytes(Encoding.DER))

    def server_expires(self) -> int:
        """When the server's certificate ends, in nanoseconds since 1970."""
        certificate = x509.load_pem_x509_certificate(self.server_certificate.read_bytes())
        return int(certificate.not_valid_after_utc.timestamp()) * NANOSECONDS

    def renew_server(self, grant: AdministerGrant, hostnames: Sequence[str] | None = None) -> None:
        """A new key and certificate for the server, for the same names unless others are given; doors load it at their next start."""
        _require(grant)
        self._make_server(self._server_names() if hostnames is None else hostnames)

    def _server_names(self) -> list[str]:
        certificate = x509.load_pem_x509_certificate(self.server_certificate.read_bytes())
        return [str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]

    def issue_peer(self, grant: AdministerGrant, ae_title: str, days: int = CERTIFICATE_DAYS) -> Issued:
        """A key and a certificate for a peer; the key is kept nowhere."""
        _require(grant)
        key = _generate()
        encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._issued(self._sign(ae_title, key.public_key(), days, (ExtendedKeyUsageOID.CLIENT_AUTH,), ()), Secret(encoded))

    def sign_request(self, grant: AdministerGrant, ae_title: str, request: bytes, days: int = CERTIFICATE_DAYS) -> Issued:
        """A certificate for the key in a request (PEM or DER); of what else the request asks for, nothing is taken over."""
        _require(grant)
        try:
            if len(request) > _LONGEST_CSR:
                raise WrongUsage("this is no certificate request: it is over 64 KiB")
            pem = request.lstrip().startswith(b"-----")
            parsed = x509.load_pem_x509_csr(request) if pem else x509.load_der_x509_csr(request)
            key = parsed.public_key()
            signed = parsed.is_signature_valid
        except (ValueError, TypeError):
            raise WrongUsage("this is no certificate request (PKCS #10, PEM or DER)") from None
        strong = isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or not (strong or isinstance(key, ec.EllipticCurvePublicKey)):
            raise WrongUsage(f"the key in this request cannot be used: take RSA of {_MIN_RSA_BITS} bits or more, or an elliptic curve")
        if not signed:
            raise WrongUsage("the certificate request is not signed by its own key; make it again")
        return self._issued(self._sign(ae_title, key, days, (ExtendedKeyUsageOID.CLIENT_AUTH,), ()), None)

    def _issued(self, certificate: x509.Certificate, key_pem: Secret | None) -> Issued:
        return Issued(certificate.public_bytes(Encoding.PEM), certificate.public_bytes(Encoding.DER), self.ca_file.read_bytes(), key_pem)

    def trust(self, grant: AdministerGrant, certificate: bytes) -> bytes:
        """Let TLS accept a certificate (PEM or DER) that was handed in; gives it as DER, to be pinned: only the pin makes a peer."""
        _require(grant)
        try:
            pem = certificate.lstrip().startswith(b"-----")
            parsed = x509.load_pem_x509_certificate(certificate) if pem else x509.load_der_x509_certificate(certificate)
        except ValueError:
            raise WrongUsage("this is no certificate (X.509, PEM or DER)") from None
        encoded = parsed.public_bytes(Encoding.PEM)
        known = self.trust_file.read_bytes()
        if encoded not in known:
            replace_file(self.trust_file, known + encoded)
        return parsed.public_bytes(Encoding.DER)


def _require(grant: AdministerGrant) -> None:
    if not isinstance(grant, AdministerGrant):
        raise TypeError("certificates are issued under an AdministerGrant")
    grant.require_open()


def _generate() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
