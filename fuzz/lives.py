"""What both sides do to an association, in any order: each byte of the input is one step, and PS3.8 Table 9-10 says what it does.

The lowest bit of the first byte chooses the side that we are. A step with its highest bit set is something that we ask for; any other is a
PDU of the peer, delivered in two pieces cut where the other bits say.
"""

from contextlib import suppress

from leadglass.dicom import pdu
from leadglass.dicom.association import Association, State
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context, Offer, negotiate, propose
from leadglass.dicom.dimse import EchoRequest, StoreRequest
from leadglass.dicom.messages import Fragmenter
from leadglass.dicom.pdu import AssociateAccept, PduType
from leadglass.dicom.uid import Uid
from leadglass.errors import BadMessage

VERIFICATION, CT = Uid("1.2.840.10008.1.1"), Uid("1.2.840.10008.5.1.4.1.1.2")
REQUEST = propose("FUZZ", "LEADGLASS", [(each, [IMPLICIT_LITTLE_ENDIAN]) for each in (VERIFICATION, CT)])
NEGOTIATED = negotiate(REQUEST, lambda _: Offer((IMPLICIT_LITTLE_ENDIAN,)))
ACCEPT = AssociateAccept("A", "B", NEGOTIATED.results)
ECHO, STORE = Context(1, VERIFICATION, IMPLICIT_LITTLE_ENDIAN), Context(3, CT, IMPLICIT_LITTLE_ENDIAN)
MAX_PDU = 4096
_MESSAGES = Fragmenter(MAX_PDU)
PEER = (
    pdu.encode(REQUEST),
    pdu.encode(ACCEPT),
    pdu.encode(pdu.AssociateReject(2, 3, 2)),
    _MESSAGES.message(ECHO, EchoRequest(1, VERIFICATION), None),
    _MESSAGES.message(STORE, StoreRequest(2, CT, Uid("1.2.3")), bytes(5000)),
    pdu.encode(pdu.ReleaseRequest()),
    pdu.encode(pdu.ReleaseResponse()),
    pdu.encode(pdu.Abort(0, 0)),
    b"\xff" * 8,
)
MAY_FOLLOW = {
    State.AWAITING_REQUEST: {"AWAITING_DECISION"},
    State.AWAITING_DECISION: {"ESTABLISHED"},
    State.AWAITING_ANSWER: {"ESTABLISHED"},
    State.ESTABLISHED: {"AWAITING_RELEASE", "RELEASE_ASKED"},
    State.AWAITING_RELEASE: {"COLLISION_REQUESTOR_TO_CONFIRM", "COLLISION_ACCEPTOR_WAITS"},
    State.RELEASE_ASKED: set(),
    State.COLLISION_REQUESTOR_TO_CONFIRM: {"COLLISION_REQUESTOR_WAITS"},
    State.COLLISION_REQUESTOR_WAITS: set(),
    State.COLLISION_ACCEPTOR_WAITS: {"COLLISION_ACCEPTOR_TO_CONFIRM"},
    State.COLLISION_ACCEPTOR_TO_CONFIRM: set(),
    State.AWAITING_CLOSE: set(),
    State.CLOSED: set(),
}
"""Besides staying, and besides the end, which may follow everything."""
LAST_WORDS = {PduType.ASSOCIATE_RJ, PduType.RELEASE_RP, PduType.ABORT}


def target(data: bytes) -> None:
    """No step leads where the table does not, nothing but a last word ends it from our side, and after the end nothing is said."""
    machine = Association(REQUEST if data[:1] and data[0] & 1 else None, max_pdu=MAX_PDU)
    machine.data_to_send()
    for step in data[1:500]:
        before, was_over = machine.state, machine.is_over
        if step & 0x80:
            with suppress(BadMessage):
                _ask(machine, step & 0x7F)
        else:
            said = PEER[step % len(PEER)]
            cut = step // len(PEER) * 3
            events = [*machine.receive(said[:cut]), *machine.receive(said[cut:])]
            if was_over and events:
                raise AssertionError("events after the end")
        sent = machine.data_to_send()
        if was_over and sent:
            raise AssertionError("it speaks after its last word")
        if sent and machine.is_over and not LAST_WORDS & set(_types(sent)[-1:]):
            raise AssertionError("it ended by something that is no last word")
        ended = machine.state in (State.AWAITING_CLOSE, State.CLOSED)
        if machine.state is not before and not ended and machine.state.name not in MAY_FOLLOW[before]:
            raise AssertionError(f"{machine.state} after {before}")


def _ask(machine: Association, what: int) -> None:
    match what % 7:
        case 0:
            machine.accept(ACCEPT, NEGOTIATED.contexts)
        case 1:
            machine.reject(pdu.AssociateReject(1, 1, 7))
        case 2:
            machine.send_message(ECHO, EchoRequest(1, VERIFICATION))
        case 3:
            machine.begin_message(STORE, StoreRequest(1, CT, Uid("1.2.3")))
            machine.send_data(STORE, bytes(what), is_last=True)
        case 4:
            machine.release()
        case 5:
            machine.confirm_release()
        case _:
            machine.abort()


def _types(sent: bytes) -> list[int]:
    found = []
    while sent:
        kind, length = pdu.read_header(sent)
        found.append(kind)
        sent = sent[pdu.HEADER_SIZE + length :]
    return found


def seeds() -> list[bytes]:
    """A store and a release as an acceptor; an echo and a collision as a requestor; a collision as an acceptor."""
    return [
        bytes((0, 0, 0x80, 3, 4, 13, 5, 0x85)),
        bytes((1, 1, 0x82, 3, 0x84, 5, 0x85, 6)),
        bytes((0, 0, 0x80, 0x84, 5, 6, 0x85)),
        bytes((0, 0, 0x81)),
        bytes((1, 2)),
        bytes((0, 0, 0x80, 7)),
        bytes((0, 0, 0x80, 0x86, 8)),
    ]
