"""The state machine against PS3.8 Table 9-10, message assembly against PS3.8 annex E, and both against peers that mean ill."""

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.dicom import dimse, pdu
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
    State,
)
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context, Offer, negotiate, propose
from leadglass.dicom.dimse import EchoRequest, EchoResponse, StoreRequest
from leadglass.dicom.messages import FAIR_FRAGMENT, FREE_FRAGMENTS, DataArrived, Fragmenter, MessageStarted
from leadglass.dicom.pdu import Abort, AbortReason, AssociateAccept, AssociateReject, DataTransfer, Pdv, ReleaseRequest, ReleaseResponse
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import UserInformation
from leadglass.errors import BadMessage, BadPdu
from tests.dicom_wire import strategies as dicom

VERIFICATION = Uid("1.2.840.10008.1.1")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
ECHO = Context(1, VERIFICATION, IMPLICIT_LITTLE_ENDIAN)
STORE = Context(3, CT, IMPLICIT_LITTLE_ENDIAN)
REQUEST = propose("TESTSCU", "LEADGLASS", [(VERIFICATION, [IMPLICIT_LITTLE_ENDIAN]), (CT, [IMPLICIT_LITTLE_ENDIAN])])
MAX_PDU = 16384


def transfer(*pdvs: tuple[int, int, bytes]) -> bytes:
    """A P-DATA-TF of (context id, message control header, fragment)."""
    body = b"".join(struct.pack(">IBB", len(data) + 2, context, flags) + data for context, flags, data in pdvs)
    return pdu.frame(pdu.PduType.P_DATA_TF, body)


def echo_request(message_id: int = 1) -> bytes:
    return dimse.encode(EchoRequest(message_id, VERIFICATION), has_data=False)


def store_request() -> bytes:
    return dimse.encode(StoreRequest(1, CT, Uid("1.2.3")), has_data=True)


def accept_of(request: pdu.AssociateRequest) -> tuple[AssociateAccept, tuple[Context, ...]]:
    negotiated = negotiate(request, lambda _: Offer((IMPLICIT_LITTLE_ENDIAN,)))
    return AssociateAccept(
        request.called, request.calling, negotiated.results, UserInformation(maximum_length=MAX_PDU)
    ), negotiated.contexts


PDUS = {
    "RQ": pdu.encode(REQUEST),
    "AC": pdu.encode(accept_of(REQUEST)[0]),
    "RJ": pdu.encode(AssociateReject(1, 1, 7)),
    "P-DATA": transfer((1, 3, echo_request())),
    "R-RQ": pdu.encode(ReleaseRequest()),
    "R-RP": pdu.encode(ReleaseResponse()),
    "ABORT": pdu.encode(Abort(0, 0)),
    "garbage": b"GET / HTTP/1.1\r\n\r\n",
}


def requestor() -> Association:
    machine = Association(REQUEST, max_pdu=MAX_PDU)
    machine.data_to_send()
    return machine


def established(*, as_requestor: bool = False) -> Association:
    if as_requestor:
        machine = requestor()
        machine.receive(PDUS["AC"])
    else:
        machine = Association(max_pdu=MAX_PDU)
        machine.receive(PDUS["RQ"])
        machine.accept(*accept_of(REQUEST))
        machine.data_to_send()
    return machine


def releasing(*, as_requestor: bool) -> Association:
    machine = established(as_requestor=as_requestor)
    machine.release()
    machine.data_to_send()
    return machine


def after(machine: Association, *received: str) -> Association:
    for name in received:
        machine.receive(PDUS[name])
    machine.data_to_send()
    return machine


def collision_confirmed() -> Association:
    machine = after(releasing(as_requestor=True), "R-RQ")
    machine.confirm_release()
    machine.data_to_send()
    return machine


