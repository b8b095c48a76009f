"""No operation without a grant, no grant without an entry, every grant settled once."""

import asyncio
import gc
import threading
from pathlib import Path

import pytest

from leadglass.access import grant as grants
from leadglass.access.gate import OFFERS, TAKES, Gate
from leadglass.access.grant import CommitmentGrant, EchoGrant, FindGrant, GetGrant, Grant, StoreGrant
from leadglass.access.identity import Principal
from leadglass.access.policy import DEFAULT_POLICY, Policy, parse_policy
from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY
from leadglass.errors import BadDataSet, BadInput, NoRoom, NotAllowed, TrailUnwritable
from leadglass.trail import layout
from leadglass.trail.entries import MAX_STUDIES, Kind
from leadglass.trail.log import TrailLog
from leadglass.vocabulary import Action, Door, Outcome, Role
from tests.access.people import HOME_ADDRESS, KEY, House
from tests.trail.trails import FullDisk

STUDIES = ("1.2.3", "1.2.4")


@pytest.fixture
def ct(house: House) -> Principal:
    return house.call(house.peer("CT1", Action.STORE, Action.FIND, Action.GET), "CT1")


@pytest.mark.parametrize("kind", [Grant, *Grant.__subclasses__()])
def test_nobody_but_the_gate_makes_a_grant(kind: type[Grant]) -> None:
    with pytest.raises(TypeError, match="made by the gate alone"):
        kind(None, Door.DIMSE, "", EVERY_STUDY, 0, None, None)  # type: ignore[arg-type] # what is handed in does not matter
    with pytest.raises(TypeError):
        kind()  # type: ignore[call-arg]


def test_every_action_of_a_grant_is_its_own() -> None:
    # To be told that what one stored is kept comes with storing.
    actions = [kind.action for kind in Grant.__subclasses__() if kind is not CommitmentGrant]
    assert len(set(actions)) == len(actions)
    assert set(actions) == set(Action)
    assert CommitmentGrant.action is Action.STORE


def test_every_door_is_in_the_gates_tables() -> None:
    assert set(TAKES) == set(OFFERS) == set(Door)


@pytest.mark.parametrize("verb", ["admit_find", "admit_get"])
def test_what_leaves_is_in_the_trail_before_it_leaves(house: House, ct: Principal, verb: str) -> None:
    size = house.trail.size
    grant = getattr(house.gate, verb)(ct, Door.DIMSE, HOME_ADDRESS, studies=STUDIES, detail={"level": "STUDY"})
    assert house.trail.size == size + 1
    ((number, intent),) = house.trail.read(size)
    assert (intent.kind, intent.principal, intent.door, intent.address) == (Kind.INTENT, "peer:CT1", Door.DIMSE, HOME_ADDRESS)
    assert (intent.action, intent.studies, intent.detail) == (grant.action, STUDIES, {"level": "STUDY"})
    grant.settle(Outcome.PARTIAL, studies=STUDIES[:1], count=7)
    ((_, outcome),) = house.trail.read(size + 1)
    assert (outcome.kind, outcome.refers_to, outcome.outcome, outcome.studies, outcome.count) == (
        Kind.OUTCOME,
        number,
        Outcome.PARTIAL,
        STUDIES[:1],
        7,
    )


def test_what_comes_in_is_in_the_trail_when_it_is_acknowledged(house: House, ct: Principal) -> None:
    size = house.trail.size
    grant = house.gate.admit_store(ct, Door.DIMSE, HOME_ADDRESS)
    assert house.trail.size == size
    grant.settle(Outcome.DONE, studies=STUDIES, count=1)
    assert [one.kind for _, one in house.trail.read(size)] == [Kind.INTENT, Kind.OUTCOME]


def test_a_denial_is_in_the_trail(house: House, ct: Principal) -> None:
    size = house.trail.size
    with pytest.raises(NotAllowed, match="peer:CT1 may not administer"):
        house.gate.admit_administer(ct, Door.DIMSE, HOME_ADDRESS)
    ((_, denial),) = house.trail.read(size)
    assert (denial.kind, denial.principal, denial.action, denial.outcome) == (Kind.DENIED, "peer:CT1", Action.ADMINISTER, Outcome.REFUSED)


def test_asking_whether_it_would_be_allowed_leaves_no_entry_and_no_grant(house: House, ct: Principal) -> None:
    size = len(house.entries())
    assert house.gate.may(ct, Door.DIMSE, Action.FIND, "192.0.2.1")
    assert not house.gate.may(ct, Door.DIMSE, Action.ADMINISTER, "192.0.2.1")
    assert not house.gate.may(ct, Door.DIMSE_PLAINTEXT, Action.STORE, "192.0.2.1")
    assert len(house.entries()) == size


