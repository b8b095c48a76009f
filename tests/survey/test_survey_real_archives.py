"""The ladder against archives that we did not write: levels and counts have to be exact."""

import json
from collections.abc import Mapping
from pathlib import Path

import pydicom
import pytest

from leadglass.survey.observations import (
    ClientCertificate,
    CountedBy,
    Dimse,
    ExposureLevel,
    Field,
    QueryAnswer,
    RecordCounts,
    RejectionMeaning,
    Transport,
    Web,
    Write,
)
from leadglass.survey.results import Result
from tests import peers, samples
from tests.certificates import make_authority
from tests.survey.harness import finding_ids, run_one

IMAGES = [
    samples.sample(name)
    for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtdose.dcm", "image_dfl.dcm", "rtplan.dcm", "examples_overlay.dcm")
]


def truth() -> RecordCounts:
    """What is in `IMAGES`, by pydicom."""
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in IMAGES]
    patients = {(each.get("IssuerOfPatientID", ""), each.get("PatientID", "")) for each in read}
    return RecordCounts(
        len(patients), len({each.StudyInstanceUID for each in read}), len({each.SOPInstanceUID for each in read}), exact=True
    )


def dimse_of(result: Result) -> Dimse:
    (door,) = [each for each in result.doors if isinstance(each, Dimse)]
    return door


def web_of(result: Result) -> Web:
    (door,) = [each for each in result.doors if isinstance(each, Web)]
    return door


def target(archive: peers.Orthanc) -> Mapping[str, object]:
    return {"dimse_ports": [archive.dicom.port], "web_ports": [int(archive.url.rpartition(":")[2])]}


def test_orthanc_opened_gives_everything_and_is_counted_exactly(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path / "orthanc") as archive:
        for image in IMAGES:
            archive.upload(image.read_bytes())
        result = run_one(tmp_path, target(archive))
        counted_by_itself = archive.statistics()
    assert (result.level, result.write, result.transport) == (ExposureLevel.IMAGES, Write.OFFERED, Transport.PLAIN)
    # Orthanc counts for us: no study is streamed, neither page by page nor over DIMSE.
    assert result.records == truth() == web_of(result).records
    assert (web_of(result).counted_by, dimse_of(result).counted_by) == (CountedBy.COUNT_ENDPOINT, CountedBy.COUNT_ENDPOINT)
    assert dimse_of(result).records is None
    assert dimse_of(result).fields
    assert web_of(result).metadata
    assert result.records.instances == counted_by_itself["CountInstances"]
    assert (result.software.name, result.software.toolkit, result.software.version) == ("Orthanc", "DCMTK", (1, 10, 1))
    assert {Field.PATIENT_NAME, Field.PATIENT_ID, Field.STUDY_DATE} <= set(result.fields)
    assert {"images-open", "product-interface-open", "viewer-open", "store-offered", "dicom-unencrypted", "web-unencrypted"} <= finding_ids(
        result
    )
    document = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert document["totals"]["instances_accessible"] == truth().instances


@pytest.mark.parametrize(
    ("limit", "level", "records"),
    [("connect", "query-offered", False), ("query", "records", False), ("count", "records", True), ("retrieve", "images", True)],
)
def test_the_survey_goes_as_far_as_its_level(tmp_path: Path, limit: str, level: str, records: bool) -> None:
    with peers.orthanc(tmp_path / "orthanc") as archive:
        archive.upload(IMAGES[0].read_bytes())
        result = run_one(tmp_path, {"dimse_ports": [archive.dicom.port]}, level=limit)
        log = (tmp_path / "orthanc" / "orthanc.log").read_text()
    assert (result.level, result.records is not None) == (level, records)
    assert bool(result.fields) == records
    assert "exception" not in log.lower()


def test_orthanc_as_debian_ships_it_offers_a_query_and_refuses_it(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path / "orthanc", {}) as archive:
        archive.upload(IMAGES[0].read_bytes())
        result = run_one(tmp_path, {"dimse_ports": [archive.dicom.port]})
    assert (result.level, result.write, result.records) == (ExposureLevel.QUERY_OFFERED, Write.OFFERED, None)
    assert dimse_of(result).query in {QueryAnswer.FAILED, QueryAnswer.ABORTED}
    assert "store-offered" in finding_ids(result)
    assert not {"records-open", "images-open"} & finding_ids(result)


def test_orthanc_with_a_password_and_closed_dicom_gives_nothing(tmp_path: Path) -> None:
    closed = {
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"anna": "a long password"},
        "RemoteAccessAllowed": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckCalledAet": True,
    }
    with peers.orthanc(tmp_path / "orthanc", closed) as archive:
        result = run_one(tmp_path, target(archive))
    rejection = dimse_of(result).rejection
    assert rejection is not None
    assert rejection.meaning is RejectionMeaning.CALLED_AE
    assert (result.level, result.write) == (ExposureLevel.DICOM, Write.REFUSED)
    assert web_of(result).level is ExposureLevel.OPEN_PORT
    assert result.software.name == "Orthanc"
    assert finding_ids(result) == {"web-unencrypted"}


def test_a_title_that_the_scope_knows_is_asked_after_the_invented_one(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path / "orthanc", {**peers.OPENED, "DicomCheckCalledAet": True}, aet="NORTH") as archive:
        stranger = dimse_of(run_one(tmp_path, {"dimse_ports": [archive.dicom.port]}))
        knowing = dimse_of(run_one(tmp_path, {"dimse_ports": [archive.dicom.port], "called_aet": "NORTH"}))
    assert (stranger.level, stranger.named_called_ae) == (ExposureLevel.DICOM, False)
    assert (knowing.level, knowing.named_called_ae) == (ExposureLevel.RECORDS, True)


