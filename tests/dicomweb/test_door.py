"""The whole door: our own server, a real archive, real images and other people's clients."""

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import encaps
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID

from tests.archives import ArchiveUnderTest, wait_until
from tests.dicomweb.client import AS_STORED, BOUNDARY, Client, data_set_of, multipart, parts_of, path_to, uids_of
from tests.samples import objects, sample

EXPLICIT = "1.2.840.10008.1.2.1"
VIDEO = "1.2.840.10008.1.2.4.100"
NATIVE = {"1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
CT = sample("CT_small.dcm")
# Some share a SOP Instance UID with other content: those are conflicts, and the first stays the one that is served.
SERVED = list({uids_of(path)[2]: path for path in reversed(objects())}.values())[::-1]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # real files hold values that PS3.5 does not allow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveUnderTest]:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("archive"))
    with archive.serving():
        yield archive


@pytest.fixture(scope="module")
def technologist(served: ArchiveUnderTest) -> Client:
    return Client(served, served.token("tom", role="technologist", may="find,store"))


@pytest.fixture(scope="module")
def clinician(served: ArchiveUnderTest) -> Client:
    return Client(served, served.token("clara"))


@pytest.fixture(scope="module")
def stored(technologist: Client) -> dict[str, bytes]:
    """Every sample sent in one request: what was stored first, by SOP Instance UID."""
    files = [path.read_bytes() for path in objects()]
    answer = technologist.store(*files)
    assert answer.status_code == 200
    report = answer.json()
    assert len(report["00081199"]["Value"]) == len(files)
    assert "00081198" not in report
    first: dict[str, bytes] = {}
    for path, file in zip(objects(), files, strict=True):
        first.setdefault(uids_of(path)[2], file)
    return first


# Who is asking


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer x", "Bearer lg_" + "A" * 47, "Basic YTpi", "bearer a b", "Token x"])
def test_a_stranger_gets_the_same_401_everywhere(served: ArchiveUnderTest, stored: dict[str, bytes], authorization: str | None) -> None:
    study, series, instance = uids_of(CT)
    assert instance in stored
    answers = set()
    for method, path in [
        ("GET", "/studies"),
        ("GET", f"/studies/{study}"),
        ("GET", "/studies/1.2.3"),
        ("GET", path_to(study, series, instance) + "/metadata"),
        ("GET", "/studies?PatientName=*&limit=x"),
        ("GET", "/nothing/here"),
        ("POST", "/studies"),
        ("DELETE", f"/studies/{study}"),
        ("OPTIONS", "/studies"),
    ]:
        fields = {} if authorization is None else {"Authorization": authorization}
        answer = Client(served, None).request(method, path, fields)
        answers.add((answer.status_code, tuple((name, value) for name, value in answer.headers.items() if name != "date"), answer.content))
    assert len(answers) == 1
    ((status, headers, body),) = answers
    assert (status, dict(headers)["www-authenticate"], json.loads(body)) == (401, "Bearer", {"error": "a bearer token is needed"})


def test_a_stranger_is_refused_before_his_body_is_read(served: ArchiveUnderTest) -> None:
    def endless() -> Iterator[bytes]:
        yield b"x" * 65536
        raise AssertionError("more was asked for")  # pragma: no cover

    with pytest.raises((requests.RequestException, AssertionError)):
        Client(served, None).request("POST", "/studies", {"Content-Type": "application/dicom"}, data=endless())
    answer = Client(served, None).request("POST", "/studies", {"Content-Type": "application/dicom"}, data=bytes(1_000_000))
    assert answer.status_code == 401


def test_two_authorizations_are_none(clinician: Client) -> None:
    curl = ["curl", "-sS", "--cacert", str(clinician.archive.ca), "-o", "/dev/null", "-w", "%{http_code}"]
    fields = [f"Authorization: Bearer {clinician.token}"] * 2
    done = subprocess.run(
        [*curl, *(word for field in fields for word in ("-H", field)), clinician.archive.web + "/studies"], capture_output=True, check=True
    )
    assert done.stdout == b"401"


def test_curl_with_a_token_finds(clinician: Client, stored: dict[str, bytes]) -> None:
    command = ["curl", "-sS", "--fail", "--cacert", str(clinician.archive.ca), "-H", f"Authorization: Bearer {clinician.token}"]
    done = subprocess.run([*command, clinician.archive.web + "/instances?limit=1000"], capture_output=True, check=True)
    assert {each["00080018"]["Value"][0] for each in json.loads(done.stdout)} == set(stored)


def test_rights_are_per_action(technologist: Client, clinician: Client, stored: dict[str, bytes]) -> None:
    study, series, instance = uids_of(CT)
    assert instance in stored
    assert technologist.get(f"/studies/{study}").status_code == 403
    assert technologist.get(path_to(study, series, instance) + "/metadata").status_code == 403
    assert clinician.store(CT.read_bytes()).status_code == 403


# Retrieve


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.name)
def test_as_stored_gives_the_bytes_that_were_sent(clinician: Client, stored: dict[str, bytes], path: Path) -> None:
    study, series, instance = uids_of(path)
    sent = stored[instance]
    answer = clinician.get(path_to(study, series, instance), AS_STORED)
    assert answer.status_code == 200
    ((content_type, file),) = parts_of(answer)
    padding = b"\0" * (len(data_set_of(sent)) % 2)  # of a deflated one alone (PS3.5 A.5)
    assert data_set_of(file) == data_set_of(sent) + padding
    meta = pydicom.dcmread(io.BytesIO(file), specific_tags=[]).file_meta
    syntax = pydicom.dcmread(io.BytesIO(sent), specific_tags=[]).file_meta.TransferSyntaxUID
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, instance)
    assert content_type == f"application/dicom; transfer-syntax={syntax}"
    assert file[:132] == bytes(128) + b"DICM"


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.name)
def test_the_default_is_explicit_little_endian_also_for_compressed_objects(clinician: Client, stored: dict[str, bytes], path: Path) -> None:
    study, series, instance = uids_of(path)
    sent = pydicom.dcmread(io.BytesIO(stored[instance]))
    answer = clinician.get(path_to(study, series, instance), "application/dicom")
    if path.name == "JPEG2000-embedded-sequence-delimiter.dcm":  # its code stream names a width of 3,722,445,056
        assert (answer.status_code, answer.json()) == (406, {"error": "the compressed pixels are not of the size the header says"})
        return
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, f"application/dicom; transfer-syntax={EXPLICIT}")
    assert answer.headers["Content-Disposition"] == "attachment"
    received = pydicom.dcmread(io.BytesIO(answer.content))
    assert received.file_meta.TransferSyntaxUID == EXPLICIT
    if sent.file_meta.TransferSyntaxUID in NATIVE:
        assert _comparable(received) == _comparable(sent)
    elif "Rows" in sent:
        # tests/pixels compares them.
        assert len(received.PixelData) == -(-get_expected_length(received) // 2) * 2


def _comparable(data_set: pydicom.Dataset) -> dict[int, object]:
    """Top-level values; pixels decoded by pydicom, group lengths and padding left out, which converting drops."""
    values: dict[int, object] = {}
    for tag in data_set.keys():  # noqa: SIM118 # iterating over the elements would parse them
        if not tag.element or tag in {0xFFFCFFFC, 0x7FE00010}:
            continue
        raw = data_set.get_item(tag).value
        try:
            if data_set[tag].VR not in {"SQ", "UN", "OW", "OB"}:
                values[int(tag)] = data_set[tag].value
        except ValueError:
            values[int(tag)] = raw
    if _has_frames(data_set):
        values[0x7FE00010] = data_set.pixel_array.tobytes()
    return values


def test_a_whole_study_and_a_series_come_in_parts(clinician: Client, stored: dict[str, bytes]) -> None:
    rows = clinician.get("/instances?limit=1000").json()
    by_study: dict[str, set[str]] = {}
    for row in rows:
        by_study.setdefault(row["0020000D"]["Value"][0], set()).add(row["00080018"]["Value"][0])
    study, instances = max(by_study.items(), key=lambda entry: len(entry[1]))
    assert len(instances) > 1
    parts = parts_of(clinician.get(f"/studies/{study}", AS_STORED))
    assert {str(pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True).SOPInstanceUID) for _, file in parts} == instances
    (series,) = {row["0020000E"]["Value"][0] for row in rows if row["00080018"]["Value"][0] == min(instances)}
    assert 1 <= len(parts_of(clinician.get(f"/studies/{study}/series/{series}", AS_STORED))) <= len(instances)


