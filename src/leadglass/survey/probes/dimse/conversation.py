"""One association as a stranger holds it: every outcome is a value, every wait has an end, every answer a bound."""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from leadglass.dicom.contexts import Context
from leadglass.dicom.dimse import FindResponse, GetResponse, StoreRequest
from leadglass.dicom.pdu import AssociateAccept, AssociateRequest
from leadglass.dicom.status import Status, StatusKind, kind_of
from leadglass.dicom.uid import Uid
from leadglass.errors import BadInput
from leadglass.net.failures import Aborted, AssociationFailed, BrokenOff, Failure, Misbehaved, Rejected, TimedOut, TlsFailed
from leadglass.net.limits import Limits
from leadglass.net.requestor import ClientAssociation, Dial, ProtocolFactory, connect
from leadglass.survey.observations import Ending, QueryAnswer, Rejection

MAX_PDU = 64 << 10
MAX_DRAINED = 2000
"""Matches that may still be on their way after a C-CANCEL; an archive that sends more is cut off."""
CLOSING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class NoAssociation:
    """The association did not come about; `spoke_dicom` if a valid PDU came."""

    ending: Ending
    spoke_dicom: bool
    rejection: Rejection | None = None


@asynccontextmanager
async def associated(
    link: socket.socket, request: AssociateRequest, *, tls: ssl.SSLContext | None, server_name: str, seconds: float
) -> AsyncIterator["Conversation | NoAssociation"]:
    """An association over one of the dialer's sockets, released at the end; every way in which it can fail is a `NoAssociation`."""
    limits = Limits(max_pdu=MAX_PDU, handshake_seconds=seconds, idle_seconds=seconds, closing_seconds=min(seconds, CLOSING_SECONDS))
    async with AsyncExitStack() as stack:
        try:
            association = await stack.enter_async_context(connect(_over(link, tls, server_name), request, limits=limits))
        except AssociationFailed as failed:
            yield _no_association(failed.failure)
            return
        yield Conversation(association, seconds)


