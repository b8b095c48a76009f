"""Acknowledged means kept: through kill -9 at any moment, and through a power cut at any system call."""

import itertools
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Selection
from leadglass.errors import Damaged, KeyTableDamaged, KeyUnavailable
from leadglass.seal.rootkey import RootKey
from leadglass.vault.keys import Keys
from tests.vault.making import RECOVERY, ROOT, Archive, header_of
from tests.vault.powerloss import Disk, strace_command
from tests.vault.storing import numbered

ROOT_DIR = Path(__file__).parents[2]


def storing(home: Path, acknowledged: Path, first: int, count: int) -> list[str]:
    return [sys.executable, "-m", "tests.vault.storing", str(home), str(acknowledged), str(first), str(count)]


def promised(acknowledged: bytes) -> list[tuple[int, str]]:
    """The whole lines of what was acknowledged."""
    lines = [line.decode().split() for line in acknowledged.split(b"\n")[:-1]]
    return [(int(line[0]), line[1]) for line in lines if len(line) == 2]


def check_promises(archive: Archive, promises: list[tuple[int, str]], sample: float = 100) -> None:
    """Every acknowledged object is served, whole; every conflict is kept; nothing is wrong with anything."""
    conflicts = 0
    for number, result in promises:
        data = numbered(number)
        conflicts += result == "conflict"
        (row,) = archive.vault.instances(Selection(instances=(header_of(data).instance,)), EVERY_STUDY)
        with archive.vault.open_object(row) as stored:
            assert stored.reader.read() == data, number
    assert len(list(archive.vault.conflicts())) >= conflicts
    assert [problem.text for problem in archive.vault.check(sample)] == []


def kill_and_look(folder: Path, times: int, chance: random.Random) -> None:
    """Store in a child, kill it at a random moment, look, go on with the same archive."""
    home, acknowledged = folder / "home", folder / "acknowledged"
    home.mkdir()
    Archive(home).create().close()
    first = 0
    promises: list[tuple[int, str]] = []
    for _ in range(times):
        acknowledged.write_bytes(b"")
        child = subprocess.Popen(storing(home, acknowledged, first, 1000), cwd=ROOT_DIR)
        # The first of all is an object, the second a conflict with it.
        while acknowledged.read_bytes().count(b"\n") < 2:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.25)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        recent = promised(acknowledged.read_bytes())
        promises += recent
        archive = Archive(home).open()
        check_promises(archive, recent, sample=5)
        archive.close()
        first = promises[-1][0] + 2 if promises else 0
    archive = Archive(home).open()
    check_promises(archive, promises)
    archive.close()
    assert len(promises) > times
    assert any(result == "conflict" for _, result in promises)


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    kill_and_look(tmp_path, 3, random.Random(time.time_ns()))


@pytest.mark.long
def test_what_was_acknowledged_survives_kill_9_many_times(tmp_path: Path) -> None:
    kill_and_look(tmp_path, 200, random.Random(time.time_ns()))


def record(folder: Path, program: list[str], *, home: Path) -> tuple[Disk, list[str]]:
    """Run a program on `home` under strace; the disk as it was before, and the trace."""
    kept = folder / "before"
    shutil.copytree(home, kept)
    trace = folder / "trace"
    subprocess.run([*strace_command(trace), *program], cwd=ROOT_DIR, check=True)
    shutil.rmtree(home)
    shutil.move(kept, home)
    return Disk(home), trace.read_text().splitlines()


