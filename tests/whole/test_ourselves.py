"""What a stranger gets of us: nothing; by our own survey, and by tools that know nothing of it."""

import json
import subprocess
from pathlib import Path

import pydicom
import pytest

from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass
from tests.survey.harness import scope_text
from tests.whole.relay import client_context, relay
from tests.whole.stock import few

CT = pydicom.dcmread(samples.sample("CT_small.dcm"), stop_before_pixels=True)

PATHS = """
/ /index.html /dicom-web /dicom-web/ /dicom-web/studies /dicom-web/series /dicom-web/instances /dicom-web/studies?limit=1
/dicom-web/studies?PatientName=* /dicom-web/studies/{study} /dicom-web/studies/{study}/metadata /dicom-web/studies/{study}/series
/dicom-web/studies/{study}/series/{series}/instances/{instance} /dicom-web/studies/{study}/series/{series}/instances/{instance}/frames/1
/dicom-web/studies/{study}/rendered /dicom-web/studies/{study}/thumbnail /dicomweb/studies /wado/studies /rs/studies /qido-rs/studies
/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance} /wado-rs/studies/{study}
/dcm4chee-arc/aets/DCM4CHEE/rs/studies /system /patients /studies /instances /changes /statistics /tools/find /app/explorer.html /ui/app/
/orthanc/ /viewer/ /ohif/ /metrics /health /status /debug /docs /openapi.json /robots.txt /.env /.git/config /server-status
/leadglass.toml /home/leadglass.toml /trail/checkpoint /keys/versions /tls/ca.cert.pem /blobs/ /control.sock
/../../etc/passwd /dicom-web/../../../etc/passwd /dicom-web/studies/..%2f..%2fetc%2fpasswd /%2e%2e/%2e%2e/etc/passwd //etc/passwd
"""


@pytest.fixture(scope="module")
def secrets() -> list[bytes]:
    """Values that must not leave: of every stored object's patient, study, series and image."""
    found = set()
    for path in few():
        data_set = pydicom.dcmread(path, stop_before_pixels=True)
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDescription"):
            found.add(str(data_set.get(keyword, "")).encode())
    return [value for value in found if len(value) > 3]


@pytest.fixture
def surveyed(stocked: ArchiveUnderTest, tmp_path: Path) -> tuple[int, dict[str, object]]:
    target = {
        "name": "ourselves",
        "host": "127.0.0.1",
        "dimse_ports": [stocked.dimse.port],
        "web_ports": [int(stocked.words["web"].rsplit(":", 1)[1])],
    }
    scope = tmp_path / "scope.toml"
    scope.write_text(scope_text([target], limits={"level": "retrieve", "timeout_seconds": 5}))
    done = leadglass("survey", scope, "--out", tmp_path / "out", code=None)
    return done.returncode, json.loads((tmp_path / "out" / "results.json").read_text())


def test_our_survey_of_ourselves_finds_nothing(surveyed: tuple[int, dict[str, object]]) -> None:
    code, results = surveyed
    targets = results["targets"]
    assert isinstance(targets, list)
    (target,) = targets
    assert target["findings"] == []
    assert target["level"] in {"open-port", "dicom"}
    assert (target["records"], target["fields"], target["write"]) == (None, [], "refused")
    assert {door["level"] for door in target["doors"]} <= {"closed", "open-port", "dicom"}
    assert target["doors"]
    assert code == 0


def test_nmap_gets_no_association(stocked: ArchiveUnderTest) -> None:
    words = [peers.require("nmap"), "-Pn", "-n", "-p", str(stocked.dimse.port), "--script", "dicom-ping,dicom-brute", "127.0.0.1"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    assert f"{stocked.dimse.port}/tcp open" in told
    for word in ("dicom-ping", "dicom-brute", "Any AET is accepted", "success", "LEADGLASS"):
        assert word not in told


def test_dcmtk_as_a_stranger_gets_no_association(stocked: ArchiveUnderTest, tmp_path: Path) -> None:
    study = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"]
    for tool, options in {"echoscu": [], "findscu": study, "getscu": [*study, "-od", str(tmp_path)], "movescu": study}.items():
        for called in ("LEADGLASS", "ANY-SCP", "ORTHANC"):
            door = peers.DimseAddress(stocked.dimse.port, called)
            # getscu and movescu of DCMTK 3.6.7 have no TLS, and would only say that they do not know the option.
            with relay(door, client_context(stocked.ca)) as over_tls:
                for to in (door, over_tls.address):
                    done = peers.scu(tool, to, *options, "-to", "5")
                    assert done.returncode != 0
                    assert "Requesting Association" in done.stdout
                    assert "Association Accepted" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT"])
def test_curl_as_a_stranger_gets_nothing(method: str, stocked: ArchiveUnderTest, secrets: list[bytes]) -> None:
    names = {"study": CT.StudyInstanceUID, "series": CT.SeriesInstanceUID, "instance": CT.SOPInstanceUID}
    urls = [stocked.words["web"] + path.format(**names) for path in PATHS.split()]
    how = ["--head"] if method == "HEAD" else ["-X", method]
    options = [
        "-s",
        "-i",
        "-g",
        "--path-as-is",
        "--max-time",
        "20",
        "--cacert",
        str(stocked.ca),
        "-w",
        "\n=== %{http_code} %{size_download}\n",
        *how,
    ]
    told = subprocess.run([peers.require("curl"), *options, *urls], capture_output=True, timeout=120, check=True).stdout
    codes = [line.split()[1] for line in told.decode(errors="replace").splitlines() if line.startswith("=== ")]
    assert len(codes) == len(urls)
    # A token is asked for under /dicom-web; elsewhere a reader is shown to the entrance, and whoever would change anything is refused.
    elsewhere = "303" if method in {"GET", "HEAD"} else "403"
    paths = [url.removeprefix(stocked.words["web"]).partition("?")[0] for url in urls]
    expected = ["401" if path == "/dicom-web" or path.startswith("/dicom-web/") else elsewhere for path in paths]
    differing = [(path, code) for path, code, each in zip(paths, codes, expected, strict=True) if code != each]
    assert {code for _, code in differing} <= {"400"}, differing
    assert len(differing) < 5
    assert told.lower().count(b"\nlocation: ") == told.lower().count(b"\nlocation: /sign-in\r") == codes.count("303")
    assert not [value for value in secrets if value in told]
    assert b"root:" not in told


def test_plain_http_gets_nothing(stocked: ArchiveUnderTest) -> None:
    address = stocked.words["web"].replace("https:", "http:")
    done = subprocess.run(
        [peers.require("curl"), "-s", "-i", "--max-time", "10", address + "/dicom-web/studies"], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert b"200" not in done.stdout
