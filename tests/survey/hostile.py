"""How a server can try to stop, fill or fool the survey: each takes a connection or a GET."""

import json
import socket
import struct
import time

from leadglass.dicom.association import Association, Event, RequestArrived
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context, Offer, negotiate
from leadglass.dicom.dimse import FindRequest, FindResponse, GetResponse
from leadglass.dicom.messages import MessageStarted
from leadglass.dicom.pdu import AssociateAccept
from leadglass.dicom.user_information import UserInformation
from leadglass.survey.probes.dimse import identifier
from leadglass.vocabulary import Level
from tests.survey.servers import Asked


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def reject(result: int, source: int, reason: int) -> bytes:
    return pdu(3, bytes([0, result, source, reason]))


def trickle(link: socket.socket) -> None:
    for byte in pdu(2, bytes(70)) * 50:
        link.send(bytes([byte]))
        time.sleep(0.1)


class Raw:
    """The acceptor's side of one association, by hand, so that it can break any rule."""

    def __init__(self, link: socket.socket, *, also_echo: bool = False) -> None:
        self.link = link
        self.also_echo = also_echo
        self.machine = Association()

    def next(self, kind: type[Event]) -> Event:
        """Wait for an event, accepting whatever is proposed on the way."""
        while True:
            data = self.link.recv(65536)
            if not data:
                raise OSError
            for event in self.machine.receive(data):
                if isinstance(event, RequestArrived):
                    agreed = negotiate(event.request, self.offer)
                    user = UserInformation(maximum_length=16384, implementation_class_uid="1.2.3.4")
                    self.machine.accept(AssociateAccept("ANY-SCP", "X", agreed.results, user), agreed.contexts)
                    self.flush()
                if isinstance(event, kind):
                    return event

    def offer(self, sop_class: str) -> Offer | None:
        taken = sop_class.startswith("1.2.840.10008.5.1.4.1.2.") or self.also_echo
        return Offer((IMPLICIT_LITTLE_ENDIAN,)) if taken else None

    def flush(self) -> None:
        self.link.sendall(self.machine.data_to_send())

    def find_request(self) -> tuple[Context, int]:
        """The query that comes next, when its identifier has come too."""
        while True:
            event = self.next(MessageStarted)
            if isinstance(event, MessageStarted) and isinstance(event.command, FindRequest):
                return event.context, event.command.message_id


def babbles(link: socket.socket) -> None:
    """Begins an identifier, and sends a byte of it in a PDU of its own now and then."""
    raw = Raw(link)
    context, number = raw.find_request()
    raw.machine.begin_message(context, FindResponse(number, 0xFF00))
    for _ in range(200):
        raw.machine.send_data(context, b"x", is_last=False)
        raw.flush()
        time.sleep(0.05)


def never_stops(link: socket.socket) -> None:
    """Answers one match after another, whatever it is told."""
    raw = Raw(link)
    context, number = raw.find_request()
    match = identifier.encode(Level.STUDY, {"StudyInstanceUID": "1.2.3"})
    while True:
        raw.machine.send_message(context, FindResponse(number, 0xFF00), match)
        raw.flush()


def drips_matches(link: socket.socket) -> None:
    """Answers one match after another, whatever it is told, each of them in time."""
    raw = Raw(link)
    context, number = raw.find_request()
    match = identifier.encode(Level.STUDY, {"StudyInstanceUID": "1.2.3"})
    for _ in range(60):
        raw.machine.send_message(context, FindResponse(number, 0xFF00), match)
        raw.flush()
        time.sleep(0.2)


def answers_after_the_release(link: socket.socket) -> None:
    """Is asked to release and goes on about a query that nobody put."""
    raw = Raw(link)
    context, number = raw.find_request()
    raw.machine.send_message(context, FindResponse(number, 0x0000))
    raw.flush()
    while True:
        raw.machine.send_message(context, FindResponse(number, 0xFF00), b"")
        raw.flush()
        time.sleep(0.01)


def answers_another_question(link: socket.socket) -> None:
    raw = Raw(link)
    context, number = raw.find_request()
    raw.machine.send_message(context, GetResponse(number, 0x0000))
    raw.flush()
    link.recv(65536)


def is_silent_to_an_echo(link: socket.socket) -> None:
    """Takes C-ECHO for a question that needs no answer, and queries for those that do."""
    raw = Raw(link, also_echo=True)
    context, number = raw.find_request()
    raw.machine.send_message(context, FindResponse(number, 0x0000))
    raw.flush()
    link.recv(65536)


