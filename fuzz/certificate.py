"""A certificate as a client shows it, and what else it sends with it, judged by a rule under an outside CA."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leadglass.access.identity import parse_certificate
from leadglass.access.subject import SubjectRule, names_of
from leadglass.access.vouchers import Shown, Voucher
from leadglass.errors import BadInput, NotIdentified

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
RULE = SubjectRule.parse("CN=ct1,O=Hospital,DNS=ct1.hospital.example")
_DAY = datetime.timedelta(days=1)


def _make(subject: str, key: ec.EllipticCurvePrivateKey, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hospital"), x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    above, signer = issuer or (name, key)
    usage = x509.KeyUsage(
        digital_signature=issuer is not None,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issuer is None,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = x509.CertificateBuilder(above, name, key.public_key(), 4711, NOW - _DAY, NOW + _DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    if issuer is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("ct1.hospital.example")]), critical=False)
    return builder.sign(signer, hashes.SHA256())


_CA_KEY, _KEY = (ec.derive_private_key(number, ec.SECP256R1()) for number in (1, 2))
_CA = _make("Root", _CA_KEY, None)
_RIGHT = _make("ct1", _KEY, (_CA.subject, _CA_KEY))
VOUCHER = Voucher(_CA.public_bytes(Encoding.DER), RULE)
RIGHT = _RIGHT.public_bytes(Encoding.DER)
_BODY = _RIGHT.tbs_certificate_bytes


def target(data: bytes) -> None:
    """Nothing raises, and only what the CA signed is vouched for."""
    try:
        certificate = parse_certificate(data)
    except NotIdentified as error:
        raise BadInput("no certificate") from error
    names_of(certificate)
    shown = Shown.of(certificate, (data, b"", RIGHT))
    if VOUCHER.vouches(shown, NOW) is not None and certificate.tbs_certificate_bytes != _BODY:
        raise AssertionError("a forgery is vouched for")


def seeds() -> list[bytes]:
    """The right one, its CA, one of another CA, and one cut short."""
    other = _make("ct1", _KEY, (_CA.subject, _KEY)).public_bytes(Encoding.DER)
    if VOUCHER.vouches(Shown.of(_RIGHT, ()), NOW) is None:
        raise AssertionError("the right one is refused")
    return [RIGHT, _CA.public_bytes(Encoding.DER), other, RIGHT[:-20]]