def test_one_object_that_cannot_be_converted_refuses_the_whole_study(clinician: Client, technologist: Client) -> None:
    study = "1.2.826.0.1.3680043.8.498.77"
    for number, name in enumerate(("CT_small.dcm", "JPEG2000.dcm"), start=1):
        data_set = pydicom.dcmread(sample(name))
        data_set.StudyInstanceUID, data_set.PatientID = UID(study), "MIXED"
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(f"{study}.{number}")
        if data_set.file_meta.TransferSyntaxUID not in NATIVE:
            data_set.file_meta.TransferSyntaxUID = UID(VIDEO)
        file = io.BytesIO()
        data_set.save_as(file)
        assert technologist.store(file.getvalue()).status_code == 200
    refused = clinician.get(f"/studies/{study}")
    assert refused.status_code == 406
    assert study not in refused.text
    assert len(parts_of(clinician.get(f"/studies/{study}", AS_STORED))) == 2
    both = ", ".join(AS_STORED.replace("*", syntax) for syntax in (EXPLICIT, VIDEO))
    assert len(parts_of(clinician.get(f"/studies/{study}", both))) == 2


def test_the_accept_parameter_stands_for_the_field(clinician: Client, stored: dict[str, bytes]) -> None:
    study, series, instance = uids_of(CT)
    assert instance in stored
    answer = clinician.get(path_to(study, series, instance) + "?accept=application/dicom", "text/html")
    assert answer.content[128:132] == b"DICM"
    assert clinician.get("/studies?accept=application/dicom+json", "text/html").status_code == 200
    assert clinician.get("/studies", "text/html").status_code == 406