def _over(link: socket.socket, tls: ssl.SSLContext | None, server_name: str) -> Dial:
    async def dial(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        loop = asyncio.get_running_loop()
        return await loop.create_connection(factory, sock=link, ssl=tls, server_hostname=server_name if tls else None)

    return dial


def _no_association(failure: Failure) -> NoAssociation:
    if isinstance(failure, Rejected):
        rejection = Rejection(failure.result, failure.source, failure.reason)
        return NoAssociation(Ending.DONE, spoke_dicom=True, rejection=rejection)
    return NoAssociation(ending_of(failure), spoke_dicom=isinstance(failure, Aborted | Misbehaved))


def ending_of(failure: Failure) -> Ending:
    """What the association engine says of a failure, in the survey's words."""
    match failure:
        case TimedOut():
            return Ending.TIMEOUT
        case Aborted() | Rejected():
            return Ending.ABORTED
        case TlsFailed():
            return Ending.TLS_FAILED
        case BrokenOff():
            return Ending.CLOSED_BY_PEER
        case _:
            return Ending.NOT_THIS_PROTOCOL


class Conversation:
    """The questions that can be put in an association; none of them raises for what the other side does."""

    def __init__(self, association: ClientAssociation, seconds: float) -> None:
        self.association = association
        self.seconds = seconds

    @property
    def contexts(self) -> Iterable[Context]:
        """What was accepted."""
        return self.association.contexts.values()

    @property
    def accept(self) -> AssociateAccept:
        return self.association.accept

    @property
    def is_usable(self) -> bool:
        """Whether another question may be asked."""
        return self.association.failure is None

    def abort(self) -> None:
        self.association.abort()

    async def echo(self) -> bool:
        """Whether C-ECHO is answered with success."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self.association.echo() == Status.SUCCESS
        except TimeoutError:
            self.abort()
            return False
        except (AssociationFailed, BadInput):
            return False

    async def store(self, context: Context, uid: Uid, data: bytes) -> int | None:
        """The status by which a C-STORE of `data` is answered; None where it is not answered."""
        try:
            async with asyncio.timeout(self.seconds):
                return (await self.association.store(context, uid, [data])).status
        except TimeoutError:
            self.abort()
        except (AssociationFailed, BadInput):
            pass
        return None

    async def begin_image(self, context: Context, identifier: bytes) -> QueryAnswer:
        """Ask for one image by C-GET and abort the association at the first byte of its data set.

        `ANSWERED`: an image was being handed out. The conversation is over in any case.
        """
        try:
            async with asyncio.timeout(4 * self.seconds), aclosing(self._get(context, identifier)) as messages:
                async for outcome in messages:
                    return outcome
        except TimeoutError:
            return QueryAnswer.TIMEOUT
        except AssociationFailed as failed:
            return answer_of(failed.failure)
        except BadInput:
            return QueryAnswer.NONSENSE
        finally:
            self.abort()
        return QueryAnswer.FAILED

    async def _get(self, context: Context, identifier: bytes) -> AsyncGenerator[QueryAnswer, None]:
        async with aclosing(self.association.get(context, identifier)) as messages:  # type: ignore[type-var]  # it is a generator
            async for message in messages:
                if isinstance(message.command, StoreRequest) and message.data is not None:
                    async for fragment in message.data:
                        if fragment:
                            yield QueryAnswer.ANSWERED
                elif isinstance(message.command, GetResponse) and kind_of(message.command.status) is not StatusKind.PENDING:
                    yield QueryAnswer.FAILED


class Search:
    """The matches of one C-FIND, one at a time, and how it ended."""

    def __init__(self, conversation: Conversation, context: Context, identifier: bytes) -> None:
        self._conversation = conversation
        self._context = context
        self._message_id = conversation.association.new_message_id()
        self._responses = conversation.association.find_many(context, identifier, message_id=self._message_id)
        self._here: deque[tuple[FindResponse, bytes | None]] = deque()
        self.answer: QueryAnswer | None = None
        """None while matches may still come."""
        self.status: int | None = None
        self.matches = 0

    async def next_match(self) -> bytes | None:
        """The identifier of the next match; None when there are no more, and `answer` then says why."""
        if not self._here and self.answer is None:
            await self._wait()
        return self._take(*self._here.popleft()) if self._here else None

    async def _wait(self) -> None:
        """Until the next match has come, and what came with it."""
        try:
            # Bytes that trickle keep a connection alive for ever; a match has to come whole, in time.
            async with asyncio.timeout(self._conversation.seconds):
                self._here.extend(await anext(self._responses))
        except TimeoutError:
            self._end(QueryAnswer.TIMEOUT)
        except AssociationFailed as failed:
            self._end(answer_of(failed.failure))
        except (BadInput, StopAsyncIteration):
            self._end(QueryAnswer.NONSENSE)

    def _take(self, response: FindResponse, identifier: bytes | None) -> bytes | None:
        if kind_of(response.status) is StatusKind.PENDING:
            self.matches += 1
            return identifier or b""
        self.status = response.status
        # "Cancelled" is the answer to a C-CANCEL; unasked and without a match it tells of no record.
        failed = kind_of(response.status) in {StatusKind.FAILURE, StatusKind.CANCEL} and not self.matches
        self.answer = QueryAnswer.FAILED if failed else QueryAnswer.ANSWERED
        return None

    def _end(self, answer: QueryAnswer) -> None:
        # A match is an answer, whatever came after it.
        self.answer = QueryAnswer.ANSWERED if self.matches else answer
        self._conversation.abort()

    @property
    def is_complete(self) -> bool:
        """Whether the archive itself said that these are all."""
        return self.status is not None and kind_of(self.status) in {StatusKind.SUCCESS, StatusKind.WARNING}

    async def stop(self) -> None:
        """Ask the archive to send no more (C-CANCEL), and take what is still on its way, as long as one answer may take."""
        if self.answer is not None:
            return
        with contextlib.suppress(AssociationFailed, BadInput, TimeoutError):
            async with asyncio.timeout(self._conversation.seconds):
                await self._conversation.association.cancel(self._context, self._message_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._conversation.seconds):
                for _ in range(MAX_DRAINED):
                    if await self.next_match() is None:
                        return
        self._end(QueryAnswer.ANSWERED)


def answer_of(failure: Failure) -> QueryAnswer:
    """What an ended conversation means for the question that was being asked."""
    match failure:
        case TimedOut():
            return QueryAnswer.TIMEOUT
        case Aborted() | BrokenOff() | TlsFailed():
            return QueryAnswer.ABORTED
        case _:
            return QueryAnswer.NONSENSE
