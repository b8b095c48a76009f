"""Whatever is changed, missing, too much, or moved in a vault is found by `check`; nothing else is."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Selection
from leadglass.dicom.uid import Uid
from leadglass.errors import Damaged, KeyTableDamaged, KeyUnavailable
from leadglass.vault.check import ProblemKind
from leadglass.vault.vault import Vault
from leadglass.vocabulary import StoreResult
from tests.vault.making import Archive, data_set


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """One whose blobs are files of their own; what is about packs is in test_packs.py."""
    archive = Archive(tmp_path, packed=0).create()
    yield archive
    archive.close()


@pytest.fixture
def filled(archive: Archive) -> Archive:
    """Two studies, three instances, and one object put aside."""
    archive.store(data_set(bytes(20_000)))
    archive.store(data_set(SOPInstanceUID="1.2.3.1.2", InstanceNumber="2"))
    archive.store(data_set(StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1", SOPInstanceUID="1.2.4.1.1"))
    assert archive.store(data_set(b"other")) is StoreResult.CONFLICT
    assert problems(archive) == []
    return archive


def problems(archive: Archive) -> list[ProblemKind]:
    """The kinds of what opening and checking the archive finds."""
    return [problem.kind for problem in archive.vault.check()]


def problems_after_restart(archive: Archive) -> list[ProblemKind | type[Exception]]:
    """The same after a stop and a start; an archive that does not start has been found damaged, too."""
    fresh = Archive(archive.home, packed=archive.packed)
    try:
        fresh.open()
    except (Damaged, KeyTableDamaged, KeyUnavailable) as error:
        return [type(error)]
    try:
        return list(problems(fresh))
    finally:
        fresh.close()


def blobs(archive: Archive) -> list[Path]:
    return sorted((archive.home / "blobs" / "000" / "000").iterdir())


def test_every_changed_byte_of_a_blob_is_found(filled: Archive) -> None:
    for path in blobs(filled):
        data = bytearray(path.read_bytes())
        places = [*range(130), *range(130, len(data), 1511), len(data) - 1]
        for place in places if len(data) < 2000 else places[::7]:
            data[place] ^= 1
            path.write_bytes(data)
            assert set(problems(filled)) & {ProblemKind.BLOB_DAMAGED}, place
            data[place] ^= 1
        path.write_bytes(data)
    assert problems(filled) == []


def test_a_blob_that_was_cut_or_grew_is_found(filled: Archive) -> None:
    for path in blobs(filled):
        data = path.read_bytes()
        for wrong in (b"", data[:49], data[:60], data[:-1], data[:-16], data + b"\0", data + data):
            path.write_bytes(wrong)
            assert problems(filled) == [ProblemKind.BLOB_DAMAGED]
        path.write_bytes(data)


def test_swapped_blobs_are_found_wherever_they_are_swapped(filled: Archive) -> None:
    first, second, *_ = blobs(filled)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert problems(filled) == [ProblemKind.BLOB_DAMAGED] * 2
    # With the headers left as they were, so that each file claims to be what it should be.
    first.write_bytes(one[:50] + two[50:])
    second.write_bytes(two[:50] + one[50:])
    assert problems(filled) == [ProblemKind.BLOB_DAMAGED] * 2
    # With the right names but each other's key ids.
    first.write_bytes(one[:18] + two[18:34] + one[34:])
    assert ProblemKind.BLOB_DAMAGED in problems(filled)


def test_a_renamed_blob_is_found(filled: Archive) -> None:
    path, *_ = blobs(filled)
    path.rename(path.with_name("0" * 32))
    assert sorted(problems(filled)) == [ProblemKind.BLOB_DAMAGED, ProblemKind.BLOB_MISSING, ProblemKind.BLOB_UNKNOWN]


def test_a_missing_blob_is_found(filled: Archive) -> None:
    for path in blobs(filled):
        data = path.read_bytes()
        path.unlink()
        assert problems(filled) == [ProblemKind.BLOB_MISSING]
        assert problems_after_restart(filled) == [ProblemKind.BLOB_MISSING]
        path.write_bytes(data)


def test_an_extra_blob_is_found(filled: Archive) -> None:
    """A copy of a whole, right blob in another shard; also after a restart, which admits what it does not know."""
    path, *_ = blobs(filled)
    shard = filled.home / "blobs" / "000" / "001"
    shard.mkdir()
    shutil.copy(path, shard / path.name)
    assert problems_after_restart(filled) == [ProblemKind.BLOB_UNKNOWN]


def test_another_archives_blob_is_found(filled: Archive, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Archive(tmp_path / "other", packed=0).create()
    other.store(data_set())
    foreign, *_ = blobs(other)
    shutil.copy(foreign, filled.home / "blobs" / "000" / "000" / foreign.name)
    other.close()
    assert sorted(map(str, problems(filled))) == ["blob-damaged", "blob-unknown"]
    assert sorted(map(str, problems_after_restart(filled))) == ["blob-damaged", "blob-unknown"]


def test_a_stranger_among_the_blobs_is_found(filled: Archive) -> None:
    (filled.home / "blobs" / "000" / "000" / "DOE.dcm").touch()
    assert problems(filled) == [ProblemKind.STRANGER]


@pytest.mark.parametrize("name", ["keys/versions", "keys/table", "blobs/journal"])
def test_every_changed_byte_of_keys_and_journal_is_found(filled: Archive, name: str) -> None:
    filled.close()
    path = filled.home / name
    data = bytearray(path.read_bytes())
    for place in [*range(0, len(data), 11), len(data) - 1]:
        data[place] ^= 1
        path.write_bytes(data)
        assert problems_after_restart(filled), place
        data[place] ^= 1
    path.write_bytes(data)
    assert problems_after_restart(filled) == []
    filled.open()


@pytest.mark.parametrize("name", ["keys/versions", "keys/table", "blobs/journal", "index/index.db"])
def test_a_missing_file_is_found_at_the_start(filled: Archive, name: str) -> None:
    filled.close()
    path = filled.home / name
    kept = path.read_bytes()
    path.unlink()
    assert problems_after_restart(filled)
    assert not path.exists()
    path.write_bytes(kept)
    filled.open()


def test_a_journal_that_was_cut_back_is_found(filled: Archive) -> None:
    path = filled.home / "blobs" / "journal"
    os.truncate(path, path.stat().st_size - 512)
    assert ProblemKind.JOURNAL in problems_after_restart(filled)


def test_a_key_table_that_was_cut_back_is_found(filled: Archive) -> None:
    path = filled.home / "keys" / "table"
    os.truncate(path, path.stat().st_size - 128)
    assert ProblemKind.BLOB_DAMAGED in problems_after_restart(filled)


def test_every_changed_page_of_the_index_is_found(filled: Archive) -> None:
    filled.close()
    path = filled.home / "index" / "index.db"
    good = path.read_bytes()
    for place in [0, 16, 30, *range(200, len(good), 4096 + 13)]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert problems_after_restart(filled), place
    path.write_bytes(good)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    filled.open()
    assert problems(filled) == []


def tampered(archive: Archive, sql: str) -> list[ProblemKind | type[Exception]]:
    """Change the index with its own key, as somebody with the keys might."""
    archive.vault._holdings.index._writer.execute(sql)  # noqa: SLF001 - there is no door for this, and there should be none
    return list(problems(archive))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE studies SET PatientName = 'ROE'",
        "UPDATE studies SET PatientName_a = 'roe' WHERE id = 1",
        "UPDATE series SET Modality = 'MR' WHERE id = 1",
        "UPDATE series SET instances = 7 WHERE id = 1",
        "UPDATE instance_rows SET InstanceNumber = '9' WHERE id = 1",
        "UPDATE instance_rows SET size = size + 1 WHERE id = 2",
        "UPDATE instance_rows SET series_id = 2 WHERE id = 1",
        "UPDATE instance_rows SET transfer_syntax = sop_class WHERE id = 1",
        "UPDATE studies SET key_id = zeroblob(16) WHERE id = 1",
        "DELETE FROM instance_rows WHERE id = 3",
        "DELETE FROM conflicts",
        "UPDATE study_traits SET StudyDate_n = '19000101'",
    ],
)
def test_an_index_that_says_otherwise_is_found(filled: Archive, sql: str) -> None:
    assert tampered(filled, sql)


def test_an_index_with_two_rows_changed_about_is_not_served(filled: Archive) -> None:
    index = filled.vault._holdings.index._writer  # noqa: SLF001 - as above
    index.execute("UPDATE instance_rows SET blob = (SELECT blob FROM instance_rows WHERE id = 3) WHERE id = 1")
    (row,) = filled.vault.instances(Selection(instances=(Uid("1.2.3.1.1"),)), EVERY_STUDY)
    with pytest.raises(Damaged, match="another object"):
        filled.vault.open_object(row)


def test_an_index_that_was_made_again_is_the_same(filled: Archive) -> None:
    before = list(filled.vault.index_dump())
    assert len(before) == 12
    filled.close()
    (filled.home / "index" / "index.db").unlink()
    keys = filled.open_keys()
    seen: list[int] = []
    assert Vault.remake_index(filled.home, keys, seen.append) == 4
    assert seen == [1, 2, 3, 4]
    keys.close()
    filled.open()
    assert list(filled.vault.index_dump()) == before
    assert problems(filled) == []


def test_a_cold_copy_of_home_and_root_key_is_the_archive(filled: Archive, tmp_path: Path) -> None:
    before = list(filled.vault.index_dump())
    filled.close()
    copy = Archive(Path(shutil.copytree(filled.home, tmp_path.parent / f"{tmp_path.name}-copy")))
    copy.open()
    assert list(copy.vault.index_dump()) == before
    assert problems(copy) == []
    copy.close()
    filled.open()


def test_a_sample_looks_at_some(filled: Archive) -> None:
    for path in blobs(filled):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    assert problems_sampled(filled, 0) == 0
    assert problems_sampled(filled, 100) == 4
    assert 0 < sum(problems_sampled(filled, 50) for _ in range(20)) < 80


def problems_sampled(archive: Archive, sample: float) -> int:
    return len(list(archive.vault.check(sample)))


def test_no_problem_names_a_patient(filled: Archive) -> None:
    for path in blobs(filled):
        path.write_bytes(path.read_bytes()[:-1])
    texts = " ".join(problem.text for problem in filled.vault.check())
    assert "DOE" not in texts
    assert "1.2.3" not in texts


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 5000)], ids=["missing", "garbage"])
def test_a_lost_index_says_how_to_get_it_back(filled: Archive, spoil: Callable[[Path], object]) -> None:
    filled.close()
    path = filled.home / "index" / "index.db"
    spoil(path)
    with pytest.raises(Damaged, match="leadglass index rebuild"):
        filled.open()
    keys = filled.open_keys()
    Vault.remake_index(filled.home, keys)
    keys.close()
    assert problems(filled.open()) == []
