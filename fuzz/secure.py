"""Bytes at a TLS listener from somebody without a certificate, in pieces."""

import asyncio
import ssl
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from leadglass.net.secure import SecureTransport
from leadglass.net.tls import Identity, server_context
from tests.certificates import make_authority

BOUND = 1 << 16


class _Above(asyncio.BufferedProtocol):
    """What the application would hear."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(BOUND))
        self.heard = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 # asyncio's signature
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += nbytes


class _Below(asyncio.Transport):
    """Takes what would leave."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = self.paused = False
        self.sent = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@cache
def _context() -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as name:
        identity = make_authority(Path(name)).issue("server")
        return server_context(Identity(identity.certificate, identity.key), trusted_clients=identity.authority.read_text())


def _hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="a").do_handshake()
    return outgoing.read()


async def _inline(work: Callable[[], None]) -> None:
    work()


async def _listen(data: bytes) -> None:
    above, below = _Above(), _Below()
    secure = SecureTransport(above, _context(), server_side=True)
    secure.connection_made(below)
    shaking = asyncio.ensure_future(secure.handshake(_inline))
    at = 0
    while at < len(data) and not shaking.done():
        await asyncio.sleep(0)
        if not below.paused:
            room = secure.get_buffer(-1)
            piece = data[at : at + min(len(room), 1500)]
            room[: len(piece)] = piece
            secure.buffer_updated(len(piece))
            at += len(piece)
    secure.connection_lost(None)
    with suppress(OSError):
        await shaking
    if secure.is_open or above.heard:
        raise AssertionError("somebody without a certificate was heard")
    if len(below.sent) > BOUND:
        raise AssertionError("much was said to a stranger")


def target(data: bytes) -> None:
    """The handshake ends in an error, nothing reaches the application, and little is answered."""
    asyncio.run(_listen(data))


def seeds() -> list[bytes]:
    """A client's hello, whole and cut; an alert; plain HTTP."""
    hello = _hello()
    return [
        hello,
        hello[:100],
        hello + b"\x15\x03\x03\x00\x02\x02\x28",
        b"GET / HTTP/1.1\r\n\r\n",
        hello + b"\x17\x03\x03\x00\x20" + bytes(32),
    ]
