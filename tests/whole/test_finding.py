"""C-FIND at both roots as pynetdicom, findscu and Orthanc ask it: levels, counts, errors, and an end when it is cancelled."""

import re
from collections.abc import Callable, Iterator

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom.association import Association

from tests import peers, synthetic
from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.whole.associating import FIND, PATIENT_FIND, associated

COUNTS = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")


def identifier(level: str, **keys: object) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def answers(association: Association, root: UID, asked: Dataset) -> tuple[list[Dataset], Dataset]:
    """The matches, and the status that ends them."""
    found: list[Dataset] = []
    for status, match in association.send_c_find(asked, root):
        if match is None:
            return found, status
        found.append(match)
    raise AssertionError("there was no final status")


@pytest.fixture(scope="module")
def asking(stocked: ArchiveUnderTest, peers_of: dict[str, Identity]) -> Iterator[Association]:
    with associated(stocked.dimse, peers_of["FINDER"], calling="FINDER") as association:
        yield association


def test_the_patient_root_is_walked_from_its_top(asking: Association) -> None:
    found, status = answers(
        asking, PATIENT_FIND, identifier("PATIENT", PatientName="CompressedSamples*", PatientID="", **dict.fromkeys(COUNTS, ""))
    )
    assert status.Status == 0
    patients = {str(each.PatientID): [int(each[name].value) for name in COUNTS] for each in found}
    assert patients == {"1CT1": [1, 1, 1], "4MR1": [1, 1, 1]}
    (study,), _ = answers(
        asking,
        PATIENT_FIND,
        identifier(
            "STUDY",
            PatientID="1CT1",
            StudyInstanceUID="",
            ModalitiesInStudy="",
            SOPClassesInStudy="",
            NumberOfStudyRelatedSeries="",
            NumberOfStudyRelatedInstances="",
            InstanceAvailability="",
            RetrieveAETitle="",
        ),
    )
    assert (study.ModalitiesInStudy, study.SOPClassesInStudy) == ("CT", "1.2.840.10008.5.1.4.1.1.2")
    assert (study.NumberOfStudyRelatedSeries, study.NumberOfStudyRelatedInstances) == (1, 1)
    assert (study.InstanceAvailability, study.RetrieveAETitle, study.QueryRetrieveLevel) == ("ONLINE", "LEADGLASS", "STUDY")
    above = {"PatientID": "1CT1", "StudyInstanceUID": study.StudyInstanceUID}
    (series,), _ = answers(asking, PATIENT_FIND, identifier("SERIES", **above, SeriesInstanceUID="", NumberOfSeriesRelatedInstances=""))
    assert series.NumberOfSeriesRelatedInstances == 1
    (image,), _ = answers(
        asking, PATIENT_FIND, identifier("IMAGE", **above, SeriesInstanceUID=series.SeriesInstanceUID, SOPInstanceUID="", Rows=None)
    )
    assert image.Rows == 128
    nobody, status = answers(asking, PATIENT_FIND, identifier("STUDY", **(above | {"PatientID": "4MR1"})))
    assert (nobody, status.Status) == ([], 0)


@pytest.mark.parametrize(
    ("root", "asked", "status"),
    [
        (FIND, identifier("PATIENT", PatientID=""), 0xA900),
        (FIND, identifier("SERIES", StudyInstanceUID=""), 0xA900),
        (PATIENT_FIND, identifier("STUDY", PatientID="ZQXJ*"), 0xA900),
        (PATIENT_FIND, identifier("IMAGE", PatientID="1CT1"), 0xA900),
        (FIND, identifier("STUDY", AccessionNumber=["ZQXJ", "B"]), 0xA900),
        (FIND, identifier("STUDY", StudyInstanceUID="1.2", RequestAttributesSequence=Sequence([Dataset(), Dataset()])), 0xA900),
    ],
)
def test_what_is_wrong_with_an_identifier_is_said_without_its_values(asking: Association, root: UID, asked: Dataset, status: int) -> None:
    found, said = answers(asking, root, asked)
    assert (found, said.Status) == ([], status)
    assert 0 < len(said.ErrorComment) <= 64
    assert "ZQXJ" not in said.ErrorComment


def test_what_is_not_supported_is_said_by_the_pending_status(asking: Association) -> None:
    asked = identifier("STUDY", StudyInstanceUID="", PatientComments="")
    first, *_ = [status.Status for status, _ in asking.send_c_find(asked, FIND)]
    assert first == 0xFF01


@pytest.mark.parametrize(("root", "level"), [("-P", "PATIENT"), ("-S", "STUDY")])
def test_findscu_asks_at_both_roots(stocked: ArchiveUnderTest, peers_of: dict[str, Identity], root: str, level: str) -> None:
    options = ["-k", f"QueryRetrieveLevel={level}", "-k", "PatientName=compressedsamples^ct1", "-k", "PatientID"]
    done = peers.scu("findscu", stocked.dimse, root, *options, calling="FINDER", tls=peers_of["FINDER"])
    assert done.returncode == 0, done.stdout
    assert re.search(r"\(0010,0020\) LO \[1CT1\]", done.stdout), done.stdout
    assert done.stdout.count("(Pending)") == 1


def test_a_large_answer_ends_soon_after_it_is_cancelled(new_archive: Callable[[], ArchiveUnderTest], peers_of: dict[str, Identity]) -> None:
    archive = new_archive()
    with synthetic.index_of(archive) as index:
        synthetic.fill(index, 16)
    with archive.serving(), associated(archive.dimse, peers_of["FINDER"], calling="FINDER") as association:
        found, last = 0, 0
        for status, _ in association.send_c_find(identifier("STUDY", PatientName="", StudyInstanceUID=""), FIND, msg_id=7):
            last = status.Status
            found += last == 0xFF00
            if found == 1:
                association.send_c_cancel(7, query_model=FIND)
        assert last == 0xFE00
        assert 1 <= found < 16 * synthetic.STUDIES_A_DAY
        # The association goes on, and the next question is answered whole.
        assert len(answers(association, FIND, identifier("STUDY", PatientID="PID0000150007"))[0]) == 1
