"""A person at a peer: both must be known, and what they may is what both may."""

import pytest

from leadglass.access.identity import BearerToken, PeerCertificate, PlaintextPeer, Principal, UserToken
from leadglass.access.peers import Peer, Pin
from leadglass.archive.rows import entry_row, is_wanted
from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY, Condition, StudyPredicate
from leadglass.errors import NotAllowed, NotIdentified, UserNotIdentified
from leadglass.trail.entries import Kind
from leadglass.vocabulary import Action, Door, Outcome, Role
from tests.access.people import HOME_ADDRESS, House, certificate

POLICY = """
[[rule]]
roles = ["clinician"]
may = ["find", "get", "move"]
[[rule.where]]
attribute = "InstitutionName"
values = ["North"]

[[rule]]
roles = ["technologist"]
may = ["store"]
studies = "every"

[[rule]]
peers = ["WS1"]
may = ["find", "get", "store", "move"]
[[rule.where]]
attribute = "Modality"
values = ["CT"]

[[rule]]
peers = ["CT1"]
may = ["store"]
studies = "every"
"""


@pytest.fixture
def house(house: House) -> House:
    return House(house.folder / "narrow", policy=POLICY, clock=house.clock)


@pytest.fixture(autouse=True)
def _folder(tmp_path: object) -> None:
    (tmp_path / "narrow").mkdir()  # type: ignore[operator]


def at(house: House, shown: bytes, ae_title: str, text: str, name: str | None = None) -> Principal:
    user = UserToken(BearerToken(text), name)
    return house.gate.identify(Door.DIMSE, PeerCertificate(shown, ae_title, HOME_ADDRESS, (), user))


def test_what_both_may_is_what_is_given(house: House) -> None:
    shown = house.peer("WS1", Action.FIND, Action.STORE)
    house.user("anna", Role.CLINICIAN)
    token, text = house.token("anna", Action.FIND, Action.GET, Action.MOVE)
    anna = at(house, shown, "WS1", text.reveal(), "anna")
    assert anna.id == f"token:{token}@anna+peer:WS1"
    assert text.reveal() not in repr(anna)
    with house.gate.admit_find(anna, Door.DIMSE, HOME_ADDRESS) as grant:
        assert grant.visible.admits({"Modality": "CT", "InstitutionName": "North"})
        assert not grant.visible.admits({"Modality": "CT", "InstitutionName": "South"})
        assert not grant.visible.admits({"Modality": "MR", "InstitutionName": "North"})
        grant.settle(Outcome.DONE)
    with pytest.raises(NotAllowed):
        house.gate.admit_get(anna, Door.DIMSE, HOME_ADDRESS)  # the peer may not
    with pytest.raises(NotAllowed):
        house.gate.admit_store(anna, Door.DIMSE, HOME_ADDRESS)  # she may not
    assert [house.gate.may(anna, Door.DIMSE, action, "192.0.2.1") for action in (Action.FIND, Action.GET, Action.STORE, Action.MOVE)] == [
        True,
        False,
        False,
        False,
    ]
    house.gate.admit_echo(anna, Door.DIMSE, HOME_ADDRESS).settle(Outcome.DONE)
    for door in (Door.DICOMWEB, Door.DIMSE_PLAINTEXT):
        assert not house.gate.is_current(anna, door, HOME_ADDRESS)
        with pytest.raises(NotAllowed):
            house.gate.admit_find(anna, door, HOME_ADDRESS)


def test_a_person_gives_a_peer_no_more_than_it_has(house: House) -> None:
    shown = house.peer("CT1", Action.STORE)
    house.user("anna", *Role)
    anna = at(house, shown, "CT1", house.token("anna", Action.FIND, Action.GET, Action.STORE, Action.MOVE)[1].reveal())
    for admit in (house.gate.admit_find, house.gate.admit_get):
        with pytest.raises(NotAllowed):
            admit(anna, Door.DIMSE, HOME_ADDRESS)
    house.gate.admit_store(anna, Door.DIMSE, HOME_ADDRESS).settle(Outcome.DONE)


def test_what_a_commitment_tells_of_is_what_both_may_see(house: House) -> None:
    shown = house.peer("WS1", Action.FIND, Action.STORE)
    house.user("anna", Role.CLINICIAN, Role.TECHNOLOGIST)
    anna = at(house, shown, "WS1", house.token("anna", Action.FIND, Action.STORE)[1].reveal())
    with house.gate.admit_commitment(anna, Door.DIMSE, HOME_ADDRESS) as grant:
        assert grant.visible.admits({"Modality": "CT", "InstitutionName": "North"})
        assert not grant.visible.admits({"Modality": "CT", "InstitutionName": "South"})
        assert not grant.visible.admits({"Modality": "MR", "InstitutionName": "North"})
        grant.settle(Outcome.DONE)


