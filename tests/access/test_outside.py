"""Outside CAs: openssl makes them, the registry recognises whom they vouch for, and nobody else."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import example, given
from hypothesis import strategies as st

from leadglass.access.identity import Kind, PeerCertificate, Principal, parse_certificate
from leadglass.access.peers import Peer, Pin
from leadglass.access.registry import Held, Registry, Stranger
from leadglass.access.sealed import SealedFile
from leadglass.access.subject import SubjectRule, names_of
from leadglass.access.vouchers import Voucher, utc
from leadglass.errors import NotAllowed, NotIdentified, WrongUsage
from leadglass.vocabulary import Action, Door, Outcome
from tests.access.people import ARCHIVE, HOME_ADDRESS, KEY, Clock, House, certificate
from tests.certificates import Identity
from tests.pki import OutsideAuthority, der

RULE = "CN=ct1.hospital.example,O=Hospital"
STORE = frozenset({Action.STORE})
VECTORS = Path(__file__).parents[1] / "vectors" / "access"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "house").mkdir()
    built = House(tmp_path / "house", clock=Clock(time.time_ns() + 60_000_000_000))
    yield built
    built.trail.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> OutsideAuthority:
    return OutsideAuthority(tmp_path_factory.mktemp("pki") / "root")


@pytest.fixture(scope="module")
def issuing(root: OutsideAuthority) -> OutsideAuthority:
    return root.under("Issuing", path_length=0)


@pytest.fixture(scope="module")
def ct1(issuing: OutsideAuthority) -> Identity:
    return issuing.device()


def read(pem: str, rule: str = RULE) -> Voucher:
    return Voucher.read(pem, rule, utc(time.time_ns()))


def add(house: House, pem: str, rule: str = RULE, ae_title: str = "CT1", **more: object) -> None:
    peer = Peer(ae_title, ("127.0.0.0/8",), STORE, vouchers=(read(pem, rule),), **more)  # type: ignore[arg-type]
    house.administer(lambda grant: house.registry.peers.add(grant, peer))


def shown(who: Identity, ae_title: str = "CT1", *, chain: bool = True) -> PeerCertificate:
    first, *rest = who.certificate.read_text().split("-----END CERTIFICATE-----\n")[:-1]
    sent = tuple(base64.b64decode(each.partition("-----BEGIN CERTIFICATE-----")[2]) for each in rest) if chain else ()
    return PeerCertificate(base64.b64decode(first.partition("-----BEGIN CERTIFICATE-----")[2]), ae_title, HOME_ADDRESS, sent)


def enter(house: House, who: Identity, ae_title: str = "CT1", *, chain: bool = True) -> Principal:
    return house.gate.identify(Door.DIMSE, shown(who, ae_title, chain=chain))


def why(house: House, who: Identity, ae_title: str = "CT1", *, chain: bool = True) -> str:
    """For what reason somebody is a stranger."""
    with pytest.raises(NotIdentified, match=r"^not identified$"):
        enter(house, who, ae_title, chain=chain)
    found = house.registry.recognise(shown(who, ae_title, chain=chain))
    assert isinstance(found, Stranger | Held)
    return str(found)


# Who is let in


def test_a_peer_is_whom_its_ca_and_its_rule_say(house: House, root: OutsideAuthority, issuing: OutsideAuthority, ct1: Identity) -> None:
    add(house, root.pem + issuing.pem)
    principal = enter(house, ct1, chain=False)
    assert (principal.id, principal.may) == ("peer:CT1", frozenset({Action.STORE, Action.ECHO}))
    house.gate.admit_store(principal, Door.DIMSE, HOME_ADDRESS).settle(Outcome.DONE)
    again = issuing.device()
    assert enter(house, again).id == "peer:CT1", "a renewed certificate needs no administrator"


def test_an_intermediate_may_come_with_the_peer_or_be_named_itself(
    house: House, root: OutsideAuthority, issuing: OutsideAuthority, ct1: Identity
) -> None:
    add(house, root.pem)
    assert enter(house, ct1).id == "peer:CT1"
    assert why(house, ct1, chain=False) == "another-subject-or-authority"
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT1"))
    add(house, issuing.pem, "CN=ct2", "CT2")
    ct2 = issuing.device("/CN=ct2")
    assert enter(house, ct2, "CT2", chain=False).id == "peer:CT2"
    assert why(house, root.device("/CN=ct2"), "CT2") == "another-subject-or-authority", "the root was not named, only the CA under it"


def test_a_rule_can_be_about_the_alternative_names(house: House, root: OutsideAuthority) -> None:
    add(house, root.pem, "DNS=CT1.hospital.example,DNS=ct1")
    assert enter(house, root.device("/CN=whatever", names="DNS:ct1,DNS:ct1.Hospital.example")).id == "peer:CT1"
    for names in ("DNS:ct1.hospital.example", "DNS:ct1,DNS:ct1.hospital.example,DNS:ct2", "URI:ct1,URI:ct1.hospital.example"):
        assert why(house, root.device("/CN=whatever", names=names)) == "another-subject-or-authority"


# Who is not

WRONG_SUBJECTS = [
    "/O=Hospital/CN=ct1.hospital.example.evil.example",
    "/O=Hospital/CN=xct1.hospital.example",
    "/O=Hospital/CN=ct1",
    "/O=Hospital/CN=CT1.hospital.example",
    "/CN=ct1.hospital.example",
    "/O=Hospital/O=Other/CN=ct1.hospital.example",
    "/O=Hospital/CN=ct1.hospital.example/CN=ct2.hospital.example",
    "/O=Hospital/CN=*",
    "/O=Hospital, CN=ct1.hospital.example/CN=other",
    "/O=Hospital/OU=ct1.hospital.example",
]


@pytest.mark.parametrize("subject", WRONG_SUBJECTS)
def test_another_subject_is_a_stranger(house: House, root: OutsideAuthority, subject: str) -> None:
    add(house, root.pem)
    assert why(house, root.device(subject)) == "another-subject-or-authority"


def _for_servers(root: OutsideAuthority) -> Identity:
    return root.device(usage="serverAuth")


def _for_any_purpose(root: OutsideAuthority) -> Identity:
    return root.device(usage=None)


def _may_not_sign(root: OutsideAuthority) -> Identity:
    return root.device(more="basicConstraints=CA:FALSE\nkeyUsage=critical,keyEncipherment\nextendedKeyUsage=clientAuth\n")


def _a_ca(root: OutsideAuthority) -> Identity:
    return root.device(
        more="basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,digitalSignature\nextendedKeyUsage=clientAuth\n"
    )


def _too_deep(root: OutsideAuthority) -> Identity:
    return root.under("Last", path_length=0).under("Beyond").device()


def _issued_by_a_device(root: OutsideAuthority) -> Identity:
    device = root.device("/CN=any")
    forged = OutsideAuthority(root.folder / "forged", "/O=Hospital/CN=Forged", (root,))
    for end in ("cert.pem", "key.pem"):
        (forged.folder / f"ca.{end}").write_bytes(
            device.certificate.with_name(device.certificate.name.replace("chain.pem", end)).read_bytes()
        )
    return forged.device()


def _of_another_ca(root: OutsideAuthority) -> Identity:
    return OutsideAuthority(root.folder / "twin", root.subject).device()


def _for_names_its_ca_may_not_give(root: OutsideAuthority) -> Identity:
    bounded = root.under("Bounded", extensions="nameConstraints=critical,permitted;DNS:radiology.example\n")
    return bounded.device(names="DNS:ct1.hospital.example")


UNFIT: list[Callable[[OutsideAuthority], Identity]] = [
    _for_servers,
    _for_any_purpose,
    _may_not_sign,
    _a_ca,
    _too_deep,
    _issued_by_a_device,
    _of_another_ca,
    _for_names_its_ca_may_not_give,
]


@pytest.mark.parametrize("make", UNFIT, ids=lambda make: make.__name__.strip("_"))
def test_a_chain_that_rfc_5280_does_not_allow_lets_nobody_in(
    house: House, tmp_path: Path, make: Callable[[OutsideAuthority], Identity]
) -> None:
    root = OutsideAuthority(tmp_path / "root")
    add(house, root.pem)
    assert why(house, make(root)) == "another-subject-or-authority"
    assert enter(house, root.device()).id == "peer:CT1", "the same by right"


def test_a_certificate_or_a_ca_that_ended_or_has_not_begun_is_refused(
    house: House, root: OutsideAuthority, issuing: OutsideAuthority, ct1: Identity
) -> None:
    add(house, root.pem)
    long = issuing.device(days=300)
    principal = enter(house, long)
    house.clock.advance(days=31)
    assert why(house, ct1) == "expired-certificate"
    assert why(house, long) == "another-subject-or-authority", "its CA's certificate ended"
    with pytest.raises(NotAllowed):
        house.gate.admit_store(principal, Door.DIMSE, HOME_ADDRESS)
    assert not house.gate.is_current(principal, Door.DIMSE, HOME_ADDRESS)
    house.clock.advance(days=-62)
    assert why(house, long) == "expired-certificate"


def test_one_cas_certificate_never_passes_for_a_peer_of_another_or_of_none(house: House, tmp_path: Path) -> None:
    north, south = (OutsideAuthority(tmp_path / name, f"/CN={name}") for name in ("north", "south"))
    add(house, north.pem, "CN=ct", "NORTH_CT")
    add(house, south.pem, "CN=ct", "SOUTH_CT")
    pinned = house.peer("PINNED", Action.STORE)
    from_north, from_south = north.device("/CN=ct"), south.device("/CN=ct")
    assert enter(house, from_north, "NORTH_CT").id == "peer:NORTH_CT"
    assert enter(house, from_south, "SOUTH_CT").id == "peer:SOUTH_CT"
    for who, title in ((from_north, "SOUTH_CT"), (from_south, "NORTH_CT"), (north.device("/CN=PINNED"), "PINNED"), (from_north, "NOBODY")):
        why(house, who, title)
    assert house.call(pinned, "PINNED").id == "peer:PINNED"
    with pytest.raises(NotIdentified):
        house.call(pinned, "NORTH_CT")


def test_a_key_that_is_pinned_for_one_peer_is_no_others(house: House, root: OutsideAuthority, ct1: Identity) -> None:
    add(house, root.pem)
    other = Peer("CT2", ("127.0.0.0/8",), STORE, (Pin.of(der(ct1.certificate)),))
    house.administer(lambda grant: house.registry.peers.add(grant, other))
    assert why(house, ct1) == "another-key"
    assert enter(house, ct1, "CT2").id == "peer:CT2"


# What could be two peers'


@pytest.mark.parametrize("rule", ["CN=ct1.hospital.example", f"{RULE},OU=Radiology", "DNS=ct1.hospital.example", "UID=7"])
def test_two_rules_that_one_certificate_could_fulfil_are_refused(
    house: House, root: OutsideAuthority, issuing: OutsideAuthority, rule: str
) -> None:
    add(house, root.pem + issuing.pem)
    for pem in (root.pem, issuing.pem):
        with pytest.raises(WrongUsage, match="could match this rule and that of peer CT1"):
            add(house, pem, rule, "CT2")
    add(house, root.pem, f"{rule},O=Other Hospital", "CT3")


def test_a_certificate_that_is_two_peers_under_cas_of_one_chain_is_neither(
    house: House, root: OutsideAuthority, issuing: OutsideAuthority, ct1: Identity
) -> None:
    add(house, root.pem)
    add(house, issuing.pem, ae_title="CT2")
    assert {why(house, ct1), why(house, ct1, "CT2")} == {"ambiguous-subject"}
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT2"))
    assert enter(house, ct1).id == "peer:CT1"


# Revoking and renewing


def test_a_revoked_peer_is_out_and_comes_back_by_a_certificate_from_after_that(
    house: House, root: OutsideAuthority, issuing: OutsideAuthority, ct1: Identity
) -> None:
    add(house, root.pem)
    principal = enter(house, ct1)
    house.clock.now = time.time_ns()
    assert root.pem in house.registry.authorities()
    house.administer(lambda grant: house.registry.holds.hold(grant, Kind.PEER, "CT1"))
    assert house.registry.authorities() == "", "a certificate under it is a stranger's, as it was before there was this peer"
    assert why(house, ct1) == "held-peer"
    house.administer(lambda grant: house.registry.holds.release(grant, Kind.PEER, "CT1"))
    assert root.pem in house.registry.authorities()
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT1"))
    assert house.registry.authorities() == ""
    assert why(house, ct1) == "revoked-peer"
    assert not house.gate.is_current(principal, Door.DIMSE, HOME_ADDRESS)
    add(house, root.pem)
    assert why(house, ct1) == "another-subject-or-authority", "the certificate that was stolen, perhaps"
    assert not house.gate.is_current(principal, Door.DIMSE, HOME_ADDRESS), "nor is a live association it again"
    time.sleep(1.1)
    house.clock.advance(seconds=60)
    assert enter(house, issuing.device()).id == "peer:CT1"


def test_a_key_that_was_revoked_is_never_vouched_for(house: House, root: OutsideAuthority, ct1: Identity) -> None:
    pin = Pin.of(der(ct1.certificate))
    house.administer(lambda grant: house.registry.peers.add(grant, Peer("CT1", ("127.0.0.0/8",), STORE, (pin,))))
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT1"))
    add(house, root.pem)
    assert why(house, ct1) == "revoked-key"
    with pytest.raises(WrongUsage, match="revoked with this key"):
        house.administer(lambda grant: house.registry.peers.renew(grant, "CT1", pin))


def test_renewing_keeps_what_was_until_it_ends_unless_told(house: House, root: OutsideAuthority, ct1: Identity, tmp_path: Path) -> None:
    new = OutsideAuthority(tmp_path / "new", "/CN=New Hospital Root")
    old_key = house.peer("CT1", Action.STORE)
    renew = house.registry.peers.renew
    house.administer(lambda grant: renew(grant, "CT1", read(root.pem)))
    house.administer(lambda grant: renew(grant, "CT1", read(new.pem)))
    before = enter(house, ct1)
    assert {house.call(old_key, "CT1").id, before.id, enter(house, new.device()).id} == {"peer:CT1"}
    house.administer(lambda grant: renew(grant, "CT1", read(new.pem), only=True))
    assert why(house, ct1) == "another-subject-or-authority"
    assert not house.gate.is_current(before, Door.DIMSE, HOME_ADDRESS)
    with pytest.raises(NotIdentified):
        house.call(old_key, "CT1")
    assert enter(house, new.device()).id == "peer:CT1"


def test_a_peer_that_we_call_is_known_by_its_key_or_its_ca(house: House, root: OutsideAuthority, issuing: OutsideAuthority) -> None:
    add(house, root.pem)
    peer, now = house.registry.peers.get("CT1"), house.clock()
    assert peer is not None
    server = shown(issuing.device(usage="serverAuth"))
    assert peer.identified_by(server.certificate, now, server.chain)
    assert not peer.identified_by(server.certificate, now)
    assert not peer.identified_by(b"", now)
    assert not peer.identified_by(server.certificate, now + 60 * 86400 * 10**9, server.chain)
    assert not replace(peer, revoked=True).identified_by(server.certificate, now, server.chain)
    assert not replace(peer, barred=frozenset({Pin.of(server.certificate).sha256})).identified_by(server.certificate, now, server.chain)
    for wrong in (issuing.device(), root.device("/CN=other", usage="serverAuth")):
        other = shown(wrong)
        assert not peer.identified_by(other.certificate, now, other.chain)
    pinned = replace(peer, vouchers=(), pins=(Pin.of(server.certificate),))
    assert pinned.identified_by(server.certificate, now)


def test_a_key_that_is_pinned_for_one_peer_is_no_other_destinations(
    house: House, root: OutsideAuthority, issuing: OutsideAuthority
) -> None:
    add(house, root.pem, host="127.0.0.1", port=104)
    server = shown(issuing.device(usage="serverAuth"))

    def proven() -> bool:
        destination = house.registry.destination("CT1")
        assert destination is not None
        return destination.is_proven_by(server.certificate, server.chain, house.clock())

    assert proven()
    other = Peer("CT2", ("127.0.0.0/8",), STORE, (Pin.of(server.certificate),))
    house.administer(lambda grant: house.registry.peers.add(grant, other))
    assert not proven()


def test_a_server_that_two_peers_rules_fit_is_no_destination(house: House, root: OutsideAuthority, issuing: OutsideAuthority) -> None:
    add(house, root.pem, host="127.0.0.1", port=104)
    add(house, issuing.pem, ae_title="CT2")
    server = shown(issuing.device(usage="serverAuth"))
    destination = house.registry.destination("CT1")
    assert destination is not None
    assert not destination.is_proven_by(server.certificate, server.chain, house.clock())
    house.administer(lambda grant: house.registry.peers.revoke(grant, "CT2"))
    assert destination.is_proven_by(server.certificate, server.chain, house.clock())


# What is typed


def test_a_ca_file_is_refused_with_what_is_wrong_with_it(root: OutsideAuthority, issuing: OutsideAuthority, tmp_path: Path) -> None:
    other = OutsideAuthority(tmp_path / "other", "/CN=Other")
    weak = OutsideAuthority(tmp_path / "weak", "/CN=Weak", extensions="", curve="P-256")
    device = root.device()
    faults = {
        "": "not certificates in PEM",
        "-----BEGIN CERTIFICATE-----\n": "not certificates in PEM",
        device.certificate.read_text(): "is no CA",
        root.pem + other.pem: "several CAs",
        issuing.pem + other.under("Stray").pem: "was not issued by",
        "x" * 70_000: "over 64 KiB",
        "".join(OutsideAuthority(tmp_path / f"n{number}", f"/CN={number}").pem for number in range(9)): "holds 9 certificates",
    }
    for pem, message in faults.items():
        with pytest.raises(WrongUsage, match=message):
            read(pem)
    with pytest.raises(WrongUsage, match="not valid now"):
        Voucher.read(weak.pem, RULE, utc(time.time_ns() + 40 * 86400 * 10**9))
    assert read(issuing.pem + root.pem).authority == der(root.certificate), "the root, wherever it stands"
    assert read(root.pem + root.pem).intermediates == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CN",
        "CN=",
        "=ct1",
        "O=Hospital",
        "O=Hospital,C=FR",
        "CN=ct1,",
        ",CN=ct1",
        "CN=ct1,,O=H",
        "XX=1,CN=a",
        "IP=everywhere",
        "CN=a\0b",
        "CN=a\nb",
        "1.2.840.x=1,CN=a",
        "CN=a\\",
        ",".join(f"CN={number}" for number in range(17)),
        "CN=" + "x" * 2000,
    ],
)
def test_a_rule_that_says_nothing_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage):
        SubjectRule.parse(text)


values = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(" ,\\=+"), min_size=1, max_size=12)
terms = st.tuples(st.sampled_from(["O", "OU", "1.2.3.4", "URI"]), values.filter(str.isprintable))


@given(st.lists(terms, max_size=5), values.filter(str.isprintable))
@example([], " ")
@example([], "a ")
@example([], "\\ ")
def test_a_rule_is_read_as_it_is_written(more: list[tuple[str, str]], name: str) -> None:
    rule = SubjectRule(tuple(sorted([*more, ("CN", name)])))
    assert SubjectRule.parse(str(rule)) == rule
    assert rule.matches(rule.names)
    assert rule.could_share(rule)
    names = dict(rule.names)
    assert not rule.matches({**names, "CN": (name, name)})
    assert not rule.matches({**names, "CN": (name + "x",)})
    other = SubjectRule.parse(f"CN={name}x" if name.strip() == name and not set(name) & set("\\,") else "CN=other than that")
    assert not rule.could_share(other)


@given(st.binary(max_size=400))
def test_no_certificate_of_a_stranger_raises(data: bytes) -> None:
    real = certificate(Clock())
    for encoded in (data, real[: len(data)] + data, data + real):
        try:
            parsed = parse_certificate(encoded)
        except NotIdentified:
            continue
        names_of(parsed)


# What lies on disk


def test_a_table_of_before_there_were_outside_cas_is_read_and_one_with_them(tmp_path: Path) -> None:
    for name in ("1-pins", "1-vouchers"):
        folder = tmp_path / name
        folder.mkdir()
        for what in ("users", "tokens"):
            SealedFile(folder / f"{what}.sealed", KEY, ARCHIVE, what).save([])
        (folder / "peers.sealed").write_bytes((VECTORS / f"{name}.peers.sealed").read_bytes())
        registry = Registry.open(folder, KEY, ARCHIVE, Clock())
        told = json.loads((VECTORS / f"{name}.json").read_text())
        rows = {peer.ae_title: peer for peer in registry.peers.list()}
        assert rows.keys() == told.keys()
        for ae_title, peer in rows.items():
            assert [str(voucher.subject) for voucher in peer.vouchers] == told[ae_title]["subjects"]
            assert [pin.sha256 for pin in peer.pins] == told[ae_title]["pins"]
            assert (peer.revoked, peer.needs_user, peer.issued_after) == tuple(told[ae_title]["rest"])
            assert all(x509.load_der_x509_certificate(voucher.authority) for voucher in peer.vouchers)
