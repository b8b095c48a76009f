"""Deposit, find, instances, open: what is stored comes back, what was there first stays, what may not be seen is not there."""

import struct
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from leadglass.dicom.header import Header
from leadglass.dicom.matching import parse_match
from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY, Condition, StudyPredicate
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.syntax import EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid
from leadglass.errors import Damaged, KeyUnavailable
from leadglass.vault.journal import ConflictKind
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Level, StoreResult
from tests.vault.making import CT, TAGS, Archive, data_set, element, header_of

STORED, ALREADY_THERE, CONFLICT = StoreResult.STORED, StoreResult.ALREADY_THERE, StoreResult.CONFLICT
EVERYTHING = Query(Level.IMAGE, {}, ("PatientName",))


def stored_bytes(archive: Archive, instance: str = "1.2.3.1.1") -> list[bytes]:
    """The data sets that are served for an instance."""
    out = []
    for row in archive.vault.instances(Selection(instances=(Uid(instance),)), EVERY_STUDY):
        with archive.vault.open_object(row) as stored:
            assert stored.size == row.size
            out.append(stored.reader.read())
    return out


def blob_count(archive: Archive) -> int:
    return archive.vault.counts().blobs


def big_endian(data: bytes) -> bytes:
    """The same elements in explicit big endian, with a group length in front that says nothing (PS3.5 7.2)."""
    out = struct.pack(">HH2sHI", 8, 0, b"UL", 4, 0)
    at = 0
    while at < len(data):
        group, number, vr, length = struct.unpack_from("<HH2sH", data, at)
        at += 8
        head = struct.pack(">HH2sH", group, number, vr, length)
        if vr == b"OW":
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
            head = struct.pack(">HH2sHI", group, number, vr, 0, length)
        value = data[at : at + length]
        if vr in {b"US", b"OW"}:
            value = b"".join(value[place : place + 2][::-1] for place in range(0, length, 2))
        out += head + value
        at += length
    return out


