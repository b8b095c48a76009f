"""What a study says of itself is what its first committed object says; what was begun earlier and ends later changes nothing."""

import io
import itertools
import random
import shutil
import threading
import time
from pathlib import Path

import pytest

from leadglass.dicom.predicate import EVERY_STUDY, Condition, Quantifier, StudyPredicate
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.uid import Uid
from leadglass.errors import SealBroken
from leadglass.seal.chunked import SealingWriter, UnsealingReader, seal
from leadglass.vault.folder import PACKED
from leadglass.vault.journal import Conflict, ConflictKind
from leadglass.vault.keys import Keys
from leadglass.vault.sealedblob import Descriptor, Ending, finish_blob
from leadglass.vault.upkeep import look_at
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Level, StoreResult
from tests.vault.making import ROOT, Archive, data_set

HOME_OF_VERSION_1 = Path(__file__).parents[1] / "vectors" / "vault" / "v1"
KEY = b"K" * 32
STORED, ALREADY_THERE, CONFLICT = StoreResult.STORED, StoreResult.ALREADY_THERE, StoreResult.CONFLICT
STUDIES = Query(Level.STUDY, {}, ("PatientName", "AccessionNumber", "ModalitiesInStudy"))
SERIES = Query(Level.SERIES, {}, ("Modality",))
ANY_CT = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
ONLY_CT = StudyPredicate(((Condition("Modality", frozenset({"CT"}), Quantifier.ALL),),))
HERE = StudyPredicate(((Condition("AccessionNumber", frozenset({"HERE"})),),))


def said(archive: Archive, query: Query = STUDIES, predicate: StudyPredicate = EVERY_STUDY) -> list[dict[str, str]]:
    return list(archive.vault.find(query, predicate))


def rebuilt(archive: Archive) -> Archive:
    """The archive with an index made again from its blobs, keys and journal."""
    archive.close()
    keys = archive.open_keys()
    Vault.remake_index(archive.home, keys)
    keys.close()
    return archive.open()


def commits(archive: Archive) -> list[tuple[int, str]]:
    """When an instance was committed, and which, as the blobs say."""
    holdings = archive.vault._holdings  # noqa: SLF001 - the moments are nobody else's business
    found = (look_at(holdings.keys, holdings.blobs, place) for place in holdings.blobs.places_in(0))
    return [(one.entry.committed_ns, one.entry.header.instance) for one in found]


@pytest.mark.parametrize("packed", [PACKED, 100], ids=["pack", "file"])
@pytest.mark.parametrize("clashes", [False, True], ids=["stored", "conflict"])
def test_what_is_told_is_where_a_kill_cannot_undo_it(tmp_path: Path, *, packed: int, clashes: bool) -> None:
    """The trail hears of an object while it is flushed: killed then, the next start finds it where the trail says that it is."""
    archive = Archive(tmp_path, packed=packed).create()
    if clashes:
        archive.store(data_set(PatientName="OTHER^NAME"))
    there = len(archive.vault._holdings.blobs.places_in(0))  # noqa: SLF001 - nobody else looks at the blobs meanwhile
    deposit = archive.begin(data_set())
    deposit.write(data_set())
    found: list[tuple[StoreResult, int]] = []
    deposit.commit(lambda result: found.append((result, len(archive.vault._holdings.blobs.places_in(0)))))  # noqa: SLF001
    assert found == [(CONFLICT if clashes else STORED, there + 1)]
    archive.close()


