"""Closed unless said otherwise."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.access.identity import Kind, Principal
from leadglass.access.policy import DEFAULT_POLICY, Asking, Policy, decide, parse_policy
from leadglass.errors import NotAllowed, NotIdentified
from leadglass.vocabulary import Action, Door, Role
from tests.access.people import House

PRINCIPALS = st.builds(
    Principal,
    id=st.just("x:y"),
    kind=st.sampled_from(Kind),
    name=st.sampled_from(["CT1", "anna", "*", ""]),
    roles=st.frozensets(st.sampled_from(Role)),
    may=st.frozensets(st.sampled_from(Action)),
)


@given(PRINCIPALS, st.sampled_from(Action))
def test_an_empty_policy_denies_everyone_everything(principal: Principal, action: Action) -> None:
    assert decide(Policy(), principal, action, Asking()) is None
    assert decide(parse_policy(""), principal, action, Asking()) is None


def test_an_empty_policy_denies_everyone_everything_at_the_gate(tmp_path: Path) -> None:
    house = House(tmp_path, policy="")
    shown = house.peer("CT1", Action.STORE, Action.FIND, Action.GET)
    house.user("anna", *Role)
    callers = [
        (house.call(shown, "CT1"), Door.DIMSE),
        (house.bearer("anna", Action.STORE, Action.FIND, Action.GET), Door.DICOMWEB),
        (house.me, Door.CONTROL),
    ]
    for principal, door in callers:
        for admit in _admissions(house):
            with pytest.raises(NotAllowed):
                admit(principal, door, "127.0.0.1")
        assert not any(house.gate.may(principal, door, action, "192.0.2.1") for action in Action)
    house.trail.close()


def _admissions(house: House) -> list:  # type: ignore[type-arg]
    gate = house.gate
    return [
        gate.admit_echo,
        gate.admit_find,
        gate.admit_get,
        gate.admit_store,
        gate.admit_settle,
        gate.admit_administer,
        gate.admit_read_trail,
    ]


# Who gets what by the default policy: everything that is not here is denied.
DEFAULT_RIGHTS = {
    Role.CLINICIAN: {Action.FIND, Action.GET, Action.SETTLE},
    Role.TECHNOLOGIST: {Action.STORE, Action.FIND},
    Role.ADMINISTRATOR: {Action.ADMINISTER},
    Role.AUDITOR: {Action.READ_TRAIL},
}


@pytest.mark.parametrize("role", list(Role))
def test_a_role_gets_what_the_design_says_and_no_more(role: Role) -> None:
    principal = Principal("user:x", Kind.USER, "x", frozenset({role}), frozenset(Action))
    policy = parse_policy(DEFAULT_POLICY)
    assert {action for action in Action if decide(policy, principal, action, Asking()) is not None} == DEFAULT_RIGHTS[role]


@given(st.frozensets(st.sampled_from([Action.STORE, Action.FIND, Action.GET, Action.MOVE])))
def test_a_peer_gets_what_it_was_given_and_echo(may: frozenset[Action]) -> None:
    principal = Principal("peer:X", Kind.PEER, "X", may=may | {Action.ECHO})
    policy = parse_policy(DEFAULT_POLICY)
    assert {action for action in Action if decide(policy, principal, action, Asking()) is not None} == may | {Action.ECHO}


def test_whoever_is_local_sees_no_image() -> None:
    principal = Principal("local:0", Kind.LOCAL, "0", may=frozenset(Action))
    policy = parse_policy(DEFAULT_POLICY)
    given = {action for action in Action if decide(policy, principal, action, Asking()) is not None}
    assert given == {Action.ADMINISTER, Action.READ_TRAIL, Action.STORE, Action.SETTLE}


def test_a_grant_that_is_not_about_studies_shows_none() -> None:
    principal = Principal("local:0", Kind.LOCAL, "0", may=frozenset(Action))
    policy = parse_policy(DEFAULT_POLICY)
    for action in (Action.ADMINISTER, Action.READ_TRAIL):
        visible = decide(policy, principal, action, Asking())
        assert visible is not None
        assert not visible.admits({"StudyInstanceUID": "1.2"})


def test_a_new_archive_knows_nobody(house: House) -> None:
    assert (house.registry.accounts.list(), house.registry.peers.list(), house.registry.tokens.list()) == ((), (), ())
    with pytest.raises(NotIdentified, match=r"^not identified$"):
        house.call(b"", "CT1")
