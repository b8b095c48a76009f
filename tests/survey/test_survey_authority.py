"""An authority that ends while a survey runs stops it: nothing is sent afterwards, what was found stays, and it goes on once renewed."""

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from leadglass.errors import ConfigurationError
from leadglass.survey.addresses import Surroundings, System
from leadglass.survey.briefing import Briefing
from leadglass.survey.folder import Folder
from leadglass.survey.observations import Observation
from leadglass.survey.probing import probe_here
from leadglass.survey.results import Results
from leadglass.survey.run import Course, run, survey_into
from leadglass.survey.scope import Authority, Scope, parse_scope
from leadglass.survey.stopping import ENDING_SECONDS, Clock, Stop
from tests.survey.harness import scope_text
from tests.survey.playing import MIXED, Played, by_address, play
from tests.survey.servers import talking
from tests.survey.test_survey_resume import silent_until_told
from tests.survey.test_survey_shards import comparable

TODAY = dt.date(2026, 11, 2)
MIDNIGHT = dt.datetime.combine(TODAY + dt.timedelta(days=1), dt.time.min).astimezone()


def scope_until(day: dt.date = TODAY) -> Scope:
    return parse_scope(scope_text(MIXED, authority={"valid_until": day}).encode())


class Wall:
    """A clock on the wall, that stands until somebody moves it."""

    def __init__(self, seconds_left: float) -> None:
        self.now = MIDNIGHT - dt.timedelta(seconds=seconds_left)

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.survey.stopping.LOOKED_AT_SECONDS", 0.005)


def play_until(out: Path, scope: Scope, clock: Clock, probe: Played | None = None, *, resume: bool = False) -> Results:
    """A survey by a clock of its own."""
    asking = partial(probe_here, probes=[probe or Played()])
    return survey_into(Folder(out), scope, course=Course(resume=resume, clock=clock), probing=asking)


class OneByOne(Played):
    """Asks one system after the other."""

    def __init__(self, answer: Callable[[System], Observation]) -> None:
        super().__init__(answer, pause=0.02)
        self.turn = asyncio.Lock()

    async def run(self, system: System, port: int, briefing: Briefing) -> Observation:
        async with self.turn:
            return await super().run(system, port, briefing)


def stopped_after(out: Path, answers: int) -> Played:
    """A survey whose authority ends when so many systems have answered."""
    wall = Wall(3600)

    def answer(system: System) -> Observation:
        if len(probe.asked) == answers:
            wall.now = MIDNIGHT - dt.timedelta(seconds=ENDING_SECONDS)
        return by_address(system)

    probe = OneByOne(answer)
    results = play_until(out, scope_until(), wall, probe)
    assert (results.authority_ended, results.exit_code, results.signal) == (True, 2, 0)
    return probe


def test_it_is_a_partial_result_that_says_so_and_goes_on_when_renewed(tmp_path: Path) -> None:
    first = stopped_after(tmp_path / "out", 8)
    survey = json.loads((tmp_path / "out" / "results.json").read_bytes())["survey"]
    assert survey["stopped"] == "authority-ended"
    assert (survey["complete"], survey["left"]) == (False, 33 - 8)
    assert "The authority of the scope ended while it ran" in (tmp_path / "out" / "report.html").read_text()
    renewed, second = scope_until(TODAY + dt.timedelta(days=365)), Played()
    results = play_until(tmp_path / "out", renewed, Wall(-60), second, resume=True)
    assert (results.stopped, results.left, len(first.asked), len(second.asked)) == (None, 0, 9, 25)
    play(tmp_path / "whole", renewed)
    assert comparable(tmp_path / "out") == comparable(tmp_path / "whole")


def test_one_that_was_finished_by_then_is_whole(tmp_path: Path) -> None:
    results = play_until(tmp_path, scope_until(), Wall(ENDING_SECONDS + 0.5))
    assert (results.stopped, results.left, results.exit_code) == (None, 0, 1)


def test_names_are_not_looked_up_any_longer_either() -> None:
    asked: list[str] = []

    async def resolve(name: str) -> Sequence[str]:
        asked.append(name)
        await asyncio.sleep(60)
        return ()

    scope = parse_scope(
        scope_text([{"name": "a", "host": "pacs.example.org", "dimse_ports": [104]}], authority={"valid_until": TODAY}).encode()
    )
    began = MIDNIGHT - dt.timedelta(seconds=ENDING_SECONDS + 0.05)
    started = time.monotonic()

    def clock() -> dt.datetime:
        return began + dt.timedelta(seconds=time.monotonic() - started)

    with pytest.raises(ConfigurationError, match=f"ended on {TODAY}, before any system was asked: have it renewed"):
        asyncio.run(run(scope, clock=clock, surroundings=Surroundings(resolve, None)))
    assert asked == ["pacs.example.org"]
    assert time.monotonic() - started < 5


def test_a_clock_that_is_set_forward_is_noticed() -> None:
    wall = Wall(86_400)

    async def test() -> bool:
        stop = Stop()
        async with stop.before(MIDNIGHT, wall):
            await asyncio.sleep(0.02)
            assert not stop.asked.is_set()
            wall.now = MIDNIGHT + dt.timedelta(days=3)
            async with asyncio.timeout(5):
                await stop.asked.wait()
        return stop.authority_ended

    assert asyncio.run(test())


def test_the_last_day_ends_with_the_night_where_the_survey_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(owner="a", authorised_by="b", contact="c", valid_until=TODAY)
    try:
        for zone, hour in (("UTC0", 0), ("EST5", 5), ("JST-9", 15)):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            ends = authority.ends.astimezone(dt.UTC)
            assert (ends.hour, ends.date()) == (hour, TODAY if hour == 15 else TODAY + dt.timedelta(days=1))
    finally:
        monkeypatch.undo()
        time.tzset()
    for day in (dt.date.max, dt.date.max - dt.timedelta(days=1), dt.date.min):
        assert authority.model_copy(update={"valid_until": day}).ends.tzinfo is not None


@pytest.mark.long
def test_the_command_stops_before_midnight_and_says_what_to_do(tmp_path: Path) -> None:
    """Midnight comes soon in a time zone of its own."""
    with talking(silent_until_told) as listener:
        target = {"name": "silent", "host": "127.0.0.1", "dimse_ports": [listener.port]}
        now = dt.datetime.now(dt.UTC)
        of_day = now.hour * 3600 + now.minute * 60 + now.second
        until_midnight = int(ENDING_SECONDS) + 10
        west = (of_day + until_midnight) % 86_400
        zone = f"SOON{west // 3600}:{west // 60 % 60:02}:{west % 60:02}" if west <= 43_200 else _east(86_400 - west)
        today = subprocess.run(["date", "+%F"], env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True).stdout.strip()
        limits = {"timeout_seconds": 30, "level": "query"}
        (tmp_path / "scope.toml").write_text(scope_text([target], authority={"valid_until": dt.date.fromisoformat(today)}, limits=limits))
        command = [sys.executable, "-m", "leadglass", "survey", str(tmp_path / "scope.toml"), "--out", str(tmp_path / "out")]
        done = subprocess.run(command, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=False, timeout=60)
        ended_after = (dt.datetime.now(dt.UTC) - now).total_seconds()
    assert done.returncode == 2, done.stderr
    assert f"the authority ended on {today}, and nothing more was sent" in done.stdout
    assert "1 systems were not asked yet: have the authority renewed, change authority.valid_until, then go on" in done.stdout
    assert len(listener.connections) == 1
    assert ended_after < until_midnight + 1


def _east(seconds: int) -> str:
    return f"SOON-{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
