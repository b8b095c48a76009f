"""Certificates, in real handshakes."""

import datetime
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leadglass.access.authority import Authority, Issued
from leadglass.access.identity import spki_pin
from leadglass.access.peers import Pin
from leadglass.errors import Damaged, WrongUsage
from leadglass.net import tls
from tests.access.people import ARCHIVE, KEY, Clock, House, certificate


def _now() -> int:
    return int(datetime.datetime.now(datetime.UTC).timestamp() * 1e9)


@dataclass
class Office:
    house: House
    authority: Authority
    folder: Path

    def issue(self, ae_title: str = "CT1") -> Issued:
        return self.house.administer(lambda grant: self.authority.issue_peer(grant, ae_title))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("authority")
    clock = Clock(_now())
    house = House(folder, clock=clock)
    authority = Authority.create(folder / "tls", KEY, ARCHIVE, ["pacs.example", "10.1.2.3"], clock)
    yield Office(house, authority, folder / "tls")
    house.trail.close()


def handshake(office: Office, client: ssl.SSLContext, name: str) -> bytes | None:
    """The certificate that the server saw; raises `ssl.SSLError` or `OSError` when the handshake fails on either side."""
    authority = office.authority
    identity = tls.Identity(authority.server_certificate, authority.server_key, authority.server_key_password.reveal_bytes())
    server = tls.server_context(identity, trusted_clients=authority.trust_file.read_text())
    ours, theirs = socket.socketpair()
    seen: list[bytes | None] = []
    failed: list[OSError] = []

    def serve() -> None:
        try:
            with server.wrap_socket(ours, server_side=True) as connection:
                seen.append(connection.getpeercert(binary_form=True))
                connection.sendall(b"x")
        except OSError as error:
            failed.append(error)
        finally:
            ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(theirs, server_hostname=name) as connection:
            connection.recv(1)
    finally:
        theirs.close()
        thread.join()
    if failed:
        raise failed[0]
    return seen[0]


def client_context(office: Office, issued: Issued | None, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(office.authority.ca_file))
    if issued is not None:
        assert issued.key_pem is not None
        (folder / "key.pem").write_bytes(issued.key_pem.reveal_bytes())
        (folder / "cert.pem").write_bytes(issued.certificate_pem)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize("name", ["pacs.example", "10.1.2.3", "localhost", "127.0.0.1"])
def test_an_issued_certificate_is_accepted_and_is_the_pinned_one(office: Office, tmp_path: Path, name: str) -> None:
    issued = office.issue()
    seen = handshake(office, client_context(office, issued, tmp_path), name)
    assert seen == issued.certificate_der
    assert spki_pin(seen) == Pin.of(issued.certificate_der).sha256


