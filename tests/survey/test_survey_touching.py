"""`write_probe` and `default_accounts`: only where the scope asks, once for a system, and what came of it is reported."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Context
from leadglass.dicom.uid import Uid
from leadglass.survey.observations import DefaultAccount, Dimse, ExposureLevel, Web, Write
from leadglass.survey.probes.dimse.synthetic import synthetic_object
from leadglass.survey.results import Results
from tests import peers
from tests.pynetdicom_server import serving
from tests.survey.harness import finding_ids, run, run_one
from tests.survey.servers import Asked, answering

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def taking(status: int, taken: list[Any]) -> Any:  # noqa: ANN401 - a context manager of pynetdicom's port
    """A storage service that answers every C-STORE with `status`."""

    def store(event: evt.Event) -> int:
        taken.append(event.dataset)
        return status

    ae = AE()
    ae.add_supported_context(SECONDARY_CAPTURE)
    return serving(ae, [(evt.EVT_C_STORE, store)])


def dimse_of(results: Results) -> Dimse:
    (door,) = results.targets[0].doors
    assert isinstance(door, Dimse)
    return door


@pytest.mark.parametrize(
    ("status", "write", "findings"),
    [(0x0000, Write.ACCEPTED, {"store-accepted"}), (0xB000, Write.ACCEPTED, {"store-accepted"}), (0x0124, Write.REFUSED, set())],
)
def test_one_synthetic_object_is_offered_and_what_became_of_it_is_told(
    tmp_path: Path, status: int, write: Write, findings: set[str]
) -> None:
    taken: list[Any] = []
    with taking(status, taken) as port:
        results = run(tmp_path, {"dimse_ports": [port]}, write_probe=True)
    (sent,) = taken
    door = dimse_of(results)
    assert (results.targets[0].write, door.store_status) == (write, status)
    assert finding_ids(results.targets[0]) & {"store-accepted", "store-offered"} == findings
    assert (sent.PatientName, sent.PatientID) == ("LEADGLASS^SURVEY", f"LEADGLASS-SURVEY-{results.run_id}")
    assert "safe to delete" in sent.StudyDescription
    detail = json.loads((tmp_path / "out" / "results.json").read_bytes())["targets"][0]["doors"][0]["detail"]
    # Where it stays, its UID is told, so that it can be deleted.
    assert detail.get("synthetic_object") == (sent.SOPInstanceUID if write is Write.ACCEPTED else None)


@pytest.mark.parametrize("limits", [{}, {"write_probe": True, "level": "connect"}])
def test_nothing_is_stored_that_was_not_asked_for(tmp_path: Path, limits: dict[str, object]) -> None:
    taken: list[Any] = []
    with taking(0, taken) as port:
        results = run(tmp_path, {"dimse_ports": [port]}, **limits)
    assert taken == []
    assert results.targets[0].write is Write.OFFERED


def test_a_system_of_two_ports_is_given_one_object(tmp_path: Path) -> None:
    taken: list[Any] = []
    with taking(0, taken) as first, taking(0, taken) as second:
        result = run_one(tmp_path, {"dimse_ports": [first, second]}, write_probe=True)
    assert len(taken) == 1
    assert [door.write for door in result.doors if isinstance(door, Dimse)] == [Write.ACCEPTED, Write.OFFERED]


def test_storescp_writes_what_pydicom_reads(tmp_path: Path) -> None:
    with peers.storescp(tmp_path / "storescp") as receiver:
        result = run_one(tmp_path, {"dimse_ports": [receiver.port]}, write_probe=True)
        (stored,) = (tmp_path / "storescp" / "received").iterdir()
        data_set = pydicom.dcmread(stored)
    assert result.write is Write.ACCEPTED
    assert data_set.pixel_array.shape == (2, 2)


@given(
    st.sampled_from([IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN]),
    st.sampled_from([SECONDARY_CAPTURE, "1.2.840.10008.5.1.4.1.1.2"]),
    st.text("0123456789abcdef", min_size=6, max_size=6),
)
def test_the_object_is_a_data_set_in_either_syntax(syntax: Uid, sop_class: str, run_id: str) -> None:
    made = synthetic_object(Context(1, Uid(sop_class), syntax), run_id)
    read = read_dataset(BytesIO(made.data), syntax == IMPLICIT_LITTLE_ENDIAN, is_little_endian=True)
    assert (read.SOPInstanceUID, read.SOPClassUID, read.PatientID) == (made.uid, sop_class, f"LEADGLASS-SURVEY-{run_id}")
    assert len({read.SOPInstanceUID, read.StudyInstanceUID, read.SeriesInstanceUID}) == 3


# Default accounts


class Orthanc:
    """Orthanc's sign-in, which takes one pair; it remembers every one that was tried."""

    def __init__(self, pair: str) -> None:
        self._expected = "Basic " + base64.b64encode(pair.encode()).decode()
        self.tried: list[str] = []

    def __call__(self, asked: Asked) -> None:
        given = asked.headers.get("Authorization")
        if given:
            self.tried.append(given)
        if given == self._expected:
            asked.answer(b'{"ApiVersion": 18, "Version": "1.12.1", "DicomAet": "ORTHANC"}', "application/json")
        else:
            asked.answer(b"", status=401, headers={"WWW-Authenticate": 'Basic realm="Orthanc Secure Area"'})


