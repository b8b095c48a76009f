"""The TLS of both doors by programs that know nothing of us (nmap, OpenSSL), against PS3.15 B.12 (BCP 195: RFC 8996, RFC 9325)."""

import contextlib
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator

import pytest
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from tests import peers
from tests.archives import ArchiveUnderTest, leadglass
from tests.certificates import Identity
from tests.matrix.bench import TRUSTED
from tests.matrix.conftest import Founded
from tests.whole.relay import client_context

RECOMMENDED = {  # RFC 9325 4.2, and the one with ChaCha20 of RFC 7905, which PS3.15 B.12 allows beside them
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
TLS_1_3 = {"AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"}  # RFC 8446 B.4, without CCM
DOORS = ["dimse", "web"]


@pytest.fixture(scope="module")
def serving(stocked: Callable[[str], ArchiveUnderTest]) -> ArchiveUnderTest:
    return stocked("sample")


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, serving: ArchiveUnderTest) -> str:
    """A door's HOST:PORT."""
    return serving.words[request.param].removeprefix("https://")


@pytest.fixture
def suites(door: str) -> dict[str, set[str]]:
    """By protocol version, the suites that nmap could agree on."""
    words = [peers.require("nmap"), "-Pn", "-n", "-p", door.rpartition(":")[2], "--script", "+ssl-enum-ciphers", "127.0.0.1"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=240, check=True).stdout
    assert re.search(r"compressors: \n\| +NULL\n", told), told
    parts = re.split(r"^\| +(SSLv\d|TLSv[\d.]+): $", told, flags=re.MULTILINE)[1:]
    return {version: set(re.findall(r"(TLS_\w+)", body)) for version, body in zip(parts[::2], parts[1::2], strict=True)}


def test_only_what_bcp_195_recommends_is_agreed_on(suites: dict[str, set[str]]) -> None:
    assert suites == {"TLSv1.2": RECOMMENDED, "TLSv1.3": {f"TLS_AKE_WITH_{suite}" for suite in TLS_1_3}}


def s_client(archive: ArchiveUnderTest, door: str, *options: str, say: str = "") -> str:
    """All that OpenSSL's client says of a connection in which it sends `say`."""
    words = [peers.require("openssl"), "s_client", "-connect", door, "-CAfile", str(archive.ca), "-verify_return_error", *options]
    done = subprocess.run(words, input=say, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    return done.stdout


def identity(founded: Founded) -> Identity:
    shown = founded.known[TRUSTED].tls
    assert shown is not None
    return shown


def mine(founded: Founded) -> list[str]:
    return ["-cert", str(identity(founded).certificate), "-key", str(identity(founded).key)]


def test_a_client_cannot_renegotiate(serving: ArchiveUnderTest, door: str, founded: Founded) -> None:
    told = s_client(serving, door, "-tls1_2", *mine(founded), say="R\n")
    assert "Verify return code: 0 (ok)" in told
    assert "Secure Renegotiation IS supported" in told  # RFC 5746 is spoken, as RFC 9325 3.5 asks
    assert "RENEGOTIATING" in told
    assert "no renegotiation" in told


def test_there_is_no_ticket_to_resume_a_session_with(serving: ArchiveUnderTest, door: str, founded: Founded) -> None:
    for version in ("-tls1_2", "-tls1_3"):
        told = s_client(serving, door, version, *mine(founded), say="Q")
        assert "New, TLSv1" in told
        assert "session ticket" not in told.lower()


def test_a_session_of_tls_1_2_that_is_resumed_does_not_outlive_the_peer(founded: Founded, empty: ArchiveUnderTest) -> None:
    # OpenSSL keeps sessions of TLS 1.2 by their id, and Python's ssl cannot tell it not to.
    identity = empty.peer("LEAVING")
    context = client_context(empty.ca, identity)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    request = a_associate_rq("LEAVING", empty.dimse.aet)
    with connection(empty, context, None) as first:
        assert answer_to(first, request)[:1] == b"\x02"
        session = first.session
    leadglass("peer", "revoke", empty.home, "LEAVING")
    with connection(empty, context, session) as second:
        assert second.session_reused
        assert answer_to(second, request)[:1] == b"\x03"


@contextlib.contextmanager
def connection(archive: ArchiveUnderTest, context: ssl.SSLContext, session: ssl.SSLSession | None) -> Iterator[ssl.SSLSocket]:
    plain = socket.create_connection((archive.dimse.host, archive.dimse.port), timeout=30)
    with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secured:
        yield secured
        with contextlib.suppress(OSError):
            secured.unwrap()  # without a close_notify the session would not be kept


def answer_to(connected: ssl.SSLSocket, request: bytes) -> bytes:
    connected.sendall(request)
    return connected.recv(65536)


def a_associate_rq(calling: str, called: str) -> bytes:
    """A request for verification, as pynetdicom encodes it."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    context = build_context("1.2.840.10008.1.1")
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    request = A_ASSOCIATE_RQ()
    request.from_primitive(primitive)
    return bytes(request.encode())


REFUSED = re.compile(r"alert (certificate required|handshake failure|protocol version)")
"""How a handshake that fails looks to OpenSSL's client: the server says why (RFC 8446 6.2)."""


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_dimse_door_demands_a_certificate_of_its_clients(version: str, serving: ArchiveUnderTest, founded: Founded) -> None:
    door = serving.words["dimse"]
    without = s_client(serving, door, version, "-ign_eof", say="x")
    assert "Verification: OK" in without
    assert REFUSED.search(without), without
    shown = s_client(serving, door, version, *mine(founded), say="Q")
    assert not REFUSED.search(shown), shown


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
@pytest.mark.parametrize(("name", "told_so"), [("dimse", REFUSED), ("web", re.compile("alert protocol version|unexpected eof"))])
def test_an_old_version_is_refused(version: str, name: str, told_so: re.Pattern[str], serving: ArchiveUnderTest) -> None:
    # The client's own security level would keep it from speaking the old version at all, and nothing would be tested.
    # asyncio, under the web's door, drops the alert.
    told = s_client(serving, serving.words[name].removeprefix("https://"), version, "-cipher", "ALL:@SECLEVEL=0")
    assert "written 0 bytes" not in told
    assert "New, (NONE), Cipher is (NONE)" in told
    assert told_so.search(told), told