def test_orthanc_behind_nginx_is_surveyed_over_https(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    with (
        peers.orthanc(tmp_path / "orthanc") as archive,
        peers.nginx_before(archive.url, tmp_path / "nginx", authority.issue("localhost")) as url,
    ):
        archive.upload(IMAGES[0].read_bytes())
        result = run_one(tmp_path, {"web_ports": [int(url.rpartition(":")[2])]}, ca_file=str(authority.file))
    door = web_of(result)
    assert (door.level, door.transport) == (ExposureLevel.IMAGES, Transport.TLS)
    assert door.tls is not None
    assert door.tls.client_certificate is ClientCertificate.NOT_REQUIRED
    assert door.tls.certificate is not None
    assert (door.tls.certificate.trusted, door.tls.certificate.name_matches) == (True, True)
    assert "web-unencrypted" not in finding_ids(result)


def test_orthanc_that_wants_a_certificate_lets_nobody_in(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path / "orthanc", tls=make_authority(tmp_path / "ca").issue("orthanc")) as archive:
        result = run_one(tmp_path, {"dimse_ports": [archive.dicom.port]})
    door = dimse_of(result)
    assert (result.level, result.transport, result.write) == (ExposureLevel.OPEN_PORT, Transport.MUTUAL_TLS, Write.REFUSED)
    assert door.tls is not None
    assert door.tls.client_certificate is ClientCertificate.REQUIRED


def test_orthanc_with_tls_for_anyone_is_as_open_as_without(tmp_path: Path) -> None:
    anyone = {**peers.OPENED, "DicomTlsRemoteCertificateRequired": False}
    with peers.orthanc(tmp_path / "orthanc", anyone, tls=make_authority(tmp_path / "ca").issue("orthanc")) as archive:
        archive.upload(IMAGES[0].read_bytes())
        result = run_one(tmp_path, {"dimse_ports": [archive.dicom.port]})
    assert (result.level, result.transport, result.records) == (ExposureLevel.IMAGES, Transport.TLS, RecordCounts(1, 1, 1, exact=True))
    assert "dicom-unencrypted" not in finding_ids(result)


def test_dcmqrscp_is_counted_image_by_image(tmp_path: Path) -> None:
    uncompressed = [path for path in IMAGES if path.name in {"CT_small.dcm", "MR_small.dcm", "rtdose.dcm", "rtplan.dcm"}]
    with peers.dcmqrscp(tmp_path / "dcmqrscp", aet="ANY-SCP") as archive:
        for image in uncompressed:
            assert peers.scu("storescu", archive, files=[image]).returncode == 0
        result = run_one(tmp_path, {"dimse_ports": [archive.port]})
    assert result.level is ExposureLevel.IMAGES
    assert result.records == RecordCounts(4, 4, 4, exact=True)
    assert result.software.toolkit == "DCMTK"


def test_dcmqrscp_by_another_name_rejects(tmp_path: Path) -> None:
    with peers.dcmqrscp(tmp_path / "dcmqrscp") as archive:
        result = run_one(tmp_path, {"dimse_ports": [archive.port]})
    rejection = dimse_of(result).rejection
    assert result.level is ExposureLevel.DICOM
    assert rejection is not None
    assert rejection.meaning is RejectionMeaning.CALLED_AE
    assert not result.findings


def test_storescp_takes_but_answers_no_query(tmp_path: Path) -> None:
    with peers.storescp(tmp_path / "storescp") as receiver:
        result = run_one(tmp_path, {"dimse_ports": [receiver.port]})
        assert not list((tmp_path / "storescp" / "received").iterdir())
    assert (result.level, result.write) == (ExposureLevel.ASSOCIATION, Write.OFFERED)
    assert dimse_of(result).echo is True


def test_more_than_the_bound_is_counted_as_at_least(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path / "orthanc") as archive:
        for image in IMAGES:
            archive.upload(image.read_bytes())
        for ports in ({"dimse_ports": [archive.dicom.port]},):
            result = run_one(tmp_path, ports, max_matches=3)
            assert result.records is not None
            assert (result.records.studies, result.records.exact) == (3, False)
            assert result.level is ExposureLevel.IMAGES


def test_nothing_of_a_patient_is_in_what_the_survey_writes(tmp_path: Path) -> None:
    data = pydicom.dcmread(IMAGES[0])
    data.PatientName, data.PatientID, data.PatientBirthDate = "Planted^Zebedee", "PLANTED-4711", "19010203"
    data.ReferringPhysicianName, data.StudyDescription, data.InstitutionName = "Planted^Doctor", "PLANTED-STUDY", "PLANTED-HOUSE"
    planted = tmp_path / "planted.dcm"
    data.save_as(planted)
    with peers.orthanc(tmp_path / "orthanc", {**peers.OPENED, "Name": "PLANTED-NAME"}) as archive:
        archive.upload(planted.read_bytes())
        result = run_one(tmp_path, target(archive))
    assert result.level is ExposureLevel.IMAGES
    assert {Field.PATIENT_BIRTH_DATE, Field.REFERRING_PHYSICIAN_NAME} <= set(result.fields)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for text in ("planted", "zebedee", "4711", "19010203", str(data.StudyInstanceUID), str(data.SOPInstanceUID)):
        assert text.encode() not in written.lower()
