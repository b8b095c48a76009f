"""The two files under HOME/keys as bytes: vectors, round trips, and every byte that somebody may change."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.errors import KeyTableDamaged, KeyUnavailable
from leadglass.seal.keytable import (
    RECORD_SIZE,
    KeyKind,
    KeyRecord,
    Versions,
    decode_record,
    decode_versions,
    decode_versions_by_recovery,
    encode_record,
    encode_versions,
    new_key_id,
    record_number,
    recovery_wraps_open,
    table_header,
)
from leadglass.seal.rootkey import RecoveryKey, RootKey

VECTORS = Path(__file__).parents[1] / "vectors" / "seal"
ARCHIVE = b"archive id 16 by"
ROOT, RECOVERY = RootKey(b"R" * 32), RecoveryKey(b"r" * 32)
VERSIONS = Versions(ARCHIVE, {3: b"3" * 32, 4: b"4" * 32}, RECOVERY)


def record_at(number: int, kind: KeyKind = KeyKind.STUDY, version: int = 4, secret: bytes = b"s" * 32) -> KeyRecord:
    return KeyRecord(kind, new_key_id(number), version, secret)


def encoded(record: KeyRecord) -> bytes:
    return encode_record(ARCHIVE, record, VERSIONS.keys[record.version])


@given(st.integers(0, 2**48 - 1), st.sampled_from(KeyKind), st.sampled_from([3, 4]), st.binary(min_size=32, max_size=32))
def test_records_round_trip(number: int, kind: KeyKind, version: int, secret: bytes) -> None:
    record = record_at(number, kind, version, secret)
    raw = encoded(record)
    assert len(raw) == RECORD_SIZE
    assert record_number(record.key_id) == number
    assert decode_record(VERSIONS, number, raw) == record


def test_every_changed_byte_of_a_record_is_found() -> None:
    raw = bytearray(encoded(record_at(7)))
    for place in range(RECORD_SIZE):
        for flip in (1, 0x80):
            raw[place] ^= flip
            with pytest.raises(KeyTableDamaged, match="record 7"):
                decode_record(VERSIONS, 7, bytes(raw))
            raw[place] ^= flip


def test_a_record_opens_in_its_place_and_archive_only() -> None:
    raw = encoded(record_at(7))
    with pytest.raises(KeyTableDamaged):
        decode_record(VERSIONS, 8, raw)
    with pytest.raises(KeyTableDamaged):
        decode_record(Versions(b"another archive!", VERSIONS.keys, RECOVERY), 7, raw)


def test_one_kind_of_key_cannot_be_passed_off_as_another() -> None:
    raw = bytearray(encoded(record_at(7, KeyKind.STUDY)))
    raw[0] = KeyKind.TRAIL_SIGNING
    with pytest.raises(KeyTableDamaged):
        decode_record(VERSIONS, 7, bytes(raw))


def test_no_two_records_share_a_keystream() -> None:
    """Same version key, same place, same secret, 1,000 times: every salt and every ciphertext differs."""
    record = record_at(7)
    sealed = [encoded(record)[24:] for _ in range(1000)]
    assert len({one[:24] for one in sealed}) == len(sealed)
    assert len({one[56:88] for one in sealed}) == len(sealed)


@given(st.dictionaries(st.integers(1, 2**32 - 1), st.binary(min_size=32, max_size=32), min_size=1, max_size=4))
@settings(deadline=None)
def test_versions_round_trip_by_either_key(keys: dict[int, bytes]) -> None:
    data = encode_versions(Versions(ARCHIVE, keys, RECOVERY), ROOT)
    for versions in (decode_versions(data, ROOT), decode_versions_by_recovery(data, RECOVERY)):
        assert (versions.archive_id, versions.keys, versions.recovery.secret()) == (ARCHIVE, keys, RECOVERY.secret())
    assert recovery_wraps_open(data, Versions(ARCHIVE, keys, RECOVERY))


def test_every_changed_byte_of_the_versions_is_found() -> None:
    data = bytearray(encode_versions(VERSIONS, ROOT))
    for place in range(len(data)):
        data[place] ^= 1
        with pytest.raises((KeyTableDamaged, KeyUnavailable)):
            decode_versions(bytes(data), ROOT)
        data[place] ^= 1
    for end in range(len(data)):
        with pytest.raises((KeyTableDamaged, KeyUnavailable)):
            decode_versions(bytes(data[:end]), ROOT)
    with pytest.raises(KeyTableDamaged):
        decode_versions(bytes(data) + b"\0", ROOT)


def test_another_root_does_not_open_the_versions() -> None:
    data = encode_versions(VERSIONS, ROOT)
    with pytest.raises(KeyUnavailable):
        decode_versions(data, RootKey.generate())
    with pytest.raises(KeyUnavailable):
        decode_versions_by_recovery(data, RecoveryKey.generate())


def test_keys_do_not_print() -> None:
    assert "ssss" not in repr(record_at(1))
    assert "3333" not in repr(VERSIONS)
    assert "RRRR" not in repr(VERSIONS)


def test_files_of_version_1_open_for_ever() -> None:
    versions = decode_versions((VECTORS / "versions-v1.bin").read_bytes(), ROOT)
    assert versions.keys == VERSIONS.keys
    table = (VECTORS / "table-v1.bin").read_bytes()
    assert table[:RECORD_SIZE] == table_header(ARCHIVE)
    for number, kind in enumerate(KeyKind):
        record = decode_record(versions, number, table[(number + 1) * RECORD_SIZE :][:RECORD_SIZE])
        assert (record.kind, record.secret) == (kind, bytes([number]) * 32)
