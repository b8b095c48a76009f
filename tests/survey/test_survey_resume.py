"""A survey that is stopped or killed leaves what it found, and goes on from there; nobody is asked twice."""

import json
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import ConfigurationError
from leadglass.survey import journal
from leadglass.survey.addresses import System
from leadglass.survey.folder import Folder
from leadglass.survey.journal import SoFar
from leadglass.survey.observations import Observation
from leadglass.survey.run import Progress
from tests.survey.harness import scope_text
from tests.survey.playing import MIXED, Played, by_address, play, scope_of
from tests.survey.relinking import relinked
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


@dataclass(frozen=True)
class Whole:
    """A journal as it was written, and what it says."""

    folder: Path
    content: bytes
    said: SoFar

    def read(self, content: bytes) -> SoFar | str:
        """What another content says; the sentence that refuses it."""
        self.folder.joinpath("journal.jsonl").write_bytes(content)
        try:
            return journal.load(Folder(self.folder))
        except ConfigurationError as error:
            return str(error)

    def is_refused_or_right(self, content: bytes) -> bool:
        """Whether it is refused with what to do, or tells what was found up to some system, and nothing else."""
        told = self.read(content)
        if isinstance(told, str):
            return told.endswith(("survey again, into a new folder", "survey again into a new folder"))
        lines = content.count(b"\n")
        known = dict(list(self.said.found.items())[: len(told.found)])
        is_right = (
            (told.begin, told.found) == (self.said.begin, known) and told.plan in {None, self.said.plan} and told.keys() <= self.said.keys()
        )
        return is_right and len(told.keys()) == max(0, lines - 2) and content.startswith(self.content[: content.rfind(b"\n") + 1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out, folder = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("changed")
    play(out)
    return Whole(folder, out.joinpath("journal.jsonl").read_bytes(), journal.load(Folder(out)))


@given(st.data())
def test_a_journal_that_was_cut_anywhere_is_right_as_far_as_it_goes(whole: Whole, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(whole.content)))
    told = whole.read(cut := whole.content[:place])
    if place <= whole.content.index(b"\n"):
        assert told == f"the journal in {whole.folder} is empty: survey again, into a new folder"
    else:
        assert isinstance(told, SoFar)
        assert whole.is_refused_or_right(cut)


CHANGES = ("replace", "insert", "delete", "twice", "swap", "drop a line")


def changed(content: bytes, how: str, place: int, noise: bytes) -> bytes:
    """What an accident made of it."""
    before, after = content[:place], content[place:]
    lines = content.splitlines(keepends=True)
    at = min(content.count(b"\n", 0, place), len(lines) - 2)
    match how:
        case "replace":
            return before + noise + after[len(noise) :]
        case "insert":
            return before + noise + after
        case "delete":
            return before + after[len(noise) :]
        case "twice":
            return before + after[: 50 * len(noise)] + after
        case "swap":
            lines[at : at + 2] = reversed(lines[at : at + 2])
        case _:
            del lines[at]
    return b"".join(lines)


@given(st.data())
def test_a_journal_that_was_changed_anywhere_is_refused_or_right(whole: Whole, data: st.DataObject) -> None:
    how = data.draw(st.sampled_from(CHANGES))
    noise = data.draw(st.binary(min_size=1, max_size=20) | st.sampled_from([b"\n", b"\r", b"0", b"9", b" ", b"\0" * 512]))
    place = data.draw(st.integers(0, len(whole.content)) | st.sampled_from(_line_ends(whole.content)))
    content = changed(whole.content, how, place, noise)
    assert whole.is_refused_or_right(content)
    assert content.startswith(whole.content) or whole.read(content) != whole.said or content == whole.content


def _line_ends(content: bytes) -> list[int]:
    return [place for place, byte in enumerate(content) if byte == ord("\n")]


def test_a_count_that_became_another_is_refused(whole: Whole) -> None:
    """The smallest change, of which nothing but the code can tell."""
    assert b'"patients":5' in whole.content
    told = whole.read(whole.content.replace(b'"patients":5', b'"patients":6', 1))
    assert isinstance(told, str)
    assert "is damaged: survey again, into a new folder" in told


@pytest.mark.parametrize(
    "change",
    [
        (b'"target":0', b'"target":-1'),
        (b'"target":0', b'"target":99'),
        (b'"seconds":0.', b'"seconds":-0.'),
        (b'"seconds":0.', b'"seconds":NaN,"x":0.'),
        (b'"mine":33', b'"mine":-33'),
        (b'"opt_out":[],"unproven"', b'"unproven"'),
        (b'"shard":"1/1"', b'"shard":"3/1"'),
        (b'"shard":"1/1"', b'"shard":"01/1"'),
        (b'{"plan":', b'{"begin":'),
        (b'{"entry":', b'{"exit":'),
        (b'{"Dimse":', b'{"Tls":'),
    ],
)
def test_what_no_survey_writes_is_refused_also_with_the_right_codes(whole: Whole, change: tuple[bytes, bytes]) -> None:
    assert change[0] in whole.content
    told = whole.read(relinked(whole.content.replace(*change, 1)))
    assert isinstance(told, str)
    assert "is damaged" in told


@pytest.mark.parametrize("seed", [1, 2, 3, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 200))])
def test_a_damaged_journal_is_gone_on_with_rightly_or_refused(tmp_path: Path, whole: Whole, seed: int) -> None:
    chance = random.Random(seed)
    play(tmp_path)
    path = tmp_path / "journal.jsonl"
    content = path.read_bytes()
    place = chance.randrange(len(content))
    damaged = chance.choice([content[:place], changed(content, chance.choice(CHANGES), place, chance.randbytes(chance.randint(1, 9)))])
    path.write_bytes(damaged)
    (tmp_path / "unfinished").touch()
    probe = Played()
    if isinstance(whole.read(damaged), str):
        with pytest.raises(ConfigurationError, match="survey again"):
            play(tmp_path, probe=probe, resume=True)
        assert probe.asked == []
        assert path.read_bytes() == damaged[: damaged.rfind(b"\n") + 1]
        return
    results = play(tmp_path, probe=probe, resume=True)
    assert {each.host: each.level for each in results.targets} == {each.host: each.level for each in whole.said.found.values()}
    assert results.left == 0
    assert len(journal.load(Folder(tmp_path)).keys()) == 33


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
