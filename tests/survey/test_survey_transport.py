"""TLS against PS3.15 B.12: real handshakes with servers that are right, old, weak, expired or strangers' to us."""

import datetime as dt
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey import products, transport
from leadglass.survey.greeting import EVERY, WIRE_VERSIONS, ServerAnswer, read_answer
from leadglass.survey.observations import (
    Certificate,
    ClientCertificate,
    Dimse,
    ExposureLevel,
    SuiteWeakness,
    Tls,
    TlsVersion,
    Transport,
    Web,
    Write,
)
from leadglass.survey.transport import stranger_context
from tests.certificates import Authority, Identity, make_authority
from tests.survey.harness import finding_ids, run_one
from tests.survey.servers import Asked, Talk, answering, talking


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
    assert tls.old_versions == (TlsVersion.TLS_1_1, TlsVersion.TLS_1_0)
    assert "tls-old-version" in findings


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_is_known_in_both_versions(tmp_path: Path, authority: Authority, highest: ssl.TLSVersion) -> None:
    context = server_context(authority.issue("mutual"), wants=authority.file, highest=highest)
    door, tls, _ = web_tls(tmp_path, context, ca_file=str(authority.file))
    assert tls.client_certificate is ClientCertificate.REQUIRED
    assert (door.transport, door.level) == (Transport.MUTUAL_TLS, ExposureLevel.OPEN_PORT)
    # Its own certificate is seen and judged all the same: it is shown before ours is asked for.
    assert tls.version is (TlsVersion.TLS_1_2 if highest is ssl.TLSVersion.TLSv1_2 else TlsVersion.TLS_1_3)
    certificate = certificate_of(tls)
    assert (certificate.trusted, certificate.name_matches, certificate.key_bits) == (True, True, 2048)


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_dicom_door_that_wants_a_certificate_refuses_to_be_written_to(
    tmp_path: Path, authority: Authority, highest: ssl.TLSVersion
) -> None:
    context = server_context(authority.issue("dicom"), ciphers="ECDHE+AESGCM", wants=authority.file, highest=highest)

    def talk(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as tls:
            tls.recv(1)

    with talking(talk) as listener:
        result = run_one(tmp_path, {"dimse_ports": [listener.port]})
    (door,) = result.doors
    assert isinstance(door, Dimse)
    assert (door.level, door.write, door.transport) == (ExposureLevel.OPEN_PORT, Write.REFUSED, Transport.MUTUAL_TLS)
    assert door.tls is not None
    assert 0 < certificate_of(door.tls).days_left <= 30
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


def test_the_published_keys_are_digests() -> None:
    assert len(products.published_keys()) > 50
    assert all(len(bytes.fromhex(each)) == 32 for each in products.published_keys())


def test_the_sample_key_of_dcm4che_is_known() -> None:
    # The certificate of dcm4chee-arc's key.p12, whose password is "secret", as its repository has it.
    path = Path(__file__).parents[1] / "vectors" / "survey" / "dcm4che-sample.cert.pem"
    sample = x509.load_pem_x509_certificate(path.read_bytes())
    seen = transport._certificate(sample.public_bytes(serialization.Encoding.DER), None)  # noqa: SLF001 # its key is not ours to serve with
    assert seen is not None
    assert (seen.published_key, seen.self_signed, seen.key_bits) == (True, False, 2048)


def test_a_key_of_ones_own_is_not_published(tmp_path: Path, authority: Authority) -> None:
    _, tls, findings = web_tls(tmp_path, server_context(authority.issue("own")))
    assert not certificate_of(tls).published_key
    assert "published-key" not in findings


# What our own TLS library would not speak


@pytest.mark.parametrize(
    ("ciphers", "weaknesses"),
    [
        ("ECDHE+AESGCM", ()),
        ("AES256-GCM-SHA384", (SuiteWeakness.NO_FORWARD_SECRECY,)),
        ("ECDHE-RSA-AES128-SHA", (SuiteWeakness.NO_AUTHENTICATED_ENCRYPTION,)),
        ("ECDHE+AESGCM:NULL-SHA256", (SuiteWeakness.NO_ENCRYPTION,)),
        ("ECDHE+AESGCM:AECDH-AES128-SHA", (SuiteWeakness.NO_AUTHENTICATION,)),
        (
            "NULL-SHA:AES128-SHA:ECDHE-RSA-AES128-SHA",
            (SuiteWeakness.NO_ENCRYPTION, SuiteWeakness.NO_FORWARD_SECRECY, SuiteWeakness.NO_AUTHENTICATED_ENCRYPTION),
        ),
    ],
)
def test_each_weakness_of_the_suites_is_told(
    tmp_path: Path, authority: Authority, ciphers: str, weaknesses: tuple[SuiteWeakness, ...]
) -> None:
    context = server_context(authority.issue("suites"), ciphers=f"{ciphers}:@SECLEVEL=0")
    _, tls, findings = web_tls(tmp_path, context)
    assert (tls.weaknesses, tls.weak_suites) == (weaknesses, bool(weaknesses))
    assert ("tls-no-protection" in findings) == any(each.leaves_nothing for each in weaknesses)


def old_server(version: TlsVersion, suite: int, certificate: bytes) -> Talk:
    """A server of 2005: it answers a greeting that offers its one version or a later one, and its one suite; by hand."""

    def talk(link: socket.socket) -> None:
        hello = link.recv(4096)
        number = WIRE_VERSIONS[version]
        at = 44 + hello[43]
        length = int.from_bytes(hello[at : at + 2], "big")
        offered = {int.from_bytes(hello[place : place + 2], "big") for place in range(at + 2, at + 2 + length, 2)}
        if hello[:1] != b"\x16" or int.from_bytes(hello[9:11], "big") < number or suite not in offered:
            link.sendall(bytes([21, 3, 0, 0, 2, 2, 40]))
            return
        server_hello = number.to_bytes(2, "big") + bytes(32) + b"\0" + suite.to_bytes(2, "big") + b"\0"
        chain = len(certificate).to_bytes(3, "big") + certificate
        messages = b""
        for kind, body in ((2, server_hello), (11, len(chain).to_bytes(3, "big") + chain), (14, b"")):
            messages += bytes([kind]) + len(body).to_bytes(3, "big") + body
        link.sendall(bytes([22]) + number.to_bytes(2, "big") + len(messages).to_bytes(2, "big") + messages)
        link.recv(4096)

    return talk


@pytest.mark.parametrize(
    ("version", "suite", "weakness"),
    [
        (TlsVersion.SSL_3, 0x000A, SuiteWeakness.SHORT_BLOCKS),
        (TlsVersion.TLS_1_0, 0x0005, SuiteWeakness.RC4),
        (TlsVersion.TLS_1_0, 0x0003, SuiteWeakness.EXPORT),
    ],
)
def test_what_no_library_speaks_any_more_is_still_seen(tmp_path: Path, version: TlsVersion, suite: int, weakness: SuiteWeakness) -> None:
    identity = self_signed(tmp_path, bits=1024)
    der = x509.load_pem_x509_certificate(identity.certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
    with talking(old_server(version, suite, der)) as listener:
        result = run_one(tmp_path, {"dimse_ports": [listener.port]})
    (door,) = result.doors
    assert isinstance(door, Dimse)
    assert door.tls is not None
    assert (door.tls.old_versions, door.tls.weaknesses) == ((version,), (weakness,))
    assert certificate_of(door.tls).key_bits == 1024
    # It agreed on nothing with us: whether it would have wanted a certificate, nobody knows.
    assert (door.transport, door.write, door.level) == (Transport.TLS, Write.NOT_TRIED, ExposureLevel.OPEN_PORT)
    assert {"tls-old-version", "tls-weak-suites", "certificate-weak"} <= finding_ids(result)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reading_of_an_answer(raw: bytes) -> None:
    read_answer(raw)
    read_answer(b"\x16\x03\x01" + len(raw).to_bytes(2, "big") + raw)


@given(
    st.sampled_from(list(WIRE_VERSIONS)),
    st.sampled_from(EVERY),
    st.binary(max_size=32),
    st.binary(min_size=1, max_size=2000),
    st.booleans(),
    st.integers(1, 500),
)
def test_an_answer_is_read_as_it_was_written(
    version: TlsVersion, suite: int, session: bytes, certificate: bytes, wants: bool, record: int
) -> None:
    hello = WIRE_VERSIONS[version].to_bytes(2, "big") + bytes(32) + bytes([len(session)]) + session + suite.to_bytes(2, "big") + b"\0"
    chain = len(certificate).to_bytes(3, "big") + certificate
    written = [(2, hello), (11, len(chain).to_bytes(3, "big") + chain), *([(13, b"\1\1\0\0")] if wants else []), (14, b"")]
    messages = b"".join(bytes([kind]) + len(body).to_bytes(3, "big") + body for kind, body in written)
    # Messages may be cut into records anywhere (RFC 5246 6.2.1).
    pieces = [messages[at : at + record] for at in range(0, len(messages), record)]
    raw = b"".join(b"\x16\x03\x03" + len(piece).to_bytes(2, "big") + piece for piece in pieces)
    assert read_answer(raw) == ServerAnswer(version, suite, certificate, wants, is_over=True)


def test_a_wrong_name_is_found_without_an_authority(authority: Authority) -> None:
    der = x509.load_pem_x509_certificate(authority.issue("names", hosts=("pacs.example", "*.north.example")).certificate.read_bytes())
    raw = der.public_bytes(serialization.Encoding.DER)
    judged = {
        name: transport._certificate(raw, None, name)  # noqa: SLF001 # names that no test can listen under
        for name in ("pacs.example", "PACS.example.", "a.north.example", "a.b.north.example", "other.example", "")
    }
    assert [each.name_matches for each in judged.values() if each] == [True, True, True, False, False, None]


def test_a_certificate_of_no_version_that_there_is_ends_no_survey() -> None:
    (hostile,) = (Path(__file__).parents[2] / "fuzz" / "regressions" / "certificate").iterdir()
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(hostile.read_bytes())
    assert transport._certificate(hostile.read_bytes(), None) is None  # noqa: SLF001 # no TLS library of ours would serve it


@pytest.mark.parametrize("names", ["3004a3023000", "3004a5023000", "ffff", "3000"], ids=["x400Address", "ediPartyName", "junk", "none"])
def test_names_that_no_library_reads_hide_no_certificate(names: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pacs.example")])
    alternatives = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex(names))
    made = x509.CertificateBuilder(
        name, name, key.public_key(), 7, dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2034, 1, 1, tzinfo=dt.UTC)
    )
    der = made.add_extension(alternatives, critical=False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    seen = transport._certificate(der, None, "pacs.example")  # noqa: SLF001 # a name that no test can listen under
    assert seen is not None
    assert (seen.name_matches, seen.self_signed) == (False, True)
