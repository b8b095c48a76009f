"""The acceptor: listens, lets `decide` judge each A-ASSOCIATE-RQ, and runs the service that the decision names.

There is no service without a decision: the coroutine that serves an association is part of the `Accept` that `decide` returns.
"""

import asyncio
import inspect
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
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
from leadglass.net.streams import Message

_BACKLOG = 128
_PAUSE_AFTER_FAILED_ACCEPT = 0.1
_SECONDS_BETWEEN_REPORTS = 60.0


class Reject(IntEnum):
    """Reasons to reject, as (result, source, reason) in the three low bytes (PS3.8 Table 9-21)."""

    NO_REASON = 0x010101
    APPLICATION_CONTEXT_NOT_SUPPORTED = 0x010102
    CALLING_TITLE_NOT_RECOGNIZED = 0x010103
    CALLED_TITLE_NOT_RECOGNIZED = 0x010107
    PROTOCOL_VERSION_NOT_SUPPORTED = 0x010202
    LOCAL_LIMIT_EXCEEDED = 0x020302

    @property
    def pdu(self) -> AssociateReject:
        """The A-ASSOCIATE-RJ that says so."""
        return AssociateReject(*self.to_bytes(3, "big"))


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Where a connection comes from; `certificate` (DER) is the client's, verified against the trusted ones, None without."""

    address: str
    port: int
    certificate: bytes | None


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


class _NotAccepted:
    """Tells of connections that could not be accepted: the first at once, those of each minute after it together."""

    def __init__(self) -> None:
        self._count = 0
        self._errno: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def count(self, problem: OSError) -> None:
        """One more."""
        self._count += 1
        self._errno = problem.errno
        if self._timer is None:
            self._tell()

    def close(self) -> None:
        """Tell of those that nobody was told of yet."""
        self._tell()
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._stop_timer()
        if self._count:
            logs.event(logging.WARNING, "connections could not be accepted", count=self._count, errno=self._errno)
            self._count = 0
            self._timer = asyncio.get_running_loop().call_later(_SECONDS_BETWEEN_REPORTS, self._tell)


class Acceptor:
    """A listening door; made by `serve`."""

    def __init__(self, listener: socket.socket, decide: Decide, tls: ssl.SSLContext | None, limits: Limits) -> None:
        self.associations: set[ServerAssociation] = set()
        self._listener = listener
        self._decide = decide
        self._tls = tls
        self._limits = limits
        self._connections: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_accepted = _NotAccepted()
        self._stopping = False
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        host, port, *_ = self._listener.getsockname()
        return host, port

    async def close(self) -> None:
        """Stop listening, abort what is under way, and return when all of it has ended."""
        self._stopping = True
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        self._not_accepted.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, (address, port, *_) = await loop.sock_accept(self._listener)
            except OSError as problem:
                # Out of descriptors, or a peer that is gone already: neither ends the door.
                self._not_accepted.count(problem)
                await asyncio.sleep(_PAUSE_AFTER_FAILED_ACCEPT)
                continue
            total, here = self._connections.total(), self._connections[address]
            if total >= self._limits.max_connections or here >= self._limits.max_connections_per_address:
                connection.close()
                continue
            self._connections[address] += 1
            task = loop.create_task(self._handle(connection, address, port))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # A task cancelled before its first step never gets to hand the socket to a transport, which would close it.
            task.add_done_callback(partial(_close, connection))

    async def _handle(self, connection: socket.socket, address: str, port: int) -> None:
        association = ServerAssociation(self._limits)
        try:
            await self._run(association, connection, address, port)
        except (AssociationFailed, OSError):
            # The peer's affair, or the network's: a stranger who breaks off ever again must not fill the log.
            pass
        except Exception as problem:  # noqa: BLE001 whatever goes wrong in one association, the others go on
            logs.fault("an association ended by a fault of ours", problem)
        finally:
            try:
                if self._stopping:
                    association.drop()
                association.abort()
                if association.is_connected:
                    await association.closed()
            finally:
                self.associations.discard(association)
                self._connections[address] -= 1
                if not self._connections[address]:
                    del self._connections[address]

    async def _run(self, association: ServerAssociation, connection: socket.socket, address: str, port: int) -> None:
        limits = self._limits
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: association,
            connection,
            ssl=self._tls,
            ssl_handshake_timeout=limits.handshake_seconds if self._tls else None,
            ssl_shutdown_timeout=limits.closing_seconds if self._tls else None,
        )
        association.peer = _peer_info(transport, address, port)
        try:
            async with asyncio.timeout(limits.artim_seconds):
                request = await association.asked()
        except TimeoutError:
            raise association.break_off(TimedOut("an A-ASSOCIATE-RQ")) from None
        decision = self._refusal(request, address) or await self._decided(request, association.peer)
        association.raise_failure()
        if isinstance(decision, Reject):
            association.machine.reject(decision.pdu)
            association.flush()
            return
        self.associations.add(association)
        association.machine.accept(_answer(request, decision, limits), decision.negotiated.contexts)
        association.flush()
        await decision.serve(association)
        if association.release_asked and not association.machine.is_over:
            association.machine.confirm_release()
            association.flush()

    async def _decided(self, request: AssociateRequest, peer: PeerInfo) -> Decision:
        decision = self._decide(request, peer)
        return await decision if inspect.isawaitable(decision) else decision

    def _refusal(self, request: AssociateRequest, address: str) -> Reject | None:
        """What is wrong with a request whoever sends it."""
        if not request.protocol_version & 1:
            return Reject.PROTOCOL_VERSION_NOT_SUPPORTED
        if request.application_context != APPLICATION_CONTEXT:
            return Reject.APPLICATION_CONTEXT_NOT_SUPPORTED
        live = [each for each in self.associations if not each.machine.is_over]
        here = sum(each.peer.address == address for each in live)
        if len(live) >= self._limits.max_associations or here >= self._limits.max_associations_per_address:
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


def _close(connection: socket.socket, _: object) -> None:
    connection.close()


def _answer(request: AssociateRequest, decision: Accept, limits: Limits) -> AssociateAccept:
    return AssociateAccept(
        called=request.called,
        calling=request.calling,
        contexts=decision.negotiated.results,
        user=UserInformation(
            maximum_length=limits.max_pdu,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            roles=decision.negotiated.roles,
            identity_response=decision.identity_response,
        ),
    )


def _peer_info(transport: asyncio.BaseTransport, address: str, port: int) -> PeerInfo:
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return PeerInfo(address, port, None)
    return PeerInfo(address, port, tls.getpeercert(binary_form=True))
