"""Who is held is nobody at every door until he is released; the trail says who it was, and what lies on disk is kept."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from leadglass.access.anchor import Keeper, digest_of
from leadglass.access.holds import Hold
from leadglass.access.identity import BearerToken, Kind, PeerCertificate, PlaintextPeer, Principal, UserToken
from leadglass.access.peers import Peer, Pin
from leadglass.access.registry import TABLES, Registry
from leadglass.access.sealed import SealedFile
from leadglass.archive import holding
from leadglass.errors import Damaged, NotAllowed, NotIdentified, Refused, UserNotIdentified, WrongUsage
from leadglass.trail import entries
from leadglass.trail.log import TrailLog
from leadglass.vocabulary import Action, Door, Role
from tests.access.people import ARCHIVE, HOME_ADDRESS, KEY, Clock, House, certificate

VECTORS = Path(__file__).parents[1] / "vectors" / "access"


def hold(house: House, name: str) -> Hold:
    return house.administer(lambda grant: holding.hold(house.registry, grant, name))


def release(house: House, name: str) -> Hold:
    return house.administer(lambda grant: holding.release(house.registry, grant, name))


def refused(house: House, door: Door, principal: Principal, attempt: Callable[[], Principal], kind: type[Exception]) -> None:
    """Not let in, not who he was, and admitted to nothing."""
    with pytest.raises(NotIdentified, match=r"^not identified$") as caught:
        attempt()
    assert type(caught.value) is kind
    assert not house.gate.is_current(principal, door, HOME_ADDRESS)
    with pytest.raises(NotAllowed):
        house.gate.admit_find(principal, door, HOME_ADDRESS)


def test_a_held_peer_is_nobody_until_it_is_released(house: House) -> None:
    shown = house.peer("CT1", Action.FIND)
    before = house.call(shown, "CT1")
    told: list[bool] = []
    house.registry.on_change(lambda: told.append(house.gate.is_current(before, Door.DIMSE, HOME_ADDRESS)))
    hold(house, "CT1")
    refused(house, Door.DIMSE, before, lambda: house.call(shown, "CT1"), NotIdentified)
    release(house, "CT1")
    assert told == [False, True]
    assert house.call(shown, "CT1") == before
    assert house.gate.is_current(before, Door.DIMSE, HOME_ADDRESS)


def test_a_held_peer_is_held_without_tls_and_when_it_is_added_again(house: House) -> None:
    plain = Peer("US1", ("127.0.0.0/8",), frozenset({Action.STORE}), unsafe_plaintext=True)
    house.administer(lambda grant: house.registry.peers.add(grant, plain))

    def enter() -> Principal:
        return house.gate.identify(Door.DIMSE_PLAINTEXT, PlaintextPeer("US1", HOME_ADDRESS), HOME_ADDRESS)

    before = enter()
    hold(house, "US1")
    refused(house, Door.DIMSE_PLAINTEXT, before, enter, NotIdentified)
    house.administer(lambda grant: house.registry.peers.revoke(grant, "US1"))
    house.administer(lambda grant: house.registry.peers.add(grant, plain))
    refused(house, Door.DIMSE_PLAINTEXT, before, enter, NotIdentified)
    release(house, "US1")
    assert enter() == before


@pytest.mark.parametrize("whom", ["the token", "the person"])
def test_a_held_person_or_token_is_nobody_on_the_web_and_at_a_peer(house: House, whom: str) -> None:
    shown = house.peer("WS1", Action.FIND)
    house.user("anna", Role.CLINICIAN)
    (token, text), (_, other) = house.token("anna", Action.FIND), house.token("anna", Action.FIND)

    def web(bearer: str) -> Principal:
        return house.gate.identify(Door.DICOMWEB, BearerToken(bearer), HOME_ADDRESS)

    def at_peer() -> Principal:
        return house.gate.identify(Door.DIMSE, PeerCertificate(shown, "WS1", HOME_ADDRESS, user=UserToken(BearerToken(text.reveal()))))

    on_web, at_work = web(text.reveal()), at_peer()
    hold(house, token if whom == "the token" else "anna")
    refused(house, Door.DICOMWEB, on_web, lambda: web(text.reveal()), NotIdentified)
    refused(house, Door.DIMSE, at_work, at_peer, UserNotIdentified)
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.CONTROL, BearerToken(text.reveal()))
    assert house.call(shown, "WS1").id == "peer:WS1", "the workstation itself is not held"
    if whom == "the token":
        assert web(other.reveal()).name == "anna"
    else:
        with pytest.raises(NotIdentified):
            web(other.reveal())
        assert not isinstance(house.registry.user("anna"), Principal)
    release(house, token if whom == "the token" else "user:anna")
    assert (web(text.reveal()), at_peer()) == (on_web, at_work)


def test_a_held_workstation_is_a_wrong_peer_whoever_uses_it(house: House) -> None:
    shown = house.peer("WS1", Action.FIND)
    house.user("anna", Role.CLINICIAN)
    text = house.token("anna", Action.FIND)[1].reveal()
    hold(house, "WS1")
    for user in (None, UserToken(BearerToken(text)), UserToken(BearerToken("wrong"))):
        with pytest.raises(NotIdentified) as caught:
            house.gate.identify(Door.DIMSE, PeerCertificate(shown, "WS1", HOME_ADDRESS, user=user))
        assert type(caught.value) is NotIdentified


def test_the_trail_names_who_was_held_by_whom_and_every_refusal(house: House) -> None:
    shown = house.peer("WS1", Action.FIND)
    house.user("anna", Role.CLINICIAN)
    token, text = house.token("anna", Action.FIND)
    at_work = PeerCertificate(shown, "WS1", HOME_ADDRESS, user=UserToken(BearerToken(text.reveal())))
    live = house.gate.identify(Door.DIMSE, at_work, HOME_ADDRESS)
    assert hold(house, "anna").by == house.me.id
    start = len(house.entries())
    for _ in range(3):
        with pytest.raises(UserNotIdentified):
            house.gate.identify(Door.DIMSE, at_work, HOME_ADDRESS)
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.DICOMWEB, BearerToken(text.reveal()), "10.0.0.9")
    with pytest.raises(NotAllowed):
        house.gate.admit_find(live, Door.DIMSE, HOME_ADDRESS)
    # Who does not prove to be her is not told as her.
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.DIMSE, PeerCertificate(certificate(house.clock), "WS1", HOME_ADDRESS), HOME_ADDRESS)
    house.clock.advance(seconds=61)
    house.gate.tick()
    told = [
        (one.principal, one.door, one.address, one.count, dict(one.detail))
        for one in house.entries(start)
        if one.kind is entries.Kind.DENIED
    ]
    who = f"token:{token}@anna"
    assert told == [
        (f"{who}+peer:WS1", Door.DIMSE, HOME_ADDRESS, 0, {"reason": "held-user"}),
        (f"{who}+peer:WS1", Door.DIMSE, HOME_ADDRESS, 3, {"held-user": 3}),
        (who, Door.DICOMWEB, "10.0.0.9", 1, {"held-user": 1}),
    ]
    strangers = [dict(one.detail) for one in house.entries(start) if one.kind is entries.Kind.UNIDENTIFIED]
    assert strangers == [{"another-key": 1}]


def test_a_held_destination_is_none(house: House) -> None:
    peer = Peer("DEST", ("127.0.0.0/8",), frozenset({Action.STORE}), (Pin.of(certificate(house.clock)),), "127.0.0.1", 104)
    house.administer(lambda grant: house.registry.peers.add(grant, peer))
    assert house.registry.destination("DEST") is not None
    hold(house, "DEST")
    assert house.registry.destination("DEST") is house.registry.destination("NOBODY") is None
    release(house, "DEST")
    assert house.registry.destination("DEST") is not None


# Whom a name means


def test_a_name_that_is_two_is_refused_and_says_how_to_be_exact(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    house.peer("anna", Action.FIND)
    with pytest.raises(WrongUsage, match=r"^anna is the name of a peer and of a user; say peer:anna or user:anna$"):
        hold(house, "anna")
    assert (hold(house, "user:anna").who, house.registry.holds.get(Kind.PEER, "anna")) == ("user:anna", None)
    with pytest.raises(WrongUsage, match="peer:anna is not held"):
        release(house, "peer:anna")
    with pytest.raises(WrongUsage, match="say peer:anna or user:anna"):
        release(house, "anna")
    assert release(house, "user:anna").who == "user:anna"


def test_a_peer_whose_title_looks_like_a_person_is_not_him(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    house.peer("user:anna", Action.FIND)
    house.peer("room:2", Action.FIND)
    assert hold(house, "user:anna").kind is Kind.USER
    assert hold(house, "peer:user:anna").name == "user:anna"
    assert hold(house, "room:2").who == "peer:room:2"


def test_a_name_that_is_nobodys_is_refused(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    house.peer("CT1", Action.FIND)
    for name in ("nobody", "user:CT1", "peer:anna", "token:anna", "local:0", "", ":", "peer:", "CT1 "):
        with pytest.raises(WrongUsage, match="there is no "):
            hold(house, name)
    assert house.registry.holds.table.rows() == ()


def test_a_second_hold_changes_nothing(house: House) -> None:
    house.peer("CT1", Action.FIND)
    first = hold(house, "CT1")
    house.clock.advance(days=1)
    assert hold(house, "CT1") == first
    release(house, "CT1")
    with pytest.raises(WrongUsage, match="not held"):
        release(house, "CT1")


# The last administrator


def test_the_last_administrator_is_neither_held_nor_disabled(house: House) -> None:
    def disable(name: str) -> None:
        house.administer(lambda grant: house.registry.accounts.disable(grant, name))

    house.user("adam", Role.ADMINISTRATOR)
    house.user("eve", Role.ADMINISTRATOR, Role.CLINICIAN)
    house.user("anna", Role.CLINICIAN)
    hold(house, "anna")
    hold(house, "adam")
    for attempt in (hold, lambda _, name: disable(name)):
        with pytest.raises(Refused, match="eve is the last administrator; add another first"):
            attempt(house, "eve")
    # Who is out anyhow is no last one.
    disable("adam")
    release(house, "adam")
    with pytest.raises(Refused):
        hold(house, "eve")
    house.user("noah", Role.ADMINISTRATOR)
    hold(house, "eve")
    with pytest.raises(Refused):
        disable("noah")


def test_of_two_administrators_who_go_at_once_one_stays(house: House) -> None:
    house.user("adam", Role.ADMINISTRATOR)
    house.user("eve", Role.ADMINISTRATOR)
    writing, go_on = threading.Event(), threading.Event()

    @contextmanager
    def slowly(name: str, _: str) -> Iterator[None]:
        if name == "holds.sealed":
            writing.set()
            go_on.wait(10)
        yield

    house.registry.guard(slowly)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(hold, house, "adam")
        assert writing.wait(10)
        disabling = pool.submit(house.administer, lambda grant: house.registry.accounts.disable(grant, "eve"))
        # It is not judged before the hold is there for it to see.
        with pytest.raises(TimeoutError):
            disabling.result(0.3)
        go_on.set()
        with pytest.raises(Refused, match="eve is the last administrator"):
            disabling.result(10)


# What lies on disk


def reopened(house: House) -> Registry:
    return Registry.open(house.folder / "access", KEY, ARCHIVE, house.clock)


def test_a_hold_survives_a_restart(house: House) -> None:
    shown = house.peer("CT1", Action.FIND)
    held = hold(house, "CT1")
    again = reopened(house)
    assert again.holds.table.rows() == (held,)
    assert not isinstance(again.recognise(PeerCertificate(shown, "CT1", HOME_ADDRESS)), Principal)


def test_the_kept_table_of_holds_is_read(tmp_path: Path) -> None:
    for what in TABLES:
        SealedFile(tmp_path / f"{what}.sealed", KEY, ARCHIVE, what).save([])
    (tmp_path / "holds.sealed").write_bytes((VECTORS / "1-holds.holds.sealed").read_bytes())
    rows = Registry.open(tmp_path, KEY, ARCHIVE, Clock()).holds.table.rows()
    assert [{"kind": each.kind, "name": each.name, "since": each.since, "by": each.by} for each in rows] == json.loads(
        (VECTORS / "1-holds.json").read_text()
    )


@pytest.fixture
def anchored(tmp_path: Path) -> Iterator[tuple[Path, TrailLog, Clock]]:
    """An archive's tables, trail and anchor as they were made before there were holds."""
    clock, folder = Clock(), tmp_path / "access"
    trail = TrailLog.create(tmp_path / "trail", KEY, KEY, "leadglass/test", clock)
    Registry.create(folder, KEY, ARCHIVE, clock)
    (folder / "holds.sealed").unlink()
    Keeper.create(folder, KEY, ARCHIVE, Registry.open(folder, KEY, ARCHIVE, clock), trail, clock, {})
    yield folder, trail, clock
    trail.close()


