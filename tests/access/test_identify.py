"""Nobody may do anything until known; each way of not being known is refused, and says nothing more."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from leadglass.access.identity import BearerToken, Credentials, LocalUser, PeerCertificate, PlaintextPeer, SessionCookie
from leadglass.access.peers import Peer, Pin
from leadglass.errors import NotAllowed, NotIdentified
from leadglass.trail.entries import Kind
from leadglass.vocabulary import Action, Door, Outcome, Role
from tests.access.people import HOME_ADDRESS, House, certificate


def test_a_peer_is_its_key_under_its_title_from_its_address(house: House) -> None:
    shown = house.peer("CT1", Action.STORE)
    principal = house.call(shown, "CT1")
    assert (principal.id, principal.may) == ("peer:CT1", frozenset({Action.STORE, Action.ECHO}))
    assert house.call(shown, "  CT1 ").id == "peer:CT1"
    assert house.call(shown, "CT1", "::ffff:127.0.0.1").id == "peer:CT1"


@pytest.mark.parametrize("title", ["CT2", "ct1", "CT", "CT11", "", "*", "CT1\0", "../CT1", "\\", "X" * 300])
def test_another_title_is_refused(house: House, title: str) -> None:
    shown = house.peer("CT1", Action.STORE)
    house.peer("CT2", Action.STORE)
    with pytest.raises(NotIdentified, match=r"^not identified$"):
        house.call(shown, title)


@pytest.mark.parametrize("address", ["10.0.0.1", "::1", "", "localhost", "127.0.0.1.evil", "::ffff:10.0.0.1", "999.1.1.1"])
def test_another_address_is_refused(house: House, address: str) -> None:
    shown = house.peer("CT1", Action.STORE)
    with pytest.raises(NotIdentified):
        house.call(shown, "CT1", address)


def test_a_foreign_certificate_is_refused_whatever_it_says(house: House) -> None:
    house.peer("CT1", Action.STORE)
    with pytest.raises(NotIdentified):
        house.call(certificate(house.clock, name="CT1"), "CT1")
    for garbage in (b"", b"\0" * 500, certificate(house.clock)[:-1]):
        with pytest.raises(NotIdentified):
            house.call(garbage, "CT1")


def test_a_certificate_that_ended_or_has_not_begun_is_refused(house: House) -> None:
    shown = house.peer("CT1", Action.STORE)
    house.clock.advance(days=31)
    with pytest.raises(NotIdentified):
        house.call(shown, "CT1")
    house.clock.advance(days=-62)
    with pytest.raises(NotIdentified):
        house.call(shown, "CT1")


def test_a_revoked_peer_is_refused_at_once_also_in_the_middle(house: House) -> None:
    shown = house.peer("CT1", Action.STORE)
    principal = house.call(shown, "CT1")
    told = []
    undo = house.registry.on_change(lambda: told.append(house.gate.is_current(principal, Door.DIMSE, HOME_ADDRESS)))
    house.gate.admit_store(principal, Door.DIMSE, HOME_ADDRESS).settle(Outcome.DONE)
    assert house.gate.is_current(principal, Door.DIMSE, HOME_ADDRESS)
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT1"))
    assert told == [False]
    with pytest.raises(NotAllowed):
        house.gate.admit_store(principal, Door.DIMSE, HOME_ADDRESS)
    with pytest.raises(NotIdentified):
        house.call(shown, "CT1")
    undo()
    house.user("anna", Role.CLINICIAN)
    assert told == [False]


def test_a_live_peer_whose_key_was_replaced_is_no_longer_it(house: House) -> None:
    old = house.peer("CT1", Action.STORE)
    principal = house.call(old, "CT1")
    keys = [certificate(house.clock, days=60) for _ in range(2)]
    house.administer(lambda grant: house.registry.peers.renew(grant, "CT1", Pin.of(keys[0])))
    assert house.call(old, "CT1") == principal
    assert house.call(keys[0], "CT1").id == "peer:CT1"
    house.administer(lambda grant: house.registry.peers.renew(grant, "CT1", Pin.of(keys[1])))
    with pytest.raises(NotIdentified):
        house.call(old, "CT1")
    with pytest.raises(NotAllowed):
        house.gate.admit_store(principal, Door.DIMSE, HOME_ADDRESS)


def test_without_tls_only_a_marked_peer_is_known_and_only_for_echo_and_store(house: House) -> None:
    house.peer("OLD1", Action.STORE, Action.FIND, unsafe_plaintext=True)
    house.peer("NEW1", Action.STORE)
    principal = house.gate.identify(Door.DIMSE_PLAINTEXT, PlaintextPeer("OLD1", HOME_ADDRESS))
    assert principal.may == {Action.STORE, Action.ECHO}
    house.gate.admit_store(principal, Door.DIMSE_PLAINTEXT, HOME_ADDRESS).settle(Outcome.DONE)
    for admit in (house.gate.admit_find, house.gate.admit_get):
        with pytest.raises(NotAllowed):
            admit(principal, Door.DIMSE_PLAINTEXT, HOME_ADDRESS)
        with pytest.raises(NotAllowed):
            admit(principal, Door.DIMSE, HOME_ADDRESS)
    for title, address in (("NEW1", HOME_ADDRESS), ("OLD1", "10.0.0.1"), ("NONE", HOME_ADDRESS)):
        with pytest.raises(NotIdentified):
            house.gate.identify(Door.DIMSE_PLAINTEXT, PlaintextPeer(title, address))


def test_what_is_explained_of_a_peer_is_who_it_is_when_it_comes(house: House) -> None:
    rights = frozenset({Action.STORE, Action.FIND})
    key = certificate(house.clock)
    peer = Peer("WS1", ("127.0.0.0/8",), rights, (Pin.of(key),), unsafe_plaintext=True, needs_user=True)
    house.administer(lambda grant: house.registry.peers.add(grant, peer))
    ways = {way: who.may for way, who in house.registry.ways_in("WS1")}
    echo = frozenset({Action.ECHO})
    assert ways == {"TLS": echo, "TLS, a person at it": rights | echo, "unsafe plaintext": echo}
    assert house.call(key, "WS1").may == ways["TLS"]
    plain = Peer("US1", ("127.0.0.0/8",), frozenset({Action.STORE}), unsafe_plaintext=True)
    house.administer(lambda grant: house.registry.peers.add(grant, plain))
    ((way, who),) = house.registry.ways_in("US1")
    assert (way, who.may) == ("unsafe plaintext", frozenset({Action.ECHO, Action.STORE}))
    entered = house.gate.identify(Door.DIMSE_PLAINTEXT, PlaintextPeer("US1", HOME_ADDRESS))
    assert entered.may == who.may
    both = replace(plain, ae_title="US2", pins=(Pin.of(certificate(house.clock)),), may=rights)
    house.administer(lambda grant: house.registry.peers.add(grant, both))
    assert {way: who.may for way, who in house.registry.ways_in("US2")} == {
        "TLS": rights | echo,
        "unsafe plaintext": frozenset({Action.ECHO, Action.STORE}),
    }
    house.administer(lambda grant: house.registry.peers.revoke(grant, "US2"))
    assert house.registry.ways_in("US2") == house.registry.ways_in("NOBODY") == []


def test_a_token_is_its_users_and_dies_with_him(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    token, text = house.token("anna", Action.FIND, Action.GET, Action.STORE)
    principal = house.gate.identify(Door.DICOMWEB, BearerToken(text.reveal()))
    assert principal.id == f"token:{token}@anna"
    house.gate.admit_find(principal, Door.DICOMWEB, HOME_ADDRESS).settle(Outcome.DONE)
    with pytest.raises(NotAllowed):
        house.gate.admit_store(principal, Door.DICOMWEB, HOME_ADDRESS)
    house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
    with pytest.raises(NotAllowed):
        house.gate.admit_find(principal, Door.DICOMWEB, HOME_ADDRESS)
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.DICOMWEB, BearerToken(text.reveal()))


def _expire(house: House, _: str) -> None:
    house.clock.advance(days=30)


def _revoke(house: House, token: str) -> None:
    house.administer(lambda grant: house.registry.tokens.revoke(grant, token))


@pytest.mark.parametrize("end", [_expire, _revoke])
def test_a_token_that_ended_is_dead_at_once(house: House, end: Callable[[House, str], None]) -> None:
    house.user("anna", Role.CLINICIAN)
    token, text = house.token("anna", Action.FIND)
    principal = house.gate.identify(Door.DICOMWEB, BearerToken(text.reveal()))
    end(house, token)
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.DICOMWEB, BearerToken(text.reveal()))
    with pytest.raises(NotAllowed):
        house.gate.admit_find(principal, Door.DICOMWEB, HOME_ADDRESS)


def test_a_changed_token_is_nobodys(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    text = house.token("anna", Action.FIND)[1].reveal()
    for changed in (
        text[:-1],
        text + "x",
        text.swapcase(),
        text[:10] + ("0" if text[10] != "0" else "1") + text[11:],
        "",
        "lg_",
        "lg_" + "\u00e9" * 49,
        f" {text}",
    ):
        with pytest.raises(NotIdentified):
            house.gate.identify(Door.DICOMWEB, BearerToken(changed))


def test_only_the_archives_own_user_and_root_are_local(house: House) -> None:
    assert house.gate.identify(Door.CONTROL, LocalUser(0)).id == "local:0"
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.CONTROL, LocalUser(os.geteuid() + 4711))


def test_a_door_believes_its_own_kind_of_credentials_alone(house: House) -> None:
    shown = house.peer("CT1", Action.STORE, unsafe_plaintext=True)
    house.user("anna", *Role)
    text = house.token("anna", Action.FIND)[1].reveal()
    right: dict[Door, Credentials] = {
        Door.DIMSE: PeerCertificate(shown, "CT1", HOME_ADDRESS),
        Door.DIMSE_PLAINTEXT: PlaintextPeer("CT1", HOME_ADDRESS),
        Door.DICOMWEB: BearerToken(text),
        Door.PAGES: SessionCookie(house.cookie("anna")),
        Door.CONTROL: LocalUser(0),
    }
    assert set(right) == set(Door)
    for door in Door:
        for home, credentials in right.items():
            # Whoever is at the control socket may show the token of a person.
            if door is home or (door, home) == (Door.CONTROL, Door.DICOMWEB):
                house.gate.identify(door, credentials)
            else:
                with pytest.raises(NotIdentified):
                    house.gate.identify(door, credentials)


def test_strangers_are_counted_together(house: House) -> None:
    house.peer("CT1", Action.STORE)
    size = len(house.entries())
    for _ in range(500):
        with pytest.raises(NotIdentified):
            house.gate.identify(Door.DICOMWEB, BearerToken("x"))
    for _ in range(3):
        with pytest.raises(NotIdentified):
            house.call(certificate(house.clock), "CT1")
    assert len(house.entries()) == size
    house.clock.advance(seconds=61)
    house.gate.tick()
    told = house.entries(size)
    assert [(one.kind, one.door, one.count, dict(one.detail)) for one in told] == [
        (Kind.UNIDENTIFIED, Door.DICOMWEB, 500, {"unknown-token": 500}),
        (Kind.UNIDENTIFIED, Door.DIMSE, 3, {"another-key": 3}),
    ]
    house.clock.advance(seconds=600)
    house.gate.tick()
    assert len(house.entries(size)) == 2
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.CONTROL, LocalUser(4711))
    house.gate.close()
    assert house.entries(size)[-1].detail == {"another-local-user": 1}


def test_a_peer_added_again_after_revocation_needs_a_new_key(house: House) -> None:
    shown = house.peer("CT1", Action.STORE)
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT1"))
    again = Peer("CT1", ("127.0.0.1/32",), frozenset(), (Pin.of(shown),))
    with pytest.raises(Exception, match="new one"):
        house.administer(lambda grant: house.registry.peers.add(grant, again))
    new = house.peer("CT1", Action.STORE)
    assert house.call(new, "CT1").id == "peer:CT1"
