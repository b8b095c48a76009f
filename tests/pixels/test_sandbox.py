"""A decoder that has been taken over gets nowhere, and costs the one object; without the walls each attack succeeds."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leadglass.errors import CannotConvert
from leadglass.pixels.pool import Decoders, DecodingLimits
from leadglass.pixels.protocol import Codec, Flags, Frame
from tests.pixels.hostile_worker import DONE, TARGET

FRAME = Frame(Codec.RLE, Flags(0), 8, 8, 1, 8, 8)
SCRIPT = Path(__file__).parent / "hostile_worker.py"
STOPPED = [
    "open_socket",
    "write_file",
    "read_passwd",
    "read_home",
    "execute",
    "fork",
    "kill_the_parent",
    "trace_the_parent",
    "make_memory_executable",
    "raise_its_limits",
]


@contextmanager
def hostile(attack: str, *how: str, seconds: float = 20.0) -> Iterator[Decoders]:
    decoders = Decoders(DecodingLimits(processes=1, seconds_per_frame=seconds), [sys.executable, "-I", str(SCRIPT), attack, *how])
    try:
        yield decoders
    finally:
        decoders.close()


@pytest.mark.parametrize("attack", STOPPED)
def test_an_attack_is_stopped_and_the_next_frame_is_decoded(attack: str) -> None:
    with hostile(attack) as decoders:
        with pytest.raises(CannotConvert):
            decoders.decode(FRAME, b"attack")
        assert decoders.decode(FRAME, b"behave") == bytes(64)
    assert not Path(TARGET).exists()


@pytest.mark.parametrize("attack", STOPPED)
def test_without_the_walls_it_would_succeed(attack: str) -> None:
    with hostile(attack, "unprotected") as decoders:
        assert decoders.decode(FRAME, b"attack") == DONE * 64


def test_ten_gigabytes_are_not_to_be_had() -> None:
    with hostile("take_memory") as decoders:
        with pytest.raises(CannotConvert, match="larger than is decoded here"):
            decoders.decode(FRAME, b"attack")
        assert decoders.decode(FRAME, b"behave") == bytes(64)


def test_who_loops_for_ever_is_ended_in_time() -> None:
    with hostile("loop", seconds=1.0) as decoders:
        assert decoders.decode(FRAME, b"behave") == bytes(64)
        (pid,) = decoders.processes
        begun = time.monotonic()
        with pytest.raises(CannotConvert, match="took too long or broke off"):
            decoders.decode(FRAME, b"attack")
        assert 0.9 < time.monotonic() - begun < 10
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert decoders.decode(FRAME, b"behave") == bytes(64)


@pytest.mark.parametrize("attack", ["crash", "babble", "too_much"])
def test_a_worker_that_crashes_or_talks_nonsense_fails_the_one_frame(attack: str) -> None:
    with hostile(attack) as decoders:
        for _ in range(3):
            with pytest.raises(CannotConvert):
                decoders.decode(FRAME, b"attack")
            assert decoders.decode(FRAME, b"behave") == bytes(64)


def test_a_worker_that_cannot_be_closed_in_is_not_used() -> None:
    says_nothing_stands = (
        "from leadglass.pixels import worker\nfrom leadglass.pixels.protocol import Protection\n"
        "worker.serve(lambda frame, data: bytes(frame.size), Protection(0), 1 << 20, mismatch=ValueError)"
    )
    decoders = Decoders(DecodingLimits(), [sys.executable, "-I", "-c", says_nothing_stands])
    with pytest.raises(CannotConvert, match="cannot be closed in"):
        decoders.decode(FRAME, b"x")
    decoders.close()


def test_a_worker_has_nothing_of_ours(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADGLASS_ROOT_KEY", "a-secret")
    inherited = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    own = Decoders(DecodingLimits(processes=1))
    try:
        with pytest.raises(CannotConvert):
            own.decode(FRAME, b"no RLE")
        (pid,) = own.processes
        proc = Path("/proc") / str(pid)
        assert b"a-secret" not in (proc / "environ").read_bytes()
        descriptors = {number.name: os.readlink(number) for number in (proc / "fd").iterdir()}  # noqa: PTH115
        assert set(descriptors) == {"0", "1", "2"}
        assert descriptors["2"] == "/dev/null"
        assert all(descriptors[number].startswith("pipe:") for number in "01")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    finally:
        os.close(inherited)
        own.close()


def test_nothing_is_started_before_it_is_needed_and_nothing_is_left() -> None:
    decoders = Decoders(DecodingLimits())
    before = len(decoders.processes)
    assert before == 0
    decoders.warm()
    for _ in range(600):
        if decoders.processes:
            break
        time.sleep(0.1)
    (pid,) = decoders.processes
    decoders.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(CannotConvert, match="closing"):
        decoders.decode(FRAME, b"x")


def test_a_worker_ends_with_the_archive(tmp_path: Path) -> None:
    # The archive is killed and closes nothing: its pipes end, and with them the worker.
    program = (
        "import os, sys; from leadglass.pixels.pool import Decoders, DecodingLimits\n"
        "from leadglass.pixels.protocol import *\n"
        "d = Decoders(DecodingLimits(processes=1)); d.warm()\n"
        "import time\n"
        "while not d.processes: time.sleep(0.05)\n"
        "print(d.processes[0], flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        time.sleep(0.1)
    pytest.fail("the worker outlives the archive")


def test_many_at_once_share_the_workers(decoders: Decoders) -> None:
    failures: list[str] = []
    rle = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\xc1\x07"  # 64 times 7

    def work() -> None:
        for _ in range(20):
            if decoders.decode(FRAME, rle) != b"\x07" * 64:
                failures.append("another's pixels")  # noqa: PERF401

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(decoders.processes) <= len(os.sched_getaffinity(0))


def test_what_is_held_is_bounded_and_waiting_ends() -> None:
    decoders = Decoders(DecodingLimits(held_bytes=100))
    with decoders.holding(1000), pytest.raises(CannotConvert, match="too many"), decoders.holding(1):
        pass
    with decoders.holding(60), decoders.holding(40):
        pass
