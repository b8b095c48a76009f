"""A survey that is stopped or killed leaves what it found, and goes on from there; nobody is asked twice."""

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import ConfigurationError
from leadglass.survey import journal
from leadglass.survey.addresses import System
from leadglass.survey.folder import Folder
from leadglass.survey.observations import Observation
from leadglass.survey.run import Progress
from tests.survey.harness import scope_text
from tests.survey.playing import MIXED, Played, by_address, play, scope_of
from tests.survey.servers import Listener, talking
from tests.survey.test_survey_shards import comparable

LEADGLASS = [sys.executable, "-m", "leadglass"]


def dying(after: int) -> Played:
    """A probe with which the survey's process ends at a system."""
    count = 0

    def answer(system: System) -> Observation:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return by_address(system)

    return Played(answer)


@pytest.mark.parametrize("after", [0, 1, 20])
def test_what_was_killed_goes_on_and_asks_nobody_twice(tmp_path: Path, after: int) -> None:
    out = tmp_path / "out"
    first, second = dying(after), Played()
    with pytest.raises(KeyboardInterrupt):
        play(out, probe=first)
    partial = json.loads((out / "results.json").read_text())
    assert (partial["survey"]["complete"], partial["survey"]["left"]) == (False, 33)
    results = play(out, probe=second, resume=True)
    answered = first.asked[:after]
    assert sorted(answered + second.asked) == sorted(everybody(tmp_path))
    assert (results.left, results.signal) == (0, 0)
    assert results.run_id == partial["survey"]["run"]
    play(tmp_path / "whole")
    assert comparable(out) == comparable(tmp_path / "whole")


def everybody(folder: Path) -> Sequence[str]:
    probe = Played()
    play(folder / "all", probe=probe)
    return probe.asked


def test_what_is_finished_asks_nobody_again(tmp_path: Path) -> None:
    play(tmp_path)
    probe = Played()
    play(tmp_path, probe=probe, resume=True)
    assert probe.asked == []


def test_what_we_failed_at_is_asked_again(tmp_path: Path) -> None:
    def answer(system: System) -> Observation:
        if str(system.address) == "10.1.0.7":
            raise ZeroDivisionError
        return by_address(system)

    assert play(tmp_path / "out", probe=Played(answer)).exit_code == 3
    probe = Played()
    assert play(tmp_path / "out", probe=probe, resume=True).exit_code == 1
    assert probe.asked == ["10.1.0.7"]
    play(tmp_path / "whole")
    assert comparable(tmp_path / "out") == comparable(tmp_path / "whole")


def cut(out: Path, lines: int, torn: bytes = b"") -> None:
    """Leave the first `lines` of the journal and a torn one, as a kill would."""
    path = out / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]) + torn)
    (out / "unfinished").touch()


def test_a_torn_line_is_as_if_it_had_not_been_begun(tmp_path: Path) -> None:
    play(tmp_path / "whole")
    play(tmp_path / "out")
    cut(tmp_path / "out", 10, b'{"entry":{"target":0,"addr')
    probe = Played()
    play(tmp_path / "out", probe=probe, resume=True)
    assert len(probe.asked) == 33 - 8
    assert comparable(tmp_path / "out") == comparable(tmp_path / "whole")


def test_another_scope_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    play(tmp_path)
    cut(tmp_path, 10)
    before = (tmp_path / "journal.jsonl").read_bytes()
    probe = Played()
    for scope in (scope_of(*MIXED[:3]), scope_of(level="query"), scope_of(timeout_seconds=1)):
        with pytest.raises(ConfigurationError, match="another scope, level or ca_file"):
            play(tmp_path, scope, probe, resume=True)
    assert probe.asked == []
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_gentler_rate_and_a_longer_opt_out_go_on(tmp_path: Path) -> None:
    play(tmp_path)
    cut(tmp_path, 10)
    probe = Played()
    results = play(tmp_path, scope_of(connections_per_second=1000, opt_out=["10.1.0.0/24", "10.2.0.30/32"]), probe, resume=True)
    assert {"10.1.0.7", "10.1.0.5", "10.2.0.30"}.isdisjoint(probe.asked)
    # Neither what was asked of them before stays in the report.
    assert {"10.1.0.7", "10.1.0.5"}.isdisjoint(result.host for result in results.targets)
    assert sum("opt_out" in each.why for each in results.refused) == 4


