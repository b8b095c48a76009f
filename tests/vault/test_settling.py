"""Accepted is served, rejected is not, nothing is lost, and no stop at any moment leaves half of it."""

import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadglass.dicom.predicate import EVERY_STUDY, Condition, StudyPredicate
from leadglass.dicom.query import Query
from leadglass.errors import Damaged, NotAllowed
from leadglass.vault.asides import ConflictRow, Wanted
from leadglass.vault.journal import State, Verdict
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Level, StoreResult
from tests.vault.making import Archive, data_set
from tests.vault.powerloss import Disk, strace_command
from tests.vault.verdicts import SERVED, STEPS, VERSIONS, conflict_of, prepare, served, version

ROOT_DIR = Path(__file__).parents[2]


def rows(archive: Archive, *, settled: bool = True) -> list[ConflictRow]:
    return [found.row for found in archive.vault.in_conflict(Wanted(settled=settled), EVERY_STUDY)]


def one(archive: Archive, data: bytes) -> ConflictRow:
    return conflict_of(archive, data)


def rebuilt_dump(archive: Archive) -> list[str]:
    """All that an index says that is made anew."""
    archive.close()
    keys = archive.open_keys()
    Vault.remake_index(archive.home, keys)
    keys.close()
    archive.open()
    return list(archive.vault.index_dump())


def studies(archive: Archive) -> dict[str, tuple[str, str]]:
    """Patient ID and number of instances of every study."""
    query = Query(Level.STUDY, {}, ("PatientID", "NumberOfStudyRelatedInstances"))
    found = archive.vault.find(query, EVERY_STUDY)
    return {each["StudyInstanceUID"]: (each["PatientID"], each["NumberOfStudyRelatedInstances"]) for each in found}


# What a verdict means


def test_what_is_accepted_is_served_at_once_and_the_first_is_kept(archive: Archive) -> None:
    first, second, third = (data_set(PatientName=name, SeriesInstanceUID=f"1.2.3.{name}") for name in "123")
    assert [archive.store(data) for data in (first, second)] == [StoreResult.STORED, StoreResult.CONFLICT]
    archive.vault.accept(one(archive, second), 7, again=False)
    for opened in (archive, archive.again()):
        assert served(opened) == second
        assert studies(opened) == {"1.2.3": ("P1", "1")}
        assert (opened.vault.open_conflicts(), opened.vault.counts().blobs) == (0, 2)
        assert one(opened, first).state is State.REPLACED
        assert list(opened.vault.check()) == []
    assert archive.store(second) is StoreResult.ALREADY_THERE
    # What staff decided against does not come back because it is sent again.
    assert archive.store(first) is StoreResult.CONFLICT
    assert archive.vault.open_conflicts() == 0
    assert archive.store(third) is StoreResult.CONFLICT
    assert archive.vault.open_conflicts() == 1
    assert one(archive, third).conflict.first_blob_id == one(archive, second).place.blob_id


def test_what_is_rejected_stays_sealed_and_is_not_offered_again(archive: Archive) -> None:
    first, second = data_set(), data_set(PatientName="ROE")
    for data in (first, second):
        archive.store(data)
    archive.vault.reject(one(archive, second), 7, again=False)
    for opened in (archive, archive.again()):
        assert served(opened) == first
        assert (opened.vault.open_conflicts(), opened.vault.counts().blobs) == (0, 2)
        assert rows(opened, settled=False) == []
        assert list(opened.vault.check()) == []
    assert archive.store(second) is StoreResult.CONFLICT
    assert archive.vault.counts().blobs == 2


def test_nothing_is_settled_twice_unless_asked_to(archive: Archive) -> None:
    first, second = data_set(), data_set(PatientName="ROE")
    for data in (first, second):
        archive.store(data)
    row = one(archive, second)
    archive.vault.reject(row, 1, again=False)
    for settle in (archive.vault.accept, archive.vault.reject):
        with pytest.raises(NotAllowed, match="settled already"):
            settle(row, 2, again=False)
    with pytest.raises(NotAllowed, match="nothing left to do"):
        archive.vault.reject(row, 2, again=True)
    archive.vault.accept(row, 3, again=True)
    for settle in (archive.vault.accept, archive.vault.reject):
        with pytest.raises(NotAllowed, match="is served"):
            settle(row, 4, again=True)
    archive.vault.accept(one(archive, first), 5, again=True)
    assert served(archive) == first
    assert one(archive, second).state is State.REPLACED


