"""People sign in by name, password and second factor; nothing else lets them in, and nobody learns who has an account."""

import base64
import json
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.access import accounts as accounts_module
from leadglass.access.accounts import Account, Accounts
from leadglass.access.factors import Factor, hotp, new_factor, otpauth, step_at
from leadglass.access.grant import SigningIn
from leadglass.access.identity import ATTRIBUTES, SessionCookie
from leadglass.access.registry import TABLES, Registry
from leadglass.access.sealed import SealedFile
from leadglass.access.secret import Secret
from leadglass.access.sessions import MOST_OF_ONE, SessionLimits, Sessions
from leadglass.access.signing_in import OF_A_CODE, OF_A_NAME, OF_AN_ADDRESS
from leadglass.access.throttle import Throttle
from leadglass.archive import holding
from leadglass.errors import NotAllowed, NotIdentified, TooOften, WrongUsage
from leadglass.trail.entries import Entry, Kind
from leadglass.vocabulary import Action, Door, Outcome, Role
from tests.access.people import ARCHIVE, HOME_ADDRESS, KEY, PASSWORD, Clock, House

VECTORS = Path(__file__).parents[1] / "vectors" / "access"
WRONG = Secret("wrong horse battery")


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses of a millisecond; test_known.py tests how long they take."""
    monkeypatch.setattr(accounts_module, "_ITERATIONS", 1)
    monkeypatch.setattr(accounts_module, "_LANES", 1)
    monkeypatch.setattr(accounts_module, "_MEMORY_KIB", 8)


def refused(house: House, name: str, code: str, password: Secret = PASSWORD, address: str = HOME_ADDRESS) -> None:
    with pytest.raises(NotIdentified, match=r"^not identified$"):
        house.sign_in(name, code, password, address)


def of_kind(house: House, *kinds: Kind) -> list[Entry]:
    return [entry for entry in house.entries() if entry.kind in kinds]


# RFC 6238 and RFC 4226


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_rfc_6238(seconds: int, code: str) -> None:
    assert hotp(b"12345678901234567890", step_at(seconds * 10**9), 8) == code


def test_the_vectors_of_rfc_4226() -> None:
    codes = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]
    assert [hotp(b"12345678901234567890", counter) for counter in range(10)] == codes


def test_what_an_authenticator_is_told_makes_the_codes_that_are_taken(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    uri = urlsplit(otpauth("leadglass A/B:C", "anna", secret))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/leadglass%20A%2FB%3AC:anna")
    told = {name: value for name, (value,) in parse_qs(uri.query).items()}
    assert told == {"secret": secret, "issuer": "leadglass A/B:C", "algorithm": "SHA1", "digits": "6", "period": "30"}
    key = base64.b32decode(told["secret"])
    assert len(key) == 20
    house.sign_in("anna", hotp(key, house.clock() // 10**9 // int(told["period"]), int(told["digits"])))


def test_a_code_is_good_once_and_beside_its_step_alone(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    for steps in (-2, 2, 100):
        refused(house, "anna", house.code(secret, steps))
    house.sign_in("anna", house.code(secret, -1))
    refused(house, "anna", house.code(secret, -1))
    house.sign_in("anna", house.code(secret))
    refused(house, "anna", house.code(secret))
    # And none before it, which somebody may have looked at.
    refused(house, "anna", house.code(secret, -1))
    house.sign_in("anna", house.code(secret, 1))
    house.clock.advance(seconds=60)
    house.sign_in("anna", house.code(secret))


def test_a_used_code_is_used_after_a_restart(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, recovery = house.factor("anna")
    house.sign_in("anna", house.code(secret))
    house.sign_in("anna", recovery[0])
    kept = house.registry.open(house.folder / "access", bytes(range(32)), b"archive-of-tests", house.clock).accounts.get("anna")
    assert kept is not None
    assert kept.factor is not None
    assert kept.factor.use(Secret(house.code(secret)), house.clock()) is None
    assert kept.factor.use(Secret(recovery[0]), house.clock()) is None
    assert kept.factor.use(Secret(recovery[1]), house.clock()) is not None


def test_a_recovery_code_is_good_once_however_it_is_typed(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    _, codes = house.factor("anna")
    assert len({*codes}) == 10
    typed = [codes[0], codes[1].upper(), codes[2].replace("-", " "), f" {codes[3].replace('-', '')} "]
    for code in typed:
        house.sign_in("anna", code)
        refused(house, "anna", code)
    assert [entry.detail["recovery-codes"] for entry in of_kind(house, Kind.SIGNED_IN)] == [9, 8, 7, 6]


def test_a_new_second_factor_ends_the_old_one_and_its_recovery_codes(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    old, codes = house.factor("anna")
    new, _ = house.factor("anna")
    refused(house, "anna", house.code(old))
    refused(house, "anna", codes[0])
    house.sign_in("anna", house.code(new))


@given(st.binary(max_size=40))
def test_no_bytes_break_anything_or_are_a_code_that_is_none(shown: bytes) -> None:
    factor, now = new_factor()[0], 10**18
    good = {hotp(base64.b32decode(factor.secret), step_at(now) + beside).encode() for beside in (-1, 0, 1)}
    assert factor.use(Secret(shown), now) is None or b"".join(shown.replace(b"-", b" ").split()) in good


# Who is let in


@pytest.mark.parametrize("role", Role)
def test_nobody_signs_in_without_a_second_factor_whatever_his_role(house: House, role: Role) -> None:
    house.user("anna", role)
    for code in ("", "000000", "none"):
        refused(house, "anna", code)
    assert {entry.detail["reason"] for entry in of_kind(house, Kind.SIGN_IN_REFUSED)} == {"no-second-factor"}


def test_each_of_the_three_must_be_right(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    house.user("berta", Role.CLINICIAN)
    anna, _ = house.factor("anna")
    berta, _ = house.factor("berta")
    refused(house, "berta", house.code(anna))
    refused(house, "anna", house.code(berta))
    refused(house, "anna", house.code(anna), WRONG)
    refused(house, "Anna", house.code(anna))
    refused(house, "", house.code(anna))
    refused(house, "anna\udcff", house.code(anna))
    principal, cookie = house.sign_in("anna", house.code(anna))
    assert (principal.id, principal.roles) == ("user:anna", frozenset({Role.CLINICIAN}))
    assert house.gate.identify(Door.PAGES, SessionCookie(cookie)) == principal


def test_what_a_stranger_types_is_nowhere_in_the_trail(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, recovery = house.factor("anna")
    code = house.code(secret, -5)
    refused(house, "anna", code)
    refused(house, "anna", code, WRONG)
    refused(house, PASSWORD.reveal(), code)
    _, cookie = house.sign_in("anna", recovery[0])
    house.gate.close()
    told = b"".join(entry.encode() for entry in house.entries())
    for needle in (code, PASSWORD.reveal(), WRONG.reveal(), recovery[0], recovery[0].replace("-", ""), secret, cookie):
        assert needle.encode() not in told
    kinds = [(entry.kind, entry.principal, entry.detail.get("reason")) for entry in of_kind(house, Kind.SIGN_IN_REFUSED, Kind.SIGNED_IN)]
    assert kinds == [
        (Kind.SIGN_IN_REFUSED, "user:anna", "wrong-code"),
        (Kind.SIGN_IN_REFUSED, "user:anna", "wrong-password"),
        (Kind.SIGNED_IN, "user:anna", None),
    ]
    (strangers,) = of_kind(house, Kind.UNIDENTIFIED)
    assert strangers.detail == {"unknown-user": 1}
    assert all(entry.address == HOME_ADDRESS and entry.door is Door.PAGES for entry in of_kind(house, Kind.SIGN_IN_REFUSED, Kind.SIGNED_IN))


def test_signing_in_lets_nobody_change_anything_else(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    with pytest.raises(TypeError, match="gate alone"):
        SigningIn("anna")
    authority = SigningIn._issue("berta")  # noqa: SLF001
    with pytest.raises(TypeError, match="his own"):
        house.registry.accounts.disable(authority, "anna")  # type: ignore[arg-type] # what a mistake would hand in


@pytest.mark.parametrize("who", ["unknown", "wrong", "disabled", "held", "factorless", "coded"])
def test_whatever_is_wrong_costs_one_guess_at_a_password_and_no_wait_for_the_disk(
    house: House, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    house.user("anna", Role.CLINICIAN)
    code = "000000" if who == "coded" else house.code(house.factor("anna")[0])
    house.user("bare", Role.CLINICIAN)
    match who:
        case "disabled":
            house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
        case "held":
            house.administer(lambda grant: holding.hold(house.registry, grant, "anna"))
    guesses: list[str] = []
    waits: list[object] = []
    guess, flush = Argon2id.verify_phc_encoded, house.trail.flush

    def counted(password: bytes, kept: str) -> None:
        guesses.append(kept.rpartition("$")[0].rpartition("$")[0])
        guess(password, kept)

    class Counting:
        verify_phc_encoded = staticmethod(counted)

    def waited(*given: object) -> None:
        waits.append(given)
        flush(*given)  # type: ignore[arg-type] # whatever it takes

    monkeypatch.setattr("leadglass.access.accounts.Argon2id", Counting)
    monkeypatch.setattr(house.trail, "flush", waited)
    name = {"unknown": "nobody", "factorless": "bare"}.get(who, "anna")
    refused(house, name, code, WRONG if who == "wrong" else PASSWORD)
    assert guesses == ["$argon2id$v=19$m=8,t=1,p=1"]
    assert waits == []


# How often


@pytest.mark.parametrize("name", ["anna", "nobody"])
def test_a_name_is_tried_a_few_times_then_slowly_and_the_same_whether_there_is_one(house: House, name: str) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    for number in range(OF_A_NAME[0]):
        refused(house, name, "000000", WRONG, f"10.0.0.{number}")
    with pytest.raises(TooOften) as told:
        house.sign_in(name, house.code(secret), address="10.0.1.1")
    assert told.value.seconds == OF_A_NAME[1]
    house.clock.advance(seconds=OF_A_NAME[1])
    refused(house, name, "000000", WRONG, "10.0.1.1")
    with pytest.raises(TooOften):
        house.sign_in(name, house.code(secret), address="10.0.1.1")


def test_an_address_is_slowed_whatever_names_it_tries(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    for number in range(OF_AN_ADDRESS[0]):
        # One subscriber has a whole /64.
        refused(house, f"name{number}", "000000", WRONG, f"2001:db8::{number:x}")
    with pytest.raises(TooOften):
        house.sign_in("anna", house.code(secret), address="2001:db8::ffff")
    house.sign_in("anna", house.code(secret), address="2001:db8:0:1::1")


def test_whoever_signs_in_rightly_is_never_slowed(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    for _ in range(3 * OF_AN_ADDRESS[0]):
        house.sign_in("anna", house.code(secret))
        house.clock.advance(seconds=30)


def test_whoever_knows_the_password_guesses_few_codes(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    for number in range(OF_A_CODE[0]):
        refused(house, "anna", "00000", address=f"10.0.0.{number}")
        house.clock.advance(seconds=OF_A_NAME[1])
    refused(house, "anna", house.code(secret))
    assert of_kind(house, Kind.SIGN_IN_REFUSED)[-1].detail == {"reason": "too-many-wrong-codes"}
    house.clock.advance(seconds=OF_A_CODE[1])
    house.sign_in("anna", house.code(secret))


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 5))
def test_never_more_than_the_burst_and_the_pace(pauses: list[float], burst: int) -> None:
    clock = Clock()
    throttle, start, taken = Throttle(burst, 10, clock), clock(), 0
    for pause in pauses:
        clock.advance(seconds=pause)
        taken += not throttle.take("anna")
        assert taken <= burst + (clock() - start) / 10e9 + 1e-6


def test_a_clock_that_is_put_back_shuts_nobody_out() -> None:
    clock = Clock()
    throttle = Throttle(2, 10, clock)
    assert [throttle.take("anna"), throttle.take("anna"), throttle.take("anna")] == [0, 0, 10]
    clock.advance(days=-365)
    assert 0 < throttle.take("anna") <= 10
    clock.advance(seconds=10)
    assert throttle.take("anna") == 0


# Sessions


def test_a_session_ends_by_silence_and_after_a_day(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    limits = SessionLimits()
    _, silent = house.sign_in("anna", house.code(secret))
    house.clock.advance(seconds=limits.idle_seconds - 1)
    house.gate.identify(Door.PAGES, SessionCookie(silent))
    house.clock.advance(seconds=limits.idle_seconds - 1)
    principal = house.gate.identify(Door.PAGES, SessionCookie(silent))
    house.clock.advance(seconds=limits.idle_seconds)
    assert not house.gate.is_current(principal, Door.PAGES, HOME_ADDRESS)
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.PAGES, SessionCookie(silent))
    _, busy = house.sign_in("anna", house.code(secret))
    for _ in range(int(limits.longest_seconds // 600) - 1):
        house.clock.advance(seconds=600)
        house.gate.identify(Door.PAGES, SessionCookie(busy))
    house.clock.advance(seconds=600)
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.PAGES, SessionCookie(busy))


@pytest.mark.parametrize("change", ["disable", "hold", "password", "factor", "sign out", "ended by others"])
def test_what_ends_a_session_ends_it_at_once(house: House, change: str) -> None:
    house.user("anna", Role.CLINICIAN)
    house.user("berta", Role.CLINICIAN)
    other = house.cookie("berta")
    principal, cookie = house.sign_in("anna", house.code(house.factor("anna")[0]))
    with house.gate.admit_find(principal, Door.PAGES, HOME_ADDRESS) as grant:
        grant.settle(Outcome.DONE)
    match change:
        case "disable":
            house.administer(lambda grant: house.registry.accounts.disable(grant, "anna"))
        case "hold":
            house.administer(lambda grant: holding.hold(house.registry, grant, "anna"))
        case "password":
            house.administer(lambda grant: house.registry.accounts.set_password(grant, "anna", WRONG))
        case "factor":
            house.factor("anna")
        case "sign out":
            house.gate.sign_out(principal, Door.PAGES, HOME_ADDRESS)
            assert of_kind(house, Kind.SIGNED_OUT)[0].principal == "user:anna"
        case _:
            assert house.registry.sessions.end(lambda session: session.name == "anna") == 1
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.PAGES, SessionCookie(cookie))
    assert not house.gate.is_current(principal, Door.PAGES, HOME_ADDRESS)
    with pytest.raises(NotAllowed):
        house.gate.admit_find(principal, Door.PAGES, HOME_ADDRESS)
    assert house.gate.identify(Door.PAGES, SessionCookie(other)).name == "berta"


def test_who_is_held_is_let_in_by_nothing_until_the_release_and_then_anew(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, recovery = house.factor("anna")
    _, cookie = house.sign_in("anna", house.code(secret))
    house.administer(lambda grant: holding.hold(house.registry, grant, "anna"))
    refused(house, "anna", house.code(secret, 1))
    refused(house, "anna", recovery[0])
    refused(house, "anna", house.code(secret, 1), WRONG)
    assert [entry.detail["reason"] for entry in of_kind(house, Kind.SIGN_IN_REFUSED)] == ["held-user", "held-user", "wrong-password"]
    house.administer(lambda grant: holding.release(house.registry, grant, "anna"))
    with pytest.raises(NotIdentified):
        house.gate.identify(Door.PAGES, SessionCookie(cookie))
    # What was shown meanwhile was not used up.
    house.sign_in("anna", house.code(secret, 1))
    house.sign_in("anna", recovery[0])


def test_a_hold_in_the_middle_of_signing_in_ends_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.user("anna", Role.CLINICIAN)
    secret, _ = house.factor("anna")
    opened = house.registry.sessions.open

    def held_first(name: str, proof: str) -> tuple[str, Secret]:
        house.administer(lambda grant: holding.hold(house.registry, grant, "anna"))
        return opened(name, proof)

    monkeypatch.setattr(house.registry.sessions, "open", held_first)
    refused(house, "anna", house.code(secret))
    assert house.registry.sessions.end(lambda _: True) == 0


def test_a_session_is_good_at_the_pages_alone(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    principal, cookie = house.sign_in("anna", house.code(house.factor("anna")[0]))
    for door in set(Door) - {Door.PAGES}:
        with pytest.raises(NotIdentified):
            house.gate.identify(door, SessionCookie(cookie))
        assert not house.gate.may(principal, door, Action.FIND, "192.0.2.1")
        with pytest.raises(NotAllowed):
            house.gate.admit_find(principal, door, HOME_ADDRESS)


def test_a_session_is_kept_as_a_hash_and_a_person_has_few() -> None:
    clock = Clock()
    sessions = Sessions(clock, SessionLimits())
    texts = []
    for _ in range(MOST_OF_ONE + 3):
        texts.append(sessions.open("anna", "proof")[1].reveal())
        clock.advance(seconds=1)
    alive = [sessions.use(text) is not None for text in texts]
    assert alive == [False] * 3 + [True] * MOST_OF_ONE
    assert not any(text in repr(vars(sessions)) for text in texts)


def test_an_account_that_nobody_has_is_given_no_password_and_no_second_factor(house: House) -> None:
    with pytest.raises(NotAllowed):
        house.factor("nobody")
    with pytest.raises(NotAllowed):
        house.administer(lambda grant: house.registry.accounts.set_password(grant, "nobody", PASSWORD))
    house.user("anna", Role.CLINICIAN)
    with pytest.raises(WrongUsage, match="12"):
        house.administer(lambda grant: house.registry.accounts.set_password(grant, "anna", Secret("short")))


# What lies on disk

_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
_FACTORS = st.builds(
    Factor,
    st.binary(min_size=20, max_size=20).map(lambda secret: base64.b32encode(secret).decode()),
    st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=10).map(tuple),
    st.integers(-1, 2**62),
)
_ACCOUNTS = st.builds(
    Account,
    _NAMES,
    st.frozensets(st.sampled_from(Role), min_size=1),
    st.booleans(),
    st.integers(0, 2**63),
    st.text(st.characters(codec="ascii")),
    st.none() | _FACTORS,
    st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)), st.lists(st.text(), min_size=1, max_size=3).map(tuple)).map(
        lambda given: tuple(sorted(given.items()))
    ),
)


@settings(max_examples=20)  # each is made durable
@given(st.lists(_ACCOUNTS, max_size=4, unique_by=lambda account: account.name))
def test_people_are_read_as_they_were_written(people: list[Account]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "users.sealed"
        SealedFile(file, KEY, ARCHIVE, "users").save([accounts_module._encode(each) for each in people])  # noqa: SLF001
        kept = Accounts(SealedFile(file, KEY, ARCHIVE, "users"), Clock(), threading.RLock(), lambda _: None)
        assert kept.list() == tuple(people)


def test_the_kept_table_of_people_with_attributes_is_read(tmp_path: Path) -> None:
    for what in TABLES:
        SealedFile(tmp_path / f"{what}.sealed", KEY, ARCHIVE, what).save([])
    (tmp_path / "users.sealed").write_bytes((VECTORS / "2-attributes.users.sealed").read_bytes())
    kept = Registry.open(tmp_path, KEY, ARCHIVE, Clock()).accounts.list()
    told = json.loads((VECTORS / "2-attributes.json").read_text())
    assert [accounts_module._encode(each) for each in kept] == told  # noqa: SLF001


def test_the_kept_table_of_people_is_read(tmp_path: Path) -> None:
    """One with a second factor, one without, and one as they were written before there were any."""
    for what in TABLES:
        SealedFile(tmp_path / f"{what}.sealed", KEY, ARCHIVE, what).save([])
    (tmp_path / "users.sealed").write_bytes((VECTORS / "1-factors.users.sealed").read_bytes())
    kept = Registry.open(tmp_path, KEY, ARCHIVE, Clock()).accounts.list()
    told = json.loads((VECTORS / "1-factors.json").read_text())
    assert [(each.name, sorted(each.roles), each.disabled, each.created) for each in kept] == [
        (each["name"], each["roles"], each["disabled"], each["created"]) for each in told
    ]
    factor, *none = (each.factor for each in kept)
    assert none == [None, None]
    assert factor is not None
    assert (factor.secret, factor.last_step) == (told[0]["secret"], told[0]["last_step"])
    # RFC 6238, appendix B: 1111111111 s after 1970; the step before it was used.
    assert factor.use(Secret("050471"), 1111111111 * 10**9) is not None
    assert factor.use(Secret("081804"), 1111111111 * 10**9) is None
    for code in told[0]["recovery"]:
        used = factor.use(Secret(code), 10**18)
        assert used is not None
        assert len(used.factor.recovery) == 1
