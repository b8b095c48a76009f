"""Expected against found: real archives and small servers, closed and open in every way, in one survey; a table without a difference."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from leadglass.survey.observations import ExposureLevel, RecordCounts, Transport, Write
from leadglass.survey.results import Result
from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass
from tests.certificates import make_authority
from tests.pynetdicom_server import serving
from tests.survey.harness import finding_ids, run
from tests.survey.ohif import ohif
from tests.survey.servers import Asked, answering, hang_up, talking

LISTS = ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.1")
IMAGES = [samples.sample(name) for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")]
THREE = RecordCounts(3, 3, 3, exact=True)
OPEN_STORE = {"store-offered", "dicom-unencrypted"}
ANYONE = OPEN_STORE | {"advisory-dcmtk"}


@dataclass(frozen=True)
class Found:
    """What a survey says of one system: a row of the table."""

    level: ExposureLevel = ExposureLevel.CLOSED
    write: Write = Write.NOT_TRIED
    transport: Transport | None = None
    product: str = ""
    records: RecordCounts | None = None
    open_viewers: int = 0
    findings: frozenset[str] = field(default=frozenset())


def row(result: Result) -> Found:
    software = result.software
    return Found(
        level=result.level,
        write=result.write,
        transport=result.transport,
        product=software.name or software.toolkit,
        records=result.records,
        open_viewers=result.open_viewers,
        findings=frozenset(finding_ids(result)),
    )


Target: TypeAlias = Mapping[str, object]
System: TypeAlias = Callable[[Path, contextlib.ExitStack], Target]


def orthanc(settings: Mapping[str, object], *, images: bool = True, tls: bool = False) -> System:
    def start(folder: Path, stack: contextlib.ExitStack) -> Target:
        identity = make_authority(folder / "ca").issue("orthanc") if tls else None
        archive = stack.enter_context(peers.orthanc(folder / "orthanc", settings, tls=identity))
        if images:
            for image in IMAGES:
                archive.upload(image.read_bytes())
        return {"dimse_ports": [archive.dicom.port], "web_ports": [int(archive.url.rpartition(":")[2])]}

    return start


def only(name: str, system: System) -> System:
    def start(folder: Path, stack: contextlib.ExitStack) -> Target:
        return {name: system(folder, stack)[name]}

    return start


def dcmqrscp(aet: str) -> System:
    def start(folder: Path, stack: contextlib.ExitStack) -> Target:
        archive = stack.enter_context(peers.dcmqrscp(folder / "dcmqrscp", aet=aet))
        assert peers.scu("storescu", archive, files=IMAGES).returncode == 0
        return {"dimse_ports": [archive.port]}

    return start


def storescp(folder: Path, stack: contextlib.ExitStack) -> Target:
    return {"dimse_ports": [stack.enter_context(peers.storescp(folder / "storescp")).port]}


def pynetdicom(*, known: str = "", studies: int = 2, status: int = 0x0000) -> System:
    """A query service of pynetdicom; `known`: the one calling title that it takes."""

    def answer(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if status:
            yield status, None
            return
        for number in range(studies):
            match = Dataset()
            match.QueryRetrieveLevel = "STUDY"
            match.StudyInstanceUID, match.PatientID = f"1.2.3.{number}", "P1"
            match.NumberOfStudyRelatedInstances = 4
            if event.identifier.StudyInstanceUID in {"", match.StudyInstanceUID}:
                yield 0xFF00, match

    def start(_: Path, stack: contextlib.ExitStack) -> Target:
        ae = AE()
        for each in LISTS:
            ae.add_supported_context(each)
        if known:
            ae.require_calling_aet = [known]
        return {"dimse_ports": [stack.enter_context(serving(ae, [(evt.EVT_C_FIND, answer)]))]}

    return start


def ourselves(folder: Path, stack: contextlib.ExitStack) -> Target:
    archive = ArchiveUnderTest.found(folder / "ours")
    leadglass("import", archive.home, *IMAGES)
    served = stack.enter_context(archive.serving())
    return {"dimse_ports": [served.dimse.port], "web_ports": [int(served.words["web"].rpartition(":")[2])]}


def web(answer: Callable[[Asked], object]) -> System:
    def start(_: Path, stack: contextlib.ExitStack) -> Target:
        return {"web_ports": [stack.enter_context(answering(answer)).port]}

    return start


def viewer(behind: System | None = None) -> System:
    """OHIF, alone or before an archive's DICOMweb service."""

    def start(folder: Path, stack: contextlib.ExitStack) -> Target:
        port = behind(folder, stack)["web_ports"] if behind else None
        root = f"http://127.0.0.1:{port[0]}/dicom-web" if isinstance(port, list) else ""
        return {"web_ports": [stack.enter_context(ohif(root)).port]}

    return start


def nobody(_: Path, __: contextlib.ExitStack) -> Target:
    return {"dimse_ports": [peers.free_port()], "web_ports": [peers.free_port()]}


def no_dicom(_: Path, stack: contextlib.ExitStack) -> Target:
    return {"dimse_ports": [stack.enter_context(talking(hang_up)).port]}


def congested(_: Path, stack: contextlib.ExitStack) -> Target:
    def talk(link: object) -> None:
        link.recv(4096)  # type: ignore[attr-defined] # a socket
        link.sendall(bytes([3, 0, 0, 0, 0, 4, 0, 2, 3, 1]))  # type: ignore[attr-defined]

    return {"dimse_ports": [stack.enter_context(talking(talk)).port]}


