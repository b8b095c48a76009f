"""Random lives of an association, both roles, against PS3.8 Table 9-10: the same states, the same PDUs, the same news."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pynetdicom.fsm import TRANSITION_TABLE

from leadglass.dicom import pdu
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
from leadglass.dicom.dimse import EchoRequest
from leadglass.dicom.messages import MessageStarted
from leadglass.dicom.pdu import AssociateReject, PduType
from leadglass.errors import BadMessage
from tests.dicom_wire.state_table import BY_ROLE, EFFECTS, EVENTS, TABLE, Effect
from tests.dicom_wire.test_association import ECHO, MAX_PDU, PDUS, REQUEST, VERIFICATION, accept_of

INDICATIONS: dict[str, type[Event]] = {
    "A-ASSOCIATE indication": RequestArrived,
    "A-ASSOCIATE confirmation (accept)": Accepted,
    "A-ASSOCIATE confirmation (reject)": RejectedByPeer,
    "P-DATA indication": MessageStarted,
    "A-RELEASE indication": ReleaseAsked,
    "A-RELEASE confirmation": Released,
    "A-ABORT indication": AbortedByPeer,
}

OURS: dict[tuple[str, str], Effect] = {
    # The peer was told once; an answer to each of what comes after it could be made to last for ever.
    ("Evt6", "Sta13"): Effect("Sta13"),
    ("Evt19", "Sta13"): Effect("Sta13"),
    # The driver closes by its timer, as for all else that comes there.
    ("Evt16", "Sta13"): Effect("Sta13"),
    # What AA-2 does without a word is told to whoever waits for the request.
    ("Evt16", "Sta2"): Effect("Sta1", tells="A-ABORT indication"),
    ("Evt17", "Sta2"): Effect("Sta1", tells="A-P-ABORT indication"),
    # As an acceptor we hear of a collision once there is something to do about it: in Sta12.
    ("Evt12", "Sta7 acceptor"): Effect("Sta10"),
    ("Evt13", "Sta10"): Effect("Sta12", tells="A-RELEASE indication"),
    # The driver says goodbye by A-ABORT when the ARTIM timer expires.
    ("Evt15", "Sta2"): Effect("Sta13", sends=PduType.ABORT),
    # Aborting what is over already is nothing, and no fault.
    ("Evt15", "Sta13"): Effect("Sta13"),
    ("Evt15", "Sta1"): Effect("Sta1"),
    ("Evt17", "Sta1"): Effect("Sta1"),
} | {
    (event, "Sta2"): Effect("Sta13", sends=PduType.ABORT, tells="A-P-ABORT indication")
    for event in ("Evt3", "Evt4", "Evt10", "Evt12", "Evt13", "Evt19")
}
"""Where we differ from the table, and why; AA-1 in Sta2 is AA-8 for us: the caller is told, and the peer is told the reason."""

RECEIVED = {
    "AC": "Evt3",
    "RJ": "Evt4",
    "RQ": "Evt6",
    "P-DATA": "Evt10",
    "R-RQ": "Evt12",
    "R-RP": "Evt13",
    "ABORT": "Evt16",
    "garbage": "Evt19",
}
PRIMITIVES = {"accept": "Evt7", "reject": "Evt8", "data": "Evt9", "release": "Evt11", "confirm": "Evt14", "abort": "Evt15"}


def effect_of(event: str, state: str, *, as_requestor: bool) -> Effect | None:
    """What the table, and where we differ from it our own list, has for an event in a state; None where it has nothing."""
    role = "requestor" if as_requestor else "acceptor"
    own = OURS.get((event, f"{state} {role}")) or OURS.get((event, state))
    if own is not None:
        return own
    action = TABLE.get((event, state))
    if action is None:
        return None
    effect = EFFECTS[action]
    if effect.then == BY_ROLE:
        return Effect("Sta9" if as_requestor else "Sta10", effect.sends, effect.tells)
    return effect


def types_of(sent: bytes) -> list[int]:
    """The types of the PDUs in what was sent."""
    found = []
    while sent:
        kind, length = pdu.read_header(sent)
        found.append(kind)
        sent = sent[pdu.HEADER_SIZE + length :]
    return found


def test_the_table_is_the_one_that_others_have() -> None:
    assert TABLE == TRANSITION_TABLE
    assert {event for event, _ in TABLE} == EVENTS.keys()
    assert set(TABLE.values()) == EFFECTS.keys()


def test_we_differ_from_the_table_only_where_it_is_said() -> None:
    for (event, state), ours in OURS.items():
        action = TABLE.get((event, state.split()[0]))
        assert action is None or EFFECTS[action] != ours, (event, state)


class Life(RuleBasedStateMachine):
    """One association; `state` is where the table says it is."""

    machine: Association
    state = ""
    as_requestor = False
    unsaid = b""
    unsaid_event = ""

    @initialize(as_requestor=st.booleans())
    def begin(self, *, as_requestor: bool) -> None:
        self.as_requestor = as_requestor
        self.machine = Association(REQUEST if as_requestor else None, max_pdu=MAX_PDU)
        self.state = "Sta5" if as_requestor else "Sta2"
        assert types_of(self.machine.data_to_send()) == ([PduType.ASSOCIATE_RQ] if as_requestor else [])

    @precondition(lambda self: not self.unsaid)
    @rule(name=st.sampled_from(sorted(RECEIVED)), cut=st.integers(0, 40))
    def peer_says(self, name: str, cut: int) -> None:
        said = PDUS[name]
        if name == "garbage" or not cut:
            self.happens(RECEIVED[name], self.machine.receive(said))
            return
        assert self.machine.receive(said[: min(cut, len(said) - 1)]) == []
        assert self.machine.data_to_send() == b""
        self.unsaid, self.unsaid_event = said[min(cut, len(said) - 1) :], RECEIVED[name]

    def steps_on(self) -> list[str]:
        """What leads further, and not to the end."""
        names = {**RECEIVED, **PRIMITIVES}
        effects = {name: effect_of(event, self.state, as_requestor=self.as_requestor) for name, event in names.items()}
        return sorted(name for name, effect in effects.items() if effect is not None and effect.then not in {"Sta1", "Sta13"})

    @precondition(lambda self: not self.unsaid and self.steps_on())
    @rule(which=st.integers(0, 9), cut=st.sampled_from([0, 0, 5, 20]))
    def life_goes_on(self, which: int, cut: int) -> None:
        """Left to chance alone, few lives would see a collision of releases."""
        steps = self.steps_on()
        name = steps[which % len(steps)]
        if name in PRIMITIVES:
            self.we_ask(name)
        else:
            self.peer_says(name, cut)

    @precondition(lambda self: self.unsaid)
    @rule()
    def peer_goes_on(self) -> None:
        rest, self.unsaid = self.unsaid, b""
        self.happens(self.unsaid_event, self.machine.receive(rest))

    @rule(name=st.sampled_from(sorted(PRIMITIVES)))
    def we_ask(self, name: str) -> None:
        event = PRIMITIVES[name]
        if effect_of(event, self.state, as_requestor=self.as_requestor) is None:
            with pytest.raises(BadMessage):
                self.perform(name)
            assert self.machine.data_to_send() == b""
            return
        self.perform(name)
        self.happens(event, [])

    def perform(self, name: str) -> None:
        match name:
            case "accept":
                self.machine.accept(*accept_of(REQUEST))
            case "reject":
                self.machine.reject(AssociateReject(1, 1, 7))
            case "data":
                self.machine.send_message(ECHO, EchoRequest(1, VERIFICATION))
            case "release":
                self.machine.release()
            case "confirm":
                self.machine.confirm_release()
            case _:
                self.machine.abort()

    @rule()
    def connection_closes(self) -> None:
        self.happens("Evt17", self.machine.connection_lost())
        self.unsaid = b""

    def happens(self, event: str, events: list[Event]) -> None:
        """Compare what became of an event with the table."""
        effect = effect_of(event, self.state, as_requestor=self.as_requestor)
        if effect is None:
            # Sta1, of which the machine says that it is over: nothing is heard there.
            assert self.state == "Sta1"
            effect = Effect("Sta1")
        told = {"A-P-ABORT indication": ConnectionLost if event == "Evt17" else AbortedByUs} | INDICATIONS
        assert [type(each) for each in events] == ([] if effect.tells is None else [told[effect.tells]])
        assert types_of(self.machine.data_to_send()) == ([] if effect.sends is None else [effect.sends])
        self.state = effect.then

    @invariant()
    def the_machine_is_where_the_table_is(self) -> None:
        if not self.state:
            return
        assert self.machine.is_over is (self.state in {"Sta1", "Sta13"})
        if not self.machine.is_over:
            assert self.machine.state.value == self.state
        assert self.machine.may_send is (("Evt9", self.state) in TABLE)
        assert self.machine.artim_runs is (self.state in {"Sta2", "Sta13"}) or self.state == "Sta1"


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=300, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
