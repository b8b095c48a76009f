"""The HTTP server under the door: uvicorn's parser and protocol on our own listener, in our own event loop.

What is added to it are the bounds against clients that hold a connection and say nothing: see `Bounds`. Why uvicorn, and what was
measured: docs/decisions/http-server.md. There is no access log: paths hold UIDs of studies.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from typing import Final, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from leadglass import logs

MAX_PIPELINED: Final = 16
"""Requests sent before the first is answered; uvicorn parses as many as fit into one read."""

FREE_CHUNKS: Final = 1024
SMALLEST_CHUNK: Final = 128
"""The bytes that a body's chunks have on average, after the first `FREE_CHUNKS`: each costs us a call, which tiny ones are sent for."""
FRAMING: Final = 16
"""For so many bytes of a body there is one of chunk sizes and extensions, beyond `Bounds.max_head_bytes`."""

_FAREWELL_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Bounds:
    """How much, and how long, one client may keep us waiting."""

    max_connections: int = 512
    max_connections_per_address: int = 128
    """A hospital's proxy may stand before many viewers, which open six each."""
    handshake_seconds: float = 10.0
    head_seconds: float = 10.0
    """From the first byte of a request to the end of its header fields."""
    max_head_bytes: int = 64 * 1024
    """A list of a thousand UIDs in a query fits."""
    idle_seconds: float = 30.0
    """Between two requests on one connection."""
    linger_seconds: float = 5.0
    """How long a connection stays after a request was answered whose body had not come whole, so that the answer is read before it ends."""
    max_discarded_bytes: int = 256 * 1024
    """What is meanwhile taken of the rest of such a body, unparsed; then nothing is read any more."""
    stall_seconds: float = 60.0
    """How long a reader may leave the send buffer full; at 1 MiB of buffer, a client slower than 17 kB/s is cut off."""
    send_buffer_bytes: int = 1024 * 1024
    closing_seconds: float = 30.0
    """For the end of an answer to leave the send buffer, and the client to close its side too."""


class _Connection(HttpToolsProtocol):
    """One connection: uvicorn's, with limits of time and size on all that a client does before, between and after requests."""

    def __init__(self, config: Config, state: ServerState, bounds: Bounds, lost: asyncio.Future[None]) -> None:
        super().__init__(config, state, {})
        self.access_log = False
        self._bounds = bounds
        self._lost = lost
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._in_head = True
        self._unaccounted = 0
        self._chunks = 0
        self._body_bytes = 0
        self._ending = False
        self._discarded = 0
        self._application = self.app
        self.app = self._answer

    def _start_timer(self, name: str, seconds: float) -> None:
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn declares it
        super().connection_made(transport)
        transport.set_write_buffer_limits(self._bounds.send_buffer_bytes)
        self._start_timer("head", self._bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._stop_timer(name)
        super().connection_lost(exc)
        if not self._lost.done():
            self._lost.set_result(None)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; an answer before its request is whole ends the connection, and one that is broken off ends it at once."""
        # Where it is a later request's already, this one came whole: nothing is parsed of the next before.
        cycle, begun, ended = self.cycle, False, False

        async def send_on(message: Message) -> None:
            nonlocal begun, ended
            early = not begun and cycle.scope is scope and cycle.more_body
            if early:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
                self._ending = True
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)
            if early:
                # Else it closes after the last byte of the answer, and a client that still sends meets a reset before it reads.
                cycle.keep_alive = True

        try:
            await self._application(scope, receive, send_on)
        finally:
            if begun and not ended:
                # What waits in the send buffer is not to be sent any more either.
                self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or "linger" in self._timers:
            self._discarded += len(data)
            if self._discarded > self._bounds.max_discarded_bytes:
                self.transport.pause_reading()
            return
        if self._in_head:
            self._start_timer("head", self._bounds.head_seconds)
        # Header fields, trailers, chunk sizes and extensions: what is neither body nor the end of something counts against the bound.
        self._unaccounted += len(data)
        super().data_received(data)
        if self._unaccounted > self._bounds.max_head_bytes and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
            self._start_timer("linger", self._bounds.linger_seconds)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")
        self._in_head = False
        self._unaccounted = self._chunks = self._body_bytes = 0
        self._stop_timer("head")
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """For the parser, which calls it if it is there."""
        self._chunks += 1
        if self._chunks > FREE_CHUNKS + self._body_bytes // SMALLEST_CHUNK:
            raise ValueError("too many small chunks")

    def on_body(self, body: bytes) -> None:
        self._unaccounted = max(0, self._unaccounted - len(body) - len(body) // FRAMING)
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unaccounted = 0
        self._in_head = True
        self.cycle.more_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._ending:
            self.pipeline.clear()
        super().on_response_complete()
        if self._ending:
            self._start_timer("linger", self._bounds.linger_seconds)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer("stall", self._bounds.stall_seconds)

    def resume_writing(self) -> None:
        self._stop_timer("stall")
        super().resume_writing()


class WebServer:
    """Accepts connections for one application until it is stopped."""

    def __init__(self, app: ASGIApp, context: ssl.SSLContext, bounds: Bounds = Bounds()) -> None:  # frozen
        # Its default believes an X-Forwarded-For from this machine: the trail would name an address the client chose.
        self._config = Config(
            app,
            interface="asgi3",
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=cast("int", bounds.idle_seconds),
        )
        self._config.load()
        # It tells of each malformed request, which any stranger can send without end; our own faults are logged where they happen.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._context = context
        self._bounds = bounds
        self._state = ServerState()
        self._from: Counter[str] = Counter()
        self._conversations: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; 0 lets the system choose."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
        listener.setblocking(False)  # noqa: FBT003 # socket takes it by position alone
        self._listener = listener
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener))
        return int(listener.getsockname()[1])

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Take no more connections, let answers under way end for `grace_seconds`, then break them off."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._state.connections):
            cycle = connection.cycle if isinstance(connection, _Connection) else None
            idle = cycle is None or cycle.response_complete
            connection.shutdown()
            if idle:
                # Nobody waits for anything: the client is told, but its answer to that is not waited for.
                asyncio.get_running_loop().call_later(_FAREWELL_SECONDS, connection.transport.abort)
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=grace_seconds)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in [*self._state.tasks, *self._conversations]:
            task.cancel()
        if waiting := [*self._state.tasks, *self._conversations]:
            await asyncio.wait(waiting)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                # Out of descriptors, or the client is gone already: either passes.
                logs.fault("dicomweb accept", error)
                await asyncio.sleep(0.1)
                continue
            host = str(address[0])
            if len(self._conversations) >= self._bounds.max_connections or self._from[host] >= self._bounds.max_connections_per_address:
                sock.close()
                continue
            self._from[host] += 1
            task = loop.create_task(self._converse(sock, host))
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)

    async def _converse(self, sock: socket.socket, host: str) -> None:
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()
        try:
            sock.setblocking(False)  # noqa: FBT003 # socket takes it by position alone
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(
                lambda: _Connection(self._config, self._state, self._bounds, lost),
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._bounds.handshake_seconds,
                ssl_shutdown_timeout=self._bounds.closing_seconds,
            )
            await lost
        except (OSError, TimeoutError):
            # A handshake that failed is the client's affair; strangers must not fill the log with them.
            sock.close()
        finally:
            self._from[host] -= 1
            if not self._from[host]:
                del self._from[host]
            with contextlib.suppress(asyncio.InvalidStateError):
                lost.cancel()
