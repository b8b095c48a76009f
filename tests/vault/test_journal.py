"""The journal: kept for ever, in order, and nobody takes a record out of the middle."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import Damaged, SealBroken
from leadglass.vault.journal import RECORD_SIZE, Conflict, ConflictKind, Journal, decode_record, encode_record

VECTOR = Path(__file__).parents[1] / "vectors" / "seal" / "journal-v1.bin"
ARCHIVE, KEY = b"archive id 16 by", b"J" * 32
IDS = st.binary(min_size=16, max_size=16)
CONFLICTS = st.builds(Conflict, st.sampled_from(ConflictKind), IDS, IDS, st.integers(0, 2**64))
THREE = [Conflict(kind, bytes([number]) * 16, b"f" * 16, 10**18 + number) for number, kind in enumerate(ConflictKind)]


def journal_at(path: Path) -> Journal:
    if not path.exists():
        Journal.create(path, ARCHIVE)
    return Journal(path, ARCHIVE, KEY)


@given(CONFLICTS)
def test_records_round_trip(conflict: Conflict) -> None:
    assert decode_record(encode_record(conflict)) == conflict


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
