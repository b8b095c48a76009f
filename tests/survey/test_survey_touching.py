"""`write_probe` and `default_accounts`: only where the scope asks, one object and one sign-in for a system, and what came of it is told."""

import base64
import json
import socket
import time
from collections.abc import Callable
from email import message_from_bytes
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Context
from leadglass.dicom.uid import Uid
from leadglass.survey.observations import DefaultAccount, Dimse, ExposureLevel, RecordCounts, Web, Write
from leadglass.survey.results import Results
from leadglass.survey.synthetic import synthetic_object
from leadglass.survey.tally import Tally
from tests import peers, samples
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


def test_one_that_refused_it_at_a_port_is_asked_at_the_next(tmp_path: Path) -> None:
    taken: list[Any] = []
    with taking(0x0124, []) as first, taking(0, taken) as second:
        result = run_one(tmp_path, {"dimse_ports": [first, second]}, write_probe=True)
    assert (len(taken), result.write) == (1, Write.ACCEPTED)


def test_an_object_that_was_not_answered_may_be_stored_and_is_not_offered_again(tmp_path: Path) -> None:
    taken: list[Any] = []

    def slowly(event: evt.Event) -> int:
        taken.append(event.dataset)
        time.sleep(1)
        return 0

    ae = AE()
    ae.add_supported_context(SECONDARY_CAPTURE)
    with serving(ae, [(evt.EVT_C_STORE, slowly)]) as first, taking(0, taken) as second:
        result = run_one(tmp_path, {"dimse_ports": [first, second]}, write_probe=True, timeout_seconds=0.4)
    (sent,) = taken
    told = [door.synthetic_object for door in result.doors if isinstance(door, Dimse)]
    assert told == [int(sent.SOPInstanceUID.removeprefix("2.25.")), None]
    assert result.write is Write.OFFERED


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


# By STOW-RS


