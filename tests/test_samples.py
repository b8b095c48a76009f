"""That the table of samples is true of the pydicom that is installed, judged by pydicom and DCMTK."""

import warnings
from pathlib import Path

import pytest
from pydicom import dcmread

from tests import peers, samples

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def test_every_file_of_the_table_exists() -> None:
    assert set(samples.NO_OBJECT) == set(map(samples.name_of, samples.no_objects()))
    assert len(samples.objects()) == 157


@pytest.mark.parametrize("path", samples.objects(), ids=samples.name_of)
def test_an_object_is_complete_and_identified(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values are part of real images
        dataset = dcmread(path)
        assert all(dataset.get(keyword) for keyword in UIDS)
        assert dataset.file_meta.TransferSyntaxUID
    assert peers.dcmtk("dcmdump", "-q", path).returncode == 0


def test_files_of_the_table_are_not_taken_for_objects_by_dcmtk_and_pydicom() -> None:
    taken = []
    for path in samples.no_objects():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(path, force=True)
            has_uids = all(keyword in dataset for keyword in UIDS)
        has_prefix = path.read_bytes()[128:132] == b"DICM"
        if has_uids and has_prefix and peers.dcmtk("dcmdump", "-q", path).returncode == 0:
            taken.append(samples.name_of(path))
    assert taken == []
