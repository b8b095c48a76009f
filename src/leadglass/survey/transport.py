"""A TLS door against DICOM PS3.15 B.12, by `ssl` and `cryptography` over the dialer's sockets, one handshake after another.

Whether a client certificate is required is seen in the handshake up to TLS 1.2; with TLS 1.3 the client is done before the server
has judged, and the answer is the first thing to be read. Servers that say nothing then (asyncio's close without an alert) are asked
again with TLS 1.2, where the request for a certificate is sent in clear.
"""

import asyncio
import datetime as dt
import functools
import hashlib
import socket
import ssl
import warnings
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from leadglass.survey.addresses import System
from leadglass.survey.dialer import Dialer, NoConnection
from leadglass.survey.observations import Certificate, ClientCertificate, KeyKind, Tls, TlsVersion

USUAL_TLS_PORTS = frozenset({443, 2762, 8443, 12575})
"""Ports where TLS is expected first (IANA: dicom-tls 2762, https 443); elsewhere DICOM or HTTP is tried before."""

MAX_HANDSHAKE_BYTES = 256 << 10
TICKET_WAIT_SECONDS = 1.0
"""How long a TLS 1.3 server may take to send a ticket or an alert after the handshake."""

PUBLISHED_CERTIFICATES = frozenset(
    {
        # dcm4chee-arc-light: key.p12 of its sample configuration, password "secret", in the public repository (674a864).
        "0c0e096ad86b9f8ce29c60c34ce829cb6467087f415b7912aaa24518ce82b696",
    }
)
"""SHA-256 of certificates whose private key anybody can download."""

# Without forward secrecy (RSA key exchange) or AEAD (CBC): what PS3.15 B.12 no longer allows. Most builds of OpenSSL 3 have no 3DES.
_WEAK_SUITES = "kRSA:ECDHE+AES:DHE+AES:3DES:!AESGCM+ECDHE:!AESGCM+DHE:!AESCCM:!aNULL:!eNULL:!CHACHA20@SECLEVEL=0"
_EVERY_SUITE = "ALL:@SECLEVEL=0"
_OP_LEGACY_SERVER_CONNECT = 0x4
_HANDSHAKE_RECORD = 22
_CERTIFICATE_REQUEST = 13
_SHA1_AND_OLDER = ("md5", "sha1")


class Offer(Enum):
    """What a handshake offers: minimum version, maximum version, suites."""

    EVERYTHING = (ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.MAXIMUM_SUPPORTED, _EVERY_SUITE)
    OLD = (ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_1, _EVERY_SUITE)
    TLS_1_2 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, _EVERY_SUITE)
    WEAK = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, _WEAK_SUITES)


@functools.cache
def stranger_context(offer: Offer = Offer.EVERYTHING) -> ssl.SSLContext:
    """A client that accepts any certificate, since it looks and does not trust, and shows none of its own."""
    lowest, highest, suites = offer.value
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        # Naming TLS 1.1 warns that it is deprecated; whether a server still takes it is the question.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = lowest
        context.maximum_version = highest
    context.set_ciphers(suites)
    context.options |= _OP_LEGACY_SERVER_CONNECT
    return context


