"""The two formats under HOME/keys: `versions` (a few keys, wrapped by the roots) and `table` (all other keys, wrapped by a version).

docs/formats.md draws both. Every wrap is sealed with a salt of its own, and its context names archive, kind, place and key id:
no two share a keystream, and one that was moved does not open.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from leadglass.errors import KeyTableDamaged, KeyUnavailable, SealBroken
from leadglass.seal.chunked import KEY_SIZE, seal, sealed_size, unseal
from leadglass.seal.rootkey import KeySource, RecoveryKey

ARCHIVE_ID_SIZE: Final = 16
KEY_ID_SIZE: Final = 16
RECORD_SIZE: Final = 128
"""Divides a disk's sector, so that a power cut leaves a record whole or not there."""

_VERSIONS_MAGIC: Final = b"leadglass versions v1\n"
_TABLE_MAGIC: Final = b"leadglass key table v1\n"
_VERSION_CONTEXT: Final = b"leadglass key version v1\0"
_RECORD_CONTEXT: Final = b"leadglass key record v1\0"
_MAC_CONTEXT: Final = b"leadglass versions mac v1\0"
_MAC_SIZE: Final = 32
_NUMBER_SIZE: Final = 6
_RECORD: Final = struct.Struct(f">B3xI{KEY_ID_SIZE}s{sealed_size(KEY_SIZE)}s")
_LENGTH: Final = struct.Struct(">H")
_NUMBER: Final = struct.Struct(">I")
_DAMAGED: Final = "restore HOME/keys from its copy, then run `leadglass keys check HOME`"


class KeyKind(IntEnum):
    """What a key of the table is for."""

    STUDY = 1
    INDEX = 2
    JOURNAL = 3
    TRAIL_SEAL = 4
    TRAIL_SIGNING = 5
    ACCESS = 6
    DESTROYED = 255


KeyName: TypeAlias = Literal["index", "journal", "trail-seal", "trail-signing", "access"]

NAMED_KINDS: Final[Mapping[KeyName, KeyKind]] = {
    "index": KeyKind.INDEX,
    "journal": KeyKind.JOURNAL,
    "trail-seal": KeyKind.TRAIL_SEAL,
    "trail-signing": KeyKind.TRAIL_SIGNING,
    "access": KeyKind.ACCESS,
}
"""The keys of which an archive has exactly one each, in the order in which they begin its table."""


@dataclass(frozen=True)
class KeyRecord:
    """One opened record of the table."""

    kind: KeyKind
    key_id: bytes
    version: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Versions:
    """The opened `versions` file: version keys by number, and the recovery key, which rotation must wrap for."""

    archive_id: bytes
    keys: Mapping[int, bytes] = field(repr=False)
    recovery: RecoveryKey = field(repr=False)

    @property
    def newest(self) -> int:
        return max(self.keys)


def new_key_id(number: int) -> bytes:
    """The id of the key at record `number`: that number, so that it is found without a search, and 10 random bytes."""
    return number.to_bytes(_NUMBER_SIZE, "big") + os.urandom(KEY_ID_SIZE - _NUMBER_SIZE)


def record_number(key_id: bytes) -> int:
    """Where the key lies in the table, if it is one of ours."""
    return int.from_bytes(key_id[:_NUMBER_SIZE], "big")


def table_header(archive_id: bytes) -> bytes:
    """What the table begins with; it takes the room of one record."""
    return (_TABLE_MAGIC + archive_id).ljust(RECORD_SIZE, b"\0")


def _record_context(archive_id: bytes, kind: KeyKind, version: int, key_id: bytes) -> bytes:
    return b"".join((_RECORD_CONTEXT, archive_id, bytes((kind,)), _NUMBER.pack(version), key_id))


def encode_record(archive_id: bytes, record: KeyRecord, version_key: bytes) -> bytes:
    """Wrap a key for its place in the table."""
    context = _record_context(archive_id, record.kind, record.version, record.key_id)
    return _RECORD.pack(record.kind, record.version, record.key_id, seal(version_key, context, record.secret))


def decode_record(versions: Versions, number: int, raw: bytes) -> KeyRecord:
    """Open the record that lies at place `number`; KeyTableDamaged if any of its bytes was changed or it was moved."""
    wrong = KeyTableDamaged(f"record {number} of HOME/keys/table was changed, moved or cut; {_DAMAGED}")
    if len(raw) != RECORD_SIZE or any(raw[1:4]):
        raise wrong
    raw_kind, version, key_id, sealed = _RECORD.unpack(raw)
    if record_number(key_id) != number or version not in versions.keys:
        raise wrong
    try:
        kind = KeyKind(raw_kind)
        secret = unseal(versions.keys[version], _record_context(versions.archive_id, kind, version, key_id), sealed)
    except (ValueError, SealBroken):
        raise wrong from None
    return KeyRecord(kind, key_id, version, secret)


