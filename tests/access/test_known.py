"""Accounts, tokens and peers as they are kept."""

import re
import statistics
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.access.accounts import generate_password
from leadglass.access.peers import Peer, Pin, parse_network
from leadglass.access.registry import Registry
from leadglass.access.secret import Secret
from leadglass.access.tokens import make_text, well_formed
from leadglass.errors import Damaged, NotAllowed, NotIdentified, WrongUsage
from leadglass.vocabulary import Action, Role
from tests.access.people import ARCHIVE, KEY, PASSWORD, House, certificate


def test_what_is_known_is_known_after_a_restart(house: House, tmp_path: Path) -> None:
    house.user("anna", Role.CLINICIAN, Role.AUDITOR)
    house.token("anna", Action.FIND)
    house.peer("CT1", Action.STORE)
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT1"))
    house.administer(
        lambda grant: house.registry.peers.add(
            grant, Peer("CT2", ("10.0.0.0/8", "::1/128"), frozenset({Action.GET}), (Pin("ab" * 32, 5),), "host", 104, unsafe_plaintext=True)
        )
    )
    again = Registry.open(tmp_path / "access", KEY, ARCHIVE, house.clock)
    assert again.accounts.list() == house.registry.accounts.list()
    assert again.tokens.list() == house.registry.tokens.list()
    assert again.peers.list() == house.registry.peers.list()
    assert again.accounts.verify("anna", PASSWORD)


@pytest.mark.parametrize("name", ["users", "peers", "tokens"])
def test_a_changed_swapped_or_missing_file_is_damage(house: House, tmp_path: Path, name: str) -> None:
    path = tmp_path / "access" / f"{name}.sealed"
    whole = path.read_bytes()
    other = (tmp_path / "access" / ("users.sealed" if name == "peers" else "peers.sealed")).read_bytes()
    changes = [bytes([*whole[:place], whole[place] ^ 1, *whole[place + 1 :]]) for place in range(len(whole))]
    for changed in [*changes, b"", whole[:-1], whole + b"\0", other]:
        path.write_bytes(changed)
        with pytest.raises(Damaged):
            Registry.open(tmp_path / "access", KEY, ARCHIVE, house.clock)
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        Registry.open(tmp_path / "access", KEY, ARCHIVE, house.clock)
    path.write_bytes(whole)
    with pytest.raises(Damaged):
        Registry.open(tmp_path / "access", KEY, b"another archive", house.clock)
    with pytest.raises(Damaged):
        Registry.open(tmp_path / "access", bytes(32), ARCHIVE, house.clock)


def test_no_name_title_or_secret_is_in_the_clear(house: House, tmp_path: Path) -> None:
    house.user("anna", Role.CLINICIAN)
    text = house.token("anna", Action.FIND)[1].reveal()
    house.peer("NEEDLE1", Action.STORE)
    for path in (tmp_path / "access").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        for needle in (b"anna", b"NEEDLE1", text.encode(), PASSWORD.reveal_bytes()):
            assert needle not in path.read_bytes()


def test_who_is_known_is_never_started_over(house: House, tmp_path: Path) -> None:
    with pytest.raises(WrongUsage):
        Registry.create(tmp_path / "access", KEY, ARCHIVE, house.clock)


def test_a_password_opens_its_own_account_alone(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    verify = house.registry.accounts.verify
    assert verify("anna", PASSWORD)
    assert not verify("anna", Secret("wrong horse battery"))
    assert not verify("anna", Secret(""))
    assert not verify("anna", Secret("x" * 5000))
    assert not verify("nobody", PASSWORD)
    house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
    assert not verify("anna", PASSWORD)


def test_an_unknown_name_takes_as_long_as_a_wrong_password(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    house.factor("anna")

    def seconds(name: str) -> float:
        before = time.perf_counter()
        with pytest.raises(NotIdentified):
            house.sign_in(name, "000000", Secret("wrong horse battery"))
        return time.perf_counter() - before

    known, unknown = zip(*((seconds("anna"), seconds("nobody")) for _ in range(5)), strict=True)
    # The first of all may not take longer either: it would tell that a hash is made for nobody.
    assert unknown[0] < 3 * statistics.median(unknown)
    assert 0.5 < statistics.median(unknown) / statistics.median(known) < 2
    assert min(unknown) > 0.02


@pytest.mark.parametrize("name", ["", "-x", "a b", "../x", "M\u00fcller", "x" * 65, "a\n", "DOE^JOHN"])
def test_a_name_that_is_none_is_refused(house: House, name: str) -> None:
    with pytest.raises(WrongUsage):
        house.user(name, Role.CLINICIAN)


def test_an_account_needs_a_role_a_password_and_a_name_of_its_own(house: House) -> None:
    with pytest.raises(WrongUsage, match="clinician"):
        house.user("anna")
    with pytest.raises(WrongUsage, match="12"):
        house.administer(lambda grant: house.registry.accounts.add(grant, "anna", [Role.AUDITOR], Secret("short")))
    house.user("anna", Role.CLINICIAN)
    with pytest.raises(WrongUsage, match="already"):
        house.user("anna", Role.ADMINISTRATOR)
    house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
    with pytest.raises(WrongUsage, match="already"):
        house.user("anna", Role.ADMINISTRATOR)
    with pytest.raises(NotAllowed):
        house.administer(lambda grant: house.registry.accounts.disable(grant, "berta"))


def test_passwords_that_we_make_are_long_and_different() -> None:
    made = {generate_password().reveal() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"[a-z2-9]{5}(-[a-z2-9]{5}){4}", password) for password in made)


def test_tokens_are_found_by_scanners_and_checked_before_anything_else() -> None:
    text = make_text().reveal()
    assert re.fullmatch(r"lg_[0-9A-Za-z]{49}", text)
    assert well_formed(text)
    for place in range(len(text)):
        assert not well_formed(text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :])