@pytest.mark.parametrize("size", [64, 600_000])
def test_a_deposit_that_began_earlier_and_ends_later_changes_nothing(archive: Archive, size: int) -> None:
    evil = data_set(bytes(size), PatientName="EVIL^NAME", AccessionNumber="EVIL", Modality="MR", SOPInstanceUID="1.2.3.1.6")
    early = archive.begin(evil)
    early.write(evil[: size // 2])
    assert archive.store(data_set(PatientName="TRUE^NAME", AccessionNumber="TRUE")) is STORED
    served = said(archive), said(archive, SERIES)
    early.write(evil[size // 2 :])
    assert early.commit() is STORED
    assert (said(archive), said(archive, SERIES)) == served
    assert served[0][0]["PatientName"] == "TRUE^NAME"
    for again in (archive.again, lambda: rebuilt(archive)):
        again()
        assert (said(archive), said(archive, SERIES)) == served
        assert list(archive.vault.check()) == []


def test_an_index_made_again_after_interleaved_commits_is_the_same(archive: Archive) -> None:
    chance = random.Random(3)
    objects = [
        data_set(
            bytes(20 * number),
            PatientName=f"NAME^{number}",
            PatientID=f"P{number % 5 == 0}",
            Modality=chance.choice(["CT", "MR"]),
            StudyInstanceUID=f"1.{number % 3 + 1}",
            SeriesInstanceUID=f"1.{number % 3 + 1}.{number % 2 + 1}",
            SOPInstanceUID=f"1.9.{number % 50 + 1}",
        )
        for number in range(60)
    ]
    begun = [(archive.begin(data), data) for data in objects]
    chance.shuffle(begun)
    results = []
    for deposit, data in begun:
        deposit.write(data)
        results.append(deposit.commit())
    assert set(results) == {STORED, CONFLICT}
    before = list(archive.vault.index_dump())
    assert list(archive.vault.check()) == []
    assert list(rebuilt(archive).vault.index_dump()) == before
    assert list(archive.vault.check()) == []


def test_of_many_first_objects_at_once_the_one_that_is_served_first_speaks(archive: Archive) -> None:
    """Somebody looks after every acknowledgment: what a study says of itself is the same from the first look on."""
    heard: dict[str, set[str]] = {}
    lock, ready = threading.Lock(), threading.Barrier(4)

    def store(name: int) -> None:
        for study in range(1, 16):
            uids = {"StudyInstanceUID": f"1.{study}", "SeriesInstanceUID": f"1.{study}.1", "SOPInstanceUID": f"1.{study}.1.{name}"}
            data = data_set(bytes(100_000 * (name % 3)), PatientName=f"NAME^{name}", **uids)
            deposit = archive.begin(data)
            deposit.write(data)
            ready.wait()
            assert deposit.commit() is STORED
            looked = said(archive)
            with lock:
                for record in looked:
                    heard.setdefault(record["StudyInstanceUID"], set()).add(record["PatientName"])

    threads = [threading.Thread(target=store, args=(name,)) for name in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(names) for names in heard.values()] == [1] * 15
    before = list(archive.vault.index_dump())
    assert list(rebuilt(archive).vault.index_dump()) == before


def test_commits_are_in_order_whatever_the_clock_says(archive: Archive) -> None:
    """The clock stands still, then it was set back over a restart, and again before an index is made anew."""
    clock = itertools.chain([10**18] * 3, itertools.repeat(10**9))
    real, time.time_ns = time.time_ns, lambda: next(clock)
    try:
        for number in range(1, 9):
            archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number}", PatientName=f"NAME^{number}"))
            if number in {4, 5}:
                archive.again()
            if number == 6:
                rebuilt(archive)
    finally:
        time.time_ns = real
    moments = dict(commits(archive))
    assert len(moments) == 8
    assert [moments[moment] for moment in sorted(moments)] == [f"1.2.3.1.{number}" for number in range(1, 9)]
    assert said(archive)[0]["PatientName"] == "NAME^1"
    before = list(archive.vault.index_dump())
    assert list(rebuilt(archive).vault.index_dump()) == before


def forget(archive: Archive, *, journal: bool) -> None:
    """As a power cut may leave it: no row of the index, and not the journal's last record, reached the disk."""
    archive.close()
    for path in (archive.home / "index").iterdir():
        path.unlink()
    path = archive.home / "blobs" / "journal"
    if journal:
        path.write_bytes(path.read_bytes()[:-512])
    keys = archive.open_keys()
    Vault.remake_index(archive.home, keys)
    keys.close()
    archive.open()


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"PatientName": "OTHER^CONTENT"}, ConflictKind.SAME_INSTANCE),
        ({"SOPInstanceUID": "1.2.3.1.2", "PatientID": "P2"}, ConflictKind.OTHER_PATIENT),
        ({"SOPInstanceUID": "1.2.3.1.2", "SeriesInstanceUID": "1.2.3.2"}, ConflictKind.UNSEEN_STUDY),
    ],
)
def test_what_was_put_aside_stays_aside_when_its_record_was_lost(archive: Archive, more: dict[str, str], kind: ConflictKind) -> None:
    """The stop came between the blob and its record: the blob itself says that it is not to be served."""
    other = data_set(**more)
    early = archive.begin(other, predicate=ANY_CT)
    early.write(other)
    assert archive.store(data_set(Modality="MR")) is STORED
    assert early.commit() is CONFLICT
    before, kept = list(archive.vault.index_dump()), list(archive.vault.conflicts())
    assert [conflict.kind for conflict in kept] == [kind]
    forget(archive, journal=True)
    assert list(archive.vault.index_dump()) == before
    assert list(archive.vault.conflicts()) == kept
    assert list(archive.vault.check()) == []


