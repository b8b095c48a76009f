"""The peers themselves: that they start, do what the tests take for granted, and are gone afterwards."""

from pathlib import Path

import httpx
import psutil
import pytest
from pydicom.data import get_testdata_file

from tests import peers
from tests.certificates import make_authority

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))


def test_orthanc_opened_takes_and_gives_to_anyone(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path) as archive:
        assert peers.scu("storescu", archive.dicom, files=[CT]).returncode == 0
        assert archive.statistics()["CountInstances"] == 1
        assert archive.upload(CT.read_bytes())["Status"] == "AlreadyStored"
        found = peers.scu("findscu", archive.dicom, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID")
        assert "1CT1" in found.stdout
        assert len(httpx.get(f"{archive.url}/dicom-web/studies").json()) == 1
    assert not psutil.pid_exists(archive.process)


def test_orthanc_as_debian_ships_it_stores_for_anyone_but_answers_no_query(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path, {}) as archive:
        assert peers.scu("storescu", archive.dicom, files=[CT]).returncode == 0
        found = peers.scu("findscu", archive.dicom, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID")
        assert "1CT1" not in found.stdout


def test_orthanc_with_tls_wants_a_certificate_of_its_authority(tmp_path: Path) -> None:
    ours, foreign = make_authority(tmp_path / "ours"), make_authority(tmp_path / "foreign")
    with peers.orthanc(tmp_path / "orthanc", tls=ours.issue("orthanc")) as archive:
        assert peers.scu("echoscu", archive.dicom, tls=ours.issue("peer")).returncode == 0
        assert peers.scu("echoscu", archive.dicom, authority=ours.file).returncode != 0
        assert peers.scu("echoscu", archive.dicom).returncode != 0
        stranger = foreign.issue("stranger")
        assert peers.scu("echoscu", archive.dicom, tls=stranger, authority=ours.file).returncode != 0


def test_nginx_puts_tls_before_orthanc(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    with (
        peers.orthanc(tmp_path / "orthanc") as archive,
        peers.nginx_before(archive.url, tmp_path / "nginx", authority.issue("localhost")) as url,
    ):
        assert httpx.get(f"{url}/system", verify=authority.client_context()).json()["Version"].startswith("1.")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{url}/system")


def test_dcmqrscp_stores_finds_and_gives(tmp_path: Path) -> None:
    with peers.dcmqrscp(tmp_path) as archive:
        assert peers.scu("storescu", archive, files=[CT]).returncode == 0
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=1CT1", "-k", "StudyInstanceUID"]
        assert "1CT1" in peers.scu("findscu", archive, "-S", *keys).stdout
        fetched = tmp_path / "fetched"
        fetched.mkdir()
        study = "StudyInstanceUID=1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
        assert peers.scu("getscu", archive, "-S", "-od", fetched, "-k", "QueryRetrieveLevel=STUDY", "-k", study).returncode == 0
        assert len(list(fetched.iterdir())) == 1


def test_storescp_receives_over_tls_and_by_move(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    receiver = authority.issue("receiver")
    with peers.storescp(tmp_path / "tls", tls=receiver) as address:
        assert peers.scu("storescu", address, files=[CT], tls=authority.issue("sender")).returncode == 0
        assert peers.scu("storescu", address, files=[CT]).returncode != 0
    assert len(list((tmp_path / "tls/received").iterdir())) == 1
    with (
        peers.storescp(tmp_path / "plain") as destination,
        peers.dcmqrscp(tmp_path / "archive", movers=[("workstation", destination)]) as archive,
    ):
        peers.scu("storescu", archive, files=[CT])
        keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=1CT1"]
        peers.scu("movescu", archive, "-P", "-aem", destination.aet, *keys)
    assert len(list((tmp_path / "plain/received").iterdir())) == 1


def test_a_peer_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(peers.PeerDidNotStartError, match="no such config"),
        peers.started(["sh", "-c", "echo no such config; exit 3"], [peers.free_port()], tmp_path / "log"),
    ):
        pass
