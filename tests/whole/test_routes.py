"""Every object comes out as it went in: by whatever route, the data set's bytes are those that were on the wire."""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.filereader import dcmread
from pydicom.uid import UID

from tests import peers, samples
from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.dicomweb.client import AS_STORED, Client, data_set_of, parts_of
from tests.whole.associating import DEFLATED, Sent, associated, find, get_studies, send
from tests.whole.relay import client_context, relay

EXPLICIT = "1.2.840.10008.1.2.1"
TRAILING_PADDING = 0xFFFCFFFC
ALL_UNKNOWN = {"rtdose_rle.dcm", "rtdose_rle_1frame.dcm"}
"""Every element of these has VR UN: DCMTK finds no SOP class in them and sends an empty one, which is no C-STORE by PS3.7 9.3.1."""
MULTIPART = 'multipart/related; type="application/dicom"'

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # real files hold values that PS3.5 does not allow


@dataclass(frozen=True)
class Original:
    """A file, and what its data set says of itself."""

    path: Path
    study: str
    sent: Sent


def read(path: Path) -> Original:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dcmread(path, stop_before_pixels=True)
        data_set = data_set_of(path.read_bytes())
    sent = Sent(str(found.SOPClassUID), str(found.SOPInstanceUID), str(found.file_meta.TransferSyntaxUID), data_set)
    return Original(path, str(found.StudyInstanceUID), sent)


@pytest.fixture(scope="session")
def originals() -> list[Original]:
    return [read(path) for path in samples.objects()]


def pairs(objects: Iterable[Sent]) -> set[tuple[str, str]]:
    return {(each.sop_class, each.transfer_syntax) for each in objects}


def padded(sent: Sent) -> Sent:
    """A deflated data set is padded to even length on the wire (PS3.5 A.5)."""
    odd = sent.transfer_syntax == DEFLATED and len(sent.data_set) % 2
    return replace(sent, data_set=sent.data_set + b"\0") if odd else sent


# The routes: each takes everything in and gives what was on the wire, in order


def by_pynetdicom(archive: ArchiveUnderTest, who: Identity, originals: list[Original]) -> list[Sent]:
    wire = [padded(each.sent) for each in originals]
    with associated(archive.dimse, who, storage=pairs(wire)) as association:
        statuses = {sent.sop_instance: send(association, sent) for sent in wire}
    assert set(statuses.values()) == {0}, statuses
    return wire


def by_dcmsend(archive: ArchiveUnderTest, who: Identity, originals: list[Original]) -> list[Sent]:
    files = [each.path for each in originals if each.path.name not in ALL_UNKNOWN]
    assert len(files) == len(originals) - len(ALL_UNKNOWN)
    report = archive.home.with_name("dcmsend.txt")
    options: list[str | Path] = ["--decompress-never", "--no-halt", "--no-uid-checks", "+crf", report]
    with relay(archive.dimse, client_context(archive.ca, who)) as through:
        done = peers.scu("dcmsend", through.address, *options, files=files, calling="CT1")
    messages = through.messages()
    assert done.stdout.count("Received C-STORE Response (Success)") == len(messages) == len(files), done.stdout[-2000:]
    # It converts what is uncompressed to a syntax that it prefers.
    syntaxes = re.findall(r"^Network Xfer +: ([0-9.]+)", report.read_text(), re.MULTILINE)
    return [sent_by(command, syntax, data) for (command, data), syntax in zip(messages, syntaxes, strict=True)]


def sent_by(command: bytes, syntax: str, data: bytes) -> Sent:
    fields = pydicom.filereader.read_dataset(io.BytesIO(command), is_implicit_VR=True, is_little_endian=True)
    return Sent(str(fields.AffectedSOPClassUID), str(fields.AffectedSOPInstanceUID), syntax, data)


def by_stow(archive: ArchiveUnderTest, who: Identity, originals: list[Original]) -> list[Sent]:
    client = Client(archive, archive.token("tom", "technologist", "store,find"))
    answer = client.store(*(each.path.read_bytes() for each in originals))
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["00081199"]["Value"]) == len(originals)
    return [each.sent for each in originals]


def by_import(archive: ArchiveUnderTest, who: Identity, originals: list[Original]) -> list[Sent]:
    taken = archive.take_in([each.path for each in originals])
    assert taken["refused"] == []
    distinct = {each.sent.sop_instance for each in originals}
    assert taken["stored"] == len(distinct)
    assert taken["already_there"] + len(taken["conflicts"]) == len(originals) - len(distinct)
    return [each.sent for each in originals]


ROUTES: dict[str, Callable[[ArchiveUnderTest, Identity, list[Original]], list[Sent]]] = {
    "pynetdicom": by_pynetdicom,
    "dcmsend": by_dcmsend,
    "stow": by_stow,
    "import": by_import,
}


@dataclass(frozen=True)
class Filled:
    """A serving archive that was filled by one route, and what it must serve: the first that came under each UID."""

    archive: ArchiveUnderTest
    who: Identity
    first: dict[str, Sent]
    originals: list[Original]

    @property
    def studies(self) -> set[str]:
        return {each.study for each in self.originals if each.sent.sop_instance in self.first}