def test_an_index_with_another_first_object_is_found(archive: Archive) -> None:
    archive.store(data_set())
    archive.store(data_set(SOPInstanceUID="1.2.3.1.2"))
    writer = archive.vault._holdings.index._writer  # noqa: SLF001 - there is no door for this, and there should be none
    assert list(archive.vault.check()) == []
    writer.execute("UPDATE studies SET first_committed = first_committed + 1")
    assert [problem.kind.value for problem in archive.vault.check()] == ["index"]


# Into a study that the sender may not see


@pytest.mark.parametrize(
    ("there", "predicate", "own"),
    [
        ([{"Modality": "MR"}], ANY_CT, {"Modality": "CT"}),
        ([{"Modality": "MR"}, {"Modality": "CT"}], ONLY_CT, {"Modality": "CT"}),
        ([{"AccessionNumber": "ELSEWHERE"}], HERE, {"AccessionNumber": "HERE"}),
        ([{"AccessionNumber": "HERE \\ELSEWHERE"}], StudyPredicate(((Condition("StudyID", frozenset({"1"})),),)), {}),
    ],
)
def test_nothing_joins_a_study_that_its_sender_may_not_see(
    archive: Archive, there: list[dict[str, str]], predicate: StudyPredicate, own: dict[str, str]
) -> None:
    for number, values in enumerate(there, 1):
        archive.store(data_set(SeriesInstanceUID=f"1.2.3.{number}", SOPInstanceUID=f"1.2.3.{number}.1", **values))
    before = list(archive.vault.index_dump())
    assert said(archive, predicate=predicate) == []
    mine = data_set(SeriesInstanceUID="1.2.3.9", SOPInstanceUID="1.2.3.9.1", PatientName="X", **own)
    assert archive.store(mine, predicate=predicate) is CONFLICT
    assert archive.store(mine, predicate=predicate) is CONFLICT
    assert said(archive, predicate=predicate) == []
    (conflict,) = archive.vault.conflicts()
    assert conflict.kind is ConflictKind.UNSEEN_STUDY
    assert [line for line in archive.vault.index_dump() if not line.startswith("conflicts")] == before
    whole = list(archive.vault.index_dump())
    assert list(rebuilt(archive).vault.index_dump()) == whole
    assert list(archive.vault.check()) == []


def test_a_study_that_its_sender_may_see_is_joined(archive: Archive) -> None:
    for number, predicate in enumerate([ANY_CT, ANY_CT, ONLY_CT, EVERY_STUDY], 1):
        assert archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number}"), predicate=predicate) is STORED
    assert archive.store(data_set(SOPInstanceUID="1.2.3.2.1", SeriesInstanceUID="1.2.3.2", Modality="MR")) is STORED
    assert archive.store(data_set(SOPInstanceUID="1.2.3.1.5"), predicate=ANY_CT) is STORED
    assert archive.store(data_set(SOPInstanceUID="1.2.3.1.6"), predicate=ONLY_CT) is CONFLICT


def test_a_hidden_instance_sent_again_is_there_already(archive: Archive) -> None:
    hidden = data_set(bytes(40_000), Modality="MR")
    archive.store(hidden)
    assert archive.store(hidden, predicate=ANY_CT, piece=1000) is ALREADY_THERE
    assert said(archive, predicate=ANY_CT) == []
    assert archive.vault.counts().blobs == 1