def test_of_several_the_others_stay_open(archive: Archive) -> None:
    versions = [data_set(PatientName=name) for name in "ABCD"]
    for data in versions:
        archive.store(data)
    archive.vault.accept(one(archive, versions[2]), 1, again=False)
    assert [one(archive, data).state for data in versions] == [State.REPLACED, State.OPEN, State.ACCEPTED, State.OPEN]


def test_two_patients_are_never_merged(archive: Archive) -> None:
    for number in (1, 2):
        archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number}"))
    stranger = data_set(SOPInstanceUID="1.2.3.1.3", PatientID="P2")
    other_version = data_set(SOPInstanceUID="1.2.3.1.1", PatientID="P2")
    for data in (stranger, other_version):
        assert archive.store(data) is StoreResult.CONFLICT
        with pytest.raises(NotAllowed, match="two patients are never merged"):
            archive.vault.accept(one(archive, data), 1, again=False)
    assert studies(archive) == {"1.2.3": ("P1", "2")}
    assert len(list(archive.vault._holdings.journal)) == 2  # noqa: SLF001 - what was refused left no record


def test_the_only_object_of_a_study_may_turn_out_to_be_another_patients(archive: Archive) -> None:
    archive.store(data_set())
    right, more = data_set(PatientID="P2"), data_set(PatientID="P2", SOPInstanceUID="1.2.3.1.2")
    for data in (right, more):
        assert archive.store(data) is StoreResult.CONFLICT
    archive.vault.accept(one(archive, right), 1, again=False)
    assert studies(archive) == {"1.2.3": ("P2", "1")}
    # Now the study is its patient's: nothing is merged any more.
    archive.vault.accept(one(archive, more), 2, again=False)
    assert studies(archive) == {"1.2.3": ("P2", "2")}
    dump = list(archive.vault.index_dump())
    assert rebuilt_dump(archive) == dump


def test_an_object_of_an_unseen_study_joins_it(archive: Archive) -> None:
    archive.store(data_set(Modality="MR"))
    mine = data_set(Modality="CT", SOPInstanceUID="1.2.3.2.1", SeriesInstanceUID="1.2.3.2")
    ct = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
    assert archive.store(mine, predicate=ct) is StoreResult.CONFLICT
    # Whoever may see CT alone may not even know of it: the study is another.
    assert list(archive.vault.in_conflict(Wanted(), ct)) == []
    archive.vault.accept(one(archive, mine), 1, again=False)
    assert studies(archive) == {"1.2.3": ("P1", "2")}
    assert served(archive, "1.2.3.2.1") == mine


def test_a_damaged_object_is_not_accepted_and_can_be_rejected(archive: Archive) -> None:
    archive.store(data_set())
    archive.store(data_set(b"x" * 100_000))
    (row,) = rows(archive)
    path = archive.home / "blobs" / "000" / "000" / "pack"
    data = bytearray(path.read_bytes())
    data[row.place.at + 60_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged):
        archive.vault.accept(row, 1, again=False)
    assert served(archive) == data_set()
    archive.vault.reject(row, 2, again=False)
    assert archive.vault.open_conflicts() == 0


def test_many_versions_are_not_read_again_for_each_further_one(archive: Archive) -> None:
    """Each store reads what is served and itself, whatever lies aside (F15): the time for the last is that for the first."""
    reads: list[object] = []
    holdings = archive.vault._holdings  # noqa: SLF001 - counts what is opened
    archive.store(data_set())
    versions = [data_set(bytes([number]) * 64) for number in range(1, 31)]
    for data in versions:
        archive.store(data)
    index = holdings.index

    def opened_for(data: bytes) -> int:
        before = len(reads)
        archive.store(data)
        return len(reads) - before

    opening = holdings.open_place

    def counting(place: object) -> object:
        reads.append(place)
        return opening(place)  # type: ignore[arg-type]

    holdings.open_place = counting  # type: ignore[method-assign,assignment]
    assert opened_for(data_set(b"\xff" * 64)) <= 2
    assert opened_for(versions[10]) <= 2
    # After a rebuild each is read once more, and then known again.
    index._writer.execute("UPDATE conflicts SET digest = NULL")  # noqa: SLF001
    assert opened_for(versions[20]) > 30
    assert opened_for(versions[21]) <= 2
    assert archive.vault.open_conflicts() == 31


# Random sequences against a model


