"""Who is disabled is out at once, also in the middle of a long download or upload."""

import io
import ssl
import time
from collections.abc import Iterator

import pydicom
import pytest
from pydicom.uid import UID

from tests.archives import ArchiveUnderTest, leadglass, wait_until
from tests.dicomweb.client import AS_STORED, Client, path_to
from tests.samples import sample

LENGTH = 64_000_000
IN_SOCKETS = 24_000_000
"""More than the kernels on both sides and our own buffers hold of an answer."""


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveUnderTest]:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("archive"))
    with archive.serving():
        yield archive


def large() -> tuple[bytes, str]:
    """A file of 64 MB and the path of its object."""
    data_set = pydicom.dcmread(sample("CT_small.dcm"))
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(data_set.SOPInstanceUID + ".64")
    data_set.PixelData = bytes(LENGTH)
    file = io.BytesIO()
    data_set.save_as(file)
    return file.getvalue(), path_to(data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID)


def outcomes(archive: ArchiveUnderTest, action: str) -> list[str]:
    return [entry["outcome"] for entry in archive.trail() if (entry["action"], entry["kind"]) == (action, "outcome")]


def test_a_download_is_broken_off(served: ArchiveUnderTest) -> None:
    file, path = large()
    technologist = Client(served, served.token("tom", role="technologist", may="find,store"))
    assert technologist.store(file).status_code == 200
    token = served.token("clara")
    with technologist.archive_connection() as connection:
        head = f"GET /dicom-web{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: {AS_STORED}\r\n\r\n"
        connection.sendall(head.encode())
        received = len(connection.recv(1000))
        leadglass("user", "disable", served.home, "clara")
        # Nothing is read meanwhile: a reader that stalls is broken off as well.
        wait_until(lambda: outcomes(served, "get") == ["cancelled"], 8)
        try:
            while data := connection.recv(1 << 20):
                received += len(data)
        except (ConnectionError, ssl.SSLError):
            pass
    assert received < IN_SOCKETS
    # It is no fault of ours that the log would tell of.
    assert "broken off" not in served.log()


def test_an_upload_is_broken_off(served: ArchiveUnderTest) -> None:
    file, _ = large()
    technologist = Client(served, served.token("tom", role="technologist", may="find,store"))
    with technologist.archive_connection() as connection:
        fields = f"host: x\r\nauthorization: Bearer {technologist.token}\r\ncontent-type: application/dicom\r\ncontent-length: {len(file)}"
        connection.sendall(f"POST /dicom-web/studies HTTP/1.1\r\n{fields}\r\n\r\n".encode() + file[:4_000_000])
        leadglass("user", "disable", served.home, "tom")
        begin = time.monotonic()
        connection.settimeout(8)
        # One part that does not end, and of which nothing comes at this moment.
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")
        assert time.monotonic() - begin < 5
    assert outcomes(served, "store") == ["cancelled"]
    assert not list((served.home / "blobs" / "incoming").iterdir())


def test_who_stays_who_he_is_downloads_to_the_end(served: ArchiveUnderTest) -> None:
    file, path = large()
    technologist = Client(served, served.token("tom", role="technologist", may="find,store"))
    assert technologist.store(file).status_code == 200
    clinician = Client(served, served.token("clara"))
    with clinician.get(path, "application/dicom", stream=True) as answer:
        received = len(answer.raw.read(1000))
        time.sleep(2.5)
        received += len(answer.raw.read())
    assert received == int(answer.headers["Content-Length"])