@given(st.text(max_size=60))
def test_what_is_no_token_is_not_well_formed(text: str) -> None:
    assert not well_formed(text)


def test_a_token_is_bounded(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    for may in ((), (Action.ADMINISTER,), (Action.FIND, Action.READ_TRAIL), (Action.ECHO,)):
        with pytest.raises(WrongUsage):
            house.token("anna", *may)
    for days in (0, -1, 367):
        with pytest.raises(WrongUsage):
            house.token("anna", Action.FIND, days=days)
    with pytest.raises(NotAllowed):
        house.token("berta", Action.FIND)
    house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
    with pytest.raises(NotAllowed):
        house.token("anna", Action.FIND)


def test_a_secret_does_not_print() -> None:
    secret = Secret("needle")
    assert "needle" not in f"{secret} {secret!r} {[secret]} {secret!s} %s" % secret
    assert secret == Secret(b"needle")
    assert secret != Secret("other")
    assert secret != "needle"
    with pytest.raises(TypeError):
        hash(secret)


PIN = (Pin("00" * 32, 1),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ae_title": ""},
        {"ae_title": " CT1"},
        {"ae_title": "X" * 17},
        {"ae_title": "A\\B"},
        {"ae_title": "A\nB"},
        {"ae_title": "\u00c4"},
        {"networks": ()},
        {"networks": ("10.0.0.1/8",)},
        {"networks": ("somewhere",)},
        {"networks": ("::ffff:10.0.0.0/104",)},
        {"may": frozenset({Action.ADMINISTER})},
        {"may": frozenset({Action.READ_TRAIL})},
        {"host": "h"},
        {"port": 104},
        {"host": "h", "port": 0},
        {"host": "h", "port": 65536},
        {"pins": (), "unsafe_plaintext": True, "may": frozenset({Action.FIND})},
    ],
)
def test_a_peer_that_could_be_misunderstood_is_refused(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"ae_title": "CT1", "networks": ("10.0.0.0/8",), "may": frozenset({Action.STORE}), "pins": PIN}
    Peer(**right)  # type: ignore[arg-type] # the fields vary
    with pytest.raises(WrongUsage):
        Peer(**{**right, **wrong})  # type: ignore[arg-type]


def test_two_peers_never_share_a_title_or_a_key(house: House) -> None:
    shown = house.peer("CT1", Action.STORE)
    shared = Peer("CT2", ("10.0.0.0/8",), frozenset(), (Pin.of(shown),))
    with pytest.raises(WrongUsage, match="pinned for peer CT1"):
        house.administer(lambda grant: house.registry.peers.add(grant, shared))
    with pytest.raises(WrongUsage, match="already"):
        house.peer("CT1", Action.GET)
    with pytest.raises(WrongUsage, match="needs a key"):
        house.administer(lambda grant: house.registry.peers.add(grant, Peer("CT2", ("10.0.0.0/8",), frozenset())))
    house.peer("CT2", Action.GET)
    with pytest.raises(WrongUsage, match="pinned for peer CT1"):
        house.administer(lambda grant: house.registry.peers.renew(grant, "CT2", Pin.of(shown)))
    for change in (house.registry.peers.revoke, lambda grant, title: house.registry.peers.renew(grant, title, PIN[0])):
        with pytest.raises(NotAllowed, match="peer list"):
            house.administer(lambda grant, change=change: change(grant, "CT9"))  # type: ignore[misc]


def test_at_most_two_keys_are_pinned_and_ended_ones_go(house: House) -> None:
    house.peer("CT1", Action.STORE)
    for _ in range(3):
        pin = Pin.of(certificate(house.clock, days=60))
        house.administer(lambda grant, pin=pin: house.registry.peers.renew(grant, "CT1", pin))  # type: ignore[misc]
    peer = house.registry.peers.get("CT1")
    assert peer is not None
    assert len(peer.pins) == 2
    house.clock.advance(days=61)
    newest = Pin.of(certificate(house.clock))
    house.administer(lambda grant: house.registry.peers.renew(grant, "CT1", newest))
    peer = house.registry.peers.get("CT1")
    assert peer is not None
    assert peer.pins == (newest,)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.text(max_size=20))
def test_an_address_lies_in_the_networks_that_hold_it(address: IPv4Address | IPv6Address, text: str) -> None:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        with pytest.raises(WrongUsage, match="as IPv4"):
            parse_network(str(address))
        return
    peer = Peer("CT1", (f"{address}/{'32' if '.' in str(address) else '128'}",), frozenset(), PIN)
    assert peer.calls_from(str(address))
    assert not peer.calls_from(text) or text == str(address)
    assert str(parse_network(str(address))).startswith(str(address))