def opened(anchored: tuple[Path, TrailLog, Clock]) -> tuple[Registry, Keeper]:
    folder, trail, clock = anchored
    registry = Registry.open(folder, KEY, ARCHIVE, clock)
    return registry, Keeper.open(folder, KEY, ARCHIVE, registry, trail, clock)


def row(clock: Clock) -> Hold:
    return Hold(Kind.PEER, "CT1", clock(), "local:0")


def save(registry: Registry, *rows: Hold) -> None:
    """As a change of the table does it."""
    registry.holds.table._replace({each.who: each for each in rows})


def head(trail: TrailLog) -> dict[str, object]:
    return {"size": trail.head().size, "root": trail.head().root.hex()}


def test_an_archive_of_before_there_were_holds_opens_and_holds(anchored: tuple[Path, TrailLog, Clock]) -> None:
    folder, _, clock = anchored
    registry, keeper = opened(anchored)
    assert "holds.sealed" not in json.dumps(SealedFile(folder / "anchor.sealed", KEY, ARCHIVE, "anchor").load())
    assert keeper.problems() == []
    save(registry, row(clock))
    assert keeper.problems() == []
    again, keeper = opened(anchored)
    assert again.holds.table.rows() == (row(clock),)
    assert keeper.problems() == []


def test_holds_that_are_taken_away_or_put_back_are_found(anchored: tuple[Path, TrailLog, Clock]) -> None:
    folder, _, clock = anchored
    file = folder / "holds.sealed"
    registry, keeper = opened(anchored)
    save(registry, row(clock))
    kept = file.read_bytes()
    file.unlink()
    assert any("access/holds.sealed is not the one" in problem for problem in keeper.problems())
    with pytest.raises(Damaged, match=r"access/holds\.sealed is not the one"):
        opened(anchored)
    file.write_bytes(kept)
    registry, _ = opened(anchored)
    save(registry, row(clock), replace(row(clock), name="CT2"))
    file.write_bytes(kept)
    with pytest.raises(Damaged, match=r"access/holds\.sealed is not the one"):
        opened(anchored)


def test_holds_of_which_the_anchor_knows_nothing_are_found(anchored: tuple[Path, TrailLog, Clock]) -> None:
    folder = anchored[0]
    SealedFile(folder / "holds.sealed", KEY, ARCHIVE, "holds").save([])
    with pytest.raises(Damaged, match=r"access/holds\.sealed is not the one"):
        opened(anchored)


def test_a_power_cut_before_the_first_hold_is_on_disk_leaves_none(anchored: tuple[Path, TrailLog, Clock]) -> None:
    """The anchor names both: that there is no table, and the one that was about to be."""
    folder, trail, clock = anchored
    registry, keeper = opened(anchored)
    save(registry, row(clock))
    digest = digest_of(folder / "holds.sealed")
    (folder / "holds.sealed").unlink()
    anchor = SealedFile(folder / "anchor.sealed", KEY, ARCHIVE, "anchor")
    (kept,) = anchor.load()
    # As it stands before the table is written, and the entry that tells of it.
    anchor.save([{**kept, "tables": {**kept["tables"], "holds.sealed": ["", digest]}, **head(trail)}])
    registry, keeper = opened(anchored)
    assert registry.holds.table.rows() == ()
    assert keeper.problems() == []