def catch_all(asked: Asked) -> None:
    asked.answer(b"<html><title>Hospital</title>orthanc explorer 2, ohif, dcm4che</html>")


PASSWORD: Mapping[str, object] = {
    "AuthenticationEnabled": True,
    "RegisteredUsers": {"anna": "a long password"},
    "RemoteAccessAllowed": True,
    "DicomAlwaysAllowEcho": False,
    "DicomAlwaysAllowStore": False,
    "DicomCheckCalledAet": True,
}

OF_ORTHANC = {"advisory-orthanc", "advisory-dcmtk"}

SMALL: Mapping[str, tuple[System, Found]] = {
    "nobody there": (nobody, Found()),
    "a port that is not DICOM": (no_dicom, Found(ExposureLevel.OPEN_PORT)),
    "congestion": (congested, Found(ExposureLevel.DICOM, Write.REFUSED, Transport.PLAIN)),
    "storescp": (
        storescp,
        Found(ExposureLevel.ASSOCIATION, Write.OFFERED, Transport.PLAIN, "DCMTK", findings=frozenset(ANYONE | {"strangers-associate"})),
    ),
    "dcmqrscp, another title": (dcmqrscp("NORTH"), Found(ExposureLevel.DICOM, Write.REFUSED, Transport.PLAIN)),
    "pynetdicom": (
        pynetdicom(),
        Found(
            ExposureLevel.RECORDS,
            Write.REFUSED,
            Transport.PLAIN,
            "pynetdicom",
            RecordCounts(1, 2, 8, exact=True),
            findings=frozenset({"records-open", "dicom-unencrypted"}),
        ),
    ),
    "pynetdicom that fails every query": (
        pynetdicom(status=0xC001),
        Found(
            ExposureLevel.QUERY_OFFERED,
            Write.REFUSED,
            Transport.PLAIN,
            "pynetdicom",
            findings=frozenset({"strangers-associate", "dicom-unencrypted"}),
        ),
    ),
    "pynetdicom that knows its callers": (pynetdicom(known="CT1"), Found(ExposureLevel.DICOM, Write.REFUSED, Transport.PLAIN)),
    "a page for every path": (web(catch_all), Found(ExposureLevel.OPEN_PORT, transport=Transport.PLAIN)),
}

LARGE: Mapping[str, tuple[System, Found]] = {
    "Orthanc, opened": (
        orthanc(peers.OPENED),
        Found(
            ExposureLevel.IMAGES,
            Write.OFFERED,
            Transport.PLAIN,
            "Orthanc",
            THREE,
            1,
            frozenset(OPEN_STORE | OF_ORTHANC | {"images-open", "product-interface-open", "viewer-open", "web-unencrypted"}),
        ),
    ),
    "Orthanc as Debian ships it, DICOM": (
        only("dimse_ports", orthanc({})),
        Found(ExposureLevel.QUERY_OFFERED, Write.OFFERED, Transport.PLAIN, "DCMTK", findings=frozenset(ANYONE | {"strangers-associate"})),
    ),
    "Orthanc with a password": (
        orthanc(PASSWORD, images=False),
        Found(ExposureLevel.DICOM, Write.REFUSED, Transport.PLAIN, "Orthanc", findings=frozenset({"web-unencrypted"})),
    ),
    "Orthanc that wants a certificate": (
        only("dimse_ports", orthanc(peers.OPENED, tls=True)),
        # `openssl s_client -tls1_1 -cipher AES128-SHA` is taken as well: Orthanc 1.10.1 has no setting for it.
        Found(
            ExposureLevel.OPEN_PORT,
            Write.REFUSED,
            Transport.MUTUAL_TLS,
            findings=frozenset({"tls-old-version", "tls-weak-suites"}),
        ),
    ),
    "dcmqrscp, open": (
        dcmqrscp("ANY-SCP"),
        Found(
            ExposureLevel.IMAGES,
            Write.OFFERED,
            Transport.PLAIN,
            "DCMTK",
            THREE,
            findings=frozenset(ANYONE | {"images-open"}),
        ),
    ),
    "OHIF as it is published": (
        viewer(),
        Found(ExposureLevel.OPEN_PORT, transport=Transport.PLAIN, findings=frozenset({"viewer-configuration"})),
    ),
    "OHIF before an opened Orthanc": (
        viewer(orthanc(peers.OPENED)),
        Found(
            ExposureLevel.IMAGES,
            transport=Transport.PLAIN,
            records=THREE,
            open_viewers=1,
            findings=frozenset({"images-open", "viewer-open", "viewer-configuration", "web-unencrypted"}),
        ),
    ),
    "our own archive": (ourselves, Found(ExposureLevel.OPEN_PORT, Write.REFUSED, Transport.MUTUAL_TLS)),
}


def table(folder: Path, systems: Mapping[str, tuple[System, Found]]) -> dict[str, Found]:
    """What one survey finds of all of them."""
    with contextlib.ExitStack() as stack:
        targets = [{"name": name, **start(folder / str(number), stack)} for number, (name, (start, _)) in enumerate(systems.items())]
        results = run(folder, *targets)
    assert not results.refused
    return {result.name: row(result) for result in results.targets}


def test_small_systems_are_found_as_they_are(tmp_path: Path) -> None:
    assert table(tmp_path, SMALL) == {name: expected for name, (_, expected) in SMALL.items()}


@pytest.mark.long
def test_every_system_is_found_as_it_is(tmp_path: Path) -> None:
    systems = {**SMALL, **LARGE}
    assert table(tmp_path, systems) == {name: expected for name, (_, expected) in systems.items()}
