"""The journal: kept for ever, in order, and nobody takes a record out of the middle."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import Damaged, SealBroken
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.journal import (
    RECORD_SIZE,
    Conflict,
    ConflictKind,
    Journal,
    Record,
    Settlement,
    State,
    Verdict,
    decode_record,
    encode_record,
    standings,
)

VECTOR = Path(__file__).parents[1] / "vectors" / "seal" / "journal-v1.bin"
ARCHIVE, KEY = b"archive id 16 by", b"J" * 32
IDS = st.binary(min_size=16, max_size=16)
CONFLICTS = st.builds(Conflict, st.sampled_from(ConflictKind), IDS, IDS, st.integers(0, 2**64))
PLACES = st.builds(BlobPlace, st.integers(0, 2**32), IDS)
TIMES = st.integers(0, 2**64)
SETTLEMENTS = st.builds(Settlement, st.sampled_from(Verdict), PLACES, st.none() | PLACES, TIMES, TIMES)
SETTLED = [
    Settlement(Verdict.ACCEPTED, BlobPlace(0, b"\0" * 16), BlobPlace(7, b"f" * 16), 10**18 + 3, 12),
    Settlement(Verdict.REJECTED, BlobPlace(1, b"\1" * 16), None, 10**18 + 4, 13),
]
THREE: list[Record] = [Conflict(kind, bytes([number]) * 16, b"f" * 16, 10**18 + number) for number, kind in enumerate(ConflictKind)]


def journal_at(path: Path) -> Journal:
    if not path.exists():
        Journal.create(path, ARCHIVE)
    return Journal(path, ARCHIVE, KEY)


@given(CONFLICTS | SETTLEMENTS)
def test_records_round_trip(record: Record) -> None:
    plain = encode_record(record)
    assert decode_record(plain) == record
    assert len(plain) == RECORD_SIZE - 72


def test_what_is_appended_is_there_after_a_restart(tmp_path: Path) -> None:
    journal = journal_at(tmp_path / "journal")
    assert [journal.append(conflict) for conflict in THREE] == [0, 1, 2]
    assert list(journal_at(tmp_path / "journal")) == list(journal) == THREE
    assert (tmp_path / "journal").stat().st_size == 4 * RECORD_SIZE


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = journal_at(path)
    for conflict in THREE:
        journal.append(conflict)
    data = bytearray(path.read_bytes())
    for place in [*range(60), *range(60, len(data), 7), len(data) - 1]:
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(Damaged):
            list(journal_at(path))
        data[place] ^= 1


def test_a_record_that_was_moved_or_taken_out_is_found(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = journal_at(path)
    for conflict in THREE:
        journal.append(conflict)
    head, *records = (path.read_bytes()[at : at + RECORD_SIZE] for at in range(0, 4 * RECORD_SIZE, RECORD_SIZE))
    for wrong in ([records[1], records[0], records[2]], records[1:], [records[0], records[0], records[2]]):
        path.write_bytes(head + b"".join(wrong))
        with pytest.raises(SealBroken):
            list(journal_at(path))


def test_another_archives_journal_does_not_open(tmp_path: Path) -> None:
    journal_at(tmp_path / "journal").append(THREE[0])
    with pytest.raises(Damaged):
        Journal(tmp_path / "journal", b"another archive!", KEY)
    with pytest.raises(SealBroken):
        list(Journal(tmp_path / "journal", ARCHIVE, b"K" * 32))


def test_a_journal_of_version_1_opens_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(VECTOR.read_bytes())
    assert list(journal_at(path)) == THREE


def test_an_unknown_record_is_not_passed_over() -> None:
    plain = encode_record(THREE[0]).replace(b'"record":"conflict"', b'"record":"deletion"')
    with pytest.raises(SealBroken, match="does not know"):
        decode_record(plain)


def test_a_journal_with_verdicts_opens_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(VECTOR.with_name("journal-v1-settled.bin").read_bytes())
    assert list(journal_at(path)) == [*THREE, *SETTLED]


def test_where_a_blob_stands_is_what_was_said_last() -> None:
    found = standings([*THREE, *SETTLED])
    assert {blob_id: standing.state for blob_id, standing in found.items()} == {
        b"\0" * 16: State.ACCEPTED,
        b"\1" * 16: State.REJECTED,
        b"\2" * 16: State.OPEN,
        b"f" * 16: State.REPLACED,
    }
    # What was served from the start has a conflict of its own from the verdict on.
    assert found[b"f" * 16].conflict == Conflict(ConflictKind.SAME_INSTANCE, b"f" * 16, b"\0" * 16, 10**18 + 3)
    back = Settlement(Verdict.ACCEPTED, BlobPlace(7, b"f" * 16), BlobPlace(0, b"\0" * 16), 10**18 + 5, 14)
    again = standings([*THREE, *SETTLED, back])
    assert (again[b"f" * 16].state, again[b"\0" * 16].state) == (State.ACCEPTED, State.REPLACED)


@pytest.mark.parametrize("wrong", [b'"blob":[0,', b'"verdict":"accepted"', b'"intent":12', b'"replaced":[7,'])
def test_a_verdict_that_says_something_else_is_not_understood(wrong: bytes) -> None:
    plain = encode_record(SETTLED[0])
    assert wrong in plain
    for instead in (b'"other":12', wrong.replace(b"7", b"-1").replace(b"0", b"true").replace(b"12", b'"x"').replace(b"accepted", b"gone")):
        with pytest.raises(SealBroken):
            decode_record(plain.replace(wrong, instead))
