"""The acceptor: listens, lets `decide` judge each A-ASSOCIATE-RQ, and runs the service that the decision names.

There is no service without a decision: the coroutine that serves an association is part of the `Accept` that `decide` returns.
"""

import asyncio
import inspect
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Self

from leadglass import logs
from leadglass.dicom.association import Association
from leadglass.dicom.contexts import Negotiated
from leadglass.dicom.pdu import APPLICATION_CONTEXT, AssociateAccept, AssociateReject, AssociateRequest
from leadglass.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from leadglass.dicom.user_information import UserInformation
from leadglass.net.failures import AssociationFailed, TimedOut
from leadglass.net.limits import DEFAULT, Limits
from leadglass.net.link import Link
from leadglass.net.places import Callers, Patience, Shares, Turns, neighbourhood
from leadglass.net.secure import SecureTransport
from leadglass.net.streams import Message
from leadglass.net.tally import Tally
from leadglass.net.tls import sent_chain

_BACKLOG = 1024
"""Connections that the system keeps for us: in one turn of the event loop more may come than usual limits of 128 hold."""

_ACCEPTED_AT_ONCE = 32
"""Then it is the turn of those who are here already."""

_HANDSHAKE_THREADS = max(1, (os.cpu_count() or 1) // 2)
"""Half of the cores at most are busy with the sums of handshakes, whoever asks for them."""

_DECISIONS_AT_ONCE = 8
_PAUSE_AFTER_FAILED_ACCEPT = 0.1


class Reject(IntEnum):
    """Reasons to reject, as (result, source, reason) in the three low bytes (PS3.8 Table 9-21)."""

    NO_REASON = 0x010101
    APPLICATION_CONTEXT_NOT_SUPPORTED = 0x010102
    CALLING_TITLE_NOT_RECOGNIZED = 0x010103
    CALLED_TITLE_NOT_RECOGNIZED = 0x010107
    PROTOCOL_VERSION_NOT_SUPPORTED = 0x010202
    USER_IDENTITY_REFUSED = 0x010201
    """By the service provider (ACSE), no reason given: so PS3.7 D.3.3.7 has it."""
    LOCAL_LIMIT_EXCEEDED = 0x020302

    @property
    def pdu(self) -> AssociateReject:
        """The A-ASSOCIATE-RJ that says so."""
        return AssociateReject(*self.to_bytes(3, "big"))


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Where a connection comes from; `certificate` (DER) is the client's, verified against the trusted ones, None without.

    `chain` is what else it sent: certificates of CAs, DER, unverified.
    """

    address: str
    port: int
    certificate: bytes | None
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Accept:
    """The answer to a request that is taken: the negotiated contexts, and the coroutine that serves them."""

    negotiated: Negotiated
    serve: "Callable[[ServerAssociation], Awaitable[None]]"
    identity_response: bytes | None = None


Decision = Accept | Reject
Decide = Callable[[AssociateRequest, PeerInfo], Decision | Awaitable[Decision]]


class ServerAssociation(Link):
    """An association that a peer made with us: an async iterator over its requests, which ends when the peer releases."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(Association(max_pdu=limits.max_pdu), limits)
        self.peer = PeerInfo("", 0, None)
        self.negotiated = Negotiated((), (), ())
        self._last: Message | None = None

    @property
    def request(self) -> AssociateRequest:
        """What the peer asked for."""
        if self.machine.request is None:
            raise RuntimeError("the peer has not asked for an association yet")
        return self.machine.request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._last is not None and self._last.data is not None:
            self._last.data.discard()
        while not self.requests:
            if self.release_asked:
                raise StopAsyncIteration
            self.raise_failure()
            await self.wait(self.requests, "a request")
        self._last = self.requests.get()
        return self._last

    async def asked(self) -> AssociateRequest:
        """The peer's A-ASSOCIATE-RQ."""
        while self.machine.request is None:
            self.raise_failure()
            await self.wait(self.opened, "an A-ASSOCIATE-RQ")
        self.raise_failure()
        return self.machine.request


class Acceptor:
    """A listening door; made by `serve`."""

    def __init__(self, listener: socket.socket, decide: Decide, tls: ssl.SSLContext | None, limits: Limits) -> None:
        self.associations: set[ServerAssociation] = set()
        self._listener = listener
        self._decide = decide
        self._tls = tls
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._callers = Callers(limits)
        self._patience = Patience(self._loop.time)
        self._shares = Shares(limits)
        self._handshakes = Turns(_HANDSHAKE_THREADS)
        self._handshake_threads = ThreadPoolExecutor(_HANDSHAKE_THREADS, thread_name_prefix="handshake")
        self._decisions = Turns(_DECISIONS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_accepted = Tally("connections could not be accepted")
        self._no_place = Tally("connections had no place")
        self._stopping = False
        self._pausing: asyncio.TimerHandle | None = None
        self._listen()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        host, port, *_ = self._listener.getsockname()
        return host, port

    def use(self, tls: ssl.SSLContext) -> None:
        """Make the handshakes to come with this context; the door speaks TLS already."""
        self._tls = tls

    async def close(self) -> None:
        """Stop listening, abort what is under way, and return when all of it has ended."""
        self._stopping = True
        self._loop.remove_reader(self._listener)
        if self._pausing is not None:
            self._pausing.cancel()
        self._listener.close()
        self._not_accepted.close()
        self._no_place.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._handshake_threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Connections --------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._pausing = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, (address, port, *_) = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as problem:
                # Out of descriptors, or a peer that is gone already: neither ends the door.
                self._not_accepted.count(problem)
                self._loop.remove_reader(self._listener)
                self._pausing = self._loop.call_later(_PAUSE_AFTER_FAILED_ACCEPT, self._listen)
                return
            connection.setblocking(False)  # noqa: FBT003 its only parameter
            self._admit(connection, address, port)

    def _admit(self, connection: socket.socket, address: str, port: int) -> None:
        """Give a connection a place and a task, or close it."""
        whose = neighbourhood(address)
        leave = self._callers.admit(whose, lambda: task.cancel())  # noqa: PLW0108 there is no task yet
        if leave is None:
            self._no_place.count()
            connection.close()
            return
        task = self._loop.create_task(self._handle(connection, PeerInfo(address, port, None), whose, leave))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task cancelled before its first step never gets to hand the socket to a transport, which would close it.
        task.add_done_callback(partial(_end, connection, leave))

    async def _handle(self, connection: socket.socket, peer: PeerInfo, whose: str, leave: Callable[[], None]) -> None:
        association = ServerAssociation(self._limits)
        try:
            if seconds := self._patience.wait(whose):
                # What is not listened to costs nothing but its place.
                await asyncio.sleep(seconds)
            association.peer = await self._connect(association, connection, peer, whose)
            accept = await self._judge(association, whose)
            if accept is not None:
                leave()
                await self._serve(association, accept, whose)
        except (AssociationFailed, OSError):
            # The peer's affair, or the network's: a stranger who breaks off ever again must not fill the log.
            pass
        except Exception as problem:  # noqa: BLE001 whatever goes wrong in one association, the others go on
            logs.fault("an association ended by a fault of ours", problem)
        finally:
            if association.machine.request is None:
                self._patience.broke_off(whose)
            if self._stopping:
                association.drop()
            association.abort()
            await self._see_off(association, whose)

    async def _see_off(self, association: ServerAssociation, whose: str) -> None:
        """Return when the peer has closed the connection; that too takes a place."""
        leave = self._callers.admit(whose, association.drop)
        if leave is None:
            association.drop()
        try:
            if association.is_connected:
                await association.closed()
        finally:
            if leave is not None:
                leave()

    async def _connect(self, association: ServerAssociation, connection: socket.socket, peer: PeerInfo, whose: str) -> PeerInfo:
        """The connection belongs to the association, with TLS if there is to be, and tells who is at its other end."""
        if self._tls is None:
            await self._loop.connect_accepted_socket(lambda: association, connection)
            return peer
        secure = SecureTransport(association, self._tls, server_side=True)
        await self._loop.connect_accepted_socket(lambda: secure, connection)
        try:
            async with asyncio.timeout(self._limits.handshake_seconds):
                await secure.handshake(partial(self._in_turn, whose))
        except ssl.SSLError:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.closing_seconds):
                    # Closing at once could lose the alert that says why.
                    await secure.closed()
            raise
        finally:
            if not secure.is_open:
                secure.abort()
        return _peer_info(secure, peer.address, peer.port)

    async def _in_turn(self, whose: str, work: Callable[[], None]) -> None:
        async with self._handshakes.turn(whose):
            await self._loop.run_in_executor(self._handshake_threads, work)

    # Associations -------------------------------------------------------------------------------

    async def _judge(self, association: ServerAssociation, whose: str) -> Accept | None:
        """What the peer asks for, judged; None once it was rejected."""
        try:
            async with asyncio.timeout(self._limits.artim_seconds):
                request = await association.asked()
        except TimeoutError:
            raise association.break_off(TimedOut("an A-ASSOCIATE-RQ")) from None
        decision: Decision | None = self._refusal(request, whose)
        if decision is None:
            async with self._decisions.turn(whose):
                association.raise_failure()
                decision = await self._decided(request, association.peer)
        association.raise_failure()
        if isinstance(decision, Accept):
            if self._shares.has_room(whose, request.calling):
                return decision
            decision = Reject.LOCAL_LIMIT_EXCEEDED
        association.machine.reject(decision.pdu)
        association.flush()
        return None

    async def _serve(self, association: ServerAssociation, accept: Accept, whose: str) -> None:
        request = association.request
        # Whoever decided has made sure that the title is the peer's own.
        self._shares.take(whose, request.calling)
        self.associations.add(association)
        try:
            association.negotiated = accept.negotiated
            association.machine.accept(_answer(request, accept, self._limits), accept.negotiated.contexts)
            association.flush()
            await accept.serve(association)
            if association.release_asked and not association.machine.is_over:
                association.machine.confirm_release()
                association.flush()
        finally:
            # What is over takes nobody's place, though the peer may still have to close.
            self._shares.give_back(whose, request.calling)
            self.associations.discard(association)

    async def _decided(self, request: AssociateRequest, peer: PeerInfo) -> Decision:
        decision = self._decide(request, peer)
        return await decision if inspect.isawaitable(decision) else decision

    def _refusal(self, request: AssociateRequest, whose: str) -> Reject | None:
        """What is wrong with a request whoever sends it."""
        if not request.protocol_version & 1:
            return Reject.PROTOCOL_VERSION_NOT_SUPPORTED
        if request.application_context != APPLICATION_CONTEXT:
            return Reject.APPLICATION_CONTEXT_NOT_SUPPORTED
        if not self._shares.has_room(whose):
            return Reject.LOCAL_LIMIT_EXCEEDED
        return None


async def serve(host: str, port: int, decide: Decide, *, tls: ssl.SSLContext | None = None, limits: Limits = DEFAULT) -> Acceptor:
    """Listen on `host` and `port` (0: any free one); OSError if that is not possible.

    `decide` may be a plain or an async function. It is not asked about requests beyond the limits or of another protocol version.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)  # noqa: FBT003 its only parameter
    return Acceptor(listener, decide, tls, limits)


def _end(connection: socket.socket, leave: Callable[[], None], _: object) -> None:
    connection.close()
    leave()


def _answer(request: AssociateRequest, decision: Accept, limits: Limits) -> AssociateAccept:
    return AssociateAccept(
        called=request.called,
        calling=request.calling,
        contexts=decision.negotiated.results,
        user=UserInformation(
            maximum_length=limits.max_pdu,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            async_window=decision.negotiated.async_window,
            roles=decision.negotiated.roles,
            extended=decision.negotiated.extended,
            identity_response=decision.identity_response,
        ),
    )


def _peer_info(transport: asyncio.BaseTransport, address: str, port: int) -> PeerInfo:
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return PeerInfo(address, port, None)
    return PeerInfo(address, port, tls.getpeercert(binary_form=True), sent_chain(tls))
