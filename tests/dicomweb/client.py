"""A client that builds its requests by hand, and reads files and multipart answers with other people's code."""

import contextlib
import io
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import requests
from pydicom.filereader import _read_file_meta_info, read_preamble

from tests.archives import ArchiveUnderTest

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
BOUNDARY = "a-boundary-of-the-tests"


@dataclass(frozen=True)
class Client:
    """One token at one archive."""

    archive: ArchiveUnderTest
    token: str | None

    def request(self, method: str, path: str, fields: dict[str, str] | None = None, **more: Any) -> requests.Response:  # noqa: ANN401 # requests' own
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **(fields or {})}
        url = path if path.startswith("https:") else self.archive.web + path
        return self._session.request(method, url, headers=headers, verify=str(self.archive.ca), timeout=60, **more)

    @cached_property
    def _session(self) -> requests.Session:
        return requests.Session()

    def get(self, path: str, accept: str | None = None, **more: Any) -> requests.Response:  # noqa: ANN401 # requests' own
        return self.request("GET", path, {"Accept": accept} if accept else None, **more)

    @contextlib.contextmanager
    def archive_connection(self) -> Iterator[ssl.SSLSocket]:
        """A bare connection over TLS, for requests that no library would send."""
        address = urlsplit(self.archive.web)
        with (
            socket.create_connection((address.hostname, address.port), timeout=30) as plain,
            self.archive.tls_context().wrap_socket(plain, server_hostname=address.hostname) as connection,
        ):
            yield connection

    def store(self, *objects: bytes, study: str | None = None) -> requests.Response:
        fields = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}
        return self.request("POST", f"/studies/{study}" if study else "/studies", fields, data=multipart(*objects))


def multipart(*objects: bytes, content_type: str = "application/dicom") -> bytes:
    """A body of one part for each object."""
    parts = (f"\r\n--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode() + each for each in objects)
    return b"".join(parts) + f"\r\n--{BOUNDARY}--\r\n".encode()


def parts_of(response: requests.Response) -> list[tuple[str, bytes]]:
    """Content type and bytes of each part of an answer."""
    boundary = response.headers["Content-Type"].partition("boundary=")[2].encode()
    assert boundary
    body = response.content
    assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
    found = []
    for part in body[: -len(boundary) - 8].split(b"\r\n--" + boundary)[1:]:
        head, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        found.append((fields["Content-Type"], data))
    return found


def data_set_of(file: bytes) -> bytes:
    """The bytes after the file meta information, as pydicom finds them."""
    source = io.BytesIO(file)
    assert read_preamble(source, force=False) is not None
    _read_file_meta_info(source)
    return file[source.tell() :]


def uids_of(path: Path) -> tuple[str, str, str]:
    """Study, series and instance of a file, as pydicom reads them."""
    data_set = pydicom.dcmread(path, stop_before_pixels=True)
    return str(data_set.StudyInstanceUID), str(data_set.SeriesInstanceUID), str(data_set.SOPInstanceUID)


def path_to(study: str, series: str, instance: str) -> str:
    """The path of an instance below the root."""
    return f"/studies/{study}/series/{series}/instances/{instance}"
