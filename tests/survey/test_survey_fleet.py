"""Many archives at once, each in one of all the ways in which archives are: every level and every count is found, and no patient is kept.

The whole lists are long tests (and `python -m bench survey`, which times them); a sample of each runs always.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from leadglass.survey.run import survey
from tests.fleet import PLANTED, Archive, Behaviour, fleet
from tests.fleet.lists import mixed, targets
from tests.never.canary import found_in, found_under
from tests.survey.harness import scope_text


def write_scope(folder: Path, archives: Sequence[Archive], **limits: object) -> Path:
    """A scope that names the fleet."""
    (folder / "targets.csv").write_text(targets(archives))
    scope = folder / "scope.toml"
    scope.write_text('targets = "targets.csv"\n' + scope_text([], limits=limits))
    return scope


def differences(archives: Sequence[Archive], folder: Path) -> list[str]:
    """Where the survey whose results are in `folder` found something else than there is."""
    found = {each["host"]: each for each in json.loads((folder / "results.json").read_text())["targets"]}
    return [f"{each}: {found.get(each.address)}" for each in archives if not is_right(each, found.get(each.address, {}))]


def is_right(archive: Archive, found: Mapping[str, object]) -> bool:
    held = {"patients": archive.patients, "studies": archive.studies, "instances": archive.instances, "exact": True}
    records = held if archive.behaviour.is_open else None
    return (found.get("level"), found.get("records")) == (archive.behaviour.level, records)


def memory(pid: int) -> Iterator[bytes]:
    """What a process holds: every part of its memory that it can write, by the kernel's list."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as held:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(part, 16) for part in span.split("-"))
                held.seek(start)
                yield held.read(end - start)


def remembered(pid: int) -> set[str]:
    """Which of what was planted is in a process's memory, as text of one byte or two for a character, or as pixels."""
    needles = {form: text for text in PLANTED.texts for form in (text.encode(), text.encode("utf-16-le"))}
    needles[PLANTED.pixels[1000:1024]] = "pixels"
    return {what for part in memory(pid) for needle, what in needles.items() if needle in part}


PROGRAM = """
import pathlib, sys
from leadglass.survey.probing import probe_here
from leadglass.survey.run import survey
from leadglass.survey.workers import probe_in_workers
folder = pathlib.Path(sys.argv[1])
results = survey(folder / "scope.toml", folder / "out", probing={"here": probe_here, "workers": probe_in_workers}[sys.argv[2]])
print("done", results.totals.open, flush=True)
sys.stdin.read()
"""


@contextmanager
def surveyor(folder: Path, probing: str) -> Iterator[tuple[int, int]]:
    """A process that has surveyed folder/scope.toml, and still is: its id, and how many it found open."""
    (folder / "tmp").mkdir()
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder / "tmp"), "HOME": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (
        (folder / "said").open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), probing],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            assert first.startswith(b"done "), (folder / "said").read_text()
            yield process.pid, int(first.split()[1])
        finally:
            process.kill()


def test_a_small_fleet_is_found_as_it_is_and_no_patient_is_remembered(tmp_path: Path) -> None:
    # Whoever is silent is asked by TLS too, which takes his time-out many times: the long test has some.
    archives = [each for each in mixed(24, 900, 300) if each.behaviour is not Behaviour.SILENT]
    write_scope(tmp_path, archives, timeout_seconds=1)
    with fleet(archives), surveyor(tmp_path, "workers") as (pid, opened):
        assert opened == sum(each.behaviour.is_open for each in archives) > 0
        assert remembered(pid) == set()
    assert differences(archives, tmp_path / "out") == []
    # Results, report, log and temporary files.
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"results.json", "report.html"}
    assert found_under(tmp_path, patients=[PLANTED]) == {}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_patient_who_is_remembered_is_found(tmp_path: Path) -> None:
    """The search finds what a process keeps that asks by itself."""
    archives = [each for each in mixed(12, 30, 20) if each.behaviour.is_open]
    write_scope(tmp_path, archives)
    with fleet(archives), surveyor(tmp_path, "here") as (pid, opened):
        assert opened == len(archives)
        assert remembered(pid) & {"Zebedee", "Zwergkaninchen"}
    assert found_in(PLANTED.texts[0].encode(), [PLANTED])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_whole_fleet_is_counted_exactly(tmp_path: Path) -> None:
    archives = mixed(2300, 400_000, 20_000)
    scope = write_scope(tmp_path, archives, connections_per_second=1000)
    with fleet(archives, delay=0.05):
        results = survey(scope, tmp_path / "out")
    assert differences(archives, tmp_path / "out") == []
    assert (results.totals.systems, results.totals.open, results.totals.studies) == (2300, 575, 400_000)
    assert found_under(tmp_path, patients=[PLANTED]) == {}