ENDS: list[tuple[type[BaseException], Outcome]] = [
    (ValueError, Outcome.FAILED),
    (OSError, Outcome.FAILED),
    (BadDataSet, Outcome.REFUSED),
    (NotAllowed, Outcome.REFUSED),
    (NoRoom, Outcome.REFUSED),
    (KeyboardInterrupt, Outcome.CANCELLED),
    (GeneratorExit, Outcome.CANCELLED),
    (asyncio.CancelledError, Outcome.CANCELLED),
]


@pytest.mark.parametrize(("end", "outcome"), ENDS)
def test_a_grant_left_by_an_exception_says_how_it_ended(house: House, ct: Principal, end: type[BaseException], outcome: Outcome) -> None:
    size = house.trail.size
    with pytest.raises(end), house.gate.admit_store(ct, Door.DIMSE, HOME_ADDRESS):
        raise end
    assert [one.outcome for _, one in house.trail.read(size)] == [None, outcome]


def test_a_grant_left_without_a_word_has_failed(house: House, ct: Principal) -> None:
    size = house.trail.size
    with house.gate.admit_store(ct, Door.DIMSE, HOME_ADDRESS):
        pass
    assert [one.outcome for _, one in house.trail.read(size)] == [None, Outcome.FAILED]


def test_an_echo_that_is_left_is_done(house: House, ct: Principal) -> None:
    with house.gate.admit_echo(ct, Door.DIMSE, HOME_ADDRESS):
        pass
    assert house.entries()[-1].outcome is Outcome.DONE


def test_a_grant_is_settled_once(house: House, ct: Principal) -> None:
    with house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS) as grant:
        grant.settle(Outcome.DONE)
        size = len(house.entries())
        with pytest.raises(RuntimeError, match="once"):
            grant.settle(Outcome.FAILED)
    assert len(house.entries()) == size


def test_threads_that_settle_at_once_leave_one_outcome(house: House, ct: Principal) -> None:
    grant = house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS)
    size = len(house.entries())
    refused = []

    def settle() -> None:
        try:
            grant.settle(Outcome.DONE)
        except RuntimeError:
            refused.append(1)

    threads = [threading.Thread(target=settle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert len(house.entries()) == size + 1


def test_a_grant_that_was_dropped_is_told_of_by_the_next_call(house: House, ct: Principal) -> None:
    grant = house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS)
    intent = grant.intent
    del grant
    gc.collect()
    house.gate.tick()
    last = house.entries()[-1]
    assert (last.kind, last.refers_to, last.outcome, last.detail) == (Kind.OUTCOME, intent, Outcome.FAILED, {"abandoned": 1})
    size = len(house.entries())
    house.gate.tick()
    assert len(house.entries()) == size


def test_many_studies_are_split_over_entries(house: House, ct: Principal) -> None:
    studies = [f"1.2.{number}" for number in range(2 * MAX_STUDIES + 5)]
    grant = house.gate.admit_get(ct, Door.DIMSE, HOME_ADDRESS, studies=studies)
    size = house.trail.size
    grant.settle(Outcome.DONE, studies=studies, count=9)
    told = [one for _, one in house.trail.read(size)]
    assert [one.kind for one in told] == [Kind.OUTCOME, Kind.CONTINUED, Kind.CONTINUED]
    assert [study for one in told for study in one.studies] == studies
    assert {one.refers_to for one in told} == {grant.intent}
    assert [one.count for one in told] == [9, 0, 0]


def test_a_detail_with_a_persons_name_is_refused_and_the_grant_still_settles(house: House, ct: Principal) -> None:
    with pytest.raises(BadInput), house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS) as grant:
        grant.settle(Outcome.DONE, detail={"name": "DOE^JOHN"})
    assert house.entries()[-1].outcome is Outcome.REFUSED


def test_what_a_grant_shows_is_what_the_policy_says(tmp_path: Path) -> None:
    about = '[[rule.where]]\nattribute = "Modality"\nvalues = ["CT"]\n'
    house = House(tmp_path, policy=f'[[rule]]\nroles = ["clinician"]\nmay = ["find"]\n{about}')
    house.user("anna", Role.CLINICIAN)
    anna = house.bearer("anna", Action.FIND)
    with house.gate.admit_find(anna, Door.DICOMWEB, HOME_ADDRESS) as grant:
        assert grant.visible.admits({"Modality": "CT"})
        assert not grant.visible.admits({"Modality": "MR"})
        grant.settle(Outcome.DONE)
    house.trail.close()


def test_a_changed_policy_counts_from_the_next_request_on(house: House, ct: Principal) -> None:
    with house.gate.admit_administer(house.me, Door.CONTROL, "") as grant:
        house.gate.apply_policy(grant, Policy())
        grant.settle(Outcome.DONE)
    with pytest.raises(NotAllowed):
        house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS)
    with pytest.raises(NotAllowed):
        house.gate.admit_administer(house.me, Door.CONTROL, "")
    with pytest.raises(RuntimeError, match="settled"):
        house.gate.apply_policy(grant, parse_policy(DEFAULT_POLICY))


