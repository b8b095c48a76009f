"""To whom objects may be sent, and what proves that it is the one."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from leadglass.access.clock import NANOSECONDS
from leadglass.access.destinations import destination_of
from leadglass.access.peers import Peer, Pin
from leadglass.vocabulary import Action
from tests.certificates import Identity, make_authority

DAY = 86_400 * NANOSECONDS


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Identity]:
    authority = make_authority(tmp_path_factory.mktemp("authority"))
    one, other = (authority.issue(name, key=ec.generate_private_key(ec.SECP256R1())) for name in ("ONE", "OTHER"))
    return one, other


def der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def test_a_destination_is_proven_by_its_own_key_within_its_time_alone(identities: tuple[Identity, Identity]) -> None:
    one, other = (der(each.certificate) for each in identities)
    pin = Pin.of(one)
    peer = Peer("DEST", ("127.0.0.0/8",), frozenset({Action.STORE}), (pin,), "127.0.0.1", 104)
    now = pin.not_after - DAY
    destination = destination_of(peer, now)
    assert destination is not None
    assert not destination.unsafe_plaintext
    assert destination.is_proven_by(one, (), now)
    assert not destination.is_proven_by(other, (), now)
    assert not destination.is_proven_by(one, (), pin.not_after + 2 * NANOSECONDS)
    assert not destination.is_proven_by(one, (), now - 400 * DAY)
    assert not destination.is_proven_by(b"no certificate", (), now)
    assert not destination.is_proven_by(b"", (), now)


def test_who_is_no_destination(identities: tuple[Identity, Identity]) -> None:
    pin = Pin.of(der(identities[0].certificate))
    now = pin.not_after - DAY
    peer = Peer("DEST", ("127.0.0.0/8",), frozenset({Action.STORE}), (pin,), "127.0.0.1", 104)
    assert destination_of(peer, now) is not None
    assert destination_of(None, now) is None
    assert destination_of(replace(peer, revoked=True), now) is None
    assert destination_of(replace(peer, host=None, port=None), now) is None
    assert destination_of(peer, pin.not_after + 1) is None


def test_only_one_that_is_marked_so_is_called_in_plaintext(identities: tuple[Identity, Identity]) -> None:
    pin = Pin.of(der(identities[0].certificate))
    now = pin.not_after - DAY
    plain = Peer("PLAIN", ("127.0.0.0/8",), frozenset({Action.STORE}), (), "127.0.0.1", 104, unsafe_plaintext=True)
    marked = destination_of(plain, now)
    assert marked is not None
    assert marked.unsafe_plaintext
    # With a key there is no reason to go without TLS.
    both = destination_of(replace(plain, pins=(pin,)), now)
    assert both is not None
    assert not both.unsafe_plaintext
    # A key that has ended is no reason to go without TLS either.
    assert destination_of(replace(plain, pins=(pin,)), pin.not_after + 1) is None