STATES: dict[State, Callable[[], Association]] = {
    State.AWAITING_REQUEST: lambda: Association(max_pdu=MAX_PDU),
    State.AWAITING_DECISION: lambda: after(Association(max_pdu=MAX_PDU), "RQ"),
    State.AWAITING_ANSWER: requestor,
    State.ESTABLISHED: established,
    State.AWAITING_RELEASE: lambda: releasing(as_requestor=True),
    State.RELEASE_ASKED: lambda: after(established(), "R-RQ"),
    State.COLLISION_REQUESTOR_TO_CONFIRM: lambda: after(releasing(as_requestor=True), "R-RQ"),
    State.COLLISION_ACCEPTOR_WAITS: lambda: after(releasing(as_requestor=False), "R-RQ"),
    State.COLLISION_REQUESTOR_WAITS: collision_confirmed,
    State.COLLISION_ACCEPTOR_TO_CONFIRM: lambda: after(releasing(as_requestor=False), "R-RQ", "R-RP"),
    State.AWAITING_CLOSE: lambda: after(established(), "ABORT"),
}

ALLOWED: dict[State, dict[str, tuple[State, type[Event] | None]]] = {
    State.AWAITING_REQUEST: {"RQ": (State.AWAITING_DECISION, RequestArrived)},
    State.AWAITING_DECISION: {},
    State.AWAITING_ANSWER: {"AC": (State.ESTABLISHED, Accepted), "RJ": (State.AWAITING_CLOSE, RejectedByPeer)},
    State.ESTABLISHED: {"P-DATA": (State.ESTABLISHED, MessageStarted), "R-RQ": (State.RELEASE_ASKED, ReleaseAsked)},
    State.AWAITING_RELEASE: {
        "P-DATA": (State.AWAITING_RELEASE, MessageStarted),
        "R-RQ": (State.COLLISION_REQUESTOR_TO_CONFIRM, ReleaseAsked),
        "R-RP": (State.AWAITING_CLOSE, Released),
    },
    State.RELEASE_ASKED: {},
    State.COLLISION_REQUESTOR_TO_CONFIRM: {},
    State.COLLISION_ACCEPTOR_WAITS: {"R-RP": (State.COLLISION_ACCEPTOR_TO_CONFIRM, ReleaseAsked)},
    State.COLLISION_REQUESTOR_WAITS: {"R-RP": (State.AWAITING_CLOSE, Released)},
    State.COLLISION_ACCEPTOR_TO_CONFIRM: {},
    State.AWAITING_CLOSE: {},
}
"""PS3.8 Table 9-10 without its AA-8: every other PDU ends the association, an A-ABORT without an answer."""


def test_the_table_speaks_of_every_state_in_which_there_is_a_connection() -> None:
    assert STATES.keys() == ALLOWED.keys() == set(State) - {State.CLOSED}
    for state, make in STATES.items():
        assert make().state is state