def test_a_server_of_another_name_is_not_ours(office: Office, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(office, client_context(office, office.issue(), tmp_path), "elsewhere.example")


def test_without_a_certificate_the_handshake_fails(office: Office, tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 # either side may see it first, each in its own words
        handshake(office, client_context(office, None, tmp_path), "localhost")


def test_the_certificate_of_another_authority_is_refused(office: Office, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "tls", KEY, b"another", [], office.house.clock)
    issued = office.house.administer(lambda grant: other.issue_peer(grant, "CT1"))
    with pytest.raises(OSError):  # noqa: PT011 # as above
        handshake(office, client_context(office, issued, tmp_path), "localhost")
    office.house.administer(lambda grant: office.authority.trust(grant, issued.certificate_pem))
    assert handshake(office, client_context(office, issued, tmp_path), "localhost") == issued.certificate_der
    another = office.house.administer(lambda grant: other.issue_peer(grant, "CT1"))
    with pytest.raises(OSError):  # noqa: PT011 # as above
        handshake(office, client_context(office, another, tmp_path), "localhost")


def test_what_is_issued_is_for_clients_and_what_serves_is_for_both(office: Office) -> None:
    peer = x509.load_der_x509_certificate(office.issue("CT1").certificate_der)
    server = x509.load_pem_x509_certificate(office.authority.server_certificate.read_bytes())
    ca = x509.load_pem_x509_certificate(office.authority.ca_file.read_bytes())
    assert list(peer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert list(server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ]
    for one in (peer, server, ca):
        key = one.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 3072
        one.verify_directly_issued_by(ca)
    assert [one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for one in (peer, server, ca)] == [False, False, True]
    assert (server.not_valid_after_utc - server.not_valid_before_utc).days == 398
    assert (ca.not_valid_after_utc - ca.not_valid_before_utc).days == 3653


def test_openssl_accepts_the_chain(office: Office, tmp_path: Path) -> None:
    (tmp_path / "peer.pem").write_bytes(office.issue().certificate_pem)
    for purpose, path in (("sslclient", tmp_path / "peer.pem"), ("sslserver", office.authority.server_certificate)):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(office.authority.ca_file), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.strip().endswith(": OK"), done.stderr


def _request(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, name: str = "EVIL"
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_request_gets_a_certificate_for_its_key_and_nothing_else_it_asks_for(office: Office, encoding: Encoding) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = _request(key).public_bytes(encoding)
    issued = office.house.administer(lambda grant: office.authority.sign_request(grant, "CT1", request))
    made = x509.load_der_x509_certificate(issued.certificate_der)
    assert made.public_key() == key.public_key()
    assert made.subject.rfc4514_string() == "CN=CT1"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.key_pem is None


def test_a_bad_request_is_refused(office: Office) -> None:
    request = _request(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER)
    broken = request[:-1] + bytes([request[-1] ^ 1])
    weak = _request(rsa.generate_private_key(65537, 1024)).public_bytes(Encoding.PEM)
    other = _request(ed25519.Ed25519PrivateKey.generate()).public_bytes(Encoding.PEM)
    for data in (b"", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\n", broken, weak, other, b"\0" * 100_000):
        with pytest.raises(WrongUsage):
            office.house.administer(lambda grant, data=data: office.authority.sign_request(grant, "CT1", data))  # type: ignore[misc]


def test_what_is_no_certificate_is_not_trusted(office: Office) -> None:
    before = office.authority.trust_file.read_bytes()
    for data in (b"", b"garbage", b"-----BEGIN CERTIFICATE-----\n", certificate(office.house.clock)[:-2]):
        with pytest.raises(WrongUsage):
            office.house.administer(lambda grant, data=data: office.authority.trust(grant, data))  # type: ignore[misc]
    assert office.authority.trust_file.read_bytes() == before
    shown = certificate(office.house.clock)
    for _ in range(2):
        assert office.house.administer(lambda grant: office.authority.trust(grant, shown)) == shown
    assert office.authority.trust_file.read_bytes().count(b"BEGIN") == before.count(b"BEGIN") + 1


def test_a_renewed_server_serves_for_longer_under_the_same_names(office: Office, tmp_path: Path) -> None:
    before = office.authority.server_expires()
    old = office.authority.server_certificate.read_bytes()
    office.house.clock.advance(seconds=120)
    office.house.administer(office.authority.renew_server)
    assert office.authority.server_expires() == before + 120 * 10**9
    assert office.authority.server_certificate.read_bytes() != old
    issued = office.issue()
    for name in ("pacs.example", "10.1.2.3", "127.0.0.1"):
        assert handshake(office, client_context(office, issued, tmp_path), name) == issued.certificate_der


def test_it_opens_again_with_its_key_alone(office: Office) -> None:
    assert Authority.open(office.folder, KEY, ARCHIVE, office.house.clock).server_key_password == office.authority.server_key_password
    for key, archive in ((bytes(32), ARCHIVE), (KEY, b"another")):
        with pytest.raises(Damaged):
            Authority.open(office.folder, key, archive, office.house.clock)
    with pytest.raises(WrongUsage):
        Authority.create(office.folder, KEY, ARCHIVE, [], office.house.clock)


@pytest.mark.parametrize("name", ["ca.cert.pem", "ca.key.sealed", "trusted.pem", "server.cert.pem", "server.key.pem"])
def test_a_missing_part_is_damage(office: Office, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "tls"
    copy.mkdir()
    for path in office.folder.iterdir():
        if path.name != name:
            (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(Damaged, match=name):
        Authority.open(copy, KEY, ARCHIVE, office.house.clock)


def test_no_private_key_lies_in_the_clear(office: Office) -> None:
    for path in office.folder.iterdir():
        data = path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"BEGIN PRIVATE KEY" not in data
        assert b"BEGIN RSA PRIVATE KEY" not in data
    assert office.authority.server_key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    environment = {**os.environ, "PASS": office.authority.server_key_password.reveal()}
    command = ["openssl", "pkey", "-in", str(office.authority.server_key), "-passin", "env:PASS", "-noout"]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
