"""The archive's keys: a few versions under the roots, one key per study and per purpose under the newest version.

Crash points of `rotate` and `destroy`: the versions file holds old and new version before the table is replaced, and loses the old one
only after; whichever file was replaced last, every record opens.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from leadglass.durable import make_folder, replace_file
from leadglass.errors import Damaged, KeyTableDamaged, KeyUnavailable
from leadglass.seal.chunked import KEY_SIZE
from leadglass.seal.keytable import (
    ARCHIVE_ID_SIZE,
    KEY_ID_SIZE,
    NAMED_KINDS,
    KeyKind,
    KeyName,
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
from leadglass.seal.rootkey import KeySource, RecoveryKey
from leadglass.vault.records import RecordFile
from leadglass.vault.room import disk_errors

_KEPT_OPEN: Final = 1024
"""Study keys kept unwrapped in memory; unwrapping one costs 20 us."""


@dataclass(frozen=True)
class StudyKey:
    """The key of one study; its id says where it lies in the table and nothing else."""

    key_id: bytes
    secret: bytes = field(repr=False)


class Keys:
    """Opens and makes keys; safe for several threads."""

    def __init__(self, folder: Path, versions: Versions, root: KeySource) -> None:
        self._folder = folder
        self._versions = versions
        self._root = root
        self._lock = threading.RLock()
        self._opened: OrderedDict[bytes, bytes] = OrderedDict()
        self._table = self._open_table()
        self._named = {name: self._read_named(number, kind) for number, (name, kind) in enumerate(NAMED_KINDS.items())}
        self._finish_rotation()

    @classmethod
    def create(cls, folder: Path, root: KeySource, recovery: RecoveryKey) -> Self:
        """Make HOME/keys for a new archive; KeyUnavailable if there are keys already."""
        if (folder / "versions").exists() or (folder / "table").exists():
            raise KeyUnavailable("HOME/keys already holds an archive's keys; name another folder")
        make_folder(folder)
        versions = Versions(os.urandom(ARCHIVE_ID_SIZE), {1: os.urandom(KEY_SIZE)}, recovery)
        records = [KeyRecord(kind, new_key_id(number), 1, os.urandom(KEY_SIZE)) for number, kind in enumerate(NAMED_KINDS.values())]
        with disk_errors():
            _write_table(folder, versions, iter(records))
            replace_file(folder / "versions", encode_versions(versions, root))
        return cls(folder, versions, root)

    @classmethod
    def open(cls, folder: Path, root: KeySource) -> Self:
        """Open the keys; KeyUnavailable with another root, KeyTableDamaged if a byte of what is read here was changed."""
        return cls(folder, decode_versions(_read_versions(folder), root), root)

    @classmethod
    def recover(cls, folder: Path, recovery: RecoveryKey, new_root: KeySource) -> Self:
        """Open the keys by the recovery key and put them under a new root, for when the old one is lost."""
        versions = decode_versions_by_recovery(_read_versions(folder), recovery)
        with disk_errors():
            replace_file(folder / "versions", encode_versions(versions, new_root))
        return cls(folder, versions, new_root)

    @property
    def archive_id(self) -> bytes:
        """16 random bytes, part of the context of every seal in this archive."""
        return self._versions.archive_id

    @property
    def version(self) -> int:
        """The number of the version that wraps new keys."""
        return self._versions.newest

    def named(self, name: KeyName) -> bytes:
        """The 32 bytes of the archive's one key for this purpose."""
        return self._named[name]

    def new_study_key(self) -> StudyKey:
        """A fresh key, durable before it is returned. NoRoom or StorageFailed."""
        secret = os.urandom(KEY_SIZE)
        made: list[KeyRecord] = []

        def make(number: int) -> bytes:
            record = KeyRecord(KeyKind.STUDY, new_key_id(number), self._versions.newest, secret)
            made.append(record)
            return self._encode(record)

        with self._lock:
            self._table.append(make)
            self._remember(made[-1].key_id, secret)
        return StudyKey(made[-1].key_id, secret)

    def key(self, key_id: bytes) -> bytes:
        """A study's key. KeyUnavailable if it was destroyed, KeyTableDamaged if its record is missing or changed."""
        with self._lock:
            secret = self._opened.get(key_id)
            if secret is None:
                secret = self._read_study_key(key_id)
            self._remember(key_id, secret)
            return secret

    def rotate(self, new_root: KeySource | None = None, new_recovery: RecoveryKey | None = None) -> int:
        """Make a new version, put every key under it, forget the old versions; blobs are untouched. Returns its number.

        A new root or recovery key takes the old one's place, for when the old one was seen by somebody.
        """
        with self._lock:
            self._root = new_root or self._root
            self._versions = replace(self._versions, recovery=new_recovery or self._versions.recovery)
            self._rewrite(frozenset())
            return self._versions.newest

    def destroy(self, *key_ids: bytes) -> None:
        """Forget studies for good: rewrites the table without these keys under a new version, so that no remnant of the old table opens."""
        with self._lock:
            for key_id in key_ids:
                self._read_study_key(key_id)
            self._rewrite(frozenset(key_ids))

    def check(self) -> Iterator[str]:
        """One line for every record that is not what was written, and if the recovery key would not open the versions."""
        with self._lock:
            try:
                data = _read_versions(self._folder)
                if decode_versions(data, self._root).keys != self._versions.keys:
                    yield "HOME/keys/versions is not the one in use; restart, or restore it from its copy"
                if not recovery_wraps_open(data, self._versions):
                    yield "HOME/keys/versions: the recovery key would not open it; run `leadglass keys rotate HOME`"
            except (Damaged, KeyUnavailable) as error:
                yield str(error)
        for number, raw in enumerate(self._raw_records()):
            try:
                decode_record(self._versions, number, raw)
            except KeyTableDamaged as error:
                yield str(error)

    def records(self) -> Iterator[KeyRecord]:
        """Every record in its order, opened; KeyTableDamaged at the first that was changed."""
        for number, raw in enumerate(self._raw_records()):
            yield decode_record(self._versions, number, raw)

    def close(self) -> None:
        self._table.close()

    def _raw_records(self) -> Iterator[bytes]:
        at = 0
        while batch := self._table.read_from(at):
            yield from batch
            at += len(batch)

    def _encode(self, record: KeyRecord) -> bytes:
        return encode_record(self.archive_id, record, self._versions.keys[record.version])

    def _open_table(self) -> RecordFile:
        return RecordFile(self._folder / "table", table_header(self.archive_id), damaged=KeyTableDamaged)

    def _read_named(self, number: int, kind: KeyKind) -> bytes:
        record = decode_record(self._versions, number, self._table.read(number))
        if record.kind is not kind:
            raise KeyTableDamaged(f"record {number} of HOME/keys/table is not the key that belongs there; restore HOME/keys from its copy")
        return record.secret

    def _read_study_key(self, key_id: bytes) -> bytes:
        number = record_number(key_id)
        record = decode_record(self._versions, number, self._table.read(number))
        if len(key_id) != KEY_ID_SIZE or record.key_id != key_id:
            raise KeyTableDamaged(f"record {number} of HOME/keys/table is another study's; restore HOME/keys from its copy")
        if record.kind is KeyKind.DESTROYED:
            raise KeyUnavailable("this study was forgotten: its key was destroyed")
        if record.kind is not KeyKind.STUDY:
            raise KeyTableDamaged(f"record {number} of HOME/keys/table is no study's key; restore what names it from its copy")
        return record.secret

    def _remember(self, key_id: bytes, secret: bytes) -> None:
        self._opened[key_id] = secret
        self._opened.move_to_end(key_id)
        if len(self._opened) > _KEPT_OPEN:
            self._opened.popitem(last=False)

    def _rewrite(self, destroyed: frozenset[bytes]) -> None:
        """Wrap every record anew under a new version, in the order that the module's docstring relies on."""
        newest = self._versions.newest + 1
        both = replace(self._versions, keys={**self._versions.keys, newest: os.urandom(KEY_SIZE)})
        with disk_errors():
            replace_file(self._folder / "versions", encode_versions(both, self._root))
            self._versions = both
            moved = (_moved(record, newest, destroyed) for record in self.records())
            _write_table(self._folder, both, moved)
        self._table.close()
        self._table = self._open_table()
        self._opened.clear()
        self._drop_old_versions()

    def _finish_rotation(self) -> None:
        """After a crash between the table and the second versions file: every record is new, only the old version was not dropped."""
        if len(self._versions.keys) > 1 and all(record.version == self._versions.newest for record in self.records()):
            self._drop_old_versions()

    def _drop_old_versions(self) -> None:
        newest = self._versions.newest
        only = replace(self._versions, keys={newest: self._versions.keys[newest]})
        with disk_errors():
            replace_file(self._folder / "versions", encode_versions(only, self._root))
        self._versions = only


def _moved(record: KeyRecord, version: int, destroyed: frozenset[bytes]) -> KeyRecord:
    if record.key_id in destroyed:
        return KeyRecord(KeyKind.DESTROYED, record.key_id, version, bytes(KEY_SIZE))
    return replace(record, version=version)


def _read_versions(folder: Path) -> bytes:
    try:
        return (folder / "versions").read_bytes()
    except FileNotFoundError:
        raise KeyUnavailable("HOME/keys/versions is missing; restore HOME/keys from its copy") from None


def _write_table(folder: Path, versions: Versions, records: Iterator[KeyRecord]) -> None:
    encoded = (encode_record(versions.archive_id, record, versions.keys[record.version]) for record in records)
    RecordFile.replace(folder / "table", table_header(versions.archive_id), encoded)
