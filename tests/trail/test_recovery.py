"""A trail after an unclean stop, and after somebody used the time in between."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leadglass.errors import TrailDamaged
from leadglass.trail import layout
from leadglass.trail.entries import Kind
from leadglass.trail.verify import verify
from tests.trail.trails import PowerlessDisk, create, entry, grown, lay_out, reopen, restore, snapshot

SIZES = [5, 255, 256, 257, 600]


@pytest.mark.parametrize("changed", [b"", b"garbage", None], ids=["emptied", "garbled", "removed"])
@pytest.mark.parametrize("name", [layout.CHECKPOINT, layout.KEY])
def test_a_garbled_checkpoint_or_key_is_never_replaced(tmp_path: Path, name: str, changed: bytes | None) -> None:
    grown(tmp_path / "trail", 10)
    if changed is None:
        (tmp_path / "trail" / name).unlink()
    else:
        (tmp_path / "trail" / name).write_bytes(changed)
    before = snapshot(tmp_path / "trail")
    with pytest.raises(TrailDamaged, match="nothing is served"):
        reopen(tmp_path / "trail")
    assert snapshot(tmp_path / "trail") == before


@pytest.mark.parametrize("size", SIZES)
def test_every_change_of_what_the_checkpoint_covers_stops_the_start(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "trail"
    grown(folder, size)
    path = folder / layout.sealed_path((size - 1) // 256)
    if size % 256 == 0:
        # A full bundle is judged by its tiles at a start, and read when it is asked for: verification finds the change.
        data = bytearray(path.read_bytes())
        data[70] ^= 1
        path.write_bytes(data)
        log = reopen(folder)
        assert not log.verify().ok
        log.close()
        return
    whole = path.read_bytes()
    chance = random.Random(size)
    for place in {0, 41, 42, 43, 44, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(40))}:
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(TrailDamaged):
            reopen(folder)
    path.write_bytes(whole[:-1])
    with pytest.raises(TrailDamaged):
        reopen(folder)


@pytest.mark.parametrize("size", SIZES)
def test_tiles_are_mended_from_the_entries(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "trail"
    key = grown(folder, size)
    before = snapshot(folder)
    for name in [name for name in before if name.startswith("tile/")]:
        if int(name.split("/")[-1]) * 256 + 256 <= size and not name.startswith("tile/1"):
            continue  # full tiles are durable before the checkpoint; only verification looks at them
        for data in (b"", before[name][:-1], before[name] + b"more", b"\0" * len(before[name])):
            (folder / name).write_bytes(data)
            log = reopen(folder)
            log.close()
            report = verify(folder, key=key)
            assert report.ok, (name, report.problems)
            restore(folder, before)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ahead", [1, 3, 300])
def test_entries_beyond_the_checkpoint_are_adopted_if_they_are_ours(tmp_path: Path, size: int, ahead: int) -> None:
    folder = tmp_path / "trail"
    log = create(folder)
    for number in range(size):
        log.append(entry(number))
    log.flush()
    note = log.checkpoint()
    for number in range(size, size + ahead):
        log.append(entry(number))
    log.close()
    (folder / layout.CHECKPOINT).write_bytes(note)
    with (folder / layout.sealed_path((size + ahead) // 256)).open("ab") as file:
        file.write(os.urandom(300))
    again = reopen(folder)
    assert again.recovered.adopted == ahead
    assert again.recovered.dropped_bytes == 300
    assert [one for _, one in again.read(0, size + ahead)] == [entry(number) for number in range(size + ahead)]
    last = [one for _, one in again.read(size + ahead)]
    assert [one.kind for one in last] == [Kind.RECOVERED]
    assert last[0].detail["adopted"] == ahead
    assert again.verify().problems == ()
    again.close()


def test_entries_of_another_place_are_not_adopted(tmp_path: Path) -> None:
    """Somebody copies a genuine entry to the end and waits for a restart."""
    folder = tmp_path / "trail"
    grown(folder, 5)
    path = folder / layout.sealed_path(0)
    record = layout.parse_records(path.read_bytes(), 1)[0]
    with path.open("ab") as file:
        file.write(record.encode())
    log = reopen(folder)
    assert log.recovered.adopted == 0
    assert log.recovered.dropped_bytes == record.size
    assert [one for _, one in log.read(0, 5)] == [entry(number) for number in range(5)]
    assert log.verify().ok
    log.close()


WRITER = """
import sys
from pathlib import Path
from tests.trail.trails import entry, reopen
log = reopen(Path(sys.argv[1]))
number = log.size
while True:
    for _ in range(number % 7 + 1):
        sequence = log.append(entry(number))
    log.flush(sequence)
    number = sequence
    print(sequence, flush=True)
"""


def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "trail"
    key = grown(folder, 0)
    root = Path(__file__).resolve().parents[2]
    chance = random.Random(7)
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITER, folder], cwd=root, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = chance.randint(1, 400)
            for _, line in zip(range(lines), writer.stdout, strict=False):
                acknowledged = int(line)
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
        log = reopen(folder)
        assert log.size > acknowledged
        assert len(list(log.read())) == log.size
        log.close()
        assert verify(folder, key=key).problems == ()


@pytest.mark.parametrize("tries", [60, pytest.param(1500, marks=pytest.mark.long)])
def test_power_lost_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path, tries: int) -> None:
    """Every write and sync is recorded; at each point, what a disk may hold is laid out and opened."""
    disk = PowerlessDisk(tmp_path / "trail")
    log = create(tmp_path / "trail", disk=disk)
    acknowledged_at: dict[int, int] = {len(disk.moments): 0}
    chance = random.Random(3)
    number = 0
    while number < 530:
        for _ in range(chance.choice((1, 1, 2, 5, 40))):
            log.append(entry(number))
            number += 1
        log.flush()
        acknowledged_at[len(disk.moments)] = log.size
    first = min(acknowledged_at)
    seen_adopted = seen_dropped = 0
    places = sorted([*range(first, first + 60), *chance.choices(range(first, len(disk.moments)), k=tries)])
    for place in places:
        acknowledged = max(size for at, size in acknowledged_at.items() if at <= place)
        found = tmp_path / f"found{place}"
        lay_out(found, *disk.moments[place](chance))
        again = reopen(found)
        assert again.size >= acknowledged, place
        assert [one for _, one in again.read(0, acknowledged)] == [entry(at) for at in range(acknowledged)]
        assert again.verify().problems == (), place
        seen_adopted += again.recovered.adopted > 0
        seen_dropped += again.recovered.dropped_bytes > 0
        again.close()
        shutil.rmtree(found)
    assert seen_adopted > 20
    assert seen_dropped > 3
    log.close()