def test_what_does_not_exist_is_404_on_every_path(clinician: Client, stored: dict[str, bytes]) -> None:
    study, series, instance = uids_of(CT)
    assert instance in stored
    bodies = set()
    for path in [
        "/studies/1.2.3",
        "/studies/1.2.3/metadata",
        f"/studies/{study}/series/1.2.3",
        path_to(study, series, "1.2.3"),
        path_to(study, "1.2.3", instance),
        path_to("1.2.3", series, instance),
        path_to("1.2.3", series, instance) + "/frames/1",
        path_to(study, series, instance) + "/frames/2",
        path_to(study, series, instance) + "/bulkdata/00102000",
        path_to(study, series, instance) + "/bulkdata/..%2f..%2fx",
        "/nothing",
    ]:
        answer = clinician.get(path)
        assert answer.status_code == 404, path
        bodies.add(answer.content)
    assert len(bodies) == 1


@pytest.mark.parametrize("path", ["/studies/..%2f..%2fetc%2fpasswd", "/studies/1.2.x", "/studies/1.2.3/series/%00", "/studies/" + "1" * 65])
def test_what_is_no_uid_is_refused_and_not_repeated(clinician: Client, path: str) -> None:
    answer = clinician.get(path)
    assert answer.status_code in {400, 404}
    assert "passwd" not in answer.text


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/studies"), ("PUT", "/studies/1.2"), ("HEAD", "/studies"), ("OPTIONS", "/series")]
)
def test_other_methods_are_405(clinician: Client, method: str, path: str) -> None:
    answer = clinician.request(method, path)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert "Access-Control-Allow-Origin" not in answer.headers


# Metadata, frames, bulk data


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.name)
def test_metadata_says_what_the_object_says_and_its_bulk_data_resolve(clinician: Client, stored: dict[str, bytes], path: Path) -> None:
    study, series, instance = uids_of(path)
    answer = clinician.get(path_to(study, series, instance) + "/metadata")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/dicom+json")
    (model,) = answer.json()
    sent = pydicom.dcmread(io.BytesIO(stored[instance]))
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "Modality", "Rows", "InstanceNumber"):
        if sent.get(keyword) not in {None, ""}:
            assert model[f"{pydicom.datadict.tag_for_keyword(keyword):08X}"]["Value"] == [sent[keyword].value], keyword
    for tag, element in model.items():
        if "BulkDataURI" in element:
            bulk = clinician.get(element["BulkDataURI"])
            assert bulk.status_code == 200, (tag, bulk.text)
            if sent.file_meta.TransferSyntaxUID == EXPLICIT and element["vr"] != "SQ":
                ((_, data),) = parts_of(bulk)
                assert data == sent[int(tag, 16)].value
                assert clinician.get(element["BulkDataURI"], "application/octet-stream").content == data