@functools.cache
def _judging_context(ca_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    return context


@dataclass(frozen=True, slots=True)
class Handshake:
    """How one handshake went."""

    spoke_tls: bool
    version: TlsVersion | None
    certificate: bytes | None
    """DER, as sent."""
    client_certificate: ClientCertificate
    verify_code: int | None
    """OpenSSL's, where the certificate was judged and not trusted."""
    hung_up: bool = False
    """The handshake came to its end, and the server closed without a word."""


async def examine(system: System, port: int, dialer: Dialer, *, timeout: float, ca_file: Path | None) -> Tls | None:
    """What TLS there is on `port`; None where it does not speak TLS."""
    first = await _greet(system, port, dialer, stranger_context(), timeout)
    if not first.spoke_tls:
        return None
    old = await _greet(system, port, dialer, stranger_context(Offer.OLD), timeout)
    weak = await _greet(system, port, dialer, stranger_context(Offer.WEAK), timeout)
    judged = await _greet(system, port, dialer, _judging_context(ca_file), timeout) if ca_file else None
    certificate = _certificate(first.certificate or old.certificate, judged) if first.certificate or old.certificate else None
    wanted = first.client_certificate
    if wanted is ClientCertificate.UNKNOWN:
        again = await _greet(system, port, dialer, stranger_context(Offer.TLS_1_2), timeout)
        wanted = again.client_certificate
        if first.hung_up and again.certificate is None:
            # TLS 1.3 alone, and it hung up on who shows none.
            wanted = ClientCertificate.REQUIRED
    return Tls(
        version=first.version or old.version,
        old_versions=(old.version,) if old.version else (),
        weak_suites=weak.version is not None,
        client_certificate=wanted,
        certificate=certificate,
    )


async def _greet(system: System, port: int, dialer: Dialer, context: ssl.SSLContext, seconds: float) -> Handshake:
    async with dialer.connection(system.address, port) as link:
        if isinstance(link, NoConnection):
            return Handshake(False, None, None, ClientCertificate.UNKNOWN, None)  # noqa: FBT003 - a record's fields
        return await handshake(link, context, system.server_name, seconds)


async def handshake(link: socket.socket, context: ssl.SSLContext, server_name: str, seconds: float) -> Handshake:
    """One handshake over a connected socket, at most `seconds` long; never raises for what the other side does."""
    exchange = _Exchange(link, context, server_name)
    code: int | None = None
    try:
        async with asyncio.timeout(seconds):
            await exchange.shake_hands()
    except ssl.SSLCertVerificationError as error:
        code = error.verify_code
    except (ssl.SSLError, OSError, TimeoutError, EOFError) as error:
        refused = exchange.certificate_requested and not isinstance(error, TimeoutError)
        wanted = ClientCertificate.REQUIRED if refused else ClientCertificate.UNKNOWN
        return Handshake(exchange.spoke_tls, None, exchange.peer_certificate(), wanted, None)
    if code is not None:
        return Handshake(exchange.spoke_tls, None, None, ClientCertificate.UNKNOWN, code)
    # Looked at first: after the alert in which a server may say its verdict, OpenSSL tells of neither.
    version, certificate = exchange.version(), exchange.peer_certificate()
    verdict = await exchange.verdict(seconds)
    return Handshake(
        spoke_tls=True,
        version=version,
        certificate=certificate,
        client_certificate=verdict,
        verify_code=None,
        hung_up=exchange.hung_up,
    )


class _Exchange:
    """TLS in memory, bytes by hand: so that what the server sent in clear can be looked at."""

    def __init__(self, link: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self._link = link
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=server_name)
        self._seen = bytearray()
        self.hung_up = False

    @property
    def spoke_tls(self) -> bool:
        # Invariant: a TLS record begins with its type (20..23) and major version 3.
        return len(self._seen) >= 3 and self._seen[0] in range(20, 24) and self._seen[1] == 3

    @property
    def certificate_requested(self) -> bool:
        """Whether a CertificateRequest was sent in clear (TLS 1.2 and earlier; RFC 5246 7.4.4)."""
        return _CERTIFICATE_REQUEST in _clear_handshake_types(bytes(self._seen))

    def version(self) -> TlsVersion | None:
        try:
            return TlsVersion(self._tls.version() or "")
        except ValueError:
            return None

    def peer_certificate(self) -> bytes | None:
        try:
            return self._tls.getpeercert(binary_form=True)
        except ValueError:
            return None

    async def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                await self._flush()
                return

    async def verdict(self, seconds: float) -> ClientCertificate:
        """Whether a server that completed the handshake goes on without a certificate of ours."""
        if self.version() is not TlsVersion.TLS_1_3:
            return ClientCertificate.NOT_REQUIRED
        try:
            async with asyncio.timeout(min(seconds, TICKET_WAIT_SECONDS)):
                await self._fill()
            self._tls.read(1)
        except ssl.SSLWantReadError:
            # Only tickets came: the server has judged our empty certificate and goes on.
            return ClientCertificate.NOT_REQUIRED
        except ssl.SSLError as error:
            return ClientCertificate.REQUIRED if _is_alert(error) else ClientCertificate.UNKNOWN
        except TimeoutError:
            return ClientCertificate.UNKNOWN
        except (OSError, EOFError):
            self.hung_up = True
            return ClientCertificate.UNKNOWN
        return ClientCertificate.NOT_REQUIRED

    async def _flush(self) -> None:
        if data := self._out.read():
            await asyncio.get_running_loop().sock_sendall(self._link, data)

    async def _fill(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._link, 16 << 10)
        if not data or len(self._seen) > MAX_HANDSHAKE_BYTES:
            raise EOFError
        self._seen += data
        if not self.spoke_tls and len(self._seen) >= 3:
            raise EOFError
        self._in.write(data)


def _is_alert(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _clear_handshake_types(seen: bytes) -> set[int]:
    """Types of the handshake messages in the leading clear records."""
    messages = bytearray()
    at = 0
    while at + 5 <= len(seen) and seen[at] == _HANDSHAKE_RECORD:
        length = int.from_bytes(seen[at + 3 : at + 5], "big")
        messages += seen[at + 5 : at + 5 + length]
        at += 5 + length
    types: set[int] = set()
    at = 0
    while at + 4 <= len(messages):
        types.add(messages[at])
        at += 4 + int.from_bytes(messages[at + 1 : at + 4], "big")
    return types


_NAME_MISMATCH = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""


def _certificate(der: bytes | None, judged: Handshake | None) -> Certificate | None:
    try:
        certificate = x509.load_der_x509_certificate(der or b"")
        key = certificate.public_key()
        now = dt.datetime.now(dt.UTC)
        hash_name = getattr(certificate.signature_hash_algorithm, "name", "")
        kind, bits = _key(key)
        trusted = name_matches = None
        if judged is not None and (judged.verify_code is not None or judged.version is not None):
            name_matches = judged.verify_code not in _NAME_MISMATCH
            # OpenSSL judges the name last: a wrong name means that the chain was good.
            trusted = judged.verify_code is None or not name_matches
        return Certificate(
            days_left=(certificate.not_valid_after_utc - now).days,
            not_yet_valid=certificate.not_valid_before_utc > now,
            key=kind,
            key_bits=bits,
            sha1_signature=hash_name in _SHA1_AND_OLDER,
            self_signed=_is_self_signed(certificate),
            published_key=hashlib.sha256(der or b"").hexdigest() in PUBLISHED_CERTIFICATES,
            trusted=trusted,
            name_matches=name_matches,
        )
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None


def _key(key: object) -> tuple[KeyKind, int]:
    if isinstance(key, rsa.RSAPublicKey):
        return KeyKind.RSA, key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return KeyKind.EC, key.key_size
    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyKind.EDWARDS, 255
    if isinstance(key, ed448.Ed448PublicKey):
        return KeyKind.EDWARDS, 448
    return KeyKind.OTHER, 0


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