def _version_context(archive_id: bytes, number: int, holder: bytes) -> bytes:
    return _VERSION_CONTEXT + archive_id + _NUMBER.pack(number) + holder


def _mac(key: bytes, data: bytes) -> bytes:
    mac_key = HKDFExpand(SHA512(), KEY_SIZE, _MAC_CONTEXT).derive(key)
    return hmac.digest(mac_key, data, hashlib.sha256)


def _sized(part: bytes) -> bytes:
    return _LENGTH.pack(len(part)) + part


def encode_versions(versions: Versions, root: KeySource) -> bytes:
    """Wrap every version key by the root and by the recovery key, and the recovery key by the root; a MAC covers the file."""
    archive_id = versions.archive_id
    # The recovery key is needed again at every rotation, when its paper is in a safe; the root could open everything without it.
    recovery_secret = versions.recovery.secret()
    parts = [_VERSIONS_MAGIC, archive_id, _sized(root.wrap(recovery_secret, _version_context(archive_id, 0, b"recovery key")))]
    parts.append(_LENGTH.pack(len(versions.keys)))
    for number, key in sorted(versions.keys.items()):
        parts.append(_NUMBER.pack(number))
        parts.append(_sized(root.wrap(key, _version_context(archive_id, number, b"root"))))
        parts.append(_sized(versions.recovery.wrap(key, _version_context(archive_id, number, b"recovery"))))
    data = b"".join(parts)
    return data + _mac(versions.keys[versions.newest], data)


class _Fields:
    """Reads fields one after the other; KeyTableDamaged where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        self._at += length
        if len(part) != length:
            raise KeyTableDamaged(f"HOME/keys/versions ends too early; {_DAMAGED}")
        return part

    def take_sized(self) -> bytes:
        return self.take(*_LENGTH.unpack(self.take(_LENGTH.size)))

    def end(self) -> bool:
        return self._at == len(self._data)


@dataclass(frozen=True)
class _Wrapped:
    """The `versions` file taken apart, before anything in it is believed."""

    archive_id: bytes
    recovery_key: bytes
    by_root: Mapping[int, bytes]
    by_recovery: Mapping[int, bytes]
    covered: bytes
    mac: bytes


def _take_apart(data: bytes) -> _Wrapped:
    fields = _Fields(data)
    if fields.take(len(_VERSIONS_MAGIC)) != _VERSIONS_MAGIC:
        raise KeyTableDamaged(f"HOME/keys/versions is not one of ours; {_DAMAGED}")
    archive_id, recovery_key = fields.take(ARCHIVE_ID_SIZE), fields.take_sized()
    (count,) = _LENGTH.unpack(fields.take(_LENGTH.size))
    by_root: dict[int, bytes] = {}
    by_recovery: dict[int, bytes] = {}
    for _ in range(count):
        (number,) = _NUMBER.unpack(fields.take(_NUMBER.size))
        by_root[number], by_recovery[number] = fields.take_sized(), fields.take_sized()
    mac = fields.take(_MAC_SIZE)
    if not by_root or not fields.end():
        raise KeyTableDamaged(f"HOME/keys/versions is longer or emptier than it may be; {_DAMAGED}")
    return _Wrapped(archive_id, recovery_key, by_root, by_recovery, data[:-_MAC_SIZE], mac)


def _opened(
    wrapped: _Wrapped, recovery: RecoveryKey, unwrap: Callable[[bytes, bytes], bytes], holder: bytes, wraps: Mapping[int, bytes]
) -> Versions:
    keys = {number: unwrap(wrap, _version_context(wrapped.archive_id, number, holder)) for number, wrap in wraps.items()}
    versions = Versions(wrapped.archive_id, keys, recovery)
    if not hmac.compare_digest(_mac(keys[versions.newest], wrapped.covered), wrapped.mac):
        raise KeyTableDamaged(f"HOME/keys/versions was changed; {_DAMAGED}")
    return versions


def decode_versions(data: bytes, root: KeySource) -> Versions:
    """Open the file by the root; KeyUnavailable if it is not this archive's root, KeyTableDamaged if a byte was changed."""
    wrapped = _take_apart(data)
    recovery = RecoveryKey(root.unwrap(wrapped.recovery_key, _version_context(wrapped.archive_id, 0, b"recovery key")))
    return _opened(wrapped, recovery, root.unwrap, b"root", wrapped.by_root)


def decode_versions_by_recovery(data: bytes, recovery: RecoveryKey) -> Versions:
    """Open the file by the recovery key, for when the root is lost; errors as `decode_versions`."""
    wrapped = _take_apart(data)
    return _opened(wrapped, recovery, recovery.unwrap, b"recovery", wrapped.by_recovery)


def recovery_wraps_open(data: bytes, versions: Versions) -> bool:
    """Whether the recovery key's own wraps give the same version keys: what `keys check` wants to know before the day it is needed."""
    try:
        return decode_versions_by_recovery(data, versions.recovery).keys == versions.keys
    except (KeyUnavailable, KeyTableDamaged):
        return False
