"""A TLS greeting by hand, up to TLS 1.2: what a server answers to it in clear, whatever our own TLS library would still speak.

Builds of OpenSSL have no SSL 3, 3DES or RC4 any more; old archives do. The answer to a ClientHello says which version and suite the server
takes, shows its certificate and whether it asks for one (RFC 5246 7.3); the handshake is not gone through with.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from leadglass.survey.observations import SuiteWeakness, TlsVersion

_HANDSHAKE = 22
_ALERT = 21
_MAX_RECORD = 16384 + 2048


class _Message(IntEnum):
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    CERTIFICATE = 11
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14


WIRE_VERSIONS: Mapping[TlsVersion, int] = MappingProxyType(
    {TlsVersion.SSL_3: 0x0300, TlsVersion.TLS_1_0: 0x0301, TlsVersion.TLS_1_1: 0x0302, TlsVersion.TLS_1_2: 0x0303}
)
_VERSIONS = {number: version for version, number in WIRE_VERSIONS.items()}

_NULL = (0x0001, 0x0002, 0x003B, 0xC006, 0xC010)
_ANONYMOUS = (0x0018, 0x001B, 0x0034, 0x003A, 0x006C, 0x006D, 0x00A6, 0x00A7, 0xC016, 0xC017, 0xC018, 0xC019)
_EXPORT = (0x0003, 0x0006, 0x0008, 0x0014)
_RC4 = (0x0004, 0x0005, 0xC007, 0xC011)
_DES = (0x0009, 0x000A, 0x0015, 0x0016, 0xC008, 0xC012)
_RSA_TRANSPORT = (0x002F, 0x0035, 0x003C, 0x003D, 0x0041, 0x0084, 0x009C, 0x009D, 0xC09C, 0xC09D)
_CBC = (0x0033, 0x0039, 0x0067, 0x006B, 0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC024, 0xC027, 0xC028)
_FIT = (0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9, 0x009E, 0x009F)
"""ECDHE or DHE with AES-GCM or ChaCha20: what PS3.15 B.12 (BCP 195) leaves of TLS 1.2."""

SUITES: Mapping[SuiteWeakness, Sequence[int]] = MappingProxyType(
    {
        SuiteWeakness.NO_ENCRYPTION: _NULL,
        SuiteWeakness.NO_AUTHENTICATION: _ANONYMOUS,
        SuiteWeakness.EXPORT: _EXPORT,
        SuiteWeakness.RC4: _RC4,
        SuiteWeakness.SHORT_BLOCKS: _DES,
        SuiteWeakness.NO_FORWARD_SECRECY: _RSA_TRANSPORT,
        SuiteWeakness.NO_AUTHENTICATED_ENCRYPTION: _CBC,
    }
)
"""The suites by which each weakness is asked about (IANA's TLS parameters), the worst first."""

WEAK: Sequence[int] = tuple(suite for suites in SUITES.values() for suite in suites)
EVERY: Sequence[int] = (*_FIT, *WEAK)

CLOSE_NOTIFY = bytes([_ALERT, 3, 1, 0, 2, 1, 0])
"""Said before we hang up (RFC 5246 7.2.1)."""


def weakness_of(suite: int) -> SuiteWeakness | None:
    """The worst that is wrong with a suite; None for one that PS3.15 B.12 allows, or that was never offered."""
    return next((weakness for weakness, suites in SUITES.items() if suite in suites), None)


def client_hello(version: TlsVersion, suites: Sequence[int], random: bytes, server_name: str = "") -> bytes:
    """A ClientHello record that offers at most `version`, these suites and no compression (RFC 5246 7.4.1.2).

    `random`: 32 bytes. `server_name`: empty for an address (RFC 6066 3).
    """
    number = WIRE_VERSIONS[version]
    offered = b"".join(struct.pack(">H", suite) for suite in (*suites, 0x00FF))
    body = struct.pack(">H", number) + random + b"\0" + struct.pack(">H", len(offered)) + offered + b"\1\0"
    if version is not TlsVersion.SSL_3:
        body += _vector(b"".join(_extensions(server_name)))
    message = bytes([_Message.CLIENT_HELLO]) + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", _HANDSHAKE, min(number, 0x0301), len(message)) + message


def _extensions(server_name: str) -> Iterator[bytes]:
    if server_name:
        name = server_name.encode("idna")
        yield _extension(0, _vector(b"\0" + _vector(name)))
    groups = struct.pack(">5H", 29, 23, 24, 25, 256)  # x25519, P-256, P-384, P-521, ffdhe2048
    yield _extension(10, _vector(groups))
    yield _extension(11, b"\1\0")
    # RSA, ECDSA and RSA-PSS with SHA-512 to SHA-1: what is signed with is not what is looked at here.
    schemes = (0x0601, 0x0501, 0x0401, 0x0201, 0x0603, 0x0503, 0x0403, 0x0203, 0x0806, 0x0805, 0x0804)
    yield _extension(13, _vector(struct.pack(f">{len(schemes)}H", *schemes)))


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + _vector(data)


def _vector(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What a server has said in clear so far."""

    version: TlsVersion | None = None
    suite: int | None = None
    certificate: bytes | None = None
    """DER, the server's own."""
    wants_certificate: bool = False
    is_over: bool = False
    """It has said all, or an alert, or what is no TLS: there is nothing to wait for."""


def read_answer(seen: bytes) -> ServerAnswer:
    """What the records in `seen` say up to the first that is incomplete or encrypted; never raises."""
    messages = bytearray()
    over = False
    at = 0
    while at + 5 <= len(seen) and not over:
        kind, major, _, length = struct.unpack_from(">BBBH", seen, at)
        if kind == _HANDSHAKE and major == 3 and length <= _MAX_RECORD:
            if at + 5 + length > len(seen):
                break
            messages += seen[at + 5 : at + 5 + length]
            at += 5 + length
        else:
            over = True
    version = suite = certificate = None
    wants = False
    for message, body in _messages(bytes(messages)):
        if message == _Message.SERVER_HELLO and version is None:
            version, suite = _server_hello(body)
        elif message == _Message.CERTIFICATE and certificate is None:
            certificate = _first_certificate(body)
        elif message == _Message.CERTIFICATE_REQUEST:
            wants = True
        elif message == _Message.SERVER_HELLO_DONE:
            over = True
    return ServerAnswer(version, suite, certificate, wants, over)


def _messages(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(raw):
        length = int.from_bytes(raw[at + 1 : at + 4], "big")
        if at + 4 + length > len(raw):
            return
        yield raw[at], raw[at + 4 : at + 4 + length]
        at += 4 + length


def _server_hello(body: bytes) -> tuple[TlsVersion | None, int | None]:
    session = body[34] if len(body) > 34 else 0
    at = 35 + session
    if at + 2 > len(body):
        return None, None
    return _VERSIONS.get(int.from_bytes(body[:2], "big")), int.from_bytes(body[at : at + 2], "big")


def _first_certificate(body: bytes) -> bytes | None:
    length = int.from_bytes(body[3:6], "big")
    return body[6 : 6 + length] if length and 6 + length <= len(body) else None