def test_a_wrong_token_is_a_wrong_person_and_a_wrong_peer_is_only_that(house: House) -> None:
    shown = house.peer("WS1", Action.FIND)
    house.user("anna", Role.CLINICIAN)
    house.user("berta", Role.CLINICIAN)
    ids, texts = zip(*(house.token("anna", Action.FIND, days=days) for days in (1, 9, 9)), strict=True)
    house.clock.advance(days=2)
    house.administer(lambda grant: house.registry.tokens.revoke(grant, ids[1]))
    good = texts[2].reveal()
    wrong = [
        (good, "berta"),
        (good, ""),
        (good[:-1], None),
        ("a password", "anna"),
        ("", None),
        (texts[0].reveal(), None),
        (texts[1].reveal(), None),
    ]
    for text, name in wrong:
        with pytest.raises(UserNotIdentified, match=r"^not identified$"):
            at(house, shown, "WS1", text, name)
        with pytest.raises(NotIdentified) as caught:
            at(house, shown, "WS2", text, name)
        assert type(caught.value) is NotIdentified, "a stranger learns nothing of tokens"
    assert at(house, shown, "WS1", good).user is not None
    house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
    with pytest.raises(UserNotIdentified):
        at(house, shown, "WS1", good)
    before = len(house.entries())
    house.clock.advance(seconds=61)
    house.gate.tick()
    counted = {name: count for one in house.entries(before) if one.kind is Kind.UNIDENTIFIED for name, count in one.detail.items()}
    assert counted == {"another-user": 2, "unknown-token": 3, "dead-token": 2, "unknown-peer": 7, "disabled-user": 1}


def test_a_token_that_crossed_the_network_in_clear_is_refused(house: House) -> None:
    house.peer("CT1", Action.STORE, unsafe_plaintext=True)
    house.user("anna", Role.TECHNOLOGIST)
    text = house.token("anna", Action.STORE)[1].reveal()
    assert house.gate.identify(Door.DIMSE_PLAINTEXT, PlaintextPeer("CT1", HOME_ADDRESS)).id == "peer:CT1"
    with pytest.raises(UserNotIdentified):
        house.gate.identify(Door.DIMSE_PLAINTEXT, PlaintextPeer("CT1", HOME_ADDRESS, UserToken(BearerToken(text))))
    assert text not in repr(PlaintextPeer("CT1", HOME_ADDRESS, UserToken(BearerToken(text))))


@pytest.mark.parametrize("end", ["user", "token", "peer", "time"])
def test_whoever_of_the_two_is_out_both_are(house: House, end: str) -> None:
    shown = house.peer("WS1", Action.FIND)
    house.user("anna", Role.CLINICIAN)
    token, text = house.token("anna", Action.FIND, days=3)
    anna = at(house, shown, "WS1", text.reveal())
    alone = house.call(shown, "WS1")
    assert house.gate.is_current(anna, Door.DIMSE, HOME_ADDRESS)
    if end == "user":
        house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
    elif end == "token":
        house.administer(lambda grant: house.registry.tokens.revoke(grant, token))
    elif end == "peer":
        house.administer(lambda grant: house.registry.peers.revoke(grant, "WS1"))
    else:
        house.clock.advance(days=3)
    assert not house.gate.is_current(anna, Door.DIMSE, HOME_ADDRESS)
    with pytest.raises(NotAllowed):
        house.gate.admit_find(anna, Door.DIMSE, HOME_ADDRESS)
    assert house.gate.is_current(alone, Door.DIMSE, HOME_ADDRESS) == (end != "peer")


def test_a_peer_that_needs_a_person_may_only_echo_without(house: House) -> None:
    shown = certificate(house.clock)
    peer = Peer("WS1", ("127.0.0.0/8",), frozenset({Action.FIND, Action.STORE}), (Pin.of(shown),), needs_user=True)
    house.administer(lambda grant: house.registry.peers.add(grant, peer))
    house.user("anna", Role.CLINICIAN)
    alone = house.call(shown, "WS1")
    assert alone.may == {Action.ECHO}
    house.gate.admit_echo(alone, Door.DIMSE, HOME_ADDRESS).settle(Outcome.DONE)
    for admit in (house.gate.admit_find, house.gate.admit_store):
        with pytest.raises(NotAllowed):
            admit(alone, Door.DIMSE, HOME_ADDRESS)
    assert house.gate.is_current(alone, Door.DIMSE, HOME_ADDRESS)
    anna = at(house, shown, "WS1", house.token("anna", Action.FIND)[1].reveal())
    house.gate.admit_find(anna, Door.DIMSE, HOME_ADDRESS).settle(Outcome.DONE)


def test_the_trail_names_both_and_is_searched_by_either(house: House) -> None:
    shown = house.peer("WS1", Action.FIND)
    house.user("anna", Role.CLINICIAN)
    token, text = house.token("anna", Action.FIND)
    start = len(house.entries())
    house.gate.admit_find(at(house, shown, "WS1", text.reveal()), Door.DIMSE, HOME_ADDRESS).settle(Outcome.DONE)
    entries = house.entries(start)
    assert [one.principal for one in entries] == [f"token:{token}@anna+peer:WS1"] * 2
    row = entry_row(start, entries[0])
    for who in ("peer:WS1", "user:anna", "anna", f"token:{token}@anna", f"token:{token}@anna+peer:WS1", None):
        assert is_wanted(row, who, None), who
    for who in ("peer:WS2", "user:ann", "WS1", "user:peer:WS1", "token", ""):
        assert not is_wanted(row, who, None), who
    assert not is_wanted({**row, "who": "peer:X@anna"}, "user:anna", None), "a title is no person"


def test_two_predicates_admit_what_each_admits() -> None:
    one, two, three = (
        StudyPredicate(((Condition(keyword, frozenset({"X"})),),)) for keyword in ("Modality", "StationName", "InstitutionName")
    )
    either = (one | two) & (two | three)
    for values in [
        {},
        *({first: "X", second: "X"} for first in ("Modality", "StationName") for second in ("StationName", "InstitutionName")),
    ]:
        assert either.admits(values) == ((one | two).admits(values) and (two | three).admits(values))
    assert either & EVERY_STUDY == EVERY_STUDY & either == either
    assert either & NO_STUDY == NO_STUDY & EVERY_STUDY == NO_STUDY
    assert EVERY_STUDY & EVERY_STUDY == EVERY_STUDY
