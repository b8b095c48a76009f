"""Orthanc's rows, through its REST interface: it sends, asks and takes by its own DIMSE, over its own TLS."""

import io
from collections.abc import Mapping
from typing import Any

import httpx
from pydicom.filereader import dcmread

from tests import peers
from tests.archives import wait_until
from tests.dicomweb.client import data_set_of
from tests.matrix import by_pynetdicom
from tests.matrix.bench import Bench
from tests.matrix.cells import Peer, Service, Transport, Way
from tests.matrix.comparing import assert_same_objects, readable_by_dcmtk
from tests.matrix.table import NOBODY_ASKED, SURVEY_ASKS, cannot, row
from tests.whole.associating import MOVES, Sent

ME, ASKS_US, IS_ASKED = Peer.ORTHANC, Way.ASKS_US, Way.IS_ASKED
TLS, PLAIN = Transport.TLS, Transport.PLAIN
WE = "leadglass"

SETTINGS: Mapping[str, Any] = {**peers.OPENED, "TranscodeDicomProtocol": False, "DicomAssociationCloseDelay": 1}
"""A picture is sent as Orthanc holds it; what the other side does not take is a failure, not converted on the way."""


def orthanc(bench: Bench) -> peers.Orthanc:
    """The Orthanc of this transport, which shows the peer's certificate if it is TLS; it is empty, and knows us by the bench's door."""
    running, door = bench.orthanc(bench.transport), bench.door
    us = {
        "AET": door.aet,
        "Host": door.host,
        "Port": door.port,
        "UseDicomTls": bench.secured,
        "LocalAet": bench.orthanc_peer.aet,
        "Timeout": 60,
    }
    httpx.put(f"{running.url}/modalities/{WE}", json=us, timeout=60).raise_for_status()
    for patient in httpx.get(f"{running.url}/patients", timeout=60).json():
        httpx.delete(f"{running.url}/patients/{patient}", timeout=60).raise_for_status()
    return running


def post(running: peers.Orthanc, path: str, **body: object) -> httpx.Response:
    return httpx.post(running.url + path, json=body, timeout=120)


def matches(running: peers.Orthanc, level: str, **keys: str) -> list[dict[str, str]]:
    """What it is answered to a query."""
    asked = post(running, f"/modalities/{WE}/query", Level=level, Query=keys)
    assert asked.status_code == 200, asked.text
    answers = httpx.get(f"{running.url}/queries/{asked.json()['ID']}/answers?expand&simplify", timeout=60)
    assert answers.status_code == 200, answers.text
    found: list[dict[str, str]] = answers.json()
    return found


@row(ME, Service.ECHO, ASKS_US, by="/modalities/ID/echo")
def echo(bench: Bench) -> None:
    running = orthanc(bench)
    assert post(running, f"/modalities/{WE}/echo").status_code == 200


@row(ME, Service.STORE, ASKS_US, by="/modalities/ID/store", stocked=False)
def store(bench: Bench) -> None:
    running = orthanc(bench)
    ids, originals = [], readable_by_dcmtk(bench.originals)
    for each in originals:
        taken = running.upload(each.path.read_bytes())
        assert taken["Status"] == "Success", (each.path.name, taken)
        ids.append(taken["ID"])
    sent = post(running, f"/modalities/{WE}/store", Resources=ids, Synchronous=True)
    assert sent.status_code == 200, sent.text
    assert (sent.json()["InstancesCount"], sent.json()["FailedInstancesCount"]) == (len(ids), 0)
    bench.assert_holds(originals)


@row(ME, Service.FIND_STUDY_ROOT, ASKS_US, TLS, by="/modalities/ID/query")
def find_in_study_root(bench: Bench) -> None:
    running = orthanc(bench)
    studies = matches(running, "Study", StudyInstanceUID="", NumberOfStudyRelatedInstances="")
    assert sorted(each["StudyInstanceUID"] for each in studies) == bench.studies
    assert sum(int(each["NumberOfStudyRelatedInstances"]) for each in studies) == len(bench.originals)
    for one in bench.originals[:3]:
        series = matches(running, "Series", StudyInstanceUID=one.study, SeriesInstanceUID="")
        assert {each["SeriesInstanceUID"] for each in series} == {each.series for each in bench.originals if each.study == one.study}
        keys = {"StudyInstanceUID": one.study, "SeriesInstanceUID": one.series, "SOPInstanceUID": ""}
        images = matches(running, "Instance", **keys)
        assert {each["SOPInstanceUID"] for each in images} == {each.uid for each in bench.originals if each.series == one.series}


@row(ME, Service.FIND_PATIENT_ROOT, ASKS_US, TLS, by="/modalities/ID/query")
def find_in_patient_root(bench: Bench) -> None:
    found = matches(orthanc(bench), "Patient", PatientID="", NumberOfPatientRelatedInstances="")
    assert {each["PatientID"] for each in found} == {each.patient for each in bench.originals}
    assert sum(int(each["NumberOfPatientRelatedInstances"]) for each in found) == len(bench.originals)


