"""Storing: what a request may hold, what is reported, and what is kept when something is wrong."""

import io
import ssl
from collections.abc import Iterator

import psutil
import pydicom
import pytest
from pydicom.uid import UID

from tests.archives import ArchiveUnderTest, wait_until
from tests.dicomweb.client import AS_STORED, BOUNDARY, Client, data_set_of, multipart, parts_of, path_to
from tests.samples import sample

TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
CT = sample("CT_small.dcm")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveUnderTest]:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("archive"))
    config = archive.home / "leadglass.toml"
    config.write_text(config.read_text().replace("[web]", "[web]\nmax_request_bytes = 400_000_000"))
    with archive.serving():
        yield archive


@pytest.fixture(scope="module")
def client(served: ArchiveUnderTest) -> Client:
    token = served.token("tom", role="technologist", may="find,store")
    return Client(served, token)


@pytest.fixture(scope="module")
def clinician(served: ArchiveUnderTest) -> Client:
    return Client(served, served.token("clara"))


def made(number: int, study: str = "1.2.826.0.1.3680043.8.498.5") -> tuple[bytes, str]:
    """A CT of its own and its SOP Instance UID."""
    data_set = pydicom.dcmread(CT)
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = UID(study), UID(f"{study}.1")
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(f"{study}.1.{number}")
    file = io.BytesIO()
    data_set.save_as(file)
    return file.getvalue(), str(data_set.SOPInstanceUID)


def reasons(report: dict[str, dict[str, list[dict[str, dict[str, list[int]]]]]], sequence: str) -> list[int]:
    return [item["00081197"]["Value"][0] for item in report.get(sequence, {}).get("Value", [])]


def test_one_bare_object(client: Client) -> None:
    file, uid = made(1)
    answer = client.request("POST", "/studies", {"Content-Type": "application/dicom"}, data=file)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/dicom+json"
    (item,) = answer.json()["00081199"]["Value"]
    assert item["00081155"]["Value"] == [uid]
    assert item["00081190"]["Value"][0].endswith(uid)


def test_the_same_again_and_other_content_are_the_same_success(client: Client) -> None:
    file, _ = made(2)
    other = pydicom.dcmread(io.BytesIO(file))
    other.PatientID = "SOMEBODY ELSE"
    changed = io.BytesIO()
    other.save_as(changed)
    answers = [client.store(each).text for each in (file, file, changed.getvalue())]
    assert len(set(answers)) == 1


def test_an_object_of_another_study_than_the_url_names_fails_alone(client: Client) -> None:
    right, wrong = made(3), made(4, study="1.2.826.0.1.3680043.8.498.6")
    answer = client.store(right[0], wrong[0], study="1.2.826.0.1.3680043.8.498.5")
    assert answer.status_code == 202
    report = answer.json()
    assert [item["00081155"]["Value"][0] for item in report["00081198"]["Value"]] == [wrong[1]]
    assert reasons(report, "00081198") == [0xA901]
    assert [item["00081155"]["Value"][0] for item in report["00081199"]["Value"]] == [right[1]]
    assert client.store(wrong[0], study="1.2.826.0.1.3680043.8.498.5").status_code == 409
    assert client.get(f"/instances?SOPInstanceUID={wrong[1]}").status_code == 204


@pytest.mark.parametrize(
    "damage",
    [
        lambda _file: b"",
        lambda _file: b"not DICOM",
        lambda file: file[:100],
        lambda file: file[:200],
        lambda file: file[:1000],
        lambda file: file[:-10],
        data_set_of,
        lambda file: file[:132] + bytes(1000),
        lambda file: file + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 1000,
    ],
)
def test_a_part_that_is_no_object_fails_alone(client: Client, damage: object) -> None:
    assert callable(damage)
    good, damaged = made(5)[0], damage(made(6)[0])
    answer = client.store(damaged, good)
    assert answer.status_code == 202
    report = answer.json()
    assert reasons(report, "00081198") + reasons(report, "0008119A") == [0xC000]
    assert client.store(damaged).status_code == 409
    assert client.get(f"/instances?SOPInstanceUID={made(6)[1]}").status_code == 204


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ({}, b"x", 415),
        ({"Content-Type": "text/plain"}, b"x", 415),
        ({"Content-Type": "nonsense"}, b"x", 400),
        ({"Content-Type": "multipart/related; type=application/dicom+xml; boundary=b"}, b"x", 415),
        ({"Content-Type": "multipart/related; type=application/dicom"}, b"x", 400),
        ({"Content-Type": TYPE, "Content-Encoding": "gzip"}, b"x", 415),
        ({"Content-Type": TYPE, "Accept": "text/html"}, b"x", 406),
        ({"Content-Type": TYPE}, b"", 400),
        ({"Content-Type": TYPE}, b"no boundary anywhere", 400),
        ({"Content-Type": TYPE}, multipart(), 400),
        ({"Content-Type": TYPE}, multipart(b"x")[:-10], 400),
        ({"Content-Type": TYPE}, f"--{BOUNDARY}\r\nx: {'y' * 20_000}".encode(), 400),
        ({"Content-Type": TYPE}, f"--{BOUNDARY}\r\n\r\n\r\n".encode() * 10_001, 413),
        ({"Content-Type": "application/dicom"}, b"", 409),
    ],
)
def test_what_is_no_store_request_is_refused(client: Client, fields: dict[str, str], body: bytes, status: int) -> None:
    answer = client.request("POST", "/studies", fields, data=body)
    assert answer.status_code == status, answer.text


