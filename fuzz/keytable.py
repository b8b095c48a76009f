"""The files of HOME/keys and the root key file as somebody may have changed them: whatever opens is exactly what was written."""

from leadglass.errors import KeyTableDamaged, KeyUnavailable
from leadglass.seal.keytable import (
    KeyKind,
    KeyRecord,
    Versions,
    decode_record,
    decode_versions,
    decode_versions_by_recovery,
    encode_record,
    encode_versions,
    new_key_id,
)
from leadglass.seal.rootkey import RecoveryKey, RootKey, decode_root_key, encode_root_key

ROOT, RECOVERY = RootKey(b"R" * 32), RecoveryKey(b"r" * 32)
VERSIONS = Versions(b"archive id 16 by", {1: b"1" * 32, 2: b"2" * 32}, RECOVERY)
RECORD = KeyRecord(KeyKind.STUDY, new_key_id(3), 2, b"s" * 32)
ENCODED_RECORD = encode_record(VERSIONS.archive_id, RECORD, VERSIONS.keys[2])
ENCODED_VERSIONS = encode_versions(VERSIONS, ROOT)


def nobody() -> bytes:
    """Whoever is asked for a passphrase does not answer: its cost is for its owner to pay."""
    raise KeyUnavailable("nobody answers")


def target(data: bytes) -> None:
    """As each of the four things that lie in these files."""
    try:
        if decode_versions(data, ROOT).keys != VERSIONS.keys or decode_versions_by_recovery(data, RECOVERY).keys != VERSIONS.keys:
            raise AssertionError(data)
    except (KeyTableDamaged, KeyUnavailable):
        pass
    try:
        if decode_record(VERSIONS, 3, data) != RECORD or data != ENCODED_RECORD:
            raise AssertionError(data)
    except KeyTableDamaged:
        pass
    try:
        key = decode_root_key(data, nobody)
    except KeyUnavailable:
        return
    if decode_root_key(encode_root_key(key)).secret() != key.secret():
        raise AssertionError(data)


def seeds() -> list[bytes]:
    """One of each."""
    return [ENCODED_VERSIONS, ENCODED_RECORD, encode_root_key(ROOT), encode_root_key(ROOT, b"passphrase")]
