"""What both sides of a live association have in common: messages in, messages out, and C-STORE, which either side may begin.

What comes is judged where it arrives, without a task switch; only whole messages and fragments of data sets wait for their reader.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager

from leadglass.dicom import dimse
from leadglass.dicom.association import (
    AbortedByPeer,
    AbortedByUs,
    Accepted,
    Association,
    ConnectionLost,
    Event,
    RejectedByPeer,
    ReleaseAsked,
    Released,
    RequestArrived,
)
from leadglass.dicom.contexts import Context
from leadglass.dicom.dimse import (
    Command,
    EventReportRequest,
    EventReportResponse,
    FindRequest,
    GetRequest,
    MoveRequest,
    StoreRequest,
    StoreResponse,
)
from leadglass.dicom.messages import DataArrived, MessageStarted
from leadglass.dicom.status import Status, StatusKind, kind_of
from leadglass.dicom.uid import Uid
from leadglass.net.connection import Connection
from leadglass.net.failures import Aborted, BrokenOff, Failure, Misbehaved, NotDicom, Rejected
from leadglass.net.limits import Limits
from leadglass.net.streams import DataSetStream, Inbox, Message, Waitable

Data = bytes | Iterable[bytes] | AsyncIterable[bytes]

_LAST_MESSAGE_ID = 0xFFFF
_CANCELLABLE = (FindRequest, GetRequest, MoveRequest)
_WITH_SOP_CLASS = (dimse.EchoRequest, StoreRequest, *_CANCELLABLE, dimse.ActionRequest, dimse.EventReportRequest)


class Link(Connection):
    """A live association; made by `net.acceptor` and `net.requestor` only."""

    def __init__(self, machine: Association, limits: Limits) -> None:
        super().__init__(machine, limits)
        self.opened = Waitable()
        self.release_asked = False
        self.requests = Inbox(self)
        self._expected: dict[int, Inbox] = {}
        self._serving: set[int] = set()
        self._cancelled: set[int] = set()
        self._stops: dict[int, Callable[[], None]] = {}
        self._filling: tuple[Inbox, Message] | None = None
        self._stream: DataSetStream | None = None
        self._message_id = 0
        self._refusals_unread = 0

    @property
    def contexts(self) -> Mapping[int, Context]:
        """The accepted presentation contexts, by id."""
        return self.machine.contexts

    def contexts_for(self, abstract_syntax: str, *, we_are_scp: bool = False) -> list[Context]:
        """The accepted contexts of an abstract syntax in which we have the role, in the order they were proposed."""
        ours = "requestor_is_scp" if we_are_scp == self.machine.is_requestor else "requestor_is_scu"
        return [each for each in self.contexts.values() if each.abstract_syntax == abstract_syntax and getattr(each, ours)]

    def cancelled(self, message_id: int) -> bool:
        """The peer asked by C-CANCEL that this request of its be ended."""
        return message_id in self._cancelled

    @contextmanager
    def interrupting(self, message_id: int, stop: Callable[[], None]) -> Iterator[None]:
        """While this lasts, `stop` is called when the peer cancels this request of its, and when the association fails."""
        self._stops[message_id] = stop
        try:
            yield
        finally:
            del self._stops[message_id]

    def fail(self, failure: Failure) -> None:
        super().fail(failure)
        for stop in tuple(self._stops.values()):
            stop()

    def new_message_id(self) -> int:
        """An id that no request of ours under way has."""
        while True:
            self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
            if self._message_id not in self._expected:
                return self._message_id

    # Messages out -------------------------------------------------------------------------------

    async def respond(self, message: Message, response: Command, data: bytes | None = None) -> None:
        """Answer a request of the peer; returns when it may be followed by another, not when it has arrived."""
        self.raise_failure()
        self.machine.send_message(message.context, response, data)
        if kind_of(getattr(response, "status", Status.SUCCESS)) is not StatusKind.PENDING:
            self._serving.discard(response.message_id)
            self._cancelled.discard(response.message_id)
        self.flush()
        if self._write_paused:
            await self.drain()

    async def refuse(self, message: Message, status: int) -> None:
        """Answer any request by `status` alone; the rest of its data set is dropped."""
        if message.data is not None:
            message.data.discard()
        await self.respond(message, dimse.refusal(message.command, status))

    async def store(self, context: Context, sop_instance: Uid, data: Data, *, originator: tuple[str, int] | None = None) -> StoreResponse:
        """C-STORE to the peer; `originator` is the AE title and message id of the C-MOVE that this serves.

        If `data` raises in the middle the association is aborted: half a message cannot be taken back.
        """
        title, move_id = originator or (None, None)
        request = StoreRequest(
            self.new_message_id(), context.abstract_syntax, sop_instance, move_originator=title, move_originator_message_id=move_id
        )
        answers = self.expect(request.message_id)
        try:
            await self._send(context, request, data)
            answer = await self.take(answers, "the answer to a C-STORE")
        finally:
            self.forget(request.message_id)
        if answer.data is not None:
            answer.data.discard()
        if not isinstance(answer.command, StoreResponse):
            raise self.break_off(Misbehaved("a C-STORE was answered by another response"))
        return answer.command

    async def report(self, context: Context, sop_instance: Uid, event_type: int, data: bytes) -> int:
        """N-EVENT-REPORT to the peer (PS3.7 10.1.1); the status of its answer."""
        request = EventReportRequest(self.new_message_id(), context.abstract_syntax, sop_instance, event_type)
        answers = self.expect(request.message_id)
        try:
            await self.send(context, request, data)
            answer = await self.take(answers, "the answer to an N-EVENT-REPORT")
        finally:
            self.forget(request.message_id)
        if answer.data is not None:
            answer.data.discard()
        if not isinstance(answer.command, EventReportResponse):
            raise self.break_off(Misbehaved("an N-EVENT-REPORT was answered by another response"))
        return answer.command.status

    async def send(self, context: Context, command: Command, data: bytes | None = None) -> None:
        """Send a whole message."""
        self.raise_failure()
        self.machine.send_message(context, command, data)
        self.flush()
        await self.drain()

    async def _send(self, context: Context, command: Command, data: Data) -> None:
        if isinstance(data, bytes):
            await self.send(context, command, data)
            return
        self.raise_failure()
        self.machine.begin_message(context, command)
        try:
            # One piece is held back, so that the last one is known when it is sent, and a short data set leaves with its command.
            held = b""
            async with aclosing(_pieces(data)) as pieces:
                async for piece in pieces:
                    if held:
                        await self._send_piece(context, held, is_last=False)
                    held = piece
            await self._send_piece(context, held, is_last=True)
        except BaseException:
            self.abort()
            raise

    async def _send_piece(self, context: Context, piece: bytes, *, is_last: bool) -> None:
        self.raise_failure()
        self.machine.send_data(context, piece, is_last=is_last)
        self.flush()
        if self._write_paused:
            await self.drain()

    # Messages in --------------------------------------------------------------------------------

    def under_way(self) -> object | None:
        stream = self._stream
        return stream if stream is not None and not stream.is_whole and not self._read_paused else None

    def expect(self, message_id: int, inbox: Inbox | None = None) -> Inbox:
        """Let responses to a request of ours go to `inbox`, or a new one, until `forget`."""
        found = Inbox(self) if inbox is None else inbox
        self._expected[message_id] = found
        return found

    def forget(self, message_id: int) -> None:
        """Responses to this request are not wanted any more; what waits unread is dropped."""
        inbox = self._expected.pop(message_id, None)
        if inbox is not None and inbox is not self.requests:
            inbox.clear()

    async def take(self, inbox: Inbox, during: str) -> Message:
        """The next message of `inbox`."""
        while not inbox:
            self.raise_failure()
            if self.release_asked:
                raise self.break_off(Misbehaved("the peer asked to release while it owed an answer"))
            await self.wait(inbox, during)
        return inbox.get()

    def handle(self, event: Event) -> None:
        match event:
            case DataArrived(fragment, is_last):
                self._fragment_arrived(fragment, is_last=is_last)
            case MessageStarted(context, command, has_data):
                self._message_started(context, command, has_data=has_data)
            case RequestArrived() | Accepted():
                self.opened.wake()
            case RejectedByPeer(reject):
                self._end_by_peer(Rejected(reject.result, reject.source, reject.reason))
            case AbortedByPeer(source, reason):
                self._end_by_peer(Aborted(source, reason))
            case AbortedByUs(_, why, first_bytes):
                self.fail(Misbehaved(why) if first_bytes is None else NotDicom(first_bytes))
            case ReleaseAsked():
                self.release_asked = True
                self.wake_all()
            case Released():
                self._end_by_peer(None)
            case ConnectionLost():
                self.fail(BrokenOff())

    def _end_by_peer(self, failure: Failure | None) -> None:
        if failure is not None:
            self.fail(failure)
        self.begin_closing(ours_was_last=False)

    def _message_started(self, context: Context, command: Command, *, has_data: bool) -> None:
        stream = DataSetStream(self) if has_data else None
        self._stream = stream
        inbox = self._inbox_for(context, command)
        if inbox is None:
            if stream is not None:
                stream.discard()
        elif stream is None:
            inbox.put(Message(context, command, stream))
        else:
            # Its reader is woken by the first fragment: one task switch instead of two.
            self._filling = (inbox, Message(context, command, stream))

    def _fragment_arrived(self, fragment: bytes, *, is_last: bool) -> None:
        if self._stream is not None:
            self._stream.feed(fragment, is_last=is_last)
        if self._filling is not None:
            inbox, message = self._filling
            self._filling = None
            inbox.put(message)

    def _inbox_for(self, context: Context, command: Command) -> Inbox | None:
        """Where a message goes; None if it is answered here, or nobody wants it."""
        if isinstance(command, dimse.CancelRequest):
            if command.message_id in self._serving:
                self._cancelled.add(command.message_id)
                if (stop := self._stops.get(command.message_id)) is not None:
                    stop()
            return None
        if dimse.is_response(command):
            return self._expected.get(command.message_id)
        status = self._refusal(context, command)
        if status is not None:
            # What came in the same bytes may have ended the association already, or asked to release it.
            if self.machine.may_send:
                self._refuse_here(context, dimse.refusal(command, status))
            return None
        if isinstance(command, _CANCELLABLE):
            self._serving.add(command.message_id)
        return self.requests

    def _refuse_here(self, context: Context, refusal: Command) -> None:
        """Send a refusal that no service waits to send; a peer that reads none of them gets no more than it may have requests waiting."""
        self._refusals_unread = self._refusals_unread + 1 if self._write_paused else 0
        if self._refusals_unread > self.limits.max_waiting_messages:
            self.break_off(Misbehaved("it goes on asking and reads no answer"))
        else:
            self.machine.send_message(context, refusal)

    def _refusal(self, context: Context, command: Command) -> int | None:
        """The status for a request that the negotiation does not allow; no service ever sees it."""
        if isinstance(command, dimse.MalformedRequest):
            return command.status
        peer_is_scu, peer_is_scp = context.requestor_is_scu, context.requestor_is_scp
        if self.machine.is_requestor:
            peer_is_scu, peer_is_scp = peer_is_scp, peer_is_scu
        # N-EVENT-REPORT is the one request that an SCP sends (PS3.7 10.1.1).
        if not (peer_is_scp if command.field == dimse.CommandField.N_EVENT_REPORT else peer_is_scu):
            return Status.NOT_AUTHORIZED
        if isinstance(command, _WITH_SOP_CLASS) and command.sop_class != context.abstract_syntax:
            return Status.SOP_CLASS_NOT_SUPPORTED
        return None


async def _pieces(data: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    if isinstance(data, AsyncIterable):
        async for piece in data:
            yield piece
    else:
        for piece in data:
            yield piece
