"""What a start makes of what a stop, or somebody, left behind."""

import os
from pathlib import Path

import pytest

from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Selection
from leadglass.dicom.uid import Uid
from leadglass.errors import Damaged
from leadglass.vault import packs
from leadglass.vault.asides import Wanted
from leadglass.vault.journal import RECORD_SIZE
from leadglass.vocabulary import StoreResult
from tests.vault.making import Archive, data_set


class _PowerCut(BaseException):
    pass


def test_a_record_whose_middle_never_reached_the_disk_does_not_stand_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_: int) -> None:
        raise _PowerCut

    archive = Archive(tmp_path).create()
    archive.store(data_set(SOPInstanceUID="1.2.3.1.9"))
    large = data_set(bytes(range(256)) * 1600)
    with monkeypatch.context() as patched:
        patched.setattr(packs, "sync_file", cut)
        with pytest.raises(_PowerCut):
            archive.store(large)
    archive.close()
    descriptor = os.open(archive.home / "blobs" / "000" / "000" / "pack", os.O_RDWR)
    record = list(packs.read_records(descriptor))[-1]
    os.pwrite(descriptor, bytes(64 * 1024), record.at + 150 * 1024)
    os.close(descriptor)
    archive.open()
    assert not list(archive.vault.instances(Selection(instances=(Uid("1.2.3.1.1"),)), EVERY_STUDY))
    assert archive.store(large) is StoreResult.STORED
    assert not list(archive.vault.check())
    archive.close()


def test_verdicts_that_were_cut_off_are_missed(tmp_path: Path) -> None:
    archive = Archive(tmp_path).create()
    archive.store(data_set())
    archive.store(data_set(PatientName="OTHER^NAME"))
    (conflict,) = (found.row for found in archive.vault.in_conflict(Wanted(), EVERY_STUDY))
    archive.vault.accept(conflict, 1, again=False)
    archive.close()
    journal = archive.home / "blobs" / "journal"
    os.truncate(journal, journal.stat().st_size - RECORD_SIZE)
    with pytest.raises(Damaged, match="verdicts are lost"):
        archive.open()