def test_only_an_open_grant_to_administer_changes_anything(house: House, ct: Principal) -> None:
    with house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS) as find:
        for change in (
            lambda: house.registry.peers.revoke(find, "CT1"),  # type: ignore[arg-type] # that is the point
            lambda: house.gate.apply_policy(find, Policy()),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                change()
        find.settle(Outcome.DONE)
    with house.gate.admit_administer(house.me, Door.CONTROL, "") as spent:
        spent.settle(Outcome.DONE)
    with pytest.raises(RuntimeError):
        house.registry.peers.revoke(spent, "CT1")
    assert house.gate.is_current(ct, Door.DIMSE, HOME_ADDRESS)


def test_a_made_up_principal_has_the_rights_that_are_known_now(house: House, ct: Principal) -> None:
    made_up = Principal(ct.id, ct.kind, ct.name, frozenset(Role), frozenset(Action), ct.credential)
    for admit in (house.gate.admit_administer, house.gate.admit_read_trail):
        with pytest.raises(NotAllowed):
            admit(made_up, Door.DIMSE, HOME_ADDRESS)
    nobody = Principal("peer:CT1", ct.kind, "CT1", may=frozenset(Action), credential="0" * 64)
    with pytest.raises(NotAllowed):
        house.gate.admit_store(nobody, Door.DIMSE, HOME_ADDRESS)


def test_who_came_in_by_one_door_goes_through_no_other(house: House, ct: Principal) -> None:
    for door in (Door.DIMSE_PLAINTEXT, Door.DICOMWEB, Door.CONTROL):
        assert not house.gate.is_current(ct, door, HOME_ADDRESS)
        assert not house.gate.may(ct, door, Action.STORE, "192.0.2.1")
        with pytest.raises(NotAllowed):
            house.gate.admit_store(ct, door, HOME_ADDRESS)


def test_when_the_trail_cannot_be_written_nothing_is_served(tmp_path: Path) -> None:
    house = House(tmp_path)
    shown = house.peer("CT1", Action.STORE, Action.FIND, Action.GET)
    house.trail.close()
    disk = FullDisk(tmp_path / "trail", 10**9)
    trail = TrailLog.open(tmp_path / "trail", KEY, KEY, "leadglass/test", house.clock, disk=disk)
    house.gate = gate = Gate(parse_policy(DEFAULT_POLICY), house.registry, trail, house.clock)
    ct = house.call(shown, "CT1")
    kept = gate.admit_store(ct, Door.DIMSE, HOME_ADDRESS)
    (tmp_path / "trail" / layout.RESERVE).unlink()
    disk.room = 0
    size = trail.size
    for admit in (gate.admit_find, gate.admit_get, gate.admit_administer, gate.admit_read_trail):
        with pytest.raises(TrailUnwritable):
            admit(ct, Door.DIMSE, HOME_ADDRESS)
    with pytest.raises(TrailUnwritable):
        kept.settle(Outcome.DONE)
    assert trail.size == size
    disk.room = 10**9
    gate.tick()
    told = [one for _, one in trail.read(size)]
    intents = {number for number, one in trail.read(size) if one.kind is Kind.INTENT}
    ended = [one.refers_to for one in told if one.kind is Kind.OUTCOME]
    assert sorted(intents) == sorted(number for number in ended if number is not None)
    assert {one.outcome for one in told if one.kind is Kind.OUTCOME and one.action is not Action.STORE} == {Outcome.REFUSED}
    trail.close()


def test_what_nobody_told_of_yet_waits_until_it_can_be_told(tmp_path: Path) -> None:
    house = House(tmp_path)
    ct = house.call(house.peer("CT1", Action.FIND), "CT1")
    house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS)
    gc.collect()
    house.trail.close()
    with pytest.raises(TrailUnwritable):
        house.gate.tick()
    trail = TrailLog.open(tmp_path / "trail", KEY, KEY, "leadglass/test", house.clock)
    house.gate._trail = trail  # noqa: SLF001 # as if there was room again
    house.gate.tick()
    assert [one.detail for _, one in trail.read(trail.size - 1)] == [{"abandoned": 1}]
    trail.close()


def test_starting_and_stopping_are_in_the_trail(house: House) -> None:
    house.gate.started()
    house.gate.stopped()
    assert [one.kind for one in house.entries()[-2:]] == [Kind.STARTED, Kind.STOPPED]


def test_the_types_tell_the_grants_apart(house: House, ct: Principal) -> None:
    find: FindGrant = house.gate.admit_find(ct, Door.DIMSE, HOME_ADDRESS)
    get: GetGrant = house.gate.admit_get(ct, Door.DIMSE, HOME_ADDRESS)
    store: StoreGrant = house.gate.admit_store(ct, Door.DIMSE, HOME_ADDRESS)
    echo: EchoGrant = house.gate.admit_echo(ct, Door.DIMSE, HOME_ADDRESS)
    for grant in (find, get, store, echo):
        assert repr(grant).startswith(type(grant).__name__)
        grant.settle(Outcome.DONE)
    assert echo.visible == NO_STUDY
    assert grants.NOTHING == {}