@pytest.mark.parametrize("length", [0, 100, 262144 - 400, 700_000])
@pytest.mark.parametrize("piece", [1, 4096, 1 << 20])
def test_what_is_stored_comes_back_byte_for_byte(archive: Archive, length: int, piece: int) -> None:
    data = data_set(bytes(range(250)) * (length // 250))
    assert archive.store(data, piece=max(piece, length // 50)) is STORED
    assert stored_bytes(archive) == [data]
    assert stored_bytes(archive.again()) == [data]


def test_what_a_blob_says_about_its_object(archive: Archive) -> None:
    data = data_set()
    archive.store(data)
    (row,) = archive.vault.instances(Selection(studies=(Uid("1.2.3"),)), EVERY_STUDY)
    assert (row.study, row.series, row.sop_instance, row.size) == ("1.2.3", "1.2.3.1", "1.2.3.1.1", len(data))
    with archive.vault.open_object(row) as stored:
        said = stored.descriptor
    assert (said.study, said.sop_instance, said.sop_class, said.transfer_syntax) == (
        row.study,
        row.sop_instance,
        row.sop_class,
        row.transfer_syntax,
    )
    assert (said.route, said.sender, said.received_ns) == ("test", {"aet": "TEST"}, row.received_ns)


def test_the_same_bytes_again_store_nothing(archive: Archive) -> None:
    data = data_set(bytes(500_000))
    assert [archive.store(data, piece=piece) for piece in (1 << 20, 1 << 20, 77_777)] == [STORED, ALREADY_THERE, ALREADY_THERE]
    assert blob_count(archive) == 1
    assert list(archive.vault.conflicts()) == []


def test_the_same_content_in_another_transfer_syntax_stores_nothing(archive: Archive) -> None:
    data = data_set(bytes(range(200)))
    assert archive.store(data) is STORED
    assert archive.store(big_endian(data), EXPLICIT_BIG_ENDIAN) is ALREADY_THERE
    assert blob_count(archive) == 1
    assert stored_bytes(archive) == [data]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + b"x",
        lambda data: data.replace(b"DOE^JANE", b"DOE^JOHN"),
        lambda data: data[:-10],
        lambda data: data + element(0x7FE10010, "LO", b"more"),
    ],
    ids=["last byte", "name", "shorter", "longer"],
)
@pytest.mark.parametrize("size", [64, 600_000])
def test_other_content_is_put_aside_and_the_first_served(archive: Archive, change: Callable[[bytes], bytes], size: int) -> None:
    first = data_set(bytes(size))
    other = change(first)
    assert archive.store(first) is STORED
    assert archive.store(other, piece=100_000) is CONFLICT
    for opened in (archive, archive.again()):
        assert stored_bytes(opened) == [first]
        (conflict,) = opened.vault.conflicts()
        assert conflict.kind is ConflictKind.SAME_INSTANCE
        assert [record["PatientName"] for record in opened.vault.find(EVERYTHING, EVERY_STUDY)] == ["DOE^JANE"]
    assert blob_count(archive) == 2
    assert list(archive.vault.check()) == []


def test_a_conflict_sent_again_and_again_is_kept_once(archive: Archive) -> None:
    first, other, third = data_set(), data_set(b"x" * 64), data_set(b"y" * 64)
    results = [archive.store(data) for data in (first, other, other, first, third, other, third)]
    assert results == [STORED, CONFLICT, CONFLICT, ALREADY_THERE, CONFLICT, CONFLICT, CONFLICT]
    assert blob_count(archive) == 3
    assert [archive.again().store(data) for data in (other, third)] == [CONFLICT, CONFLICT]
    assert blob_count(archive) == 3


def test_another_patient_in_the_same_study_is_put_aside(archive: Archive) -> None:
    assert archive.store(data_set()) is STORED
    stranger = data_set(SOPInstanceUID="1.2.3.1.2", PatientID="P2", PatientName="ROE^RICHARD")
    assert archive.store(stranger) is CONFLICT
    assert archive.store(stranger) is CONFLICT
    assert archive.store(data_set(SOPInstanceUID="1.2.3.1.3")) is STORED
    names = [record["PatientName"] for record in archive.vault.find(EVERYTHING, EVERY_STUDY)]
    assert names == ["DOE^JANE", "DOE^JANE"]
    assert stored_bytes(archive, "1.2.3.1.2") == []
    (conflict,) = archive.vault.conflicts()
    assert conflict.kind is ConflictKind.OTHER_PATIENT


def test_forgetting_one_patient_does_not_take_the_other_along(archive: Archive) -> None:
    """The object put aside under the same Study Instance UID is somebody else's: it is sealed by another key."""
    archive.store(data_set())
    archive.store(data_set(SOPInstanceUID="1.2.3.1.2", PatientID="P2"))
    keys = {record.key_id for record in archive.keys.records() if record.kind == 1}
    assert len(keys) == 2


def test_one_study_has_one_key_also_after_a_restart(archive: Archive) -> None:
    for number in range(3):
        archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number + 1}"))
    archive.again().store(data_set(SOPInstanceUID="1.2.3.1.9"))
    archive.store(data_set(StudyInstanceUID="1.2.4", SOPInstanceUID="1.2.4.1"))
    assert len([record for record in archive.keys.records() if record.kind == 1]) == 2


def test_a_forgotten_study_does_not_open(archive: Archive) -> None:
    archive.store(data_set())
    archive.store(data_set(StudyInstanceUID="1.2.4", SOPInstanceUID="1.2.4.1"))
    forgotten = next(record.key_id for record in archive.keys.records() if record.kind == 1)
    archive.keys.destroy(forgotten)
    with pytest.raises(KeyUnavailable, match="forgotten"):
        stored_bytes(archive)
    assert len(stored_bytes(archive, "1.2.4.1")) == 1


def test_rotating_keys_leaves_every_object_readable(archive: Archive) -> None:
    data = data_set()
    archive.store(data)
    # Stopped once, so that the pack has given back the room that it had taken ahead.
    archive.again()
    blobs = {path: path.read_bytes() for path in (archive.home / "blobs").rglob("*") if path.is_file()}
    archive.keys.rotate()
    assert stored_bytes(archive) == [data]
    assert stored_bytes(archive.again()) == [data]
    archive.vault.close()
    assert {path: path.read_bytes() for path in (archive.home / "blobs").rglob("*") if path.is_file()} == blobs


def test_an_abandoned_deposit_never_was(archive: Archive) -> None:
    data = data_set(bytes(600_000))
    deposit = archive.vault.deposit(header_of(data), EXPLICIT_LITTLE_ENDIAN, EVERY_STUDY, route="test")
    deposit.write(data[:500_000])
    deposit.abandon()
    deposit.abandon()
    with pytest.raises(ValueError, match="over"):
        deposit.write(b"x")
    with pytest.raises(ValueError, match="over"):
        deposit.commit()
    assert list(archive.vault.find(EVERYTHING, EVERY_STUDY)) == []
    assert blob_count(archive) == 0
    assert list((archive.home / "blobs" / "incoming").iterdir()) == []
    assert archive.store(data) is STORED


def test_a_deposit_that_was_compared_and_abandoned_changes_nothing(archive: Archive) -> None:
    data = data_set(bytes(600_000))
    archive.store(data)
    deposit = archive.vault.deposit(header_of(data), EXPLICIT_LITTLE_ENDIAN, EVERY_STUDY, route="test")
    deposit.write(data[:300_000])
    deposit.abandon()
    assert stored_bytes(archive) == [data]
    assert list(archive.vault.conflicts()) == []


def at_once(archive: Archive, objects: list[bytes]) -> list[StoreResult]:
    """Deposit all of them in as many threads, committing at the same moment."""
    results: list[StoreResult] = []
    ready = threading.Barrier(len(objects))

    def store(data: bytes) -> None:
        deposit = archive.vault.deposit(header_of(data), EXPLICIT_LITTLE_ENDIAN, EVERY_STUDY, route="test")
        deposit.write(data)
        ready.wait()
        results.append(deposit.commit())

    threads = [threading.Thread(target=store, args=(data,)) for data in objects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("round_", range(5))
def test_of_two_at_once_exactly_one_wins(archive: Archive, round_: int) -> None:
    data = data_set(bytes(1000 * round_))
    assert Counter(at_once(archive, [data] * 4)) == {STORED: 1, ALREADY_THERE: 3}
    assert blob_count(archive) == 1
    others = [data_set(bytes([number]) * 2000, SOPInstanceUID="1.2.3.1.7") for number in range(4)]
    assert Counter(at_once(archive, others)) == {STORED: 1, CONFLICT: 3}
    assert len(stored_bytes(archive, "1.2.3.1.7")) == 1
    assert list(archive.vault.check()) == []


def test_of_two_patients_at_once_one_gets_the_study(archive: Archive) -> None:
    objects = [data_set(SOPInstanceUID=f"1.2.3.1.{number}", PatientID=f"P{number % 2}") for number in range(1, 7)]
    assert Counter(at_once(archive, objects)) == {STORED: 3, CONFLICT: 3}
    assert len({record["PatientID"] for record in archive.vault.find(Query(Level.IMAGE, {}, ("PatientID",)), EVERY_STUDY)}) == 1
    assert list(archive.vault.check()) == []


def test_many_depositors_at_once_lose_nothing(archive: Archive) -> None:
    def store_some(name: int) -> None:
        for number in range(25):
            uid = f"1.2.{name}.{number + 1}"
            data = data_set(bytes(number), StudyInstanceUID=f"1.2.{number % 3 + 1}", SeriesInstanceUID=f"1.2.9.{name}", SOPInstanceUID=uid)
            assert archive.store(data) is STORED

    threads = [threading.Thread(target=store_some, args=(name + 1,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(archive.vault.find(EVERYTHING, EVERY_STUDY))) == 100
    assert list(archive.vault.check()) == []
    before = list(archive.vault.index_dump())
    archive.close()
    Vault.remake_index(archive.home, archive.open().keys)
    assert list(archive.again().vault.index_dump()) == before


def test_what_may_not_be_seen_is_not_there(archive: Archive) -> None:
    for number, modality in enumerate(["CT", "MR"], 1):
        uids = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.1", "SOPInstanceUID": f"1.2.{number}.1.1"}
        archive.store(data_set(Modality=modality, PatientID="P1", **uids))
    only_ct = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
    for predicate, seen in ((EVERY_STUDY, 2), (only_ct, 1), (NO_STUDY, 0)):
        for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
            assert len(list(archive.vault.find(Query(level, {}, ()), predicate))) == seen
        patients = list(
            archive.vault.find(Query(Level.PATIENT, {}, ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedInstances")), predicate)
        )
        assert [record["NumberOfPatientRelatedStudies"] for record in patients] == [str(seen)] * (seen > 0)
        assert [record["NumberOfPatientRelatedInstances"] for record in patients] == [str(seen)] * (seen > 0)
        assert len(list(archive.vault.instances(Selection(studies=(Uid("1.2.1"), Uid("1.2.2"))), predicate))) == seen
        assert len(list(archive.vault.instances(Selection(instances=(Uid("1.2.2.1.1"),)), predicate))) == (seen == 2)


def test_instances_come_in_the_order_of_their_numbers(archive: Archive) -> None:
    for number in (10, 2, 1):
        archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=str(number)))
    rows = archive.vault.instances(Selection(series=(Uid("1.2.3.1"),)), EVERY_STUDY)
    assert [row.sop_instance for row in rows] == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.10"]


def test_a_search_that_is_broken_off_gives_its_reader_back(archive: Archive) -> None:
    for number in range(5):
        archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number + 1}"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        found = archive.vault.find(EVERYTHING, EVERY_STUDY)
        next(found)
        found.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3


def test_a_search_may_be_begun_in_one_thread_and_ended_in_another(archive: Archive) -> None:
    for number in range(5):
        archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number + 1}"))
    found = archive.vault.find(EVERYTHING, EVERY_STUDY)
    next(found)
    rest: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: rest.extend(found))
    thread.start()
    thread.join()
    assert len(rest) == 4


def test_a_damaged_first_object_does_not_make_the_second_lost(archive: Archive) -> None:
    """The stored blob does not open any more; whoever sends the object again is told that it is kept, and it is."""
    data = data_set(bytes(600_000))
    archive.store(data)
    (blob,) = (archive.home / "blobs" / "000" / "000").iterdir()
    raw = bytearray(blob.read_bytes())
    raw[400_000] ^= 1
    blob.write_bytes(raw)
    with pytest.raises(Damaged):
        stored_bytes(archive)
    assert archive.store(data, piece=100_000) is CONFLICT
    assert blob_count(archive) == 2


def test_a_header_that_says_nothing_about_the_patient_is_a_patient_of_its_own(archive: Archive) -> None:
    uids = {"SOPClassUID": CT, "SOPInstanceUID": "1.2.9.1", "StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.2"}
    bare = b"".join(element(*TAGS[name], value.encode()) for name, value in uids.items())
    assert archive.store(bare) is STORED
    assert isinstance(header_of(bare), Header)
    assert stored_bytes(archive, "1.2.9.1") == [bare]
    assert archive.store(data_set(StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.7")) is CONFLICT
    (record,) = archive.vault.find(
        Query(Level.STUDY, {"StudyInstanceUID": parse_match("StudyInstanceUID", "1.2.9")}, ("PatientName",)), EVERY_STUDY
    )
    assert record["PatientName"] == ""
