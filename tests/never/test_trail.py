"""The trail of a real archive after real traffic: whatever somebody changes under trail/, `trail verify` finds it."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadglass.assemble.verifying import verify_trail
from leadglass.trail.log import TrailLog
from tests.archives import ArchiveUnderTest, copy_of, leadglass
from tests.never import asking
from tests.never.house import House, write_objects

RESERVE = "reserve"


@pytest.fixture(scope="module")
def used(house: House, tmp_path_factory: pytest.TempPathFactory) -> ArchiveUnderTest:
    """An archive with hundreds of entries of every door, stopped."""
    folder = tmp_path_factory.mktemp("used")
    archive = copy_of(house.archive, folder / "archive")
    everything, _ = write_objects(folder / "objects")
    with archive.serving():
        archive.take_in(everything)
        list(asking.by_web(house, archive, briefly=True))
        asking.by_dimse(house, archive, briefly=True)
        asking.by_handing_in(house, archive, 1)
    return archive


def ok(archive: ArchiveUnderTest, checkpoint: Path | None = None) -> bool:
    """What the command decides by, without loading it anew."""
    return verify_trail(archive.home, checkpoint=checkpoint, key=None).ok


def files_of(archive: ArchiveUnderTest) -> list[Path]:
    return sorted(path for path in (archive.home / "trail").rglob("*") if path.is_file())


def test_the_command_says_yes_and_then_no(used: ArchiveUnderTest) -> None:
    assert "verified" in leadglass("trail", "verify", used.home).stdout
    path = used.home / "trail" / "sealed" / "000"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    assert "NOT verified" in leadglass("trail", "verify", used.home, code=1).stdout
    path.write_bytes(whole)
    leadglass("trail", "verify", used.home)


def _changes(whole: bytes, chance: random.Random, places: int) -> Iterator[bytes]:
    for _ in range(places):
        at = chance.randrange(len(whole))
        yield whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
    at = chance.randrange(len(whole))
    yield whole[:at] + whole[at + 1 :]
    yield whole[:at]
    yield whole + b"\0"
    yield whole[:at] + b"\0" + whole[at:]


def change_everywhere(archive: ArchiveUnderTest, places: int) -> None:
    chance = random.Random(places)
    missed = []
    for path in files_of(archive):
        whole = path.read_bytes()
        for changed in _changes(whole, chance, 1 if path.name == RESERVE else places):
            path.write_bytes(changed)
            if ok(archive):
                missed.append(f"{path}: {len(changed)} of {len(whole)}")
        path.unlink()
        if ok(archive):
            missed.append(f"{path} is gone")
        path.write_bytes(whole)
        stray = path.with_name(path.name + "0")
        stray.write_bytes(whole)
        if ok(archive):
            missed.append(f"{stray} is there")
        stray.unlink()
    assert missed == []
    assert ok(archive)


def test_every_change_is_found(used: ArchiveUnderTest) -> None:
    change_everywhere(used, 4)


@pytest.mark.long
def test_every_change_is_found_at_many_places(used: ArchiveUnderTest) -> None:
    change_everywhere(used, 200)


def test_reordered_and_removed_entries_are_found(used: ArchiveUnderTest) -> None:
    """Whole records exchanged or taken out, in the sealed file and the leaves alike."""
    trail = used.home / "trail"
    sealed, leaves = trail / "sealed" / "000", trail / "tile" / "entries" / "000"
    kept = sealed.read_bytes(), leaves.read_bytes()
    records, at = [], 0
    while at < len(kept[0]):
        length = 42 + 2 + int.from_bytes(kept[0][at + 42 : at + 44], "big")
        records.append(kept[0][at : at + length])
        at += length
    bundle = [kept[1][at : at + 44] for at in range(0, len(kept[1]), 44)]
    assert len(records) == len(bundle) == 256
    for order in ([1, 0, *range(2, 256)], [*range(255), 254], [*range(10), *range(11, 256)], list(range(100))):
        sealed.write_bytes(b"".join(records[number] for number in order))
        leaves.write_bytes(b"".join(bundle[number] for number in order))
        assert not ok(used)
    sealed.write_bytes(kept[0])
    leaves.write_bytes(kept[1])
    assert ok(used)


def test_a_trail_written_anew_with_another_key_is_found(used: ArchiveUnderTest, tmp_path: Path) -> None:
    """It is in order by itself, which a verification that took the key from trail/ would believe."""
    forged = copy_of(used, tmp_path / "archive")
    name = (forged.home / "trail" / "key").read_text().split("+")[0]
    shutil.rmtree(forged.home / "trail")
    TrailLog.create(forged.home / "trail", bytes(32), b"another key, 32 bytes in length!", name).close()
    alone = tmp_path / "alone"
    shutil.copytree(forged.home / "trail", alone)
    leadglass("trail", "verify", alone)
    assert "NOT verified" in leadglass("trail", "verify", forged.home, code=1).stdout


def test_with_the_signing_key_an_earlier_checkpoint_finds_it(used: ArchiveUnderTest, house: House, tmp_path: Path) -> None:
    """An old copy of all of HOME put back, and gone on with by the archive itself, as only somebody with its keys can."""
    archive = copy_of(used, tmp_path / "archive")
    with archive.serving():
        list(asking.by_web(house, archive, briefly=True))
        kept = tmp_path / "checkpoint"
        kept.write_text(leadglass("trail", "checkpoint", archive.home).stdout)
    leadglass("trail", "verify", archive.home, "--checkpoint", kept)
    rewritten = copy_of(used, tmp_path / "rewritten")
    with rewritten.serving():
        for _ in range(2):
            list(asking.by_web(house, rewritten, briefly=True))
    assert verify_trail(rewritten.home, checkpoint=None, key=None).size > verify_trail(archive.home, checkpoint=None, key=None).size
    leadglass("trail", "verify", rewritten.home)
    assert "NOT verified" in leadglass("trail", "verify", rewritten.home, "--checkpoint", kept, code=1).stdout