def _has_frames(data_set: pydicom.Dataset) -> bool:
    # pydicom cuts no frames out of bits that share a byte, nor where their number is malformed; tests of `dicom.frames` do.
    raw = data_set.get_item("NumberOfFrames").value if "NumberOfFrames" in data_set else b"1"
    decimal = (raw.decode() if isinstance(raw, bytes) else str(raw)).strip().isdigit()
    return "PixelData" in data_set and "Rows" in data_set and data_set.BitsAllocated % 8 == 0 and decimal


def _frames(data_set: pydicom.Dataset) -> list[bytes]:
    count = int(data_set.get("NumberOfFrames", 1))
    if UID(data_set.file_meta.TransferSyntaxUID).is_compressed and data_set.file_meta.TransferSyntaxUID not in NATIVE:
        return [encaps.get_frame(data_set.PixelData, number, number_of_frames=count) for number in range(count)]
    length = get_expected_length(data_set) // count
    return [data_set.PixelData[number * length : (number + 1) * length] for number in range(count)]


@pytest.mark.parametrize(
    "path",
    [path for path in SERVED if _has_frames(pydicom.dcmread(path))],
    ids=lambda path: path.name,
)
def test_frames_are_those_that_pydicom_finds(clinician: Client, stored: dict[str, bytes], path: Path) -> None:
    study, series, instance = uids_of(path)
    sent = pydicom.dcmread(io.BytesIO(stored[instance]))
    expected = _frames(sent)
    numbers = sorted({1, len(expected)})
    answer = clinician.get(f"{path_to(study, series, instance)}/frames/{','.join(map(str, numbers))}")
    assert answer.status_code == 200, answer.text
    syntax = sent.file_meta.TransferSyntaxUID
    assert [data for _, data in parts_of(answer)] == [_swapped(sent, expected[number - 1]) for number in numbers]
    assert {kind.partition("; ")[2] for kind, _ in parts_of(answer)} == {f"transfer-syntax={EXPLICIT if syntax in NATIVE else syntax}"}


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "examples_jpeg2k.dcm", "examples_ybr_color.dcm"])
def test_compressed_frames_come_uncompressed_as_octets(clinician: Client, stored: dict[str, bytes], name: str) -> None:
    study, series, instance = uids_of(sample(name))
    assert instance in stored
    expected = pydicom.dcmread(sample(name)).pixel_array
    count = int(pydicom.dcmread(sample(name)).get("NumberOfFrames", 1))
    last = expected[count - 1] if count > 1 else expected
    where = f"{path_to(study, series, instance)}/frames/"
    answer = clinician.get(f"{where}{count},{count}", 'multipart/related; type="application/octet-stream"')
    assert [kind for kind, _ in parts_of(answer)] == [f"application/octet-stream; transfer-syntax={EXPLICIT}"] * 2
    assert [data for _, data in parts_of(answer)] == [last.tobytes()] * 2
    bare = clinician.get(f"{where}{count}", "application/octet-stream")
    assert (bare.status_code, bare.content) == (200, last.tobytes())


def _swapped(data_set: pydicom.Dataset, frame: bytes) -> bytes:
    width = data_set.BitsAllocated // 8
    if data_set.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.2" or width == 1:
        return frame
    return b"".join(frame[start : start + width][::-1] for start in range(0, len(frame), width))


@pytest.mark.parametrize("text", ["0", "1,", "x", "-1", "1;2", "99999999", ",".join(["1"] * 10_001)])
def test_frame_lists_that_are_none_are_refused(clinician: Client, stored: dict[str, bytes], text: str) -> None:
    study, series, instance = uids_of(CT)
    assert instance in stored
    assert clinician.get(f"{path_to(study, series, instance)}/frames/{text}").status_code == 400


# An independent client