@pytest.mark.parametrize(
    ("pair", "answer"), [("orthanc:orthanc", DefaultAccount.ACCEPTED), ("orthanc:something else", DefaultAccount.REFUSED)]
)
def test_the_documented_account_is_tried_once(tmp_path: Path, pair: str, answer: DefaultAccount) -> None:
    orthanc = Orthanc(pair)
    with answering(orthanc) as first, answering(orthanc) as second:
        result = run_one(tmp_path, {"web_ports": [first.port, second.port]}, default_accounts=True)
    door = result.doors[0]
    assert isinstance(door, Web)
    assert (door.default_account, len(orthanc.tried)) == (answer, 1)
    # What a stranger reaches without it stays what it was; the account is a finding of its own.
    assert result.level is ExposureLevel.OPEN_PORT
    assert ("default-account" in finding_ids(result)) == (answer is DefaultAccount.ACCEPTED)


@pytest.mark.parametrize("limits", [{}, {"default_accounts": True, "level": "connect"}])
def test_no_account_is_tried_unasked(tmp_path: Path, limits: dict[str, object]) -> None:
    orthanc = Orthanc("orthanc:orthanc")
    with answering(orthanc) as listener:
        run_one(tmp_path, {"web_ports": [listener.port]}, **limits)
    assert orthanc.tried == []


def test_no_account_is_tried_at_a_product_that_nobody_recognised(tmp_path: Path) -> None:
    tried: list[str] = []

    def answer(asked: Asked) -> None:
        tried.append(asked.headers.get("Authorization", ""))
        asked.answer(b"", status=401, headers={"WWW-Authenticate": 'Basic realm="PACS"'})

    with answering(answer) as listener:
        run_one(tmp_path, {"web_ports": [listener.port]}, default_accounts=True)
    assert set(tried) == {""}


def test_dicoogle_is_asked_by_its_form(tmp_path: Path) -> None:
    forms: list[bytes] = []

    def answer(asked: Asked) -> None:
        if asked.command == "POST":
            forms.append(asked.rfile.read(int(asked.headers["Content-Length"])))
            asked.answer(b'{"user": "dicoogle", "admin": true, "token": "x"}', "application/json")
        else:
            asked.answer(b"<title>Dicoogle PACS</title>", status=200 if asked.path == "/" else 404)

    with answering(answer) as listener:
        result = run_one(tmp_path, {"web_ports": [listener.port]}, default_accounts=True)
    assert forms == [b"username=dicoogle&password=dicoogle"]
    assert "default-account" in finding_ids(result)
