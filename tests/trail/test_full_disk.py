from pathlib import Path

import pytest

from leadglass.errors import TrailUnwritable
from leadglass.trail import layout
from leadglass.trail.entries import Kind
from leadglass.trail.layout import RESERVE_BYTES
from leadglass.trail.log import MAX_PENDING
from leadglass.trail.verify import verify
from tests.trail.trails import FullDisk, create, entry, reopen


def test_on_a_full_disk_the_trail_goes_on_in_its_reserve(tmp_path: Path) -> None:
    disk = FullDisk(tmp_path / "trail", 10**9)
    log = create(tmp_path / "trail", disk=disk)
    log.flush(log.append(entry(0)))
    disk.room = RESERVE_BYTES + 2000
    for number in range(1, 300):
        log.flush(log.append(entry(number)))
    assert not (tmp_path / "trail" / layout.RESERVE).exists()
    log.flush()
    assert log.verify().problems == ()
    kinds = [one.kind for _, one in log.read()]
    assert kinds.count(Kind.RESERVE_USED) == 1
    assert kinds.count(Kind.INTENT) == 300
    disk.room = 10**9
    log.close()
    again = reopen(tmp_path / "trail")
    assert (tmp_path / "trail" / layout.RESERVE).read_bytes() == bytes(RESERVE_BYTES)
    assert [one.kind for _, one in again.read()][-1] is Kind.RESERVE_RESTORED
    again.close()
    assert verify(tmp_path / "trail", key=log.verifier_text).problems == ()


@pytest.mark.parametrize("before", [0, 1, 8, 9, 98, 200, 254, 255, 256])
def test_with_the_reserve_gone_nothing_is_served_and_nothing_is_lost(tmp_path: Path, before: int) -> None:
    disk = FullDisk(tmp_path / "trail", 10**9)
    log = create(tmp_path / "trail", disk=disk)
    for number in range(before):
        log.append(entry(number))
    log.flush()
    (tmp_path / "trail" / layout.RESERVE).unlink()
    used = sum(path.stat().st_size for path in (tmp_path / "trail").rglob("*") if path.is_file())
    for spare in (0, 1, 150, 260, 300, 330, 380, 420):
        disk.room = used + spare
        size = log.size
        sequence = log.append(entry(size))
        try:
            log.flush(sequence)
        except TrailUnwritable:
            assert log.size == size
            problems = verify(tmp_path / "trail", key=log.verifier_text).problems
            assert problems == ("trail/reserve is missing, and no entry says that the disk was full",)
            break
        used = sum(path.stat().st_size for path in (tmp_path / "trail").rglob("*") if path.is_file())
    else:
        pytest.fail("the disk was never full")
    disk.room = 10**9
    log.flush()
    assert log.size == sequence + 1
    assert [number for number, _ in log.read()] == list(range(sequence + 1))
    log.close()
    reopen(tmp_path / "trail").close()
    assert verify(tmp_path / "trail", key=log.verifier_text).problems == ()


def test_what_waits_on_a_full_disk_is_bounded(tmp_path: Path) -> None:
    disk = FullDisk(tmp_path / "trail", 10**9)
    log = create(tmp_path / "trail", disk=disk)
    (tmp_path / "trail" / layout.RESERVE).unlink()
    disk.room = 0
    for number in range(MAX_PENDING):
        log.append(entry(number))
    with pytest.raises(TrailUnwritable, match="waiting"):
        log.append(entry())
    with pytest.raises(TrailUnwritable):
        log.flush()
    disk.room = 10**9
    log.flush()
    assert log.size == MAX_PENDING
    log.close()


def test_a_trail_opens_on_a_full_disk_and_can_be_read(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    for number in range(3):
        log.append(entry(number))
    log.close()
    (tmp_path / "trail" / layout.RESERVE).unlink()
    disk = FullDisk(tmp_path / "trail", 0)
    again = reopen(tmp_path / "trail", disk=disk)
    assert len(list(again.read())) == 3
    with pytest.raises(TrailUnwritable):
        again.flush(again.append(entry(3)))
    disk.room = 10**9
    again.flush()
    assert [one.kind for _, one in again.read(3)] == [Kind.RESERVE_USED, Kind.INTENT]
    again.close()
