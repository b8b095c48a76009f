"""Every object comes out as it went in by the web and by import: the data set's bytes are those that were handed over."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest
from pydicom.filereader import dcmread
from pydicom.uid import UID

from tests import samples
from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.dicomweb.client import AS_STORED, Client, data_set_of, parts_of
from tests.matrix.comparing import UNCONVERTED, Original, differences, explicit, original, padded
from tests.whole.associating import Sent, associated, find, get_studies

EXPLICIT = "1.2.840.10008.1.2.1"
MULTIPART = 'multipart/related; type="application/dicom"'

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # real files hold values that PS3.5 does not allow


@pytest.fixture(scope="session")
def originals() -> list[Original]:
    return [original(path) for path in samples.objects()]


def pairs(objects: Iterable[Sent]) -> set[tuple[str, str]]:
    return {(each.sop_class, each.transfer_syntax) for each in objects}


# The routes beside DIMSE, which tests/matrix has: each takes everything in and gives what was handed over, in order


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
    assert not [uid for uid, sent in filled.first.items() if served[uid] != padded(sent).data_set]


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


def test_wado_rs_gives_explicit_little_endian_by_default(filled_by_import: Filled, client: Client) -> None:
    compared = decoded = 0
    seen: set[str] = set()
    for each in filled_by_import.originals:
        uid = each.sent.sop_instance
        if uid in seen:
            continue
        seen.add(uid)
        series = str(dcmread(each.path, stop_before_pixels=True).SeriesInstanceUID)
        path = f"/studies/{each.study}/series/{series}/instances/{uid}"
        if each.path.name in UNCONVERTED:
            # The head of the answer waits for its first half megabyte: what cannot be decoded there is told, never half given.
            answer = client.get(path, MULTIPART)
            assert answer.status_code in {406, 500}, each.path.name
            assert not answer.headers["Content-Type"].startswith("multipart/")
            continue
        answer = client.get(path, MULTIPART)
        assert answer.status_code == 200, (each.path.name, answer.text)
        ((_, file),) = parts_of(answer)
        converted = dcmread(io.BytesIO(file))
        assert converted.file_meta.TransferSyntaxUID == EXPLICIT
        if UID(each.sent.transfer_syntax).is_encapsulated:
            decoded += 1  # tests/pixels compares what was decoded
            continue
        expected = explicit(each.path)
        different = differences(converted, expected)
        assert not different, (each.path.name, different)
        compared += 1
    assert compared > 60
    assert decoded > 15
