"""A hospital's own PKI at the running archive: peers with certificates that openssl made, added and revoked while it serves."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE, build_context

from leadglass.dicom import pdu
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, propose
from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass, wait_until
from tests.certificates import Identity
from tests.pki import OutsideAuthority
from tests.whole.associating import VERIFICATION
from tests.whole.relay import client_context

RULE = "CN=ct1.hospital.example,O=Hospital"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> OutsideAuthority:
    return OutsideAuthority(tmp_path_factory.mktemp("pki") / "root")


@pytest.fixture(scope="module")
def issuing(root: OutsideAuthority) -> OutsideAuthority:
    return root.under("Issuing", path_length=0)


@pytest.fixture
def serving(archive: ArchiveUnderTest) -> Iterator[ArchiveUnderTest]:
    with archive.serving():
        yield archive


def add(archive: ArchiveUnderTest, ca: Path, *more: str, aet: str = "CT1", rule: str = RULE, code: int = 0) -> str:
    given = ["--address", "127.0.0.0/8", "--may", "store,find", "--ca", str(ca), "--subject", rule]
    return leadglass("peer", "add", archive.home, aet, *given, *more, code=code).stderr


def reach(archive: ArchiveUnderTest, who: Identity, aet: str = "HOSP_CT") -> str:
    """`accepted`, `rejected` by us, or `no TLS` where the handshake itself failed."""
    request = pdu.encode(propose(aet, "LEADGLASS", [(VERIFICATION, [IMPLICIT_LITTLE_ENDIAN])]))
    try:
        with (
            socket.create_connection((archive.dimse.host, archive.dimse.port), 20) as raw,
            client_context(archive.ca, who).wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            connection.sendall(request)
            answer = connection.recv(6)
    except (ssl.SSLError, ConnectionError):
        return "no TLS"
    return {2: "accepted", 3: "rejected"}[answer[0]] if answer else "no TLS"


def test_a_peer_of_the_hospitals_ca_comes_in_while_the_archive_serves(
    serving: ArchiveUnderTest, root: OutsideAuthority, issuing: OutsideAuthority, tmp_path: Path
) -> None:
    ours = issuing.device()
    twin = OutsideAuthority(tmp_path / "twin", root.subject).under("Issuing", path_length=0).device()
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(root.pem + issuing.pem)
    assert reach(serving, ours) == "no TLS"
    add(serving, bundle, aet="HOSP_CT")
    wait_until(lambda: reach(serving, ours) == "accepted")
    assert reach(serving, twin) == "no TLS"
    assert reach(serving, issuing.device("/O=Hospital/CN=ct2.hospital.example")) == "rejected"
    assert reach(serving, ours, "ANOTHER") == "rejected"
    assert reach(serving, ours, "CT1") == "rejected", "that title has a pinned key"
    with_ca = Identity(ours.certificate, ours.key, serving.ca)
    sent = peers.scu("storescu", serving.dimse, files=[samples.sample("CT_small.dcm")], calling="HOSP_CT", tls=with_ca)
    assert sent.returncode == 0, sent.stdout
    (listed,) = [row for row in json.loads(leadglass("peer", "list", serving.home, "--json").stdout) if row["ae_title"] == "HOSP_CT"]
    assert listed["proof"] == [f"{RULE} by CN=Hospital Root,O=Hospital"]
    assert "Hospital Root" in leadglass("peer", "list", serving.home).stdout
    assert {entry["who"] for entry in serving.trail() if entry["action"] == "store"} == {"peer:HOSP_CT"}


def test_revoking_cuts_what_is_live_and_closes_the_handshake(serving: ArchiveUnderTest, root: OutsideAuthority) -> None:
    ours = root.device()
    add(serving, root.certificate, aet="HOSP_CT")
    wait_until(lambda: reach(serving, ours) == "accepted")
    entity = AE(ae_title="HOSP_CT")
    tls: ssl.SSLContext = client_context(serving.ca, ours)
    live = entity.associate(
        serving.dimse.host, serving.dimse.port, [build_context(VERIFICATION)], ae_title="LEADGLASS", tls_args=(tls, "localhost")
    )
    assert live.is_established
    leadglass("peer", "revoke", serving.home, "HOSP_CT")
    wait_until(lambda: live.is_aborted)
    wait_until(lambda: reach(serving, ours) == "no TLS")
    add(serving, root.certificate, aet="HOSP_CT")
    wait_until(lambda: reach(serving, ours) == "rejected")
    wait_until(lambda: reach(serving, root.device()) == "accepted")


def test_a_renewed_ca_is_taken_beside_the_old_one_or_instead_of_it(
    serving: ArchiveUnderTest, root: OutsideAuthority, tmp_path: Path
) -> None:
    new = OutsideAuthority(tmp_path / "new", "/CN=New Root")
    ours, theirs = root.device(), new.device()
    add(serving, root.certificate, aet="HOSP_CT")
    leadglass("peer", "renew", serving.home, "HOSP_CT", "--ca", new.certificate, "--subject", RULE)
    wait_until(lambda: [reach(serving, each) for each in (ours, theirs)] == ["accepted", "accepted"])
    leadglass("peer", "renew", serving.home, "HOSP_CT", "--ca", new.certificate, "--subject", RULE, "--only")
    wait_until(lambda: [reach(serving, each) for each in (ours, theirs)] == ["no TLS", "accepted"])
    serving.stop()
    serving.start()
    assert [reach(serving, each) for each in (ours, theirs)] == ["no TLS", "accepted"]


def test_what_cannot_be_meant_is_refused(serving: ArchiveUnderTest, root: OutsideAuthority) -> None:
    device = root.device()
    for ca, rule, says in (
        (root.certificate, "O=Hospital", "names one device"),
        (root.certificate, "nonsense", "KIND=VALUE"),
        (device.key, RULE, "not certificates in PEM"),
        (device.certificate, RULE, "is no CA"),
        (serving.ca, RULE, "the archive's own CA"),
    ):
        assert says in add(serving, ca, aet="HOSP_CT", rule=rule, code=2)
    for options in (
        ["--ca", root.certificate],
        ["--subject", RULE, "--issue", "/tmp/who/never"],
        ["--ca", root.certificate, "--unsafe-plaintext"],
    ):
        leadglass("peer", "add", serving.home, "HOSP_CT", "--address", "127.0.0.1/32", "--may", "store", *options, code=2)
    add(serving, root.certificate, aet="HOSP_CT")
    assert "could match this rule and that of peer HOSP_CT" in add(
        serving, root.certificate, aet="OTHER", rule="CN=ct1.hospital.example", code=2
    )
