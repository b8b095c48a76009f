"""A full disk: what does not fit is refused by every door, reading goes on, and with room again storing does; nothing is lost."""

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID

from tests import samples
from tests.archives import ArchiveUnderTest, copy_of, leadglass
from tests.certificates import Identity
from tests.dicomweb.client import AS_STORED, Client, data_set_of, parts_of
from tests.whole.associating import Sent, associated, find, get_studies, send
from tests.whole.conftest import Founded

MIB = 1 << 20
EXPLICIT = "1.2.840.10008.1.2.1"
FULL = 0xA700


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB, of which 10 are taken by a file that can be removed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=True)
    (folder / "ballast").write_bytes(bytes(10 * MIB))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def large_ct(number: int) -> tuple[Sent, bytes]:
    """A CT of a mebibyte, as it is sent and as a file."""
    made = pydicom.dcmread(samples.sample("CT_small.dcm"))
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.10.999.{number}")
    made.Rows, made.Columns = 1024, 512
    made.PixelData = os.urandom(MIB)
    file = io.BytesIO()
    made.save_as(file)
    return Sent(str(made.SOPClassUID), str(made.SOPInstanceUID), EXPLICIT, data_set_of(file.getvalue())), file.getvalue()


@pytest.mark.parametrize("reserve", [4 * MIB, 0], ids=["the reserve is reached", "the disk itself is full"])
def test_a_full_disk_refuses_to_store_and_goes_on_serving(reserve: int, founded: Founded, small_disk: Path, tmp_path: Path) -> None:
    archive = copy_of(founded.archive, small_disk / "archive")
    config = archive.home / "leadglass.toml"
    config.write_text(config.read_text().replace("reserve_bytes = 1048576", f"reserve_bytes = {reserve}"))
    who = founded.peers["CT1"]
    with archive.serving():
        technologist = Client(archive, archive.token("tom", "technologist", "store,find"))
        clinician = Client(archive, archive.token("clara"))
        stored: list[Sent] = []
        refused, file = fill(archive, who, stored)
        assert len(stored) > 10
        state = os.statvfs(small_disk)
        free = state.f_bavail * state.f_frsize
        assert reserve - MIB < free < reserve + 3 * MIB  # what is kept free is for the trail, the index and the system

        # Every door says that it is full, in its own words.
        assert technologist.store(file).status_code == 503
        one = tmp_path / "one.dcm"
        one.write_bytes(file)
        said = leadglass("import", archive.home, one, code=1)
        assert "free" in said.stderr
        with associated(archive.dimse, who, storage={(refused.sop_class, EXPLICIT)}) as association:
            assert send(association, refused) == FULL
            # Reading goes on.
            (study,) = find(association, "STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances="")
        assert int(study.NumberOfStudyRelatedInstances) == len(stored)
        everything_is_there(archive, who, clinician, str(study.StudyInstanceUID), stored)

        # Room again.
        (small_disk / "ballast").unlink()
        with associated(archive.dimse, who, storage={(refused.sop_class, EXPLICIT)}) as association:
            assert send(association, refused) == 0
        assert technologist.store(large_ct(1000)[1]).status_code == 200
        stored += [refused, large_ct_sent(clinician, str(study.StudyInstanceUID), 1000)]
        everything_is_there(archive, who, clinician, str(study.StudyInstanceUID), stored)
        assert archive.stop() == 0
    assert "0 problems" in leadglass("check", archive.home).stdout
    outcomes = [
        entry["outcome"] for entry in archive.trail("--who", "peer:CT1") if (entry["action"], entry["kind"]) == ("store", "outcome")
    ]
    assert outcomes.count("done") == len(stored) - 1
    assert outcomes.count("refused") + outcomes.count("failed") >= 2


def fill(archive: ArchiveUnderTest, who: Identity, stored: list[Sent]) -> tuple[Sent, bytes]:
    """Send until it is refused; gives what was refused."""
    with associated(archive.dimse, who, storage={(large_ct(0)[0].sop_class, EXPLICIT)}) as association:
        for number in range(1, 60):
            sent, file = large_ct(number)
            status = send(association, sent)
            if status == FULL:
                return sent, file
            assert status == 0, hex(status)
            stored.append(sent)
    raise AssertionError("60 MiB went onto a disk of 48")


def large_ct_sent(clinician: Client, study: str, number: int) -> Sent:
    """What was stored by STOW-RS, as it is served."""
    uid = f"1.2.826.0.1.3680043.10.999.{number}"
    answer = clinician.get(f"/studies/{study}", AS_STORED)
    (file,) = [file for _, file in parts_of(answer) if uid.encode() in file[:1000]]
    return Sent(str(pydicom.uid.CTImageStorage), uid, EXPLICIT, data_set_of(file))


def everything_is_there(archive: ArchiveUnderTest, who: Identity, clinician: Client, study: str, stored: list[Sent]) -> None:
    expected = {sent.sop_instance: sent.data_set for sent in stored}
    received = get_studies(archive.dimse, who, [study], {(stored[0].sop_class, EXPLICIT)})
    assert {sent.sop_instance: sent.data_set for sent in received} == expected
    answer = clinician.get(f"/studies/{study}", AS_STORED)
    assert answer.status_code == 200
    assert sorted(data_set_of(file) for _, file in parts_of(answer)) == sorted(expected.values())
