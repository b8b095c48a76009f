"""What is told later: durable, sealed, bound to its name, and bounded."""

from dataclasses import replace
from pathlib import Path

import pytest

from leadglass.access.identity import Kind, Principal
from leadglass.archive import commitment
from leadglass.archive.commitment import Promise, Promises, Receipts
from leadglass.dicom.commitment import CommitmentRequest, Reference
from leadglass.dicom.uid import Uid
from leadglass.errors import Damaged, NoRoom, SealBroken, TooMuchAtOnce
from leadglass.vault.outbox import Outbox
from leadglass.vault.room import Room
from leadglass.vocabulary import Door, StoreResult

VECTOR = Path(__file__).parents[1] / "vectors" / "vault" / "commitment-v1"
ARCHIVE, KEY = b"archive id 16 by", b"C" * 32
REQUEST = CommitmentRequest(Uid("1.2.3"), (Reference(Uid("1.2.840.10008.5.1.4.1.1.2"), Uid("1.2.3.4")),))
ANNA = Principal("token:0a1b2c3d@anna", Kind.TOKEN, "anna", credential="0a1b2c3d")
CT1 = Principal("peer:CT1", Kind.PEER, "CT1", credential="ab" * 32)


def opened(folder: Path, reserve: int = 0) -> Outbox:
    return Outbox.open(folder, KEY, ARCHIVE, Room(folder.parent, reserve))


def test_what_is_promised_is_there_after_a_restart_until_it_was_told(tmp_path: Path) -> None:
    promises = Promises(opened(tmp_path / "out"))
    who = [CT1, CT1, ANNA.at(replace(CT1, credential="ca:" + "cd" * 16, ends=2_000_000_000 * 10**9))]
    made = [promises.make(REQUEST, each, Door.DIMSE, "127.0.0.1") for each in who]
    promises.end(made[1])
    (tmp_path / "out" / "0123.new").write_bytes(b"half")
    again = Promises(opened(tmp_path / "out"))
    assert sorted(again.waiting(), key=lambda each: each.name) == sorted((made[0], made[2]), key=lambda each: each.name)
    assert made[0].request == REQUEST
    assert [each.principal for each in made] == who
    assert not list((tmp_path / "out").glob("*.new"))
    for each in again.waiting():
        again.end(each)
        again.end(each)
    assert list((tmp_path / "out").iterdir()) == []


def test_changed_swapped_and_foreign_files_are_refused(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "out")
    first, second = (tmp_path / "out" / outbox.put(content) for content in (b"one", b"two"))
    assert b"one" not in first.read_bytes()
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(SealBroken):
        opened(tmp_path / "out").read(first.name)
    for at in range(0, len(kept), 7):
        first.write_bytes(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :])
        with pytest.raises(SealBroken):
            opened(tmp_path / "out").read(first.name)
    first.write_bytes(kept)
    again = opened(tmp_path / "out")
    assert {name: again.read(name) for name in again.names()} == {first.name: b"one", second.name: b"two"}
    (tmp_path / "out" / "note.txt").touch()
    with pytest.raises(Damaged):
        again.names()


def test_one_that_was_damaged_keeps_no_other_from_being_told_and_is_named(tmp_path: Path) -> None:
    promises = Promises(opened(tmp_path / "out"))
    lost, kept = (promises.make(REQUEST, CT1, Door.DIMSE, "127.0.0.1") for _ in range(2))
    (tmp_path / "out" / lost.name).write_bytes(b"x" * 200)
    again = Promises(opened(tmp_path / "out"))
    assert again.waiting() == (kept,)
    (problem,) = again.problems()
    assert lost.name in problem


def test_no_more_than_the_bound_and_none_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "MAX_WAITING_OF_PEER", 2)
    promises = Promises(opened(tmp_path / "out"))
    for _ in range(2):
        promises.make(REQUEST, CT1, Door.DIMSE, "127.0.0.1")
    with pytest.raises(TooMuchAtOnce):
        promises.make(REQUEST, CT1, Door.DIMSE, "127.0.0.1")
    promises.make(REQUEST, Principal("peer:CT2", Kind.PEER, "CT2"), Door.DIMSE, "127.0.0.1")
    with pytest.raises(NoRoom):
        opened(tmp_path / "full", reserve=1 << 60).put(b"x")
    assert list((tmp_path / "full").iterdir()) == []


def test_the_vector_of_the_format_is_read() -> None:
    outbox = Outbox(VECTOR, KEY, ARCHIVE, Room(VECTOR, 0))
    (name,) = outbox.names()
    content = outbox.read(name)
    promise = Promise.decode(content, name)
    assert (promise.request, promise.principal, promise.door, promise.address) == (REQUEST, ANNA.at(CT1), Door.DIMSE, "127.0.0.1")
    assert promise.asked_ns == 1_700_000_000_000_000_000
    assert promise.encode() == content


@pytest.mark.parametrize("content", [b"", b"{}", b'{"v":2}', b"[]", b'{"v":1,"objects":[["x","y"]]}'])
def test_what_was_not_written_by_us_is_damaged(content: bytes) -> None:
    with pytest.raises(Damaged):
        Promise.decode(content, "00" * 16)


def test_receipts_are_remembered_by_sender_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "_REMEMBERED", 3)
    receipts = Receipts()
    receipts.note("token:ab@anna+peer:CT1", Uid("1.1"), StoreResult.ALREADY_THERE)
    receipts.note("peer:CT1", Uid("1.2"), StoreResult.CONFLICT)
    receipts.note("peer:CT1", Uid("1.3"), StoreResult.STORED)
    assert [receipts.served("peer:CT1", Uid(uid)) for uid in ("1.1", "1.2", "1.3", "1.4")] == [True, False, None, None]
    assert receipts.served("peer:CT2", Uid("1.1")) is None
    for number in range(3):
        receipts.note("peer:CT2", Uid(f"2.{number}"), StoreResult.ALREADY_THERE)
    assert receipts.served("peer:CT1", Uid("1.1")) is None