def test_of_two_at_once_the_narrow_one_never_sees_the_other(archive: Archive) -> None:
    """Whoever comes second is judged by what the first one made."""
    for study in range(1, 21):
        uids = {"StudyInstanceUID": f"1.{study}", "SeriesInstanceUID": f"1.{study}.1", "SOPInstanceUID": f"1.{study}.1.1"}
        other = {**uids, "SeriesInstanceUID": f"1.{study}.2", "SOPInstanceUID": f"1.{study}.2.1"}
        objects = [(data_set(Modality="MR", **uids), EVERY_STUDY), (data_set(**other), ONLY_CT)]
        ready = threading.Barrier(2)
        results: dict[int, StoreResult] = {}

        def store(number: int, data: bytes, predicate: StudyPredicate, ready: threading.Barrier, results: dict[int, StoreResult]) -> None:
            deposit = archive.begin(data, predicate=predicate)
            deposit.write(data)
            ready.wait()
            results[number] = deposit.commit()

        threads = [threading.Thread(target=store, args=(number, *one, ready, results)) for number, one in enumerate(objects)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results[0] is STORED
        (record,) = (record for record in said(archive) if record["StudyInstanceUID"] == f"1.{study}")
        assert record["ModalitiesInStudy"] == ("MR" if results[1] is CONFLICT else "CT\\MR")
        assert said(archive, predicate=ONLY_CT) == []


# The form on the disk

CONFLICT_OF_VERSION_1 = Conflict(
    ConflictKind.SAME_INSTANCE,
    bytes.fromhex("ac6ee7451b61e2860843863880e234fa"),
    bytes.fromhex("abd6616c56121fcbe35d227251a56b48"),
    1795446512006215688,
)


def test_an_archive_of_version_1_opens_for_ever(tmp_path: Path) -> None:
    """Kept: keys, journal and blobs of two objects of one study and one that was put aside; their index is made again."""
    home = Path(shutil.copytree(HOME_OF_VERSION_1, tmp_path / "home"))
    keys = Keys.open(home / "keys", ROOT)
    assert Vault.remake_index(home, keys) == 3
    keys.close()
    archive = Archive(home).open()
    assert list(archive.vault.check()) == []
    assert list(archive.vault.conflicts()) == [CONFLICT_OF_VERSION_1]
    moments = sorted(commits(archive))
    assert [instance for _, instance in moments] == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.1"]
    assert (moments[0][0], moments[-1][0]) == (1795446511985449240, CONFLICT_OF_VERSION_1.since_ns)
    for number in (1, 2):
        (row,) = archive.vault.instances(Selection(instances=(Uid(f"1.2.3.1.{number}"),)), EVERY_STUDY)
        with archive.vault.open_object(row) as stored:
            assert stored.reader.read() == data_set(bytes(20_000 * number), SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=str(number))
            assert (stored.descriptor.route, stored.descriptor.sender) == ("test", {"aet": "TEST"})
    archive.close()


def reader_of(sealed: bytes) -> UnsealingReader:
    return UnsealingReader(lambda length, offset: sealed[offset : offset + length], len(sealed), KEY, b"context")


@pytest.mark.parametrize("size", [*range(16 * 1024 - 12, 16 * 1024 + 3), 300_000, 17 * 16 * 1024 + 2])
def test_the_ending_is_no_part_of_the_data_set(size: int) -> None:
    """Wherever it lies: within a chunk, or across the border of two."""
    data = random.Random(size).randbytes(size)
    descriptor = Descriptor(Uid("1.2"), Uid("1.3"), Uid("1.4"), Uid("1.2.840.10008.1.2.1"), 10**18, "test")
    for ending in (Ending(aside=False, committed_ns=10**18), Ending(aside=True, committed_ns=2**62)):
        sealed = bytearray()
        sealing = SealingWriter(sealed.extend, KEY, b"context")
        sealing.write(descriptor.encode())
        sealing.write(data[len(descriptor.encode()) :])
        finish_blob(sealing, ending)
        reader = reader_of(bytes(sealed))
        assert Ending.read(reader) == ending
        assert Descriptor.read(reader) == descriptor
        assert reader.size == size - len(descriptor.encode())
        assert reader.read() == data[len(descriptor.encode()) :]
        assert reader.read(1) == b""
        assert reader.seek(0, io.SEEK_END) == reader.size


def test_a_blob_too_short_for_an_ending_is_refused() -> None:
    for length in range(9):
        with pytest.raises(SealBroken, match="shorter"):
            Ending.read(reader_of(seal(KEY, b"context", bytes(length))))
    assert Ending.read(reader_of(seal(KEY, b"context", bytes(9)))) == Ending(aside=False, committed_ns=0)
