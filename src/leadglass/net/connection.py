"""The connection under an association: bytes between asyncio and the state machine, flow control both ways, timers, and its end."""

import asyncio
import socket
import ssl
import threading
from abc import abstractmethod
from contextlib import suppress
from typing import cast

from leadglass.dicom.association import Association, Event
from leadglass.dicom.pdu import AbortReason, AbortSource
from leadglass.net.failures import AbortedHere, AssociationFailed, BrokenOff, Failure, TimedOut, TlsFailed
from leadglass.net.limits import Limits
from leadglass.net.streams import Waitable

_READ_SIZE = 256 * 1024
_BUSY_READ_SIZE = 20 * 1024
"""What is read at once after much came in few bytes: a record of TLS fits in, and no peer keeps the event loop for long."""
_MANY_EVENTS = 64
_WRITE_HIGH_WATER = 256 * 1024
"""Two of the longest PDUs that we send."""


class _Scratch(threading.local):
    """One receive buffer for all connections of a thread: it is filled and emptied within one callback, so idle ones cost none."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ_SIZE))
        self.short_view = self.view[:_BUSY_READ_SIZE]


_scratch = _Scratch()


class Connection(asyncio.BufferedProtocol):
    """One connection and the machine that it feeds; what the bytes mean goes to `handle`."""

    def __init__(self, machine: Association, limits: Limits) -> None:
        self.machine = machine
        self.limits = limits
        self.failure: Failure | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._waiting: dict[Waitable, str] = {}
        self._heard_at = 0.0
        self._stalled_at = 0.0
        self._received = 0
        self._looked_at: tuple[float, int, object] = (0.0, 0, None)
        self._is_busy = False
        self._watch: asyncio.TimerHandle | None = None
        self._writable = Waitable()
        self._write_paused = False
        self._read_paused = False
        self._unread_bytes = 0
        self._unread_messages = 0

    @abstractmethod
    def handle(self, event: Event) -> None:
        """Do what an event asks for; called where the bytes arrive, so nothing may take long here."""

    @abstractmethod
    def under_way(self) -> object | None:
        """What the peer is in the middle of sending, and we are waiting for; None if there is nothing."""

    @property
    def is_connected(self) -> bool:
        """There is a connection, if only to wait for its end."""
        return self._transport is not None

    # Waiting ------------------------------------------------------------------------------------

    def raise_failure(self) -> None:
        """Raise what ended the association, if it has ended."""
        if self.failure is not None:
            raise AssociationFailed(self.failure)
        if self._closing:
            raise AssociationFailed(BrokenOff())

    async def wait(self, waitable: Waitable, during: str, /) -> None:
        """Return when `waitable` was woken; the association ends if the peer takes longer than the limit."""
        if waitable.waiter is not None:
            raise RuntimeError("two readers wait for the same thing of an association")
        waitable.waiter = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._waiting[waitable] = during
        if self._watch is None and not self._closing:
            self._look_at_clock()
        try:
            await waitable.waiter
        finally:
            waitable.waiter = None
            del self._waiting[waitable]

    async def drain(self) -> None:
        """Return when the peer has taken most of what was sent."""
        while self._write_paused:
            self.raise_failure()
            await self.wait(self._writable, "the peer to take what we send")
        self.raise_failure()

    async def closed(self) -> None:
        """Return when the connection is gone."""
        await asyncio.shield(self._ended)

    def account(self, size: int, messages: int = 0, /) -> None:
        """So many bytes and messages more, or fewer, wait to be read: too much pauses reading, half of that resumes it."""
        self._unread_bytes += size
        self._unread_messages += messages
        transport, limits = self._transport, self.limits
        if transport is None or self._closing:
            return
        if not self._read_paused:
            if self._unread_bytes > limits.backlog or self._unread_messages > limits.max_waiting_messages:
                self._read_paused = True
                transport.pause_reading()
        elif self._unread_bytes <= limits.backlog // 2 and self._unread_messages <= limits.max_waiting_messages // 2:
            self._read_paused = False
            transport.resume_reading()

    def wake_all(self) -> None:
        """Whoever waits for the peer looks again."""
        for each in self._waiting:
            each.wake()

    def _look_at_clock(self) -> None:
        # One timer that looks at the time, instead of one that is set and cancelled at every wait.
        now = self._loop.time()
        due = now + self.limits.idle_seconds
        if self._waiting:
            # What the peer says does not count while it takes nothing of what we say.
            stalled = self._writable in self._waiting
            due = (self._stalled_at if stalled else self._heard_at) + self.limits.idle_seconds
            if now >= due:
                self.break_off(TimedOut(self._waiting[self._writable] if stalled else next(iter(self._waiting.values()))))
                return
            if self._crawls(now):
                self.break_off(TimedOut("a data set that hardly comes"))
                return
        self._watch = self._loop.call_at(due, self._look_at_clock)

    def _crawls(self, now: float) -> bool:
        """Whether the data set that was under way when we last looked still is, and too little came since."""
        then, received, stream = self._looked_at
        self._looked_at = (now, self._received, self.under_way())
        if stream is None or stream is not self.under_way():
            return False
        return self._received - received < self.limits.slowest_bytes_per_second * (now - then)

    # What asyncio calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError):
                # Without it every exchange waits 40 ms for a delayed ACK.
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 # asyncio's signature; the hint is not needed
        return _scratch.short_view if self._is_busy else _scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        self._received += nbytes
        events = self.machine.receive(_scratch.view[:nbytes])
        self._is_busy = len(events) > _MANY_EVENTS
        if events:
            # Whole PDUs count, single bytes do not: a peer cannot keep us waiting by one byte a second.
            self._heard_at = self._loop.time()
            for event in events:
                self.handle(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._closing = True
        self._stop_watch()
        if self.machine.connection_lost():
            self.fail(TlsFailed(exc.reason or "unknown") if isinstance(exc, ssl.SSLError) else BrokenOff())
        self.wake_all()
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        self._write_paused = True
        self._stalled_at = self._loop.time()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._writable.wake()

    # Sending and ending -------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand what the machine has to send to the transport, and begin to close if that was the last word."""
        transport = self._transport
        if transport is None:
            return
        data = self.machine.data_to_send()
        if data:
            transport.write(data)
        if self.machine.is_over:
            self.begin_closing(ours_was_last=True)

    def fail(self, failure: Failure) -> None:
        """Remember the first thing that went wrong, and let everybody who waits see it."""
        if self.failure is None:
            self.failure = failure
        self.wake_all()

    def abort(self, failure: Failure | None = None) -> None:
        """End the association at once, with A-ABORT; nothing happens if it is over."""
        if not self.machine.is_over:
            self.fail(failure or AbortedHere())
            self.machine.abort()
            self.flush()

    def drop(self) -> None:
        """End the association at once and do not wait for the peer to close."""
        self.abort()
        if self._transport is not None:
            self._transport.close()

    def break_off(self, failure: Failure) -> AssociationFailed:
        """Abort because of the peer, and the exception that says so."""
        self.fail(failure)
        self.machine.abort(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED)
        self.flush()
        return AssociationFailed(self.failure or failure)

    def begin_closing(self, *, ours_was_last: bool) -> None:
        """The association is over; what is left is to close the connection."""
        transport = self._transport
        if self._closing or transport is None:
            return
        self._closing = True
        self._stop_watch()
        self.wake_all()
        if self._read_paused and not transport.is_closing():
            transport.resume_reading()
        # An acceptor that said the last word waits for the peer to close (PS3.8 Sta13): closing first can lose what was just sent.
        if self.machine.is_requestor or not ours_was_last:
            transport.close()
        # The timer also ends a transport that cannot get rid of its last bytes.
        self._watch = self._loop.call_later(self.limits.closing_seconds, transport.abort)

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
