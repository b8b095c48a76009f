import itertools
import threading
import time
from pathlib import Path

import pytest

from leadglass.errors import TrailDamaged, TrailUnwritable
from leadglass.trail import layout
from leadglass.trail.entries import Entry, Kind
from leadglass.trail.log import TrailLog
from leadglass.trail.verify import verify
from tests.trail.trails import SEAL_KEY, BreakingDisk, create, entry, grown, reopen


def test_what_was_flushed_is_read_back_in_order(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    numbers = [log.append(entry(number)) for number in range(600)]
    log.flush()
    assert numbers == list(range(600))
    assert list(log.read()) == [(number, entry(number)) for number in range(600)]
    assert [number for number, _ in log.read(250, 260)] == list(range(250, 260))
    assert list(log.read(600, 700)) == []
    log.close()


def test_an_entry_is_signed_for_before_flush_returns(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    for number in range(20):
        log.flush(log.append(entry(number)))
        report = verify(tmp_path / "trail", key=log.verifier_text)
        assert (report.ok, report.size) == (True, number + 1), report.problems
    log.close()


def test_what_is_only_appended_is_not_acknowledged(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    log.append(entry())
    assert log.size == 0
    assert list(log.read()) == []
    log.close()
    assert reopen(tmp_path / "trail").size == 1


@pytest.mark.parametrize("size", [0, 1, 9, 10, 255, 256, 257, 512, 700])
def test_a_closed_trail_opens_and_goes_on(tmp_path: Path, size: int) -> None:
    key = grown(tmp_path / "trail", size)
    log = reopen(tmp_path / "trail")
    assert not log.recovered
    log.flush(log.append(entry(size)))
    assert [number for number, _ in log.read()] == list(range(size + 1))
    log.close()
    assert verify(tmp_path / "trail", key=key).problems == ()


def test_many_threads_lose_nothing_and_share_their_commits(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    mine: list[list[int]] = [[] for _ in range(8)]

    def work(numbers: list[int]) -> None:
        for _ in range(100):
            sequence = log.append(entry())
            log.flush(sequence)
            assert log.size > sequence
            numbers.append(sequence)

    threads = [threading.Thread(target=work, args=(numbers,)) for numbers in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(itertools.chain(*mine)) == list(range(800))
    assert len(list(log.read())) == 800
    assert log.verify().problems == ()
    log.close()


def test_a_trail_in_use_can_be_verified_while_others_append(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            log.flush(log.append(entry()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        sizes = []
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            report = log.verify()
            assert report.problems == ()
            sizes.append(report.size)
            time.sleep(0.02)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert sizes[-1] > sizes[0]
    log.close()


def test_a_trail_is_never_started_over(tmp_path: Path) -> None:
    grown(tmp_path / "trail", 3)
    with pytest.raises(TrailDamaged, match="never started over"):
        create(tmp_path / "trail")


def test_a_failed_sync_ends_writing_until_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "trail").parent.mkdir(exist_ok=True)
    disk = BreakingDisk(tmp_path / "trail")
    log = create(tmp_path / "trail", disk=disk)
    log.flush(log.append(entry(0)))
    disk.failing = True
    with pytest.raises(TrailUnwritable):
        log.flush(log.append(entry(1)))
    disk.failing = False
    with pytest.raises(TrailUnwritable, match="restart"):
        log.append(entry(2))
    assert log.size == 1
    with pytest.raises(TrailUnwritable):
        log.close()
    again = reopen(tmp_path / "trail")
    assert [one for _, one in again.read(0, 1)] == [entry(0)]
    assert again.verify().problems == ()
    again.close()


def test_a_changed_entry_is_not_read(tmp_path: Path) -> None:
    grown(tmp_path / "trail", 5)
    log = reopen(tmp_path / "trail")
    path = tmp_path / "trail" / layout.sealed_path(0)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(TrailDamaged, match="entry 0"):
        list(log.read())
    log.close()


def test_another_archives_key_reads_nothing(tmp_path: Path) -> None:
    grown(tmp_path / "trail", 3)
    log = TrailLog.open(tmp_path / "trail", bytes(32), bytes(range(100, 132)), "leadglass/test")
    with pytest.raises(TrailDamaged):
        list(log.read())
    log.close()


def test_nothing_of_an_entry_is_in_the_clear(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    for number in range(300):
        log.append(Entry(number, Kind.INTENT, principal="peer:NEEDLE", studies=("1.2.840.99999",)))
    log.close()
    for path in (tmp_path / "trail").rglob("*"):
        if path.is_file():
            assert b"NEEDLE" not in path.read_bytes()
            assert b"99999" not in path.read_bytes()
            assert SEAL_KEY not in path.read_bytes()


def test_after_close_nothing_is_taken(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    log.close()
    log.close()
    with pytest.raises(TrailUnwritable, match="closed"):
        log.append(entry())
