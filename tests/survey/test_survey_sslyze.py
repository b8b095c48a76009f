"""What the survey says of TLS against what sslyze says of the same door: versions, suites, and whether it wants a certificate."""

import contextlib
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leadglass.survey.observations import ClientCertificate, Dimse, SuiteWeakness, Tls, TlsVersion, Web
from tests import peers
from tests.architecture.tree import ROOT
from tests.archives import ArchiveUnderTest
from tests.certificates import Identity, make_authority
from tests.survey.harness import run_one
from tests.survey.servers import answering

SSLYZE = ROOT / ".venv/peers/bin/sslyze"
COMMANDS = {
    "ssl_3_0_cipher_suites": TlsVersion.SSL_3,
    "tls_1_0_cipher_suites": TlsVersion.TLS_1_0,
    "tls_1_1_cipher_suites": TlsVersion.TLS_1_1,
    "tls_1_2_cipher_suites": TlsVersion.TLS_1_2,
    "tls_1_3_cipher_suites": TlsVersion.TLS_1_3,
}
WANTS = {"DISABLED": ClientCertificate.NOT_REQUIRED, "REQUIRED": ClientCertificate.REQUIRED}


@dataclass(frozen=True)
class Said:
    """What both can say of a door."""

    versions: frozenset[TlsVersion]
    """Those before TLS 1.2, and the highest."""
    weaknesses: frozenset[SuiteWeakness]
    client_certificate: ClientCertificate


def weakness_by_name(suite: str) -> SuiteWeakness | None:
    """What IANA's name of a suite before TLS 1.3 gives away, the worst first: our own table goes by numbers."""
    exchange, _, cipher = suite.partition("_WITH_")
    for is_so, weakness in (
        (cipher.startswith("NULL"), SuiteWeakness.NO_ENCRYPTION),
        ("anon" in exchange, SuiteWeakness.NO_AUTHENTICATION),
        ("EXPORT" in exchange, SuiteWeakness.EXPORT),
        (cipher.startswith("RC4"), SuiteWeakness.RC4),
        (cipher.startswith(("DES", "3DES", "IDEA", "RC2")), SuiteWeakness.SHORT_BLOCKS),
        ("DHE" not in exchange, SuiteWeakness.NO_FORWARD_SECRECY),
        ("CBC" in cipher, SuiteWeakness.NO_AUTHENTICATED_ENCRYPTION),
    ):
        if is_so:
            return weakness
    return None


def by_sslyze(port: int, folder: Path) -> Said:
    if not SSLYZE.is_file():
        pytest.skip("sslyze is not installed: `make peers` installs it")
    out = folder / "sslyze.json"
    versions = ["--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"]
    subprocess.run([SSLYZE, "--quiet", "--json_out", out, *versions, f"127.0.0.1:{port}"], check=True, timeout=120)
    (scanned,) = json.loads(out.read_bytes())["server_scan_results"]
    accepted = {version: suites_of(scanned["scan_result"][command]) for command, version in COMMANDS.items()}
    taken = [version for version in TlsVersion if accepted[version]]
    old = {version for version in taken if version.rank < TlsVersion.TLS_1_2.rank}
    weaknesses = {weakness_by_name(suite) for version in taken if version is not TlsVersion.TLS_1_3 for suite in accepted[version]}
    wants = scanned["connectivity_result"]["client_auth_requirement"]
    return Said(frozenset({*old, taken[-1]}), frozenset(each for each in weaknesses if each is not None), WANTS[wants])


def suites_of(asked: dict[str, Any]) -> list[str]:
    assert asked["status"] == "COMPLETED", asked
    return [each["cipher_suite"]["name"] for each in asked["result"]["accepted_cipher_suites"]]


def by_us(port: int, folder: Path, *, dimse: bool) -> Said:
    (door,) = run_one(folder, {"dimse_ports" if dimse else "web_ports": [port]}).doors
    assert isinstance(door, Dimse if dimse else Web)
    tls: Tls | None = door.tls
    assert tls is not None
    assert tls.version is not None
    return Said(frozenset({*tls.old_versions, tls.version}), frozenset(tls.weaknesses), tls.client_certificate)


def compared(port: int, folder: Path, *, dimse: bool = False) -> Said:
    """What both say, which has to be the same."""
    ours, theirs = by_us(port, folder, dimse=dimse), by_sslyze(port, folder)
    assert ours == theirs
    return ours


def by_the_book(context: ssl.SSLContext, _: Identity) -> None:
    context.set_ciphers("ECDHE+AESGCM")


def as_python_has_it(_: ssl.SSLContext, __: Identity) -> None:
    """Nothing set."""


def of_2010(context: ssl.SSLContext, _: Identity) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def without_protection(context: ssl.SSLContext, _: Identity) -> None:
    context.set_ciphers("NULL-SHA256:AECDH-AES128-SHA:AES128-SHA256:ECDHE-RSA-AES128-SHA:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def wanting(context: ssl.SSLContext, identity: Identity) -> None:
    context.set_ciphers("ECDHE+AESGCM:AES256-SHA256")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(identity.authority)


@pytest.mark.parametrize("arranged", [by_the_book, as_python_has_it, of_2010, without_protection, wanting])
def test_of_a_server_of_ours(tmp_path: Path, arranged: Callable[[ssl.SSLContext, Identity], None]) -> None:
    identity = make_authority(tmp_path / "ca").issue("door")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    arranged(context, identity)
    with answering(lambda asked: asked.answer(b"", status=404), tls=context) as listener:
        said = compared(listener.port, tmp_path)
    assert bool(said.weaknesses) == (arranged is not by_the_book)
    assert (TlsVersion.TLS_1_0 in said.versions) == (arranged is of_2010)


@contextlib.contextmanager
def _orthanc(folder: Path) -> Iterator[tuple[int, bool]]:
    with peers.orthanc(folder / "orthanc", tls=make_authority(folder / "ca").issue("orthanc")) as archive:
        yield archive.dicom.port, True


@contextlib.contextmanager
def _nginx(folder: Path) -> Iterator[tuple[int, bool]]:
    with (
        answering(lambda asked: asked.answer(b"")) as behind,
        peers.nginx_before(f"http://127.0.0.1:{behind.port}", folder / "nginx", make_authority(folder / "ca").issue("web")) as url,
    ):
        yield int(url.rpartition(":")[2]), False


@pytest.mark.parametrize("peer", [_orthanc, _nginx])
def test_of_a_peer(tmp_path: Path, peer: Callable[[Path], contextlib.AbstractContextManager[tuple[int, bool]]]) -> None:
    with peer(tmp_path) as (port, dimse):
        compared(port, tmp_path, dimse=dimse)


def test_of_our_own_archive(tmp_path: Path) -> None:
    """sslyze finds nothing to say of either door."""
    archive = ArchiveUnderTest.found(tmp_path / "archive")
    with archive.serving():
        web, dimse = int(archive.words["web"].rpartition(":")[2]), archive.dimse.port
        assert compared(web, tmp_path) == Said(frozenset({TlsVersion.TLS_1_3}), frozenset(), ClientCertificate.NOT_REQUIRED)
        assert compared(dimse, tmp_path, dimse=True) == Said(frozenset({TlsVersion.TLS_1_3}), frozenset(), ClientCertificate.REQUIRED)
