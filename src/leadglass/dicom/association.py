"""The association state machine of PS3.8 section 9.2, both roles, without sockets or clocks.

Bytes go in by `receive`, which returns what they mean; bytes to send come out of `data_to_send`. The caller opens and closes
the connection, and runs the ARTIM timer while `artim_runs`. States bear the names that PS3.8 9.2.1 gives them, in a few words.

Where PS3.8 Table 9-10 would have us answer bytes that arrive after we aborted or rejected (AA-7), we answer nothing: the peer was
told once, and an answer to each could be made to last for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from leadglass.dicom import contexts, pdu
from leadglass.dicom.contexts import Context
from leadglass.dicom.dimse import Command
from leadglass.dicom.messages import Assembly, Fragmenter, MessageEvent
from leadglass.dicom.pdu import (
    Abort,
    AbortReason,
    AbortSource,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    PduType,
    ReleaseRequest,
    ReleaseResponse,
)
from leadglass.errors import BadMessage, BadPdu


class State(Enum):
    """PS3.8 9.2.1; Sta1 and Sta4, in which there is no connection, are the caller's."""

    AWAITING_REQUEST = "Sta2"
    AWAITING_DECISION = "Sta3"
    AWAITING_ANSWER = "Sta5"
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE = "Sta7"
    RELEASE_ASKED = "Sta8"
    COLLISION_REQUESTOR_TO_CONFIRM = "Sta9"
    COLLISION_ACCEPTOR_WAITS = "Sta10"
    COLLISION_REQUESTOR_WAITS = "Sta11"
    COLLISION_ACCEPTOR_TO_CONFIRM = "Sta12"
    AWAITING_CLOSE = "Sta13"
    CLOSED = "Sta1"


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """The peer asks for an association; answer by `accept` or `reject`."""

    request: AssociateRequest


@dataclass(frozen=True, slots=True)
class Accepted:
    """The peer accepted ours."""

    accept: AssociateAccept


@dataclass(frozen=True, slots=True)
class RejectedByPeer:
    """The peer rejected ours; the three bytes are in `reject`."""

    reject: AssociateReject


@dataclass(frozen=True, slots=True)
class ReleaseAsked:
    """The peer asks to release; answer by `confirm_release` when what is under way is done."""


@dataclass(frozen=True, slots=True)
class Released:
    """Our request to release was confirmed."""


@dataclass(frozen=True, slots=True)
class AbortedByPeer:
    """A-ABORT came; the two bytes of it."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class AbortedByUs:
    """What came was not allowed, and the peer has been told by A-ABORT; `first_bytes` if nothing valid had ever come."""

    reason: int
    why: str
    first_bytes: bytes | None = None


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection ended while the association had not."""


Event = MessageEvent | RequestArrived | Accepted | RejectedByPeer | ReleaseAsked | Released | AbortedByPeer | AbortedByUs | ConnectionLost

_FIRST_BYTES = 64
_SENDING = frozenset({State.ESTABLISHED, State.RELEASE_ASKED})
_RECEIVING = frozenset({State.ESTABLISHED, State.AWAITING_RELEASE})
_ENDED = frozenset({State.AWAITING_CLOSE, State.CLOSED})
_TO_CONFIRM = frozenset({State.RELEASE_ASKED, State.COLLISION_REQUESTOR_TO_CONFIRM, State.COLLISION_ACCEPTOR_TO_CONFIRM})