@pytest.mark.parametrize("name", PDUS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
def test_every_pdu_in_every_state(state: State, name: str) -> None:
    machine = STATES[state]()
    events = machine.receive(PDUS[name])
    sent = machine.data_to_send()
    if state is State.AWAITING_CLOSE:
        assert (events, sent, machine.state) == ([], b"", State.AWAITING_CLOSE)
    elif name == "ABORT":
        assert (events, sent, machine.state) == ([AbortedByPeer(0, 0)], b"", State.AWAITING_CLOSE)
    elif name in ALLOWED[state]:
        then, event = ALLOWED[state][name]
        assert (machine.state, [type(each) for each in events], sent) == (then, [event], b"")
    else:
        reason = AbortReason.UNRECOGNIZED_PDU if name == "garbage" else AbortReason.UNEXPECTED_PDU
        assert machine.state is State.AWAITING_CLOSE
        assert [type(each) for each in events] == [AbortedByUs]
        assert sent == pdu.encode(Abort(2, reason))


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
def test_what_may_be_sent_in_which_state(state: State) -> None:
    may_send = {State.ESTABLISHED, State.RELEASE_ASKED}
    to_confirm = {State.RELEASE_ASKED, State.COLLISION_REQUESTOR_TO_CONFIRM, State.COLLISION_ACCEPTOR_TO_CONFIRM}
    attempts: dict[str, tuple[Callable[[Association], None], set[State]]] = {
        "message": (lambda machine: machine.send_message(ECHO, EchoRequest(1, VERIFICATION)), may_send),
        "command": (lambda machine: machine.begin_message(STORE, StoreRequest(1, CT, Uid("1.2"))), may_send),
        "data": (lambda machine: machine.send_data(STORE, b"", is_last=True), may_send),
        "release": (lambda machine: machine.release(), {State.ESTABLISHED}),
        "confirm": (lambda machine: machine.confirm_release(), to_confirm),
        "reject": (lambda machine: machine.reject(AssociateReject(1, 1, 1)), {State.AWAITING_DECISION}),
        "accept": (lambda machine: machine.accept(*accept_of(REQUEST)), {State.AWAITING_DECISION}),
    }
    for name, (attempt, allowed) in attempts.items():
        machine = STATES[state]()
        if state in allowed:
            attempt(machine)
            assert machine.data_to_send(), name
        else:
            with pytest.raises(BadMessage):
                attempt(machine)
            assert not machine.data_to_send(), name


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
def test_we_can_abort_in_every_state_once(state: State) -> None:
    machine = STATES[state]()
    machine.abort()
    first = machine.data_to_send()
    machine.abort()
    assert machine.data_to_send() == b""
    assert first == (b"" if state is State.AWAITING_CLOSE else pdu.encode(Abort(0, 0)))
    assert machine.is_over


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
def test_a_lost_connection_is_told_where_it_was_not_agreed(state: State) -> None:
    machine = STATES[state]()
    assert machine.connection_lost() == ([] if state is State.AWAITING_CLOSE else [ConnectionLost()])
    assert machine.state is State.CLOSED
    assert machine.connection_lost() == []
    assert machine.receive(PDUS["RQ"]) == []


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
def test_artim_runs_where_the_peer_owes_a_request_or_the_end(state: State) -> None:
    assert STATES[state]().artim_runs is (state in {State.AWAITING_REQUEST, State.AWAITING_CLOSE})


def test_a_release_that_both_ask_for_at_once_ends_on_both_sides() -> None:
    ours, theirs = established(as_requestor=True), established()
    ours.release()
    theirs.release()
    from_ours, from_theirs = ours.data_to_send(), theirs.data_to_send()
    assert ours.receive(from_theirs) == [ReleaseAsked()]
    assert theirs.receive(from_ours) == []
    ours.confirm_release()
    assert theirs.receive(ours.data_to_send()) == [ReleaseAsked()]
    theirs.confirm_release()
    assert ours.receive(theirs.data_to_send()) == [Released()]
    assert ours.is_over
    assert theirs.is_over


# Messages ---------------------------------------------------------------------------------------


def test_a_message_in_one_pdu() -> None:
    machine = established()
    events = machine.receive(transfer((3, 1, store_request()[:20]), (3, 3, store_request()[20:]), (3, 0, b"ab"), (3, 2, b"cd")))
    assert events == [
        MessageStarted(STORE, StoreRequest(1, CT, Uid("1.2.3")), has_data=True),
        DataArrived(b"abcd", is_last=True),
    ]


def test_what_a_pdu_holds_of_one_data_set_is_one_fragment_and_no_more() -> None:
    start, rest = (3, 3, store_request()), [(3, 0, b"ab"), (3, 0, b""), (3, 0, b"cd")]
    machine = established()
    assert machine.receive(transfer(start, *rest, (3, 2, b"e"), start, *rest))[1:] == [
        DataArrived(b"abcde", is_last=True),
        MessageStarted(STORE, StoreRequest(1, CT, Uid("1.2.3")), has_data=True),
        DataArrived(b"abcd", is_last=False),
    ]
    assert machine.receive(transfer((3, 0, b""), (3, 0, b""))) == []
    assert machine.receive(transfer((3, 0, b"f"), (3, 2, b"")))[0] == DataArrived(b"f", is_last=True)


def test_fragments_of_no_length_are_taken_and_an_empty_last_one_ends_the_data_set() -> None:
    machine = established()
    events = machine.receive(transfer((3, 1, b""), (3, 3, store_request()), (3, 0, b""), (3, 0, b"ab")) + transfer((3, 2, b"")))
    assert events[1:] == [DataArrived(b"ab", is_last=False), DataArrived(b"", is_last=True)]


MIXED: dict[str, Sequence[tuple[int, int, bytes]]] = {
    "data set before any command": [(3, 2, b"data")],
    "second command within the data set": [(3, 3, store_request()), (3, 3, store_request())],
    "data set within the command": [(3, 1, store_request()[:10]), (3, 2, b"data")],
    "command continued in another context": [(3, 1, store_request()[:10]), (1, 3, store_request()[10:])],
    "another context's command within the data set": [(3, 3, store_request()), (3, 0, b"ab"), (1, 3, echo_request())],
    "data set in another context": [(3, 3, store_request()), (1, 2, b"data")],
    "a context that was not accepted": [(5, 3, echo_request())],
    "an even context": [(2, 3, echo_request())],
    "a command set that is none": [(1, 3, b"not a command set")],
    "an empty command set": [(1, 3, b"")],
    "data after a message that has none": [(1, 3, echo_request()), (1, 2, b"data")],
}


@pytest.mark.parametrize("pdvs", MIXED.values(), ids=MIXED.keys())
def test_fragments_in_an_order_that_is_none_end_the_association(pdvs: Sequence[tuple[int, int, bytes]]) -> None:
    machine = established()
    events = machine.receive(b"".join(transfer(each) for each in pdvs))
    assert isinstance(events[-1], AbortedByUs)
    assert machine.data_to_send()[:1] == b"\x07"
    assert machine.is_over


def test_a_command_set_that_never_ends_is_cut_off_at_its_bound() -> None:
    machine = established()
    taken = 0
    while not machine.is_over:
        machine.receive(transfer((1, 1, bytes(4096))))
        taken += 4096
        assert taken <= dimse.MAX_COMMAND + 4096
    assert taken > dimse.MAX_COMMAND


def pdus_of(fragment: tuple[int, int, bytes], count: int, *, in_one: int) -> list[bytes]:
    """PDUs of `in_one` equal fragments each, `count` in all."""
    return [transfer(*[fragment] * in_one)] * (count // in_one)


NOTHING, TINY, FAIR = b"", b"ab", bytes(FAIR_FRAGMENT)


@pytest.mark.parametrize("in_one", [1, 500])
@pytest.mark.parametrize("fragment", [(3, 0, TINY), (3, 0, NOTHING), (3, 1, TINY), (3, 1, NOTHING)], ids=str)
def test_a_message_in_far_more_fragments_than_it_needs_is_cut_off(fragment: tuple[int, int, bytes], in_one: int) -> None:
    machine = established()
    start = [] if fragment[1] else [transfer((3, 3, store_request()))]
    for each in [*start, *pdus_of(fragment, FREE_FRAGMENTS // 2, in_one=in_one)]:
        machine.receive(each)
    assert not machine.is_over
    events = [event for each in pdus_of(fragment, FREE_FRAGMENTS, in_one=in_one) for event in machine.receive(each)]
    assert isinstance(events[-1], AbortedByUs)
    assert machine.data_to_send() == PDUS_OF_REFUSAL


PDUS_OF_REFUSAL = pdu.encode(Abort(2, AbortReason.INVALID_PARAMETER))


def test_a_long_data_set_may_have_many_fragments_and_each_message_has_some_to_spare() -> None:
    machine = established()
    for _ in range(3):
        machine.receive(transfer((3, 3, store_request())))
        for each in pdus_of((3, 0, FAIR), 5 * FREE_FRAGMENTS, in_one=20):
            machine.receive(each)
        for each in pdus_of((3, 0, TINY), FREE_FRAGMENTS // 2, in_one=20):
            machine.receive(each)
        assert machine.receive(transfer((3, 2, TINY))) == [DataArrived(TINY, is_last=True)]
    assert not machine.is_over


def test_a_pdu_longer_than_announced_is_refused_by_its_header_alone() -> None:
    machine = established()
    (event,) = machine.receive(struct.pack(">BxI", 4, MAX_PDU + 1))
    assert isinstance(event, AbortedByUs)
    assert established().receive(struct.pack(">BxI", 4, MAX_PDU)) == []


@pytest.mark.parametrize("kind", range(1, 8))
def test_four_gigabytes_are_refused_by_the_header_alone(kind: int) -> None:
    machine = Association(max_pdu=MAX_PDU)
    (event,) = machine.receive(struct.pack(">BxI", kind, 0xFFFFFFFF))
    assert isinstance(event, AbortedByUs)
    assert machine.data_to_send() == pdu.encode(Abort(2, AbortReason.INVALID_PARAMETER))


def test_what_is_no_dicom_shows_its_first_bytes_and_what_was_dicom_once_does_not() -> None:
    (event,) = requestor().receive(b"HTTP/1.1 400 Bad Request\r\n" + bytes(100))
    assert isinstance(event, AbortedByUs)
    assert event.first_bytes == (b"HTTP/1.1 400 Bad Request\r\n" + bytes(100))[:64]
    (event,) = established().receive(b"HTTP/1.1")
    assert isinstance(event, AbortedByUs)
    assert event.first_bytes is None


def test_a_peer_that_takes_next_to_nothing_in_a_pdu_is_refused() -> None:
    tiny = pdu.AssociateRequest(REQUEST.called, REQUEST.calling, REQUEST.contexts, UserInformation(maximum_length=8))
    (event,) = Association().receive(pdu.encode(tiny))
    assert isinstance(event, AbortedByUs)


def stream() -> bytes:
    data = bytes(range(256)) * 100
    message = Fragmenter(1000).message(STORE, StoreRequest(1, CT, Uid("1.2.3")), data)
    return (
        PDUS["P-DATA"]
        + message
        + transfer((3, 1, store_request()[:7]))
        + transfer((3, 3, store_request()[7:]), (3, 2, b"x"))
        + PDUS["R-RQ"]
    )


@given(st.lists(st.integers(0, len(stream())), max_size=30))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    whole = established().receive(stream())
    machine = established()
    edges = [0, *sorted(cuts), len(stream())]
    events = [event for start, stop in pairwise(edges) for event in machine.receive(stream()[start:stop])]
    assert events == whole
    assert machine.state is State.RELEASE_ASKED


def test_nor_if_they_come_one_by_one() -> None:
    machine = Association(max_pdu=MAX_PDU)
    assert [event for byte in PDUS["RQ"] for event in machine.receive(bytes((byte,)))] == [RequestArrived(REQUEST)]
    machine.accept(*accept_of(REQUEST))
    assert [event for byte in stream() for event in machine.receive(bytes((byte,)))] == established().receive(stream())


def test_what_was_received_is_not_referred_to_afterwards() -> None:
    machine = established()
    buffer = bytearray(transfer((3, 3, store_request()), (3, 2, b"data")) + PDUS["R-RQ"][:3])
    events = machine.receive(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert events[-1] == DataArrived(b"data", is_last=True)
    assert machine.receive(PDUS["R-RQ"][3:]) == [ReleaseAsked()]


@given(dicom.commands, st.binary(max_size=700) | st.none(), st.integers(64, 300))
def test_what_we_send_fits_into_the_peer_and_arrives_as_it_was(command: dimse.Command, data: bytes | None, maximum: int) -> None:
    if isinstance(command, (StoreRequest, dimse.FindRequest, dimse.GetRequest, dimse.MoveRequest)):
        data = data or b""
    sent = Fragmenter(maximum).message(STORE, command, data)
    machine = Association(max_pdu=maximum)
    machine.receive(PDUS["RQ"])
    machine.accept(*accept_of(REQUEST))
    started, *arrived = machine.receive(sent)
    assert started == MessageStarted(STORE, command, has_data=data is not None)
    fragments = [event for event in arrived if isinstance(event, DataArrived)]
    assert b"".join(each.fragment for each in fragments) == (data or b"")
    assert [each.is_last for each in fragments] == ([False] * (len(fragments) - 1) + [True] if data is not None else [])
    assert all(len(each.fragment) % 2 == 0 for each in fragments[:-1])


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_a_data_set_sent_in_pieces_arrives_whole(pieces: list[bytes]) -> None:
    sender, receiver = established(as_requestor=True), established()
    sender.begin_message(STORE, StoreRequest(1, CT, Uid("1.2.3")))
    for piece in pieces:
        sender.send_data(STORE, piece, is_last=False)
    sender.send_data(STORE, b"", is_last=True)
    events = receiver.receive(sender.data_to_send())
    fragments = [event for event in events if isinstance(event, DataArrived)]
    assert b"".join(each.fragment for each in fragments) == b"".join(pieces)
    # dcmtk aborts at a fragment of odd length that is not the last.
    assert all(len(each.fragment) % 2 == 0 and not each.is_last for each in fragments[:-1])
    assert fragments[-1].is_last


def test_an_announced_length_of_zero_means_any_but_we_send_no_more_than_our_own() -> None:
    sent = Fragmenter(0).message(STORE, StoreRequest(1, CT, Uid("1.2")), bytes(1 << 20))
    machine = Association(max_pdu=128 * 1024)
    machine.receive(PDUS["RQ"])
    machine.accept(*accept_of(REQUEST))
    assert not any(isinstance(event, AbortedByUs) for event in machine.receive(sent))
    with pytest.raises(BadPdu):
        Fragmenter(63)


@settings(max_examples=40)
@given(st.lists(dicom.pdus.map(pdu.encode) | st.binary(max_size=40), max_size=8), st.sampled_from(list(STATES)))
def test_whatever_comes_in_whatever_state_the_machine_stays_sound(chunks: list[bytes], state: State) -> None:
    machine = STATES[state]()
    for chunk in chunks:
        before = machine.is_over
        events = machine.receive(chunk)
        sent = machine.data_to_send()
        assert not (before and (events or sent))
        # Invariant: the machine sends nothing of its own accord but an A-ABORT, and only when it ends.
        assert sent == b"" or (sent[0] == 7 and len(sent) == 10 and machine.is_over)
        assert sum(isinstance(event, AbortedByUs) for event in events) == bool(sent)


def test_a_response_reaches_the_other_side() -> None:
    ours, theirs = established(as_requestor=True), established()
    ours.send_message(ECHO, EchoRequest(5, VERIFICATION))
    assert theirs.receive(ours.data_to_send()) == [MessageStarted(ECHO, EchoRequest(5, VERIFICATION), has_data=False)]
    theirs.send_message(ECHO, EchoResponse(5, 0, VERIFICATION))
    assert ours.receive(theirs.data_to_send()) == [MessageStarted(ECHO, EchoResponse(5, 0, VERIFICATION), has_data=False)]


def test_pdvs_as_the_generic_decoder_sees_them() -> None:
    raw = transfer((1, 3, b"ab"), (3, 0, b""))
    value = pdu.decode(4, memoryview(raw)[6:])
    assert value == DataTransfer((Pdv(1, is_command=True, is_last=True, data=b"ab"), Pdv(3, is_command=False, is_last=False, data=b"")))
