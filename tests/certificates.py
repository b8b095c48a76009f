"""Certificates of authorities that are not the archive's own: for foreign peers, and for other products under test."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    """PEM files by which one side of a TLS connection shows who it is, and whom it trusts."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority that lives in a folder of the test."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def file(self) -> Path:
        """Its certificate as a PEM file."""
        return self.folder / "ca.pem"

    def client_context(self) -> ssl.SSLContext:
        """What a client uses that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.file)

    def issue(self, name: str, *, key: PrivateKey | None = None, days: int = 30, hosts: tuple[str, ...] = ("localhost",)) -> Identity:
        """A certificate for `name`, good for both sides of TLS on loopback; RSA-2048 unless a key is given; `days` < 0 has expired."""
        subject_key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _builder(name, self.certificate.subject, days)
            .public_key(subject_key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        identity = Identity(self.folder / f"{name}.cert.pem", self.folder / f"{name}.key.pem", self.file)
        identity.certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        _write_key(identity.key, subject_key)
        return identity


def make_authority(folder: Path, name: str = "Foreign CA") -> Authority:
    """A new authority in `folder`, unknown to the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, subject, 30)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(folder, certificate, key)
    authority.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return authority


def _builder(name: str, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _write_key(path: Path, key: PrivateKey) -> None:
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    path.chmod(0o600)
