"""A survey of 2,300 archives at 50 ms round trip, beside pynetdicom one by one and nmap's dicom-ping on the same list."""

import json
import subprocess
import threading
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification  # type: ignore[attr-defined]

from bench.figures import WHOLE, Extent, Table, median
from bench.memory import pss
from tests.archives import COMMAND
from tests.fleet import PLANTED, Archive, Behaviour, fleet
from tests.fleet.lists import PORT, mixed, targets
from tests.never.canary import found_under
from tests.peers import find
from tests.survey.harness import scope_text

DELAY = 0.05
"""Seconds of a round trip; the fleet waits before each answer. The answer to an A-ASSOCIATE-RQ waits two: the connection took one."""
RATE = 1000
"""Connections a second: what the scope says for this list."""
TIMEOUT = 5
_SAMPLE_SECONDS = 0.1
_OF_EACH_KIND = 4


class Tree:
    """A process and those it started: the peak of the sum of their PSS, and their CPU time."""

    def __init__(self, process: int) -> None:
        self._root = psutil.Process(process)
        self.peak = 0
        self.most = 0
        self._cpu: dict[int, float] = {}

    @property
    def cpu(self) -> float:
        """Seconds, as far as was seen."""
        return sum(self._cpu.values())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample in a thread for the length of the block."""
        over = threading.Event()
        thread = threading.Thread(target=self._sample, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _sample(self, over: threading.Event) -> None:
        while not over.wait(_SAMPLE_SECONDS):
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            held = 0
            for each in tree:
                try:
                    held += pss(each.pid)
                    times = each.cpu_times()
                except (psutil.Error, OSError):
                    continue
                self._cpu[each.pid] = times.user + times.system
            self.peak = max(self.peak, held)
            self.most = max(self.most, len(tree))


def bench_survey(folder: Path, extent: Extent) -> None:
    """All counts are compared with what the fleet holds; one that differs fails the bench."""
    whole = extent.study_images >= WHOLE.study_images
    archives = mixed(2300, 400_000, 20_000) if whole else mixed(230, 40_000, 8_000)
    _list(folder, archives)
    with fleet(archives, delay=DELAY) as (server,):
        ours = _ours(folder, archives, extent.rounds, server)
        theirs = Table("The same list by others", "", "seconds", "of it measured", "counts records")
        seconds, measured = _pynetdicom(archives)
        theirs.add("pynetdicom, one by one (extrapolated)", f"{seconds:.0f}", f"{measured} archives", "yes")
        seconds, said = _nmap(folder)
        theirs.add(f"nmap dicom-ping ({said} answers; associates only)", f"{seconds:.0f}", "all", "no")
        theirs.show()
        print(f"  leadglass {ours:.1f} s")


def _list(folder: Path, archives: Sequence[Archive]) -> None:
    (folder / "targets.csv").write_text(targets(archives))
    (folder / "hosts").write_text("".join(f"{each.address}\n" for each in archives))
    limits = {"level": "retrieve", "connections_per_second": RATE, "timeout_seconds": TIMEOUT}
    (folder / "scope.toml").write_text('targets = "targets.csv"\n' + scope_text([], limits=limits))


def _ours(folder: Path, archives: Sequence[Archive], rounds: int, server: int) -> float:
    kinds = ", ".join(f"{count} {kind.name.lower().replace('_', ' ')}" for kind, count in _kinds(archives).items())
    studies = sum(each.studies for each in archives)
    print(f"\n{len(archives)} archives: {kinds}; {studies} studies; {DELAY * 1000:.0f} ms round trip, {RATE} connections a second at most")
    columns = ("", "seconds", "PSS of all processes, peak, MB", "processes", "CPU seconds", "of the fleet", "counts wrong")
    table = Table("leadglass survey --level retrieve, from the command to the reports", *columns)
    taken = []
    for number in range(rounds):
        out = folder / f"survey-{number}"
        fleet_before = _cpu(server)
        began = time.perf_counter()
        with subprocess.Popen([COMMAND, "survey", folder / "scope.toml", "--out", out], stdout=subprocess.DEVNULL) as process:
            tree = Tree(process.pid)
            with tree.watching():
                code = process.wait()
        taken.append(time.perf_counter() - began)
        if code != 1:
            raise RuntimeError(f"the survey ended in {code}")
        wrong = _wrong(archives, out)
        table.add(
            f"round {number + 1}",
            f"{taken[-1]:.1f}",
            f"{tree.peak / 1e6:.0f}",
            str(tree.most),
            f"{tree.cpu:.1f}",
            f"{_cpu(server) - fleet_before:.1f}",
            str(len(wrong)),
        )
        if wrong or (kept := found_under(out, patients=[PLANTED])):
            raise RuntimeError(f"found otherwise than it is: {wrong[:3] or kept}")
    table.show()
    return median(taken)


def _cpu(process: int) -> float:
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


def _kinds(archives: Sequence[Archive]) -> Mapping[Behaviour, int]:
    return {kind: sum(each.behaviour is kind for each in archives) for kind in Behaviour}


def _wrong(archives: Sequence[Archive], out: Path) -> list[str]:
    """Where level or counts are not what the fleet has."""
    found = {each["host"]: each for each in json.loads((out / "results.json").read_text())["targets"]}
    wrong = []
    for each in archives:
        held = {"patients": each.patients, "studies": each.studies, "instances": each.instances, "exact": True}
        expected = (each.behaviour.level, held if each.behaviour.is_open else None)
        if (found[each.address]["level"], found[each.address]["records"]) != expected:
            wrong.append(f"{each.name}: {expected}, found {found[each.address]}")
    return wrong


def _pynetdicom(archives: Sequence[Archive]) -> tuple[float, int]:
    """Seconds that a loop over the list would take, from a few of each kind; of open ones by association and by study."""
    by_kind: dict[Behaviour, list[Archive]] = defaultdict(list)
    for each in archives:
        by_kind[Behaviour.RECORDS if each.behaviour.is_open else each.behaviour].append(each)
    seconds = 0.0
    measured = 0
    for kind, members in by_kind.items():
        if kind is Behaviour.RECORDS:
            continue
        part = members[:_OF_EACH_KIND]
        seconds += sum(_visit(each) for each in part) / len(part) * len(members)
        measured += len(part)
    opened = sorted(by_kind[Behaviour.RECORDS], key=lambda each: each.studies)
    small, large = opened[:_OF_EACH_KIND], opened[-_OF_EACH_KIND * 4 : -_OF_EACH_KIND * 3]
    visit = sum(_visit(each) for each in small) / len(small)
    of_study = (sum(_visit(each) for each in large) - visit * len(large)) / sum(each.studies for each in large)
    return seconds + visit * len(opened) + of_study * sum(each.studies for each in opened), measured + len(small) + len(large)


def _visit(archive: Archive) -> float:
    """Associate, echo, ask for all studies, count, release; seconds."""
    began = time.perf_counter()
    application = AE("BENCH")
    application.connection_timeout = application.acse_timeout = application.dimse_timeout = application.network_timeout = TIMEOUT
    application.add_requested_context(Verification)
    application.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = application.associate(archive.address, archive.port)
    if association.is_established:
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        asked.StudyInstanceUID = asked.PatientID = asked.NumberOfStudyRelatedInstances = ""
        studies: set[str] = set()
        patients: set[str] = set()
        instances = 0
        if any(each.abstract_syntax == Verification for each in association.accepted_contexts):
            association.send_c_echo()
        if any(each.abstract_syntax == StudyRootQueryRetrieveInformationModelFind for each in association.accepted_contexts):
            for _, row in association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind):
                if row is not None:
                    studies.add(str(row.StudyInstanceUID))
                    patients.add(str(row.PatientID))
                    instances += int(row.NumberOfStudyRelatedInstances)
        association.release()
        if (len(patients), len(studies), instances) != (archive.patients, archive.studies, archive.instances):
            raise RuntimeError(f"pynetdicom counts otherwise at {archive.name}")
    return time.perf_counter() - began


def _nmap(folder: Path) -> tuple[float, int]:
    """Seconds, and how many archives it had something to say of."""
    program = find("nmap")
    if program is None:
        raise RuntimeError("nmap is not installed: `make peers` as root installs it")
    began = time.perf_counter()
    command = [program, "-n", "-Pn", "-p", str(PORT), "--script", "dicom-ping", "-iL", str(folder / "hosts"), "-oX", "-"]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    seconds = time.perf_counter() - began
    return seconds, sum(1 for each in ET.fromstring(said).iter("script") if each.get("id") == "dicom-ping")
