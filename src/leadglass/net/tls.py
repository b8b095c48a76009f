"""TLS contexts by PS3.15 B.12 (BCP 195): TLS 1.2 with forward secrecy and authenticated ciphers, TLS 1.3 preferred."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TLS_1_2_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate (PEM, with its chain) and its private key (PEM, encrypted with `password` if that is not None)."""

    certificate: Path
    key: Path
    password: bytes | None = None

    def __repr__(self) -> str:
        return f"Identity(certificate={self.certificate!r})"


def server_context(identity: Identity, *, trusted_clients: str | None) -> ssl.SSLContext:
    """A listener's context.

    With `trusted_clients` (PEM certificates: CAs, or pinned ones of single peers) a client certificate is required; with None, none is
    asked for.
    """
    context = _hardened(ssl.PROTOCOL_TLS_SERVER)
    load(context, identity)
    # No resumption: each association shows its certificate anew, so a revoked one is out at once.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    if trusted_clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        trust(context, trusted_clients)
    return context


class LiveContext:
    """A listener's context that follows what is trusted: a store can only be added to, so a changed one is another context."""

    def __init__(self, identity: Identity, trusted_clients: Callable[[], str]) -> None:
        self._identity = identity
        self._trusted_clients = trusted_clients
        self._trusted = trusted_clients()
        self.current = server_context(identity, trusted_clients=self._trusted)

    def follow(self) -> bool:
        """Make the context anew if other certificates are trusted now; gives whether it is another."""
        trusted = self._trusted_clients()
        if trusted == self._trusted:
            return False
        self.current = server_context(self._identity, trusted_clients=trusted)
        self._trusted = trusted
        return True

    def renew(self) -> None:
        """Make the context anew: our own certificate is another."""
        self.current = server_context(self._identity, trusted_clients=self._trusted)


def sent_chain(connection: ssl.SSLObject) -> tuple[bytes, ...]:
    """The certificates (DER) that the other side sent beside its own, unverified; none where this Python cannot say."""
    public = getattr(connection, "get_unverified_chain", None)
    if public is not None:
        return tuple(public()[1:])
    # Python 3.13 made this public; before, the object behind it has it. Without it a CA's file has to hold its intermediates.
    inner: Any = getattr(connection, "_sslobj", None)
    chain = inner.get_unverified_chain() if hasattr(inner, "get_unverified_chain") else None
    return tuple(ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in (chain or ())[1:])


def client_context(*, trusted_servers: str, identity: Identity | None = None, check_hostname: bool = True) -> ssl.SSLContext:
    """A requestor's context: the server must show a certificate that `trusted_servers` (PEM) vouches for."""
    context = _hardened(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname
    trust(context, trusted_servers)
    if identity is not None:
        load(context, identity)
    return context


def unsafe_unless_proven(identity: Identity) -> ssl.SSLContext:
    """A requestor's context that takes any certificate: for `net.requestor.proven` alone, which looks at the key before a byte is sent."""
    context = _hardened(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    load(context, identity)
    return context


def trust(context: ssl.SSLContext, certificates: str) -> None:
    """Add PEM certificates to those that `context` trusts; it holds for the handshakes after it."""
    # A pinned certificate of a peer need not be a CA's to be trusted for itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if certificates.strip():
        context.load_verify_locations(cadata=certificates)


def _hardened(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def load(context: ssl.SSLContext, identity: Identity) -> None:
    """Show this certificate from the next handshake on."""
    # A password is always given, else OpenSSL would ask for one on the terminal.
    context.load_cert_chain(identity.certificate, identity.key, password=identity.password or b"")
