"""The requestor: makes an association with a peer and asks it for services; for C-MOVE and for the survey.

Who opens the connection is the caller's choice (`Dial`): the survey's dialer opens only what its scope names.
"""

import asyncio
import errno
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from leadglass.dicom.association import Association
from leadglass.dicom.contexts import Context
from leadglass.dicom.dimse import CancelRequest, EchoRequest, EchoResponse, FindRequest, FindResponse, GetRequest, GetResponse
from leadglass.dicom.pdu import AssociateAccept, AssociateRequest
from leadglass.dicom.sopclasses import VERIFICATION
from leadglass.dicom.status import StatusKind, kind_of
from leadglass.net.failures import AssociationFailed, Misbehaved, NotReached, TimedOut, TlsFailed
from leadglass.net.limits import DEFAULT, Limits
from leadglass.net.link import Link
from leadglass.net.streams import Message
from leadglass.net.tls import sent_chain

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Dial = Callable[[ProtocolFactory], Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]]
"""Opens one connection, TLS included, for the protocol that the factory makes; as `loop.create_connection` does."""

MAX_IDENTIFIER = 1 << 20
"""Bytes of one C-FIND response's identifier; usual ones have a few hundred."""


class ClientAssociation(Link):
    """An association that we made with a peer; made by `connect`."""

    def __init__(self, request: AssociateRequest, limits: Limits) -> None:
        super().__init__(Association(request, max_pdu=request.user.maximum_length or limits.max_pdu), limits)

    @property
    def accept(self) -> AssociateAccept:
        """The peer's A-ASSOCIATE-AC as it came: each context's result, implementation class UID and version name if it gave any."""
        if self.machine.accept_pdu is None:
            raise RuntimeError("the peer has not accepted the association")
        return self.machine.accept_pdu

    async def accepted(self) -> None:
        """Return when the peer has accepted; AssociationFailed if it does anything else."""
        while self.machine.accept_pdu is None:
            self.raise_failure()
            await self.wait(self.opened, "the answer to our A-ASSOCIATE-RQ")
        self.raise_failure()

    def context(self, abstract_syntax: str) -> Context:
        """The first accepted context of an abstract syntax in which we are SCU; LookupError if there is none."""
        for context in self.contexts_for(abstract_syntax):
            return context
        raise LookupError(f"no accepted presentation context for {abstract_syntax}")

    async def echo(self) -> int:
        """C-ECHO; the status."""
        request = EchoRequest(self.new_message_id(), VERIFICATION)
        answers = self.expect(request.message_id)
        try:
            await self.send(self.context(VERIFICATION), request)
            answer = await self.take(answers, "the answer to a C-ECHO")
        finally:
            self.forget(request.message_id)
        if not isinstance(answer.command, EchoResponse):
            raise self.break_off(Misbehaved("a C-ECHO was answered by another response"))
        return answer.command.status

    async def find(
        self, context: Context, identifier: bytes, *, message_id: int | None = None
    ) -> AsyncIterator[tuple[FindResponse, bytes | None]]:
        """C-FIND; each response with its identifier (in the context's transfer syntax), the last being the one that is not pending.

        With a `message_id` (from `new_message_id`) it can be ended by `cancel`; then go on reading to the last response.
        """
        async with aclosing(self.find_many(context, identifier, message_id=message_id)) as several:
            async for responses in several:
                for each in responses:
                    yield each

    async def find_many(
        self, context: Context, identifier: bytes, *, message_id: int | None = None
    ) -> AsyncGenerator[list[tuple[FindResponse, bytes | None]], None]:
        """`find`, as many responses at once as have come whole: for whoever reads thousands of them."""
        request = FindRequest(message_id or self.new_message_id(), context.abstract_syntax)
        answers = self.expect(request.message_id)
        try:
            await self.send(context, request, identifier)
            is_pending = True
            while is_pending:
                found = [await self._found(await self.take(answers, "the answer to a C-FIND"))]
                # What would fail, or has to be waited for, comes by itself: what came before it is not lost with it.
                while (is_pending := kind_of(found[-1][0].status) is StatusKind.PENDING) and _is_here(answers.next):
                    found.append(await self._found(answers.get()))
                yield found
        finally:
            self.forget(request.message_id)

    async def _found(self, answer: Message) -> tuple[FindResponse, bytes | None]:
        if not isinstance(answer.command, FindResponse):
            raise self.break_off(Misbehaved("a C-FIND was answered by another response"))
        return answer.command, None if answer.data is None else await answer.data.read_all(MAX_IDENTIFIER)

    async def get(self, context: Context, identifier: bytes, *, message_id: int | None = None) -> AsyncIterator[Message]:
        """C-GET; every message that it brings: C-STORE requests, to be answered by `respond`, and C-GET responses up to the last.

        A C-STORE request is there as soon as the first byte of its data set is.
        """
        request = GetRequest(message_id or self.new_message_id(), context.abstract_syntax)
        last: Message | None = None
        self.expect(request.message_id, self.requests)
        try:
            await self.send(context, request, identifier)
            while True:
                if last is not None and last.data is not None:
                    last.data.discard()
                last = await self.take(self.requests, "the answer to a C-GET")
                yield last
                command = last.command
                if isinstance(command, GetResponse) and kind_of(command.status) is not StatusKind.PENDING:
                    return
        finally:
            self.forget(request.message_id)

    async def cancel(self, context: Context, message_id: int) -> None:
        """C-CANCEL of a request of ours; its last response still comes."""
        await self.send(context, CancelRequest(message_id))

    async def release(self) -> None:
        """Release the association and close the connection."""
        self.raise_failure()
        self.machine.release()
        self.flush()
        while not self.machine.is_over:
            if self.release_asked:
                self.release_asked = False
                self.machine.confirm_release()
                self.flush()
                continue
            self.raise_failure()
            await self.wait(self.opened, "the answer to our A-RELEASE-RQ")
        await self.closed()


