"""Orthanc's own web interface, as much of it as a stranger asks for: status, counts, one image, the explorer."""

import asyncio
import json

from tests.fleet import PLANTED_NAME, Orthanc

_ID = "0a0b0c0d-0a0b0c0d-0a0b0c0d-0a0b0c0d-0a0b0c0d"


class WebSpeaker(asyncio.Protocol):
    """One connection to one Orthanc."""

    def __init__(self, orthanc: Orthanc, delay: float) -> None:
        self._orthanc, self._delay = orthanc, delay
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            status, kind, body = self._page(head.split(b" ")[1].decode())
            said = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            self._loop.call_later(self._delay, self._send, said)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _page(self, path: str) -> tuple[int, str, bytes]:
        held = self._orthanc
        if path == "/system":
            return self._json({"ApiVersion": 17, "Version": "1.5.7", "DicomAet": "ORTHANC", "Name": "Orthanc", "DicomPort": 4242})
        if path == "/statistics":
            counts = {
                "CountPatients": held.patients,
                "CountStudies": held.studies,
                "CountSeries": held.studies * 2,
                "CountInstances": held.instances,
            }
            return self._json(counts)
        if path.startswith("/studies?since="):
            # Beyond the end of its list: whoever may ask is given nobody.
            return self._json([])
        if path.startswith("/instances?"):
            return self._json([_ID])
        if path == f"/instances/{_ID}/file" and held.hands_out_images:
            return 200, "application/dicom", bytes(128) + b"DICM" + PLANTED_NAME.encode() * 20
        if path == "/app/explorer.html" and held.viewer:
            return 200, "text/html", b"<html><title>Orthanc Explorer</title></html>"
        return 404, "application/json", b"{}"

    def _json(self, value: object) -> tuple[int, str, bytes]:
        return 200, "application/json", json.dumps(value).encode()