class DicomWeb:
    """A service that answers every search, and a STOW-RS as it is told."""

    def __init__(self, answer: Callable[[Asked, str], None]) -> None:
        self._answer = answer
        self.taken: list[FileDataset] = []

    def __call__(self, asked: Asked) -> None:
        if asked.command != "POST":
            asked.answer(b"", status=204 if asked.path.startswith("/dicom-web/studies?") else 404)
            return
        assert asked.path == "/dicom-web/studies"
        body = asked.rfile.read(int(asked.headers["Content-Length"]))
        message = message_from_bytes(b"Content-Type: " + asked.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        assert message.get_param("type") == "application/dicom"
        assert [part.get_content_type() for part in message.walk()] == ["multipart/related", "application/dicom"]
        # The message parser takes the bytes of a part as lines: the part is read as it came.
        content = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
        self.taken.append(pydicom.dcmread(BytesIO(content)))
        self._answer(asked, self.taken[-1].SOPInstanceUID)


def telling(status: int, sequence: str, uid: str | None = None) -> Callable[[Asked, str], None]:
    """An answer by PS3.18 table 10.5.3-2, of the object that came or of another."""

    def answer(asked: Asked, came: str) -> None:
        one = {"00081150": {"vr": "UI", "Value": [SECONDARY_CAPTURE]}, "00081155": {"vr": "UI", "Value": [uid or came]}}
        asked.answer(json.dumps({sequence: {"vr": "SQ", "Value": [one]}}).encode(), "application/dicom+json", status=status)

    return answer


def saying(status: int, kind: str = "text/html", body: bytes = b"<html>Hospital</html>") -> Callable[[Asked, str], None]:
    return lambda asked, _: asked.answer(body, kind, status=status)


def hanging_up(asked: Asked, _: str) -> None:
    asked.connection.shutdown(socket.SHUT_RDWR)


REFERENCED, FAILED = "00081199", "00081198"


@pytest.mark.parametrize(
    ("answer", "write", "status", "is_told"),
    [
        (telling(200, REFERENCED), Write.ACCEPTED, 200, True),
        (telling(202, REFERENCED), Write.ACCEPTED, 202, True),
        (telling(202, FAILED), Write.REFUSED, 202, False),
        (telling(200, REFERENCED, "1.2.3"), Write.REFUSED, 200, False),
        (telling(409, FAILED), Write.REFUSED, 409, False),
        (saying(401), Write.REFUSED, 401, False),
        (saying(405), Write.REFUSED, 405, False),
        # A page for anything, and an answer that says nothing: it may be there.
        (saying(200), Write.NOT_TRIED, 200, True),
        (saying(200, "application/dicom+json", b"[1, {"), Write.NOT_TRIED, 200, True),
        (hanging_up, Write.NOT_TRIED, None, True),
    ],
)
def test_one_synthetic_object_is_sent_by_stow_rs_and_what_became_of_it_is_told(
    tmp_path: Path, answer: Callable[[Asked, str], None], write: Write, status: int | None, is_told: bool
) -> None:
    service = DicomWeb(answer)
    with answering(service) as listener:
        results = run(tmp_path, {"web_ports": [listener.port]}, write_probe=True, timeout_seconds=2)
    (sent,) = service.taken
    (door,) = results.targets[0].doors
    assert isinstance(door, Web)
    assert (results.targets[0].write, door.stow_status) == (write, status)
    assert finding_ids(results.targets[0]) & {"store-accepted", "store-offered"} == (
        {"store-accepted"} if write is Write.ACCEPTED else set()
    )
    assert (sent.file_meta.TransferSyntaxUID, sent.pixel_array.shape) == ("1.2.840.10008.1.2.1", (2, 2))
    assert (sent.PatientName, sent.PatientID) == ("LEADGLASS^SURVEY", f"LEADGLASS-SURVEY-{results.run_id}")
    detail = json.loads((tmp_path / "out" / "results.json").read_bytes())["targets"][0]["doors"][0]["detail"]
    assert detail.get("synthetic_object") == (sent.SOPInstanceUID if is_told else None)


@pytest.mark.parametrize("limits", [{}, {"write_probe": True, "level": "connect"}])
def test_nothing_is_sent_by_stow_rs_that_was_not_asked_for(tmp_path: Path, limits: dict[str, object]) -> None:
    service = DicomWeb(telling(200, REFERENCED))
    with answering(service) as listener:
        result = run_one(tmp_path, {"web_ports": [listener.port]}, **limits)
    assert service.taken == []
    assert result.write is Write.NOT_TRIED


def test_nothing_is_sent_to_a_service_that_asks_for_a_sign_in(tmp_path: Path) -> None:
    posted: list[str] = []

    def answer(asked: Asked) -> None:
        posted.extend([asked.path] if asked.command == "POST" else [])
        asked.answer(b"", status=401, headers={"WWW-Authenticate": 'Basic realm="PACS"'})

    with answering(answer) as listener:
        run_one(tmp_path, {"web_ports": [listener.port]}, write_probe=True)
    assert posted == []


def test_a_system_that_took_one_by_one_door_is_sent_none_by_another(tmp_path: Path) -> None:
    taken: list[Any] = []
    first, second = DicomWeb(telling(200, REFERENCED)), DicomWeb(telling(200, REFERENCED))
    with answering(first) as one, answering(second) as two, taking(0, taken) as dimse:
        result = run_one(tmp_path, {"web_ports": [one.port, two.port], "dimse_ports": [dimse]}, write_probe=True)
    assert len(first.taken) + len(second.taken) + len(taken) == 1
    assert sorted(str(door.write) for door in result.doors) == ["accepted", "not-tried", "offered"]


def test_one_that_refused_it_by_stow_rs_is_asked_by_c_store(tmp_path: Path) -> None:
    taken: list[Any] = []
    with answering(DicomWeb(saying(403))) as listener, taking(0, taken) as dimse:
        result = run_one(tmp_path, {"web_ports": [listener.port], "dimse_ports": [dimse]}, write_probe=True)
    assert (len(taken), result.write) == (1, Write.ACCEPTED)


def test_what_a_survey_left_behind_is_no_patient() -> None:
    tally = Tally(b"k" * 32)
    tally.add("", "P1", "1.2", 10)
    tally.add("", "LEADGLASS-SURVEY-0a1b2c", "1.3", 1)
    assert tally.counts(exact=True) == RecordCounts(patients=1, studies=1, instances=10, exact=True)


def test_orthanc_takes_it_by_stow_rs_and_it_is_in_no_count(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path / "orthanc") as archive:
        archive.upload(samples.sample("CT_small.dcm").read_bytes())
        ports = {"dimse_ports": [archive.dicom.port], "web_ports": [int(archive.url.rpartition(":")[2])]}
        result = run_one(tmp_path, ports, write_probe=True)
        stored = archive.statistics()["CountInstances"]
        (web,) = [door for door in result.doors if isinstance(door, Web)]
        (dimse,) = [door for door in result.doors if isinstance(door, Dimse)]
        found = httpx.get(f"{archive.url}/dicom-web/instances?SOPInstanceUID=2.25.{web.synthetic_object}").json()
    assert (web.write, web.stow_status, dimse.write, dimse.store_status) == (Write.ACCEPTED, 200, Write.OFFERED, None)
    assert len(found) == 1
    assert result.records is not None
    assert (stored, result.records.instances) == (2, 1)
    (accepted,) = [finding for finding in result.findings if finding.id == "store-accepted"]
    assert "AuthenticationEnabled" in accepted.remedy


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