@dataclass
class Model:
    """What should be served and kept, by what was stored and settled: one entry per blob."""

    objects: list[tuple[str, str, bytes]] = field(default_factory=list)
    states: dict[int, State] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)

    def patients(self, study: str) -> set[str]:
        found = (values_of(self.objects[number][2]) for number in self.served.values())
        return {patient for at, patient in found if at == study}

    def store(self, instance: str, study: str, patient: str, data: bytes) -> StoreResult:
        current = self.served.get(instance)
        clash = current is not None or bool(self.patients(study) - {patient})
        if current is not None and self.objects[current][2] == data:
            return StoreResult.ALREADY_THERE
        aside = {number for number, state in self.states.items() if state is not State.ACCEPTED}
        if clash and any(self.objects[number][2] == data for number in aside):
            return StoreResult.CONFLICT
        self.objects.append((instance, study, data))
        number = len(self.objects) - 1
        if clash:
            self.states[number] = State.OPEN
            return StoreResult.CONFLICT
        self.served[instance] = number
        return StoreResult.STORED

    def settle(self, number: int, verdict: Verdict, *, again: bool) -> bool:
        state = self.states[number]
        if state is State.ACCEPTED or (state is not State.OPEN and not again) or state.value == verdict.value:
            return False
        if verdict is Verdict.ACCEPTED:
            instance, study, data = self.objects[number]
            current = self.served.get(instance)
            left = {other: where for other, where in self.served.items() if other != instance}
            if any(
                self.objects[where][1] == study and values_of(self.objects[where][2])[1] != values_of(data)[1] for where in left.values()
            ):
                return False
            if current is not None:
                self.states[current] = State.REPLACED
            self.served[instance] = number
        self.states[number] = State(verdict.value)
        return True


def values_of(data: bytes) -> tuple[str, str]:
    """Study and patient of an object of `made`."""
    study, patient = re.search(rb"STUDY(\d)PATIENT(\d)", data).groups()  # type: ignore[union-attr]
    return f"1.2.{study.decode()}", f"P{patient.decode()}"


def made(instance: int, study: int, patient: int, series: int, content: int) -> tuple[str, str, str, bytes]:
    said = f"STUDY{study}PATIENT{patient}"
    values = {
        "SOPInstanceUID": f"1.9.{instance}",
        "StudyInstanceUID": f"1.2.{study}",
        "SeriesInstanceUID": f"1.2.{study}.{series}",
        "PatientID": f"P{patient}",
        "PatientName": f"NAME{content}^OF{instance}",
        "StudyDescription": said,
        "Modality": ["CT", "MR"][(series + content) % 2],
    }
    return values["SOPInstanceUID"], values["StudyInstanceUID"], values["PatientID"], data_set(**values)


STORES = st.tuples(st.just("store"), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3))
VERDICTS = st.tuples(st.just("settle"), st.integers(0, 20), st.sampled_from(Verdict), st.booleans())
STEPS_OF_ALL = st.lists(st.one_of(STORES, VERDICTS, VERDICTS, st.just(("start",)), st.just(("rebuild",))), min_size=4, max_size=20)


def play(archive: Archive, steps: list[tuple[object, ...]]) -> None:
    model = Model()
    for step in steps:
        match step:
            case ("store", *numbers):
                what = made(*numbers)  # type: ignore[arg-type]
                assert archive.store(what[3]) is model.store(*what)
            case ("settle", int(which), Verdict() as verdict, bool(again)) if model.states:
                number = sorted(model.states)[which % len(model.states)]
                row = row_of(archive, model, number)
                settle = archive.vault.accept if verdict is Verdict.ACCEPTED else archive.vault.reject
                if model.settle(number, verdict, again=again):
                    settle(row, 1, again=again)
                else:
                    with pytest.raises(NotAllowed):
                        settle(row, 1, again=again)
            case ("start",):
                archive.again()
            case ("rebuild",):
                before = list(archive.vault.index_dump())
                assert rebuilt_dump(archive) == before
        assert {instance: model.objects[number][2] for instance, number in model.served.items()} == {
            instance: served(archive, instance) for instance in model.served
        }
        assert archive.vault.counts().instances == len(model.served)
        assert archive.vault.open_conflicts() == sum(state is State.OPEN for state in model.states.values())
        assert all(len(model.patients(study)) == 1 for study in studies(archive))
    assert sorted(row.state for row in rows(archive)) == sorted(model.states.values())
    assert archive.vault.counts().blobs == len(model.objects)
    assert [problem.text for problem in archive.vault.check()] == []
    before = list(archive.vault.index_dump())
    assert rebuilt_dump(archive) == before