def endless_body(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Type", "application/dicom+json")
    asked.end_headers()
    while True:
        asked.wfile.write(b"[" * 65536)


def slow_body(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "1000000")
    asked.end_headers()
    for _ in range(40):
        asked.wfile.write(b"[")
        time.sleep(0.1)


def endless_headers(asked: Asked) -> None:
    asked.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        asked.wfile.write(b"X-Filler: " + b"y" * 4096 + b"\r\n")


def deep(asked: Asked) -> None:
    asked.answer(
        b"[" * 200_000 if asked.path.startswith("/dicom-web") else b"no",
        "application/dicom+json",
        200 if "dicom-web" in asked.path else 404,
    )


def wide(asked: Asked) -> None:
    asked.answer(b"[" + b"{}," * 1_000_000 + b"{}]", "application/dicom+json", 200 if "dicom-web" in asked.path else 404)


def many_contexts(link: socket.socket) -> None:
    """An acceptance of contexts that nobody proposed."""
    link.recv(65536)
    item = b"".join(b"\x21\0\0\x19" + bytes([number, 0, 0, 0]) + b"\x40\0\0\x11" + b"1.2.840.10008.1.2" for number in range(256))
    link.sendall(pdu(2, b"\0\1\0\0" + b" " * 32 + bytes(32) + item))
    link.recv(1)


def abort_storm(link: socket.socket) -> None:
    """One PDU after another, none of which fits."""
    link.recv(65536)
    for _ in range(10_000):
        link.sendall(pdu(6, bytes(4)) + pdu(5, bytes(4)) + pdu(7, bytes(4)))


def pdu_bomb(link: socket.socket) -> None:
    """A PDU of 2 GiB, and what fills it as fast as it is read."""
    link.recv(65536)
    link.sendall(b"\x04\0\x7f\xff\xff\xff")
    while True:
        link.sendall(bytes(65536))


def handshake_flood(link: socket.socket) -> None:
    """A TLS handshake message of 16 MB that never ends."""
    link.recv(65536)
    record = b"\x16\x03\x03\x3f\xff" + b"\x0b\xff\xff\xff" + bytes(0x3FFF - 4)
    while True:
        link.sendall(record)


def gzip_bomb(asked: Asked) -> None:
    """Says that its megabyte of zeros is compressed, though nobody asked for that."""
    asked.answer(bytes(1 << 20), "application/dicom+json", headers={"Content-Encoding": "gzip"})


def tiny_chunks(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Type", "application/dicom+json")
    asked.send_header("Transfer-Encoding", "chunked")
    asked.end_headers()
    while True:
        asked.wfile.write(b"1;" + b"x" * 200 + b"\r\n[\r\n")


def redirect_maze(asked: Asked) -> None:
    """Every page lies elsewhere on the server, by an address that grows."""
    asked.answer(b"", status=302, headers={"Location": f"//{asked.headers['Host']}{asked.path}/{'x' * 500}"})


def absurd_numbers(asked: Asked) -> None:
    """Counts that are no counts."""
    row = b'{"0020000D":{"vr":"UI","Value":["1.2.3"]},"00201208":{"vr":"IS","Value":[' + b"9" * 5000 + b"]}}"
    counts = (
        b'{"ApiVersion":1,"Version":"' + b"1." * 5000 + b'","DicomAet":"A","CountPatients":-1,"CountStudies":1e999,"CountInstances":NaN}'
    )
    asked.answer(b"[" + row + b"]" if "studies" in asked.path else counts, "application/json")


INJECTION = "=HYPERLINK(1)<script>alert(1)</script>^Injected"
"""What would be a formula in a spreadsheet, and a script in a page."""


def injects_dicom(link: socket.socket) -> None:
    """Puts it wherever an acceptor has text of his own."""
    machine = Association()
    data = b""
    while not data:
        data = link.recv(65536)
    (arrived,) = [event for event in machine.receive(data) if isinstance(event, RequestArrived)]
    agreed = negotiate(arrived.request, lambda _: Offer((IMPLICIT_LITTLE_ENDIAN,)))
    user = UserInformation(16384, "1.2.3.4", INJECTION[:16])
    machine.accept(AssociateAccept(INJECTION[:16], INJECTION[13:29], agreed.results, user), agreed.contexts)
    text = INJECTION.encode()
    row = b"".join(_element(tag, text) for tag in (0x00080052, 0x00080080, 0x00100010, 0x00100020, 0x0020000D))
    while True:
        link.sendall(machine.data_to_send())
        data = link.recv(65536)
        if not data:
            return
        for event in machine.receive(data):
            if isinstance(event, MessageStarted) and isinstance(event.command, FindRequest):
                for status in (0xFF00, 0x0000):
                    machine.send_message(event.context, FindResponse(event.command.message_id, status), row if status else None)


def _element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) + len(value) % 2) + value + b" " * (len(value) % 2)


def injects_web(asked: Asked) -> None:
    """Puts it wherever a web server has text of his own."""
    text = INJECTION.replace('"', "")
    value = {"vr": "LO", "Value": [text]}
    row = dict.fromkeys(("00100010", "00100020", "0020000D", "00080080"), value)
    system = {"ApiVersion": 1, "Version": text, "DicomAet": text, "Name": text, "CountPatients": text}
    body = json.dumps([row] if "studies" in asked.path else system).encode()
    if asked.path == "/":
        body = f"<title>Orthanc Explorer {text}</title>{text}".encode()
    headers = {"Server": text, "Set-Cookie": text, "WWW-Authenticate": text, "Access-Control-Allow-Origin": text}
    first = asked.path.split("/")[1]
    missing = len(first) == 12 and "-" not in first
    asked.answer(body, "text/html" if asked.path == "/" else "application/dicom+json", 404 if missing else 200, headers)
