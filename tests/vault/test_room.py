"""A disk without room, one that runs full in the middle, one whose syncs fail: refused, nothing half kept, and on it goes afterwards."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Query
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.errors import NoRoom
from leadglass.vault.room import Room
from leadglass.vocabulary import Level, StoreResult
from tests.vault.making import Archive, data_set, header_of
from tests.vault.storing import conflicting, numbered

ROOT_DIR = Path(__file__).parents[2]
IMAGES = Query(Level.IMAGE, {}, ())
MEBI = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def object_of(number: int, size: int) -> bytes:
    return data_set(os.urandom(size), SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=str(number))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in (folder / "blobs").rglob("*") if path.is_file())


def test_below_the_reserve_nothing_is_begun_and_reading_goes_on(small_disk: Path) -> None:
    archive = Archive(small_disk, reserve=2 * MEBI).create()
    (small_disk / "given back later").write_bytes(bytes(MEBI))
    number = 0
    with contextlib.suppress(NoRoom):
        for number in range(1, 100):
            assert archive.store(object_of(number, 200_000)) is StoreResult.STORED
    stored = number - 1
    assert 15 < stored < 27  # 5 MiB of 200 kB each
    before = files(small_disk)
    with pytest.raises(NoRoom, match="reserve"):
        archive.store(object_of(98, 200_000))
    (small_disk / "ballast").write_bytes(bytes(MEBI))
    time.sleep(0.3)
    with pytest.raises(NoRoom, match="reserve"):
        archive.vault.deposit(header_of(object_of(99, 10)), EXPLICIT_LITTLE_ENDIAN, EVERY_STUDY, route="test")
    assert files(small_disk) == before
    assert len(list(archive.vault.find(IMAGES, EVERY_STUDY))) == stored
    assert list(archive.vault.check()) == []
    (small_disk / "ballast").unlink()
    (small_disk / "given back later").unlink()
    assert archive.store(object_of(100, 100_000)) is StoreResult.STORED
    archive.close()


def test_a_disk_that_runs_full_in_the_middle_keeps_nothing_half(small_disk: Path) -> None:
    archive = Archive(small_disk).create()
    first = object_of(1, 4 * MEBI)
    assert archive.store(first) is StoreResult.STORED
    before = files(small_disk)
    with pytest.raises(NoRoom):
        archive.store(object_of(2, 6 * MEBI))
    assert files(small_disk) == before
    assert [row["SOPInstanceUID"] for row in archive.vault.find(IMAGES, EVERY_STUDY)] == ["1.2.3.1.1"]
    assert list(archive.vault.check()) == []
    # Room again: it stores again, without a restart.
    assert archive.store(object_of(2, MEBI)) is StoreResult.STORED
    assert list(archive.again().vault.check()) == []
    archive.close()


def test_a_disk_that_is_filled_by_others_leaves_every_acknowledged_object(small_disk: Path) -> None:
    """Small objects until the very last byte is gone: index, journal and key table meet the full disk as well."""
    archive = Archive(small_disk).create()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5 * MEBI))
    kept = []
    for number in range(1, 600):
        for data in (numbered(number), conflicting(number))[: 1 + (number % 3 == 0)]:
            with contextlib.suppress(NoRoom):
                archive.store(data)
                kept.append(data)
    assert 100 < len(kept) < 700
    ballast.unlink()
    for opened in (archive, archive.again()):
        instances = {row["SOPInstanceUID"] for row in opened.vault.find(IMAGES, EVERY_STUDY)}
        assert {header_of(data).instance for data in kept} <= instances
        assert [problem.text for problem in opened.vault.check()] == []
    assert archive.store(numbered(700)) is StoreResult.STORED
    archive.close()


def test_room_is_measured_again_after_a_moment(small_disk: Path) -> None:
    now = [0.0]
    room = Room(small_disk, MEBI, clock=lambda: now[0])
    with pytest.raises(NoRoom):
        room.require(8 * MEBI)
    room.require(6 * MEBI)
    (small_disk / "ballast").write_bytes(bytes(15 * MEBI // 2))
    now[0] += 1
    with pytest.raises(NoRoom):
        room.require()
    (small_disk / "ballast").unlink()
    now[0] += 1
    room.require()


@pytest.mark.parametrize(("call", "size"), [("fdatasync", 3000), ("fdatasync", 1_400_000), ("fsync", 1_400_000)])
@pytest.mark.parametrize("when", ["3+5", "1+1"])
def test_what_could_not_be_synced_is_not_acknowledged(tmp_path: Path, call: str, size: int, when: str) -> None:
    """Of small objects, which share a pack, and of large ones.

    Every acknowledged object is there afterwards, whole; and with every sync failing, none is acknowledged."""
    Archive(tmp_path).create().close()
    program = [sys.executable, "-m", "tests.vault.storing", str(tmp_path), str(tmp_path / "acknowledged"), "1", "30", str(size)]
    trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}"]
    subprocess.run([*trace, *program], cwd=ROOT_DIR, check=False)
    said = [line.split() for line in (tmp_path / "acknowledged").read_text().splitlines() if " " in line]
    acknowledged = [int(number) for number, result in said if result == "stored"]
    assert any(result == "StorageFailed" for _, result in said)
    if when == "1+1":
        assert acknowledged == []
    archive = Archive(tmp_path).open()
    instances = {row["SOPInstanceUID"] for row in archive.vault.find(IMAGES, EVERY_STUDY)}
    assert {header_of(numbered(number)).instance for number in acknowledged} <= instances
    assert [problem.text for problem in archive.vault.check()] == []
    archive.close()