def _is_here(answer: Message | None) -> bool:
    """Whether a C-FIND response, and all of its identifier, can be taken without waiting."""
    if answer is None or not isinstance(answer.command, FindResponse):
        return False
    return answer.data is None or (answer.data.is_whole and answer.data.received <= MAX_IDENTIFIER)


@asynccontextmanager
async def connect(dial: Dial, request: AssociateRequest, *, limits: Limits = DEFAULT) -> AsyncIterator[ClientAssociation]:
    """An association for the length of a `with` block: released at its end, aborted if the block raises.

    AssociationFailed tells by its `failure` how it could not be made, or how it ended. Times are those of `limits`: `handshake_seconds`
    for the connection with TLS, `idle_seconds` for each answer.
    """
    association = ClientAssociation(request, limits)
    try:
        async with asyncio.timeout(limits.handshake_seconds):
            await dial(lambda: association)
    except TimeoutError:
        raise AssociationFailed(TimedOut("the connection")) from None
    except ssl.SSLError as problem:
        raise AssociationFailed(TlsFailed(problem.reason or type(problem).__name__)) from problem
    except OSError as problem:
        raise AssociationFailed(_not_reached(problem)) from problem
    try:
        await association.accepted()
        yield association
        if association.failure is None and not association.machine.is_over:
            with suppress(AssociationFailed):
                # The work is done; a peer that hangs up instead of agreeing takes nothing from it.
                await association.release()
    finally:
        association.abort()
        if association.is_connected:
            await association.closed()


def tcp(host: str, port: int, *, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> Dial:
    """A plain opener of connections; `server_name` is what the server's certificate must be for, `host` unless given."""

    async def dial(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        loop = asyncio.get_running_loop()
        name = (server_name or host) if tls is not None else None
        return await loop.create_connection(factory, host, port, ssl=tls, server_hostname=name)

    return dial


class _Unproven(asyncio.Protocol):
    """Holds a connection, and says nothing on it, until the server's key was looked at."""

    def __init__(self) -> None:
        self.lost = False

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 # asyncio's signature
        # In DICOM the requestor speaks first; who does not wait for that is none of ours.
        self.lost = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # asyncio's signature
        self.lost = True


def proven(host: str, port: int, *, tls: ssl.SSLContext, proves: Callable[[bytes, tuple[bytes, ...]], bool]) -> Dial:
    """An opener of TLS connections on which nothing is sent before `proves` took the server's certificate and what else it sent (DER)."""

    async def dial(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        transport, unproven = await asyncio.get_running_loop().create_connection(_Unproven, host, port, ssl=tls, server_hostname=host)
        shown: ssl.SSLObject = transport.get_extra_info("ssl_object")
        certificate = shown.getpeercert(binary_form=True)
        if certificate is None or not proves(certificate, sent_chain(shown)):
            transport.abort()
            raise AssociationFailed(TlsFailed("the peer showed another certificate than one that is known for it"))
        if unproven.lost:
            raise ConnectionResetError
        protocol = factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport, protocol

    return dial


def _not_reached(problem: OSError) -> NotReached | TlsFailed:
    if isinstance(problem, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        # Connecting itself does not fail so: there was a connection, and a TLS handshake on it.
        return TlsFailed("the peer hung up during the handshake")
    return NotReached(errno.errorcode.get(problem.errno or 0, type(problem).__name__))