def test_dicomweb_client_stores_searches_and_retrieves(clinician: Client, technologist: Client) -> None:
    def connect(client: Client) -> DICOMwebClient:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(client.archive.ca)
        return DICOMwebClient(client.archive.web, session=session, headers={"Authorization": f"Bearer {client.token}"})

    data_set = pydicom.dcmread(sample("MR_small.dcm"))
    report = connect(technologist).store_instances([data_set])
    assert report.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == data_set.SOPInstanceUID
    client = connect(clinician)
    names = {"study_instance_uid": data_set.StudyInstanceUID, "series_instance_uid": data_set.SeriesInstanceUID}
    (row,) = client.search_for_studies(search_filters={"PatientID": data_set.PatientID, "StudyInstanceUID": data_set.StudyInstanceUID})
    assert row["00080061"]["Value"] == ["MR"]
    assert client.search_for_series(names["study_instance_uid"])
    assert client.search_for_instances(**names)
    received = client.retrieve_instance(**names, sop_instance_uid=data_set.SOPInstanceUID)
    assert received.PixelData == data_set.PixelData
    assert [each.SOPInstanceUID for each in client.retrieve_series(**names)] == [data_set.SOPInstanceUID]
    assert [each.SOPInstanceUID for each in client.retrieve_study(names["study_instance_uid"])] == [data_set.SOPInstanceUID]
    (model,) = (client.retrieve_instance_metadata(**names, sop_instance_uid=data_set.SOPInstanceUID),)
    assert pydicom.Dataset.from_json(model, bulk_data_uri_handler=lambda _uri: b"").Rows == data_set.Rows
    (frame,) = client.retrieve_instance_frames(**names, sop_instance_uid=data_set.SOPInstanceUID, frame_numbers=[1])
    assert frame == data_set.PixelData


def test_dicomweb_client_without_a_token_is_refused(served: ArchiveUnderTest) -> None:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(served.ca)
    with pytest.raises(requests.HTTPError, match="401"):
        DICOMwebClient(served.web, session=session).search_for_studies()


# What is left behind


def test_the_log_names_no_path_and_no_patient(served: ArchiveUnderTest, clinician: Client, stored: dict[str, bytes]) -> None:
    clinician.get("/studies?PatientName=CompressedSamples*")
    clinician.get("/studies/1.2.3?PatientName=Nobody")
    assert stored
    assert not re.search(r"studies|CompressedSamples|Nobody|\d+\.\d+\.\d+\.\d+\.\d+", served.log().replace("127.0.0.1", ""))


def test_the_trail_says_what_left(served: ArchiveUnderTest, clinician: Client, stored: dict[str, bytes]) -> None:
    study, series, instance = uids_of(CT)
    assert instance in stored
    clinician.get(path_to(study, series, instance), AS_STORED)
    last = [entry for entry in served.trail() if entry["door"] == "dicomweb"][-1]
    assert (last["action"], last["outcome"], last["count"], last["studies"]) == ("get", "done", 1, [study])


def test_an_unread_answer_is_cancelled_in_the_trail(served: ArchiveUnderTest, clinician: Client, technologist: Client) -> None:
    data_set = pydicom.dcmread(CT)
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(data_set.SOPInstanceUID + ".9")
    data_set.Rows, data_set.Columns = 4096, 4096
    data_set.PixelData = bytes(2 * 4096 * 4096)
    file = io.BytesIO()
    data_set.save_as(file)
    assert technologist.store(file.getvalue()).status_code == 200
    path = path_to(data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID)
    with clinician.get(path, "application/dicom", stream=True) as answer:
        assert answer.headers["Content-Length"]
        answer.raw.read(1000)
    wait_until(lambda: [entry["outcome"] for entry in served.trail() if entry["door"] == "dicomweb"][-1] == "cancelled")


def test_a_body_of_two_kinds_of_part(technologist: Client) -> None:
    body = multipart(CT.read_bytes()).removesuffix(f"--{BOUNDARY}--\r\n".encode()) + multipart(b"{}", content_type="text/plain").lstrip()
    answer = technologist.request("POST", "/studies", {"Content-Type": f"multipart/related; boundary={BOUNDARY}"}, data=body)
    assert answer.status_code == 202
    report = answer.json()
    assert len(report["00081199"]["Value"]) == 1
    assert report["0008119A"]["Value"] == [{"00081197": {"vr": "US", "Value": [0xC000]}}]