def row_of(archive: Archive, model: Model, number: int) -> ConflictRow:
    """The row of a model's object: of those with its bytes and its state (there may be two of the same content)."""
    _, _, data = model.objects[number]
    for row in rows(archive):
        with archive.vault.open_side(row.place) as stored:
            if row.state is model.states[number] and stored.reader.read() == data:
                return row
    raise LookupError(number)


@given(STEPS_OF_ALL)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_stored_and_settled_is_as_the_model_says(steps: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder)).create()
        try:
            play(archive, steps)
        finally:
            archive.close()


# Stops at any moment


def settled_so_far(archive: Archive, acknowledged: int) -> None:
    """What was acknowledged holds; the next one holds or does not; nothing is wrong with anything, nor after a rebuild."""
    for look in (lambda: None, lambda: rebuilt_dump(archive)):
        look()
        allowed = {version(SERVED[number]) for number in (acknowledged, min(acknowledged + 1, len(STEPS)))}
        assert served(archive) in allowed
        assert served(archive, "1.2.3.1.2")
        assert archive.vault.counts().blobs == len(VERSIONS) + 1
        assert [problem.text for problem in archive.vault.check()] == []
        states = {name: one(archive, version(name)).state for name in VERSIONS if name != "first" or acknowledged}
        if acknowledged == len(STEPS):
            assert states == {"first": State.ACCEPTED, "second": State.REJECTED, "third": State.REPLACED}


def program(home: Path, acknowledged: Path) -> list[str]:
    return [sys.executable, "-m", "tests.vault.verdicts", str(home), str(acknowledged)]


@pytest.mark.parametrize("often", [0.25, pytest.param(1.0, marks=pytest.mark.long)])
def test_a_verdict_survives_a_power_cut_before_any_call(tmp_path: Path, often: float) -> None:
    home = tmp_path / "home"
    home.mkdir()
    prepare(home)
    kept = tmp_path / "before"
    shutil.copytree(home, kept)
    trace = tmp_path / "trace"
    subprocess.run([*strace_command(trace), *program(home, tmp_path / "acknowledged")], cwd=ROOT_DIR, check=True)
    shutil.rmtree(home)
    shutil.move(kept, home)
    disk, acknowledged, before, cuts = Disk(home), 0, 0, 0
    chance = random.Random(time.time_ns())
    for line in trace.read_text().splitlines():
        said = disk.play(line)
        if said is not None and re.fullmatch(rb"\d\n", said):
            acknowledged = int(said)
        if disk.calls > before:
            before = disk.calls
            if chance.random() > often:
                continue
            target = tmp_path / "after"
            disk.cut(target, chance)
            archive = Archive(target).open()
            settled_so_far(archive, acknowledged)
            archive.close()
            shutil.rmtree(target)
            cuts += 1
    assert acknowledged == len(STEPS)
    assert cuts > 60 * often


def test_a_verdict_survives_kill_9(tmp_path: Path) -> None:
    chance = random.Random(time.time_ns())
    reached = set()
    for attempt in range(4):
        home, acknowledged = tmp_path / f"home{attempt}", tmp_path / f"acknowledged{attempt}"
        home.mkdir()
        prepare(home)
        acknowledged.write_bytes(b"")
        child = subprocess.Popen(program(home, acknowledged), cwd=ROOT_DIR)
        while not acknowledged.read_bytes():
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        lines = acknowledged.read_bytes().splitlines()
        archive = Archive(home).open()
        settled_so_far(archive, len(lines) - 1)
        archive.close()
        reached.add(len(lines) - 1)
    assert reached


@pytest.mark.parametrize("break_it", ["journal", "index"])
def test_an_index_that_does_not_follow_the_journal_is_caught(archive: Archive, break_it: str) -> None:
    """The checks of this file can fail: a verdict that is in one of the two alone is found."""
    archive.store(data_set())
    archive.store(data_set(PatientName="ROE"))
    row = one(archive, data_set(PatientName="ROE"))
    index = archive.vault._holdings.index  # noqa: SLF001 - there is no door for this, and there should be none
    if break_it == "index":
        archive.vault.reject(row, 1, again=False)
        index._writer.execute("UPDATE conflicts SET state = 'open', settled = 0")  # noqa: SLF001
    else:
        index._writer.execute("UPDATE conflicts SET state = 'rejected'")  # noqa: SLF001
    assert any("settled otherwise" in problem.text for problem in archive.vault.check())
