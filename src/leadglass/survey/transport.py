"""A TLS door against DICOM PS3.15 B.12, by `ssl`, `cryptography` and greetings by hand over the dialer's sockets, one after another.

Whether a client certificate is required is seen in the handshake up to TLS 1.2; with TLS 1.3 the client is done before the server
has judged, and the answer is the first thing to be read. Servers that say nothing then (asyncio's close without an alert) are asked
again with TLS 1.2, where the request for a certificate is sent in clear.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import hashlib
import secrets
import socket
import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leadglass.survey import products
from leadglass.survey.addresses import System
from leadglass.survey.dialer import Dialer, NoConnection
from leadglass.survey.greeting import CLOSE_NOTIFY, EVERY, SUITES, WEAK, ServerAnswer, client_hello, read_answer, weakness_of
from leadglass.survey.observations import Certificate, ClientCertificate, KeyKind, SuiteWeakness, Tls, TlsVersion

USUAL_TLS_PORTS = frozenset({443, 2762, 8443, 12575})
"""Ports where TLS is expected first (IANA: dicom-tls 2762, https 443); elsewhere DICOM or HTTP is tried before."""

MAX_HANDSHAKE_BYTES = 256 << 10
TICKET_WAIT_SECONDS = 1.0
"""How long a TLS 1.3 server may take to send a ticket or an alert after the handshake."""

_EVERY_SUITE = "ALL:@SECLEVEL=0"
_OP_LEGACY_SERVER_CONNECT = 0x4
_SHA1_AND_OLDER = ("md5", "sha1")


class Offer(Enum):
    """What a handshake offers: minimum version, maximum version, suites."""

    EVERYTHING = (ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.MAXIMUM_SUPPORTED, _EVERY_SUITE)
    TLS_1_2 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, _EVERY_SUITE)


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
    chosen: TlsVersion | None = None
    """What the server said in clear that it speaks, where the handshake failed after that."""


async def examine(system: System, port: int, dialer: Dialer, *, timeout: float, ca_file: Path | None) -> Tls | None:
    """What TLS there is on `port`; None where it does not speak TLS."""
    first = await _greet(system, port, dialer, stranger_context(), timeout)
    if not first.spoke_tls:
        return None
    line = _Line(system, port, dialer, timeout)
    old, seen = await _old_versions(line)
    weak = await _weaknesses(line)
    judged = await _greet(system, port, dialer, _judging_context(ca_file), timeout) if ca_file else None
    wanted, shown = first.client_certificate, first.certificate or seen
    version = first.version
    if wanted is ClientCertificate.UNKNOWN:
        again = await _greet(system, port, dialer, stranger_context(Offer.TLS_1_2), timeout)
        wanted, shown = again.client_certificate, shown or again.certificate
        if first.hung_up and again.certificate is None:
            # TLS 1.3 alone, and it hung up on who shows none.
            wanted = ClientCertificate.REQUIRED
    if wanted is ClientCertificate.REQUIRED:
        version = version or first.chosen
    name = "" if system.target.network is not None else system.target.host
    return Tls(
        version=version,
        old_versions=old,
        weak_suites=bool(weak),
        client_certificate=wanted,
        certificate=_certificate(shown, judged, name) if shown else None,
        weaknesses=weak,
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """Where greetings by hand go."""

    system: System
    port: int
    dialer: Dialer
    seconds: float

    async def say(self, version: TlsVersion, suites: Sequence[int]) -> ServerAnswer:
        """What a server answers in clear to one greeting."""
        name = "" if self.system.target.network is not None else self.system.target.host.rstrip(".")
        async with self.dialer.connection(self.system.address, self.port) as link:
            if isinstance(link, NoConnection):
                return ServerAnswer()
            return await _answer(link, client_hello(version, suites, secrets.token_bytes(32), name), self.seconds)


async def _answer(link: socket.socket, hello: bytes, seconds: float) -> ServerAnswer:
    loop = asyncio.get_running_loop()
    seen = bytearray()
    answer = ServerAnswer()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(link, hello)
            while not answer.is_over and len(seen) < MAX_HANDSHAKE_BYTES:
                data = await loop.sock_recv(link, 16 << 10)
                if not data:
                    break
                seen += data
                answer = read_answer(bytes(seen))
            await loop.sock_sendall(link, CLOSE_NOTIFY)
    return answer


async def _old_versions(line: _Line) -> tuple[tuple[TlsVersion, ...], bytes | None]:
    """The versions before TLS 1.2 that are taken, and the certificate that was shown; each next older one is asked about only after it."""
    taken: list[TlsVersion] = []
    certificate: bytes | None = None
    for version in (TlsVersion.TLS_1_1, TlsVersion.TLS_1_0, TlsVersion.SSL_3):
        if taken and version.rank >= taken[-1].rank:
            continue
        answer = await line.say(version, EVERY)
        if answer.version is None or answer.version.rank > version.rank:
            break
        taken.append(answer.version)
        certificate = certificate or answer.certificate
    return tuple(taken), certificate


async def _weaknesses(line: _Line) -> tuple[SuiteWeakness, ...]:
    """What is wrong with the suites that are taken: asked about one by one only where any of them is."""
    answer = await line.say(TlsVersion.TLS_1_2, WEAK)
    first = weakness_of(answer.suite) if answer.suite is not None else None
    if first is None:
        return ()
    found = {first}
    for weakness, suites in SUITES.items():
        if weakness is not first and (await line.say(TlsVersion.TLS_1_2, suites)).suite in suites:
            found.add(weakness)
    return tuple(each for each in SuiteWeakness if each in found)


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
        said = exchange.said_in_clear
        refused = said.wants_certificate and not isinstance(error, TimeoutError)
        wanted = ClientCertificate.REQUIRED if refused else ClientCertificate.UNKNOWN
        return Handshake(exchange.spoke_tls, None, exchange.peer_certificate() or said.certificate, wanted, None, chosen=said.version)
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
    def said_in_clear(self) -> ServerAnswer:
        """What the server sent before anything was encrypted (TLS 1.2 and earlier): also where it then refused us."""
        return read_answer(bytes(self._seen))

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


_NAME_MISMATCH = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""


def _certificate(der: bytes, judged: Handshake | None, name: str = "") -> Certificate | None:
    """What is to be said of a certificate; `name`: the target's, where it has one. None for what is none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        now = dt.datetime.now(dt.UTC)
        hash_name = getattr(certificate.signature_hash_algorithm, "name", "")
        kind, bits = _key(key)
        trusted, name_matches = None, _is_for(certificate, name) if name else None
        # A server that then refuses us for want of a certificate has shown its own before, and OpenSSL had nothing against it.
        refused_us = judged is not None and judged.client_certificate is ClientCertificate.REQUIRED
        if judged is not None and (judged.verify_code is not None or judged.version is not None or refused_us):
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
            published_key=hashlib.sha256(public).hexdigest() in products.published_keys(),
            trusted=trusted,
            name_matches=name_matches,
        )
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None


def _is_for(certificate: x509.Certificate, name: str) -> bool:
    """Whether a certificate names this host, or has a wildcard for it (RFC 9525 6.3)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return False
    wanted = name.lower().rstrip(".")
    _, _, domain = wanted.partition(".")
    return any(each.lower().rstrip(".") in {wanted, f"*.{domain}"} for each in names)


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