@pytest.fixture(scope="module", params=list(ROUTES))
def filled(
    request: pytest.FixtureRequest,
    new_archive: Callable[[], ArchiveUnderTest],
    peers_of: dict[str, Identity],
    originals: list[Original],
) -> Iterator[Filled]:
    if request.param == "import":
        yield request.getfixturevalue("filled_by_import")
        return
    archive = new_archive()
    with archive.serving():
        first: dict[str, Sent] = {}
        for sent in ROUTES[request.param](archive, peers_of["CT1"], originals):
            first.setdefault(sent.sop_instance, sent)
        yield Filled(archive, peers_of["CT1"], first, originals)


def test_every_object_comes_out_by_c_get_as_it_went_in(filled: Filled) -> None:
    received = get_studies(filled.archive.dimse, filled.who, filled.studies, pairs(filled.first.values()))
    by_uid = {each.sop_instance: each for each in received}
    assert len(received) == len(by_uid) == len(filled.first)
    different = [uid for uid, sent in filled.first.items() if by_uid[uid].data_set != padded(sent).data_set]
    assert not different
    assert all(by_uid[uid].transfer_syntax == sent.transfer_syntax for uid, sent in filled.first.items())


def test_every_object_comes_out_by_wado_rs_as_it_went_in(filled: Filled) -> None:
    client = Client(filled.archive, filled.archive.token("clara"))
    served: dict[str, bytes] = {}
    for study in sorted(filled.studies):
        answer = client.get(f"/studies/{study}", AS_STORED)
        assert answer.status_code == 200
        for _, file in parts_of(answer):
            meta = dcmread(io.BytesIO(file), stop_before_pixels=True).file_meta
            assert file[:128] == bytes(128)
            served[str(meta.MediaStorageSOPInstanceUID)] = data_set_of(file)
            assert meta.TransferSyntaxUID == filled.first[meta.MediaStorageSOPInstanceUID].transfer_syntax
    assert served.keys() == filled.first.keys()
    assert not [uid for uid, sent in filled.first.items() if served[uid] != sent.data_set]


def test_every_object_is_found(filled: Filled) -> None:
    with associated(filled.archive.dimse, filled.who) as association:
        studies = find(association, "STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances="", PatientID="")
    assert {str(study.StudyInstanceUID) for study in studies} == filled.studies
    assert sum(int(study.NumberOfStudyRelatedInstances) for study in studies) == len(filled.first)


def test_nothing_is_wrong_afterwards(filled: Filled) -> None:
    from tests.archives import leadglass  # noqa: PLC0415

    assert "0 problems" in leadglass("check", filled.archive.home).stdout


# WADO-RS's default: explicit little endian


@pytest.fixture(scope="module")
def client(filled_by_import: Filled) -> Client:
    return Client(filled_by_import.archive, filled_by_import.archive.token("clara"))


@pytest.fixture(scope="module")
def filled_by_import(
    new_archive: Callable[[], ArchiveUnderTest], peers_of: dict[str, Identity], originals: list[Original]
) -> Iterator[Filled]:
    archive = new_archive()
    first: dict[str, Sent] = {}
    for sent in by_import(archive, peers_of["CT1"], originals):
        first.setdefault(sent.sop_instance, sent)
    with archive.serving():
        yield Filled(archive, peers_of["CT1"], first, originals)


def explicit_by_pydicom(path: Path) -> pydicom.Dataset:
    """The file's data set as pydicom writes and reads it again in explicit little endian."""
    made = io.BytesIO()
    original = dcmread(path)
    big = original.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRBigEndian
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in original})  # reading each, so that it is converted and not copied
    if big and original.BitsAllocated > 8:  # pydicom leaves the order of bytes in OW as it is
        words = np.frombuffer(original.PixelData, f">u{original.BitsAllocated // 8}")
        plain.PixelData = words.byteswap().tobytes()
    plain.save_as(made, implicit_vr=False, little_endian=True)
    return pydicom.filereader.read_dataset(io.BytesIO(made.getvalue()), is_implicit_VR=False, is_little_endian=True)


def same(ours: pydicom.DataElement, theirs: pydicom.DataElement) -> bool:
    """Equal; pixels of 8 bits may be OB and OW alike, which in little endian is the same (PS3.5 8.2)."""
    if {ours.VR, theirs.VR} == {"OB", "OW"}:
        return ours.tag == theirs.tag and bool(ours.value == theirs.value)
    return bool(ours == theirs)


def test_wado_rs_gives_explicit_little_endian_by_default(filled_by_import: Filled, client: Client) -> None:
    compared = 0
    seen: set[str] = set()
    for original in filled_by_import.originals:
        uid = original.sent.sop_instance
        if uid in seen:
            continue
        seen.add(uid)
        series = str(dcmread(original.path, stop_before_pixels=True).SeriesInstanceUID)
        answer = client.get(f"/studies/{original.study}/series/{series}/instances/{uid}", MULTIPART)
        if UID(original.sent.transfer_syntax).is_encapsulated:
            assert answer.status_code == 406, original.path.name
            continue
        assert answer.status_code == 200, (original.path.name, answer.text)
        ((_, file),) = parts_of(answer)
        converted = dcmread(io.BytesIO(file))
        assert converted.file_meta.TransferSyntaxUID == EXPLICIT
        expected = explicit_by_pydicom(original.path)
        # pydicom leaves group lengths out also where nothing is converted.
        tags = {each.tag for each in converted if each.tag.element} - {TRAILING_PADDING}
        assert tags == {each.tag for each in expected if each.tag.element} - {TRAILING_PADDING}, original.path.name
        different = [tag for tag in tags if not same(converted[tag], expected[tag])]
        assert not different, (original.path.name, different)
        compared += 1
    assert compared > 60