def test_a_folder_is_not_used_for_two_things(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no survey to go on with"):
        play(tmp_path / "new", resume=True)
    play(tmp_path / "out")
    cut(tmp_path / "out", 10)
    with pytest.raises(ConfigurationError, match=r"not finished: go on with it \(--resume\)"):
        play(tmp_path / "out")
    with Folder(tmp_path / "out").appending(journal.NAME, anew=False), pytest.raises(ConfigurationError, match="another survey is writing"):
        play(tmp_path / "out", resume=True)
    play(tmp_path / "out", resume=True)
    play(tmp_path / "out")


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=30))
def test_a_damaged_journal_is_refused_or_the_same(place: int, noise: bytes) -> None:
    whole = JOURNAL[: (at := place % len(JOURNAL))] + noise + JOURNAL[at + len(noise) :]
    FOLDER.joinpath("journal.jsonl").write_bytes(whole)
    said = ""
    try:
        journal.load(Folder(FOLDER))
    except ConfigurationError as error:
        said = str(error)
    assert not said or any(word in said for word in ("damaged", "empty", "by method"))


@pytest.fixture(scope="module", autouse=True)
def _journal(tmp_path_factory: pytest.TempPathFactory) -> None:
    global JOURNAL, FOLDER  # noqa: PLW0603 - hypothesis wants no fixture of a function
    FOLDER = tmp_path_factory.mktemp("damaged")
    play(FOLDER)
    JOURNAL = FOLDER.joinpath("journal.jsonl").read_bytes()


JOURNAL = b""
FOLDER = Path()


def test_progress_says_rate_remaining_and_what_was_found(tmp_path: Path) -> None:
    told: list[Progress] = []
    play(tmp_path, probe=Played(pause=0.001), progress=told.append)
    assert [each.done for each in told] == list(range(1, 34))
    assert (told[-1].remaining, told[-1].total) == (0.0, 33)
    assert (told[-1].found_open, told[-1].patients) == (10, sum((5, 5, 5, 6, 12, 13, 19, 20, 26, 27)))
    assert told[10].rate > 1
    assert told[10].remaining == pytest.approx(22 / told[10].rate)


def silent_until_told(link: socket.socket) -> None:
    """Take what is said, answer nothing."""
    while link.recv(4096):
        pass


def scope_file(folder: Path, listener: Listener, silent: int, closed: int) -> Path:
    """So many systems that say nothing, and before them so many that are closed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused = free.getsockname()[1]
    targets = [{"name": f"closed {n}", "host": f"127.8.0.{n + 1}", "dimse_ports": [unused]} for n in range(closed)]
    targets += [{"name": f"silent {n}", "host": f"127.0.0.{n + 1}", "dimse_ports": [listener.port]} for n in range(silent)]
    path = folder / "scope.toml"
    path.write_text(scope_text(targets, limits={"timeout_seconds": 20, "level": "query"}))
    return path


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_a_signal_leaves_a_valid_partial_result_that_resume_ends(tmp_path: Path, number: signal.Signals) -> None:
    with talking(silent_until_told) as listener:
        scope, out = scope_file(tmp_path, listener, 1, 4), tmp_path / "out"
        command = [*LEADGLASS, "survey", str(scope), "--out", str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: bool(listener.connections) and (out / "journal.jsonl").read_bytes().count(b"\n") == 2 + 4)
        process.send_signal(number)
        said, complaint = process.communicate(timeout=20)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
        document = json.loads((out / "results.json").read_text())
        assert document["survey"]["complete"] is False
        assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
        if number != signal.SIGKILL:
            assert [each["name"] for each in document["targets"]] == [f"closed {n}" for n in range(4)]
            assert "1 systems were not asked yet: go on with the same command and --resume" in said
            assert "Traceback" not in complaint
        asked = len(listener.connections)
    # Now nobody listens there: the one that is left is found closed, and the others are not asked.
    ended = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    document = json.loads((out / "results.json").read_text())
    assert (document["survey"]["complete"], document["survey"]["left"], document["totals"]["systems"]) == (True, 0, 5)
    entries = [line for line in (out / "journal.jsonl").read_text().splitlines() if line.startswith('{"entry"')]
    assert len(entries) == 5
    assert asked == 1
    assert not (out / "unfinished").exists()