def move(bench: Bench, running: peers.Orthanc, level: str, resources: list[dict[str, str]]) -> None:
    """Ask us, by Orthanc, to send these to Orthanc."""
    asked = post(running, f"/modalities/{WE}/move", Level=level, Resources=resources, TargetAet=bench.orthanc_peer.aet, Timeout=120)
    assert asked.status_code == 200, asked.text


def received(running: peers.Orthanc) -> list[Sent]:
    """Every object that Orthanc has."""
    found = []
    for instance in httpx.get(f"{running.url}/instances", timeout=60).json():
        file = httpx.get(f"{running.url}/instances/{instance}/file", timeout=60).content
        meta = dcmread(io.BytesIO(file), stop_before_pixels=True).file_meta
        found.append(Sent(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, data_set_of(file)))
    return found


@row(ME, Service.MOVE_STUDY_ROOT, ASKS_US, TLS, by="/modalities/ID/move")
def move_in_study_root(bench: Bench) -> None:
    running, readable = orthanc(bench), readable_by_dcmtk(bench.originals)
    # Of a study that holds what Orthanc cannot take it would tell that the whole C-MOVE failed.
    beyond = {each.study for each in bench.originals if each not in readable}
    originals = [each for each in readable if each.study not in beyond]
    move(bench, running, "Study", [{"StudyInstanceUID": study} for study in sorted({each.study for each in originals})])
    assert_same_objects(received(running), originals)


@row(ME, Service.STORE, IS_ASKED, by="DICOM server, as a destination of C-MOVE")
def take(bench: Bench) -> None:
    running, originals = orthanc(bench), readable_by_dcmtk(bench.originals)
    request = by_pynetdicom.keys_of("STUDY", StudyInstanceUID=bench.studies)
    by_pynetdicom.move(bench, bench.orthanc_peer.aet, MOVES[0], request, failing=len(bench.originals) - len(originals))
    assert_same_objects(received(running), originals)


@row(ME, Service.COMMIT, ASKS_US, TLS, by="/modalities/ID/storage-commitment")
@row(ME, Service.COMMIT, IS_ASKED, TLS, by="DICOM server, told on a new association")
def commit(bench: Bench) -> None:
    running = orthanc(bench)
    wanted = [{"SOPClassUID": each.sent.sop_class, "SOPInstanceUID": each.uid} for each in bench.originals]
    asked = post(running, f"/modalities/{WE}/storage-commitment", DicomInstances=wanted, Timeout=60)
    assert asked.status_code == 200, asked.text

    def report() -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{running.url}/storage-commitment/{asked.json()['ID']}", timeout=60).json()
        return told

    wait_until(lambda: report()["Status"] != "Pending", 60)
    assert report()["Status"] == "Success"
    assert {each["SOPInstanceUID"] for each in report()["Success"]} == {each.uid for each in bench.originals}


NOT_WITHOUT_TLS = (
    Service.FIND_PATIENT_ROOT,
    Service.FIND_STUDY_ROOT,
    Service.MOVE_STUDY_ROOT,
    Service.COMMIT,
)


@row(ME, NOT_WITHOUT_TLS, ASKS_US, PLAIN, by="/modalities/ID/...", refused=True)
def is_offered_echo_and_store_alone_without_tls(bench: Bench) -> None:
    running, study = orthanc(bench), bench.studies[0]
    patients = post(running, f"/modalities/{WE}/query", Level="Patient", Query={"PatientID": ""})
    studies = post(running, f"/modalities/{WE}/query", Level="Study", Query={"StudyInstanceUID": ""})
    target = bench.orthanc_peer.aet
    by_study = post(running, f"/modalities/{WE}/move", Level="Study", Resources=[{"StudyInstanceUID": study}], TargetAet=target)
    one = {"SOPClassUID": bench.originals[0].sent.sop_class, "SOPInstanceUID": bench.originals[0].uid}
    committed = post(running, f"/modalities/{WE}/storage-commitment", DicomInstances=[one])
    for refused in (patients, studies, by_study, committed):
        assert refused.status_code == 500, refused.text
    for asked in (patients, studies):
        assert asked.json()["Message"].endswith("The C-FIND command is not supported by the remote SCP")


cannot(ME, Service.MOVE_PATIENT_ROOT, ASKS_US, "Orthanc 1.10.1 asks for C-MOVE in the study root alone, at whatever level")
cannot(ME, (Service.GET_PATIENT_ROOT, Service.GET_STUDY_ROOT), ASKS_US, "Orthanc 1.10.1 asks for objects by C-MOVE alone")
cannot(
    ME,
    (Service.ECHO, Service.FIND_PATIENT_ROOT, Service.FIND_STUDY_ROOT, Service.GET_PATIENT_ROOT, Service.GET_STUDY_ROOT),
    IS_ASKED,
    SURVEY_ASKS,
)
cannot(ME, (Service.MOVE_PATIENT_ROOT, Service.MOVE_STUDY_ROOT), IS_ASKED, NOBODY_ASKED)
cannot(ME, Service.COMMIT, IS_ASKED, "a peer without TLS is given echo and store alone", PLAIN)
