"""The whole web probe, up to the first bytes of an image and one stored object, against a server that says the input part by part."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fuzz._canned import BETWEEN, InTurn, briefing, system
from leadglass.survey.observations import Write
from leadglass.survey.probes.web.probe import WebProbe

MUTATIONS = 50
"""In `make test`: each is some thirty requests."""

_ROW = b'[{"0020000D":{"Value":["1.2.3"]},"0020000E":{"Value":["1.2.4"]},"00080018":{"Value":["1.2.5"]},"00201208":{"Value":[7]}}]'


class Server(InTurn):
    """The first byte of a part says what it says it is; a path that is random is not found."""

    def parts(self, given: Sequence[bytes]) -> Iterable[bytes]:
        return itertools.cycle(given)

    def answer(self, asked: bytes, part: bytes) -> bytes:
        kinds = (b"application/dicom+json", b"application/json", b"text/html", b"multipart/related")
        kind = kinds[part[0] % 4] if part else kinds[0]
        first = asked.partition(b" /")[2].partition(b" ")[0].partition(b"/")[0]
        found = b"404 Not Found" if len(first) == 12 and not first.strip(b"0123456789abcdef") else b"200 OK"
        body = part[1:]
        return b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (found, kind, len(body)) + body


def target(data: bytes) -> None:
    """The probe comes to an end."""
    door = asyncio.run(WebProbe().run(system(104), 80, replace(briefing(Server(data[:8192])), write_probe=True)))
    # Its UID is random: no answer that was written before can tell it.
    assert door.write is not Write.ACCEPTED


def seeds() -> list[bytes]:
    """A QIDO-RS service, Orthanc, dcm4chee-arc, pages, nonsense."""
    orthanc = b'{"ApiVersion":1,"Version":"1.12.1","DicomAet":"A","CountPatients":1,"CountStudies":"2","CountInstances":3}'
    return [
        BETWEEN.join([b"\0" + _ROW, b"\0[]"]),
        b"\0" + _ROW,
        b"\1" + orthanc,
        b'\1[{"dicomAETitle":"DCM4CHEE"}]',
        BETWEEN.join([b"\2<title>Index of /</title><a href='a.dcm'>", b"\2<title>Orthanc Explorer</title>", b"\3\r\n\r\nx"]),
        b"\0" + b"[" * 3000,
        b'\0[{"00081199":{"Value":[{"00081155":{"Value":["1.2.3"]}}]},"00081198":{"Value":[7]}}]',
    ]