def test_a_body_cut_off_keeps_and_reports_what_came_whole(client: Client) -> None:
    whole, uid = made(7)
    answer = client.request("POST", "/studies", {"Content-Type": TYPE}, data=multipart(whole, made(8)[0])[:-1000])
    assert answer.status_code == 202
    report = answer.json()
    assert [item["00081155"]["Value"][0] for item in report["00081199"]["Value"]] == [uid]
    assert reasons(report, "0008119A") == [0xC000]
    assert client.get(f"/instances?SOPInstanceUID={made(8)[1]}").status_code == 204


def test_too_large_a_request_is_refused_unread(client: Client) -> None:
    with client.archive_connection() as connection:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.token}\r\ncontent-type: {TYPE}\r\n"
        connection.sendall(f"{head}content-length: 400000001\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_part_without_end_is_cut_off(client: Client, clinician: Client) -> None:
    def endless() -> Iterator[bytes]:
        yield f"--{BOUNDARY}\r\n\r\n".encode() + made(9)[0][:-40_000]
        for _ in range(10_000):
            yield bytes(65536)

    assert client.archive.process is not None
    before = psutil.Process(client.archive.process.pid).memory_info().rss
    try:
        status = client.request("POST", "/studies", {"Content-Type": TYPE}, data=endless()).status_code
    except OSError:
        status = 413
    assert status in {409, 413}
    assert psutil.Process(client.archive.process.pid).memory_info().rss - before < 60_000_000
    assert clinician.get(f"/instances?SOPInstanceUID={made(9)[1]}").status_code == 204


def test_a_client_that_leaves_leaves_nothing(client: Client) -> None:
    with client.archive_connection() as connection:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.token}\r\ncontent-type: application/dicom\r\n"
        connection.sendall(f"{head}content-length: 1000000\r\n\r\n".encode() + made(10)[0])
    wait_until(lambda: not list((client.archive.home / "blobs" / "incoming").iterdir()))
    entries = [entry for entry in client.archive.trail() if entry["action"] == "store" and entry["door"] == "dicomweb"]
    assert client.get(f"/instances?SOPInstanceUID={made(10)[1]}").status_code == 204
    assert entries[-1]["kind"] == "outcome"


def test_a_large_object_goes_in_and_out_in_bounded_memory(client: Client, clinician: Client) -> None:
    megabytes = 200
    data_set = pydicom.dcmread(CT)
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(data_set.SOPInstanceUID + ".200")
    data_set.Rows, data_set.Columns, data_set.NumberOfFrames = 1024, 1024, megabytes // 2
    data_set.PixelData = bytes(range(256)) * (megabytes * 4096)
    file = io.BytesIO()
    data_set.save_as(file)
    assert client.archive.process is not None
    process = psutil.Process(client.archive.process.pid)
    assert client.request("POST", "/studies", {"Content-Type": "application/dicom"}, data=file.getvalue()).status_code == 200
    path = path_to(str(data_set.StudyInstanceUID), str(data_set.SeriesInstanceUID), str(data_set.SOPInstanceUID))
    ((_, received),) = parts_of(clinician.get(path, AS_STORED))
    assert data_set_of(received) == data_set_of(file.getvalue())
    ((_, frame),) = parts_of(clinician.get(f"{path}/frames/{megabytes // 2}"))
    assert frame == bytes(range(256)) * 8192
    assert process.memory_full_info().uss < 200_000_000


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/dicom", b"not DICOM"),
        ("application/dicom", b""),
        (TYPE, multipart(b"x", content_type="image/png")),
        ("text/plain", b"x"),
    ],
)
def test_a_token_that_may_not_store_is_refused_and_the_trail_says_so(clinician: Client, content_type: str, body: bytes) -> None:
    before = len(clinician.archive.trail())
    assert clinician.request("POST", "/studies", {"Content-Type": content_type}, data=body).status_code == 403
    # An entry without an action may come between: what was refused before an operation, counted for a minute.
    entries = [entry for entry in clinician.archive.trail()[before:] if entry["door"] == "dicomweb" and entry["action"] is not None]
    assert [(entry["kind"], entry["action"], entry["outcome"]) for entry in entries] == [("denied", "store", "refused")]


def test_a_token_that_may_not_store_is_refused_before_its_body(clinician: Client) -> None:
    with clinician.archive_connection() as connection:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {clinician.token}\r\ncontent-type: {TYPE}\r\n"
        connection.sendall(f"{head}content-length: 1000000\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 403")


def test_no_room_is_503_and_the_rest_goes_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("full"))
    config = archive.home / "leadglass.toml"
    config.write_text(config.read_text().replace("reserve_bytes = 1048576", f"reserve_bytes = {1 << 60}"))
    with archive.serving():
        client = Client(archive, archive.token("tom", role="technologist", may="find,store"))
        answer = client.store(made(11)[0], made(12)[0])
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert client.get("/studies").status_code == 204


def test_the_connection_of_the_tests_is_tls(client: Client) -> None:
    with client.archive_connection() as connection:
        assert isinstance(connection, ssl.SSLSocket)
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}