def cut_everywhere(folder: Path, *, count: int, cuts: int, chance: random.Random) -> int:
    """Cut the power `cuts` times within one recorded run; returns how many promises were looked at."""
    home = folder / "home"
    home.mkdir()
    Archive(home).create().close()
    disk, trace = record(folder, storing(home, folder / "acknowledged", 0, count), home=home)
    often = cuts / sum("sync(" in line or "write" in line or "rename(" in line for line in trace)
    acknowledged, looked_at, before = b"", 0, 0
    for line in trace:
        said = disk.play(line)
        if said is not None and re.fullmatch(rb"open\n|closed\n|\d+ [A-Za-z-]+\n", said):
            acknowledged += said
        if disk.calls > before and chance.random() < often:
            before = disk.calls
            target = folder / "after"
            disk.cut(target, chance)
            archive = Archive(target).open()
            check_promises(archive, promised(acknowledged))
            looked_at += len(promised(acknowledged))
            archive.close()
            shutil.rmtree(target)
    assert acknowledged == (folder / "acknowledged").read_bytes()
    return looked_at


def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path, count=25, cuts=60, chance=random.Random(time.time_ns())) > 200


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_what_was_acknowledged_survives_a_power_cut_at_every_call(tmp_path: Path, seed: int) -> None:
    assert cut_everywhere(tmp_path, count=60, cuts=10_000, chance=random.Random(seed)) > 1000


def test_a_store_that_does_not_sync_is_caught(tmp_path: Path) -> None:
    """The replay itself is tested: with the syncs taken out of the trace, promises are broken."""
    home = tmp_path / "home"
    home.mkdir()
    Archive(home).create().close()
    disk, trace = record(tmp_path, storing(home, tmp_path / "acknowledged", 0, 10), home=home)
    for line in trace:
        if "sync(" not in line:
            disk.play(line)
    target = tmp_path / "after"
    disk.cut(target, random.Random(1))
    promises = promised((tmp_path / "acknowledged").read_bytes())
    with pytest.raises((AssertionError, ValueError, Damaged, KeyTableDamaged)):
        check_promises(Archive(target).open(), promises)


ROTATING = """
import sys
from pathlib import Path
from leadglass.vault.keys import Keys
from tests.vault.making import ROOT

keys = Keys.open(Path(sys.argv[1]), ROOT)
destroyed = bytes.fromhex(sys.argv[2])
if destroyed:
    keys.destroy(destroyed)
else:
    keys.rotate()
"""


@pytest.mark.parametrize("destroy", [False, True], ids=["rotate", "destroy"])
def test_new_versions_of_the_keys_are_whole_at_every_crash_point(tmp_path: Path, destroy: bool) -> None:
    """Before every system call of a rotation, three times over: every key opens; a destroyed one either still does or is gone for good."""
    home = tmp_path / "keys"
    keys = Keys.create(home, ROOT, RECOVERY)
    studies = {key.key_id: key.secret for key in (keys.new_study_key() for _ in range(5))}
    named = keys.named("access")
    keys.close()
    lost = next(iter(studies)) if destroy else b""
    disk, trace = record(tmp_path, [sys.executable, "-c", ROTATING, str(home), lost.hex()], home=home)
    gone = []
    before = 0
    for line in trace:
        disk.play(line)
        seeds, before = range(3 if disk.calls > before else 0), disk.calls
        for seed in seeds:
            target = tmp_path / "after"
            disk.cut(target, random.Random(seed))
            opened = Keys.open(target, ROOT)
            assert opened.named("access") == named
            assert [opened.key(key_id) for key_id in studies if key_id != lost] == [
                secret for key_id, secret in studies.items() if key_id != lost
            ]
            gone.append(not opens(opened, lost))
            assert list(opened.check()) == []
            assert Keys.recover(target, RECOVERY, RootKey.generate()).key(list(studies)[-1]) == list(studies.values())[-1]
            opened.close()
            shutil.rmtree(target)
    assert len(gone) > 30
    if destroy:
        # Once gone, it does not come back.
        assert [key for key, _ in itertools.groupby(gone[::3])] in ([False, True], [False, True, False, True])
        assert gone[-1]


def opens(keys: Keys, key_id: bytes) -> bool:
    if not key_id:
        return True
    try:
        keys.key(key_id)
    except KeyUnavailable:
        return False
    return True
