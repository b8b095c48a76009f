"""TLS against PS3.15 B.12: real handshakes with servers that are right, old, weak, expired or strangers' to us."""

import datetime as dt
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from leadglass.survey import transport
from leadglass.survey.observations import Certificate, ClientCertificate, Dimse, ExposureLevel, Tls, TlsVersion, Transport, Web, Write
from leadglass.survey.transport import PUBLISHED_CERTIFICATES, stranger_context
from tests.certificates import Authority, Identity, make_authority
from tests.survey.harness import finding_ids, run_one
from tests.survey.servers import Asked, answering, talking


@pytest.fixture(name="authority", scope="module")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


def server_context(
    identity: Identity, *, ciphers: str = "", wants: Path | None = None, highest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if ciphers:
        context.set_ciphers(ciphers)
    if highest is not None:
        context.maximum_version = highest
    if wants is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(wants)
    return context


def not_found(asked: Asked) -> None:
    asked.answer(b"", status=404)


def web_tls(folder: Path, context: ssl.SSLContext, **limits: object) -> tuple[Web, Tls, set[str]]:
    with answering(not_found, tls=context) as listener:
        result = run_one(folder, {"web_ports": [listener.port]}, **limits)
    (door,) = result.doors
    assert isinstance(door, Web)
    assert door.tls is not None
    return door, door.tls, finding_ids(result)


def certificate_of(tls: Tls) -> Certificate:
    assert tls.certificate is not None
    return tls.certificate


def test_a_door_by_the_book_has_no_finding(tmp_path: Path, authority: Authority) -> None:
    context = server_context(authority.issue("good"), ciphers="ECDHE+AESGCM")
    door, tls, findings = web_tls(tmp_path, context, ca_file=str(authority.file))
    assert door.transport is Transport.TLS
    assert (tls.version, tls.old_versions, tls.weak_suites) == (TlsVersion.TLS_1_3, (), False)
    assert tls.client_certificate is ClientCertificate.NOT_REQUIRED
    assert (certificate_of(tls).trusted, certificate_of(tls).name_matches) == (True, True)
    assert findings == set()


def test_weak_suites_are_found(tmp_path: Path, authority: Authority) -> None:
    context = server_context(authority.issue("weak"), ciphers="ECDHE+AESGCM:AES128-SHA:AES256-GCM-SHA384")
    _, tls, findings = web_tls(tmp_path, context)
    assert tls.weak_suites
    assert "tls-weak-suites" in findings


def test_old_versions_are_found(tmp_path: Path, authority: Authority) -> None:
    context = server_context(authority.issue("old"), ciphers="ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    _, tls, findings = web_tls(tmp_path, context)
    assert tls.old_versions == (TlsVersion.TLS_1_1,)
    assert "tls-old-version" in findings


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_is_known_in_both_versions(tmp_path: Path, authority: Authority, highest: ssl.TLSVersion) -> None:
    context = server_context(authority.issue("mutual"), wants=authority.file, highest=highest)
    door, tls, _ = web_tls(tmp_path, context)
    assert tls.client_certificate is ClientCertificate.REQUIRED
    assert (door.transport, door.level) == (Transport.MUTUAL_TLS, ExposureLevel.OPEN_PORT)


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_dicom_door_that_wants_a_certificate_refuses_to_be_written_to(
    tmp_path: Path, authority: Authority, highest: ssl.TLSVersion
) -> None:
    context = server_context(authority.issue("dicom"), wants=authority.file, highest=highest)

    def talk(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as tls:
            tls.recv(1)

    with talking(talk) as listener:
        result = run_one(tmp_path, {"dimse_ports": [listener.port]})
    (door,) = result.doors
    assert isinstance(door, Dimse)
    assert (door.level, door.write, door.transport) == (ExposureLevel.OPEN_PORT, Write.REFUSED, Transport.MUTUAL_TLS)
    assert not result.findings


@pytest.mark.parametrize("lowest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_hangs_up_without_an_alert_wanted_a_certificate(tmp_path: Path, authority: Authority, lowest: ssl.TLSVersion) -> None:
    context = server_context(authority.issue("asyncio"), wants=authority.file)
    context.minimum_version = lowest

    def talk(link: socket.socket) -> None:
        # As asyncio's servers do: what OpenSSL has to say of the failure is never sent.
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                link.sendall(outgoing.read())
                incoming.write(link.recv(65536))
            except ssl.SSLError:
                return

    with talking(talk) as listener:
        result = run_one(tmp_path, {"dimse_ports": [listener.port]})
    (door,) = result.doors
    assert door.tls is not None
    assert door.tls.client_certificate is ClientCertificate.REQUIRED
    assert (result.transport, result.write) == (Transport.MUTUAL_TLS, Write.REFUSED)


def test_a_silent_server_that_wants_none_is_told_from_one_that_does(tmp_path: Path, authority: Authority) -> None:
    context = server_context(authority.issue("silent"))
    context.num_tickets = 0
    _, tls, _ = web_tls(tmp_path, context)
    assert tls.client_certificate is ClientCertificate.NOT_REQUIRED


def test_an_expired_certificate_is_found(tmp_path: Path, authority: Authority) -> None:
    _, tls, findings = web_tls(tmp_path, server_context(authority.issue("expired", days=-2)))
    assert certificate_of(tls).days_left < 0
    assert "certificate-expired" in findings


def test_an_authority_is_judged_only_where_the_scope_names_one(tmp_path: Path, authority: Authority) -> None:
    foreign = make_authority(tmp_path / "foreign")
    context = server_context(authority.issue("foreign"))
    _, tls, findings = web_tls(tmp_path, context)
    assert (certificate_of(tls).trusted, "certificate-untrusted" in findings) == (None, False)
    _, tls, findings = web_tls(tmp_path, context, ca_file=str(foreign.file))
    assert (certificate_of(tls).trusted, "certificate-untrusted" in findings) == (False, True)


def self_signed(folder: Path, *, bits: int) -> Identity:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elsewhere.example")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=7))
    identity = Identity(folder / "self.cert.pem", folder / "self.key.pem", folder / "self.cert.pem")
    identity.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    identity.key.write_bytes(key.private_bytes(*encoding))
    return identity


def test_a_short_key_a_wrong_name_and_a_near_end_are_found(tmp_path: Path) -> None:
    identity = self_signed(tmp_path, bits=1024)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(identity.certificate, identity.key)
    _, tls, findings = web_tls(tmp_path, context)
    certificate = certificate_of(tls)
    assert (certificate.self_signed, certificate.key_bits) == (True, 1024)
    assert {"certificate-weak", "certificate-expires-soon"} <= findings


def test_a_wrong_name_is_found(tmp_path: Path) -> None:
    identity = self_signed(tmp_path, bits=2048)
    _, tls, findings = web_tls(tmp_path, server_context(identity), ca_file=str(identity.certificate))
    assert (certificate_of(tls).trusted, certificate_of(tls).name_matches) == (True, False)
    assert "certificate-name" in findings


def test_a_stranger_offers_everything_and_trusts_nothing() -> None:
    context = stranger_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert any(cipher["name"] == "AES128-SHA" for cipher in context.get_ciphers())


def test_the_published_certificates_are_digests() -> None:
    assert PUBLISHED_CERTIFICATES
    assert all(len(bytes.fromhex(each)) == 32 for each in PUBLISHED_CERTIFICATES)


def test_a_certificate_of_no_version_that_there_is_ends_no_survey() -> None:
    (hostile,) = (Path(__file__).parents[2] / "fuzz" / "regressions" / "certificate").iterdir()
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(hostile.read_bytes())
    assert transport._certificate(hostile.read_bytes(), None) is None  # noqa: SLF001 # no TLS library of ours would serve it