class Association:
    """One association from the first byte to the last.

    Without `request` this is the acceptor's side. `max_pdu` is the longest P-DATA-TF body that we take; our AC or RQ must announce it.
    """

    def __init__(self, request: AssociateRequest | None = None, *, max_pdu: int = contexts.DEFAULT_MAX_PDU) -> None:
        self.is_requestor = request is not None
        self.request = request
        self.accept_pdu: AssociateAccept | None = None
        self.contexts: Mapping[int, Context] = {}
        self._max_pdu = max_pdu
        self._partial = bytearray()
        self._outgoing: list[bytes] = []
        self._assembly = Assembly({})
        self._fragmenter = Fragmenter(None)
        self._heard_valid_pdu = False
        self._odd_byte = b""
        self.state = State.AWAITING_REQUEST
        if request is not None:
            self._outgoing.append(pdu.encode(request))
            self.state = State.AWAITING_ANSWER

    @property
    def artim_runs(self) -> bool:
        """The ARTIM timer runs where the peer owes us a request, or the end of the connection (PS3.8 9.1.5)."""
        return self.state in (State.AWAITING_REQUEST, State.AWAITING_CLOSE)

    @property
    def is_over(self) -> bool:
        """Nothing more will be sent or understood; the connection is to be closed once `data_to_send` has left."""
        return self.state in _ENDED

    @property
    def may_send(self) -> bool:
        """Whether a message can be sent in this state (PS3.8 9.2.3, AR-6 to AR-7, DT-1)."""
        return self.state in _SENDING

    def data_to_send(self) -> bytes:
        """What has to leave now, in order; empty if nothing has to."""
        if not self._outgoing:
            return b""
        data = self._outgoing[0] if len(self._outgoing) == 1 else b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    # What comes in ------------------------------------------------------------------------------

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take what came from the peer and return what it means; nothing of `data` is referred to afterwards."""
        events: list[Event] = []
        if self.state in _ENDED:
            return events
        try:
            self._split(memoryview(data), events)
        except BadPdu as problem:
            self._refuse(problem.reason, str(problem), data, events)
        except BadMessage as problem:
            self._refuse(AbortReason.INVALID_PARAMETER, str(problem), data, events)
        return events

    def connection_lost(self) -> list[Event]:
        """The connection is gone; an event if that was not agreed."""
        agreed = self.state in _ENDED
        self.state = State.CLOSED
        self._partial = bytearray()
        return [] if agreed else [ConnectionLost()]

    def _split(self, view: memoryview, events: list[Event]) -> None:
        if self._partial:
            view = self._complete_partial(view, events)
        position, end = 0, len(view)
        while end - position >= pdu.HEADER_SIZE and self.state not in _ENDED:
            kind, length = pdu.read_header(view, position)
            pdu.check_header(kind, length, self._max_pdu)
            start = position + pdu.HEADER_SIZE
            if start + length > end:
                break
            position = start + length
            self._handle(kind, view[start:position], events)
        if position < end and self.state not in _ENDED:
            if not PduType.ASSOCIATE_RQ <= view[position] <= PduType.ABORT:
                raise BadPdu("no PDU begins with this byte: the peer does not speak DICOM", AbortReason.UNRECOGNIZED_PDU)
            # A new bytearray, because the body of the last PDU may still be looked at where it lies.
            self._partial = bytearray(view[position:])

    def _complete_partial(self, view: memoryview, events: list[Event]) -> memoryview:
        """Fill up the PDU of which the beginning is here, and handle it if it is whole; returns what is left of `view`."""
        partial = self._partial
        missing = pdu.HEADER_SIZE - len(partial)
        if missing > 0:
            partial += view[:missing]
            view = view[missing:]
            if len(partial) < pdu.HEADER_SIZE:
                return view
        kind, length = pdu.read_header(partial)
        pdu.check_header(kind, length, self._max_pdu)
        missing = pdu.HEADER_SIZE + length - len(partial)
        partial += view[:missing]
        if len(partial) == pdu.HEADER_SIZE + length:
            self._partial = bytearray()
            self._handle(kind, memoryview(partial)[pdu.HEADER_SIZE :], events)
        return view[missing:]

    def _handle(self, kind: int, body: memoryview, events: list[Event]) -> None:
        if kind == PduType.P_DATA_TF:
            if self.state not in _RECEIVING:
                raise BadPdu("a P-DATA-TF where none is allowed", AbortReason.UNEXPECTED_PDU)
            self._assembly.add(body, events)  # type: ignore[arg-type]  # every MessageEvent is an Event
            return
        value = pdu.decode(kind, body)
        self._heard_valid_pdu = True
        match value:
            case AssociateRequest() if self.state is State.AWAITING_REQUEST:
                self.request = value
                self._fragmenter = Fragmenter(value.user.maximum_length)
                self.state = State.AWAITING_DECISION
                events.append(RequestArrived(value))
            case AssociateAccept() if self.state is State.AWAITING_ANSWER and self.request is not None:
                self._establish(contexts.agreed(self.request, value), value)
                self._fragmenter = Fragmenter(value.user.maximum_length)
                events.append(Accepted(value))
            case AssociateReject() if self.state is State.AWAITING_ANSWER:
                self.state = State.AWAITING_CLOSE
                events.append(RejectedByPeer(value))
            case ReleaseRequest():
                self._release_asked(events)
            case ReleaseResponse():
                self._release_confirmed(events)
            case Abort():
                self.state = State.AWAITING_CLOSE
                events.append(AbortedByPeer(value.source, value.reason))
            case _:
                raise BadPdu(f"a PDU of type {kind:#04x} where none is allowed", AbortReason.UNEXPECTED_PDU)

    def _release_asked(self, events: list[Event]) -> None:
        match self.state:
            case State.ESTABLISHED:
                self.state = State.RELEASE_ASKED
            case State.AWAITING_RELEASE if self.is_requestor:
                self.state = State.COLLISION_REQUESTOR_TO_CONFIRM
            case State.AWAITING_RELEASE:
                self.state = State.COLLISION_ACCEPTOR_WAITS
                return
            case _:
                raise BadPdu("an A-RELEASE-RQ where none is allowed", AbortReason.UNEXPECTED_PDU)
        events.append(ReleaseAsked())

    def _release_confirmed(self, events: list[Event]) -> None:
        match self.state:
            case State.AWAITING_RELEASE | State.COLLISION_REQUESTOR_WAITS:
                self.state = State.AWAITING_CLOSE
                events.append(Released())
            case State.COLLISION_ACCEPTOR_WAITS:
                self.state = State.COLLISION_ACCEPTOR_TO_CONFIRM
                events.append(ReleaseAsked())
            case _:
                raise BadPdu("an A-RELEASE-RP where none is allowed", AbortReason.UNEXPECTED_PDU)

    def _refuse(self, reason: int, why: str, data: bytes | bytearray | memoryview, events: list[Event]) -> None:
        first = None if self._heard_valid_pdu else bytes(self._partial[:_FIRST_BYTES] or memoryview(data)[:_FIRST_BYTES])
        self._outgoing.append(pdu.encode(Abort(AbortSource.SERVICE_PROVIDER, reason)))
        self._end()
        events.append(AbortedByUs(reason, why, first))

    # What goes out ------------------------------------------------------------------------------

    def accept(self, answer: AssociateAccept, held: tuple[Context, ...]) -> None:
        """Answer the request by `answer`, which accepted the contexts `held`."""
        self._require(self.state is State.AWAITING_DECISION)
        self._establish({context.id: context for context in held}, answer)
        self._outgoing.append(pdu.encode(answer))

    def reject(self, answer: AssociateReject) -> None:
        """Answer the request by a rejection."""
        self._require(self.state is State.AWAITING_DECISION)
        self._outgoing.append(pdu.encode(answer))
        self._end()

    def send_message(self, context: Context, command: Command, data: bytes | None = None) -> None:
        """Send a whole message."""
        self._require(self.state in _SENDING)
        self._outgoing.append(self._fragmenter.message(context, command, data))

    def begin_message(self, context: Context, command: Command) -> None:
        """Send a command set whose data set follows by `send_data`."""
        self._require(self.state in _SENDING)
        self._outgoing.append(self._fragmenter.opening(context, command))

    def send_data(self, context: Context, data: bytes | bytearray | memoryview, *, is_last: bool) -> None:
        """Send the next piece of a data set, of any length; `is_last` may come with an empty piece."""
        self._require(self.state in _SENDING)
        if self._odd_byte:
            data = self._odd_byte + data
            self._odd_byte = b""
        if len(data) % 2 and not is_last:
            # dcmtk aborts at a fragment of odd length that is not the last (PS3.8 E.1).
            self._odd_byte = bytes(data[-1:])
            data = memoryview(data)[:-1]
        self._outgoing.append(self._fragmenter.piece(context, data, is_last=is_last))

    def release(self) -> None:
        """Ask the peer to release the association; `Released` comes when it agrees."""
        self._require(self.state is State.ESTABLISHED)
        self._outgoing.append(pdu.encode(ReleaseRequest()))
        self.state = State.AWAITING_RELEASE

    def confirm_release(self) -> None:
        """Answer `ReleaseAsked`."""
        self._require(self.state in _TO_CONFIRM)
        self._outgoing.append(pdu.encode(ReleaseResponse()))
        # The requestor's side of a collision still has its own request to be confirmed (PS3.8 AR-9).
        if self.state is State.COLLISION_REQUESTOR_TO_CONFIRM:
            self.state = State.COLLISION_REQUESTOR_WAITS
        else:
            self._end()

    def abort(self, source: int = AbortSource.SERVICE_USER, reason: int = AbortReason.NOT_SPECIFIED) -> None:
        """End the association at once; nothing happens if it is over."""
        if self.state not in _ENDED:
            self._outgoing.append(pdu.encode(Abort(source, reason)))
            self._end()

    def _establish(self, held: Mapping[int, Context], accept: AssociateAccept) -> None:
        self.contexts = held
        self.accept_pdu = accept
        self._assembly = Assembly(held)
        self.state = State.ESTABLISHED

    def _end(self) -> None:
        self.state = State.AWAITING_CLOSE
        self._partial = bytearray()

    def _require(self, allowed: bool) -> None:  # noqa: FBT001 reads as the sentence it is
        if not allowed:
            raise BadMessage(f"the association cannot do this now: it is in state {self.state.value} ({self.state.name}) of PS3.8 9.2.1")
