"""TLS (RFC 8446, RFC 5246) over any asyncio transport: small, and with its handshakes beside the event loop.

asyncio's own layer zeroes and keeps 256 KiB for each connection, computes handshakes where all others wait for it, and sends no alert
when it refuses a certificate. Here all connections of a thread share their buffers, and a handshake's sums are done in a thread.
"""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

_CIPHERTEXT = 256 * 1024
_AT_ONCE: Final = 64 * 1024
"""OpenSSL's memory buffers keep the largest size they ever had: more than this they are never given at once."""
_HANDSHAKE_READ = 16 * 1024
_LONGEST_RECORD = 16 * 1024


class _Scratch(threading.local):
    """One buffer for ciphertext for all connections of a thread: it is filled and emptied within one callback."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_CIPHERTEXT))


_scratch = _Scratch()


class Runner(Protocol):
    """Does a computation elsewhere than in the event loop."""

    def __call__(self, work: Callable[[], None], /) -> Awaitable[None]:
        """Return when it is done; raises what it raises."""


class SecureTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """TLS between a transport below, of which it is the protocol, and a protocol above, of which it is the transport."""

    def __init__(
        self,
        above: asyncio.BufferedProtocol,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        super().__init__()
        self._above = above
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname)
        self._below: asyncio.Transport | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._open = False
        self._closing = False
        self._paused = False
        self._held = b""
        self._problem: Exception | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """The handshake is done."""
        return self._open

    async def closed(self) -> None:
        """Return when the connection is gone."""
        await asyncio.shield(self._ended)

    async def handshake(self, run: Runner) -> None:
        """Return when it is done, each of its steps computed by `run`, and the protocol above is connected; SSLError, ConnectionError.

        Whoever gives up waiting must `abort`.
        """
        begun = self._tls.server_side
        while True:
            if begun:
                await self._more()
            begun = True
            try:
                await run(self._tls.do_handshake)
            except ssl.SSLWantReadError:
                self._send_ciphertext()
            except ssl.SSLError:
                # The alert in which the peer is told why; the caller closes once the peer has.
                self._send_ciphertext()
                self._hear_nothing_more()
                raise
            else:
                break
        if self._below is None:
            raise ConnectionResetError("the peer hung up during the handshake")
        self._send_ciphertext()
        self._open = True
        self._above.connection_made(self)
        # What the peer said on the heels of its last handshake message.
        self._deliver()
        if not self._paused and not self._closing:
            self._below.resume_reading()

    def _hear_nothing_more(self) -> None:
        self._closing = True
        if self._below is not None and not self._below.is_closing():
            self._below.write_eof()
            self._below.resume_reading()

    async def _more(self) -> None:
        """Return when the peer has said more; nothing more of it is read meanwhile."""
        if self._below is None:
            raise ConnectionResetError("the peer hung up during the handshake")
        if self._incoming.pending and not self._arrived:
            return
        self._arrived = asyncio.get_running_loop().create_future()
        self._below.resume_reading()
        await self._arrived

    # As the protocol of the transport below -----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 # asyncio's signature; the hint is not needed
        # A protocol that has had much to do asks for less by a shorter buffer.
        return _scratch.view[: len(self._room()) if self._open else _HANDSHAKE_READ]

    def buffer_updated(self, nbytes: int) -> None:
        if self._closing:
            return
        if not self._open:
            self._incoming.write(_scratch.view[:nbytes])
            if self._below is not None:
                # A thread may be at the handshake: it must not find its buffers moved.
                self._below.pause_reading()
            self._wake()
        else:
            self._take(_scratch.view[:nbytes])

    def eof_received(self) -> None:
        self._closing = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._below = None
        self._closing = True
        if self._open:
            self._above.connection_lost(exc or self._problem)
        self._wake()
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        if self._open:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._open:
            self._above.resume_writing()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _take(self, ciphertext: memoryview) -> None:
        """Decrypt as far as reading is not paused, and keep the rest."""
        at = 0
        while at < len(ciphertext) and not self._paused and not self._closing:
            self._incoming.write(ciphertext[at : at + _AT_ONCE])
            at += _AT_ONCE
            self._deliver()
        self._held = bytes(ciphertext[at:])

    def _room(self) -> memoryview:
        return memoryview(self._above.get_buffer(-1))

    def _deliver(self) -> None:
        """Hand on what can be decrypted."""
        tls, incoming, above = self._tls, self._incoming, self._above
        while incoming.pending and not self._closing and not self._paused:
            room = self._room()
            filled, ended = 0, False
            try:
                while incoming.pending and len(room) - filled >= _LONGEST_RECORD:
                    # A record comes out whole, so that nothing stays behind within OpenSSL.
                    got = tls.read(_LONGEST_RECORD, room[filled:])
                    if not got:
                        ended = True
                        break
                    filled += cast(int, got)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as problem:
                self._problem = problem
                ended = True
            if filled:
                above.buffer_updated(filled)
            if self._outgoing.pending:
                # Key updates, alerts.
                self._send_ciphertext()
            if ended:
                self.close()

    # As the transport of the protocol above -----------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 # asyncio's signature
        if name == "ssl_object":
            return self._tls
        return default if self._below is None else self._below.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._below is None:
            return
        tls, outgoing = self._tls, self._outgoing
        try:
            if len(data) <= _AT_ONCE:
                tls.write(data)
                self._below.write(outgoing.read())
                return
            parts = []
            view = memoryview(data)
            for at in range(0, len(view), _AT_ONCE):
                tls.write(view[at : at + _AT_ONCE])
                parts.append(outgoing.read())
            self._below.write(b"".join(parts))
        except ssl.SSLError as problem:
            self._problem = problem
            self.abort()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return 0 if self._below is None else self._below.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._paused = True
        if self._below is not None:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        # Not from within the call of whoever asks for it: delivering calls it again.
        asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if self._paused or self._closing:
            return
        self._deliver()
        if self._held and not self._paused:
            self._take(memoryview(self._held))
        self._read_on()

    def _read_on(self) -> None:
        below = self._below
        if below is not None and not (self._paused or self._held or below.is_closing()):
            below.resume_reading()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Say that nothing more will come (close_notify), and close once all is sent; the peer's own word is not waited for."""
        if self._closing:
            if self._below is not None:
                self._below.close()
            return
        if self._open:
            with suppress(ssl.SSLError):
                # It asks for the peer's answer, or says what ended TLS before; our own word is said as far as it can be.
                self._tls.unwrap()
            self._send_ciphertext()
        self.abort_after_sending()

    def abort_after_sending(self) -> None:
        """Close without a word more."""
        self._closing = True
        if self._below is not None:
            self._below.close()

    def abort(self) -> None:
        self._closing = True
        if self._below is not None:
            self._below.abort()

    def _send_ciphertext(self) -> None:
        if self._outgoing.pending and self._below is not None:
            self._below.write(self._outgoing.read())
