"""A reader of HOME that was written from docs/formats.md alone, and accounts for every byte of every file.

What can be opened without a key is parsed whole; what is sealed is measured against the lengths that a sealed message can have, and its
unsealed head is parsed. Nothing of leadglass is imported.
"""

import base64
import re
import tomllib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509


class NotDocumentedError(AssertionError):
    """A file, or bytes of it, of which the documents say nothing."""


@dataclass
class Walk:
    """What was met."""

    home: Path
    archive_id: bytes = b""
    versions: int = 0
    keys: int = 0
    blobs: int = 0
    conflicts: int = 0
    entries: int = 0
    files: int = 0


def require(condition: object, path: Path, what: str) -> None:
    if not condition:
        raise NotDocumentedError(f"{path}: {what}")


def sealed_length(length: int) -> bool:
    """Whether a sealed message can be so long: salt, commitment, whole chunks of 16 KiB and a shorter last one, each with its tag."""
    rest = length - 24 - 32
    return rest >= 16 and rest % (16384 + 16) >= 16


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, count: int) -> bytes:
        require(self.at + count <= len(self.data), self.path, "ends in the middle of something")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def exactly(self, expected: bytes) -> None:
        require(self.take(len(expected)) == expected, self.path, f"not {expected!r} at {self.at}")

    def end(self) -> None:
        require(self.at == len(self.data), self.path, f"bytes after its end at {self.at}")


def _versions(path: Path, walk: Walk) -> None:
    data = _Reader(path)
    data.exactly(b"leadglass versions v1\n")
    walk.archive_id = data.take(16)
    require(sealed_length(len(data.take(data.number(2)))), path, "the recovery key is not sealed")
    walk.versions = data.number(2)
    for _ in range(walk.versions):
        data.take(4)
        for _ in ("root", "recovery"):
            require(sealed_length(len(data.take(data.number(2)))), path, "a version key is not sealed")
    data.take(32)
    data.end()


def _places(path: Path, magic: bytes, archive_id: bytes, size: int) -> list[bytes]:
    """The places of a file after the first, which holds what it is."""
    data = path.read_bytes()
    require(len(data) % size == 0, path, f"not places of {size} bytes")
    require(data[:size] == (magic + archive_id).ljust(size, b"\0"), path, "another first place")
    return [data[at : at + size] for at in range(size, len(data), size)]


def _table(path: Path, walk: Walk) -> None:
    kinds = []
    for number, record in enumerate(_places(path, b"leadglass key table v1\n", walk.archive_id, 128)):
        kind, zeros, key_id = record[0], record[1:4], record[8:24]
        require(kind in {1, 2, 3, 4, 5, 6, 255}, path, f"unknown kind {kind}")
        require(zeros == bytes(3), path, "no zeros after the kind")
        require(int.from_bytes(key_id[:6], "big") == number, path, "a key id that is not its record's number")
        require(len(record[24:]) == 104 and sealed_length(104), path, "not a sealed key")
        kinds.append(kind)
    require(kinds[:5] == [2, 3, 4, 5, 6], path, "other first records")
    walk.keys = len(kinds)


def _blob(path: Path, walk: Walk) -> None:
    data = _Reader(path)
    data.exactly(b"leadglass blob v1\n")
    data.take(16)
    require(data.take(16).hex() == path.name, path, "not the blob of its name")
    require(sealed_length(len(data.data) - data.at), path, "not as long as a sealed message")
    walk.blobs += 1


def _pack(path: Path, walk: Walk) -> None:
    data = _Reader(path)
    data.exactly(b"leadglass pack v1\n".ljust(64, b"\0"))
    starts = {64}
    while len(data.data) - data.at >= 40 and any(data.data[data.at : data.at + 40]):
        starts.add(data.at)
        marker, checksum = data.take(8), data.number(4)
        require(checksum == zlib.crc32(data.data[data.at : data.at + 28]), path, "a head that was changed")
        length = data.number(4)
        require(marker in {b"LGBLOB1\n", b"LGVOID1\n"}, path, "not a marker")
        blob_id = data.take(16)
        require(data.number(8) in starts, path, "durable up to the middle of something")
        end = data.at + length
        if marker == b"LGBLOB1\n":
            data.exactly(b"leadglass blob v1\n")
            data.take(16)
            require(data.take(16) == blob_id, path, "not the blob of its head")
            require(sealed_length(end - data.at), path, "not as long as a sealed message")
            walk.blobs += 1
        data.take(end - data.at)
    # Room taken ahead; a part of a record is there only after a power cut, of which this walk is not about.
    require(not any(data.take(len(data.data) - data.at)), path, "bytes behind the last record")


def _journal(path: Path, walk: Walk) -> None:
    records = _places(path, b"leadglass journal v1\n", walk.archive_id, 512)
    require(sealed_length(512) and 512 - 24 - 32 - 16 == 440, path, "a place is no sealed message")
    walk.conflicts = sum(any(record) for record in records)


def _database(path: Path, _: Walk) -> None:
    data = path.read_bytes()
    require(len(data) % 8192 == 0, path, "not pages of 8 KiB")
    require(not data or (data[16:18] == b"\x20\x00" and data[:15] != b"SQLite format 3"), path, "not encrypted pages")
    # Encrypted bytes look like chance: every page has nearly all values, none much more often than another.
    for at in range(0, len(data), 8192):
        page = data[at : at + 8192]
        require(max(page.count(value) for value in set(page)) < 100, path, "a page that is not encrypted")


def _log_of_database(path: Path, _: Walk) -> None:
    data = path.read_bytes()
    if not data:
        return
    require(data[:4] in {b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"}, path, "not a write-ahead log")
    require((len(data) - 32) % (24 + 8192) == 0, path, "not frames of a page each")
    for at in range(32, len(data), 24 + 8192):
        page = data[at + 24 + (32 if int.from_bytes(data[at : at + 4], "big") == 1 else 0) : at + 24 + 8192]
        require(max(page.count(value) for value in set(page)) < 100, path, "a page that is not encrypted")


def _shared_memory(path: Path, _: Walk) -> None:
    data = path.read_bytes()
    require(len(data) % 32768 == 0, path, "not blocks of 32 KiB")
    require(all(not re.search(rb"[A-Za-z0-9 .^-]{12}", data[at : at + 32768]) for at in range(0, len(data), 32768)), path, "text")


def _trail_key(path: Path, _: Walk) -> None:
    require(re.fullmatch(rb"leadglass/[0-9a-f]{32}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}\n", path.read_bytes()), path, "not a verifier key")


def _checkpoint(path: Path, walk: Walk) -> None:
    form = rb"leadglass/([0-9a-f]{32})\n(\d+)\n([A-Za-z0-9+/=]{44})\n\n\xe2\x80\x94 leadglass/[0-9a-f]{32} ([A-Za-z0-9+/=]+)\n"
    match = re.fullmatch(form, path.read_bytes())
    require(match, path, "not a checkpoint")
    assert match
    require(bytes.fromhex(match[1].decode()) == walk.archive_id and len(base64.b64decode(match[4])) == 4 + 64, path, "another's checkpoint")
    walk.entries = int(match[2])


def _reserve(path: Path, _: Walk) -> None:
    require(path.read_bytes() == bytes(4 << 20), path, "not 4 MiB of zeros")


def _leaf(data: _Reader) -> None:
    require(data.number(1) == 1, data.path, "another version of a leaf")
    require(data.number(1) in range(1, 13), data.path, "another kind of leaf")
    require(1_600_000_000 < data.number(8) / 1e9 < 4_000_000_000, data.path, "not a time")
    data.take(32)


def _records(path: Path, _: Walk) -> None:
    data = _Reader(path)
    while data.at < len(data.data):
        _leaf(data)
        require(sealed_length(len(data.take(data.number(2)))), path, "an entry that is not sealed")
    data.end()


def _bundle(path: Path, _: Walk) -> None:
    data = _Reader(path)
    while data.at < len(data.data):
        require(data.number(2) == 42, path, "a leaf of another length")
        _leaf(data)
    data.end()


def _tile(path: Path, _: Walk) -> None:
    length = path.stat().st_size
    require(length % 32 == 0 and 0 < length <= 256 * 32, path, "not a tile of hashes")


def _sealed_file(path: Path, _: Walk) -> None:
    data = path.read_bytes()
    require(sealed_length(len(data)), path, "not as long as a sealed message")
    # A message this long without a byte that stands out is sealed: text has none above 127, and few different ones.
    require(len(set(data)) > min(48, len(data) // 4), path, "looks like text")


def _certificates(path: Path, _: Walk) -> None:
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n", path.read_bytes())
    require(b"".join(blocks) == path.read_bytes() and blocks, path, "more than certificates")
    for block in blocks:
        x509.load_pem_x509_certificate(block)


def _encrypted_key(path: Path, _: Walk) -> None:
    form = rb"-----BEGIN ENCRYPTED PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END ENCRYPTED PRIVATE KEY-----\n"
    require(re.fullmatch(form, path.read_bytes()), path, "not an encrypted key alone")


def _settings(path: Path, _: Walk) -> None:
    """TOML of the administrator's own; a stray byte at its end is none."""
    try:
        tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError:
        raise NotDocumentedError(f"{path}: not TOML") from None


_N: Final = r"(?:x\d{3}/)*\d{3}"
_FILES: Final[tuple[tuple[str, Callable[[Path, Walk], None]], ...]] = (
    (r"keys/versions", _versions),
    (r"keys/table", _table),
    (r"leadglass\.toml|policy\.toml", _settings),
    (r"blobs/\d{3}/\d{3}/[0-9a-f]{32}", _blob),
    (r"blobs/\d{3}/\d{3}/pack", _pack),
    (r"blobs/incoming/[0-9a-f]{32}", lambda _path, _walk: None),  # on their way in: a start removes them; the search looks at them
    (r"(?:blobs/)?journal", _journal),
    (r"index/index\.db", _database),
    (r"index/index\.db-wal", _log_of_database),
    (r"index/index\.db-shm", _shared_memory),
    (r"trail/key", _trail_key),
    (r"trail/checkpoint", _checkpoint),
    (r"trail/reserve", _reserve),
    (rf"trail/sealed/{_N}", _records),
    (rf"trail/tile/entries/{_N}", _bundle),
    (rf"trail/tile/\d{{1,2}}/{_N}", _tile),
    (r"access/(?:users|peers|tokens|holds|seen|anchor)\.sealed", _sealed_file),
    (
        r"access/(?:users|peers|tokens|holds|seen|anchor)\.sealed\.new",
        lambda _path, _walk: None,
    ),  # what a crash left; any part of a sealed message
    (r"commitments/[0-9a-f]{32}", _sealed_file),
    (r"commitments/[0-9a-f]{32}\.new", lambda _path, _walk: None),  # what a crash left; any part of a sealed message
    (r"tls/ca\.key\.sealed", _sealed_file),
    (r"tls/(?:ca\.cert|server\.cert|trusted)\.pem", _certificates),
    (r"tls/server\.key\.pem", _encrypted_key),
)
_FOLDERS: Final = (
    r"keys|tls|access|commitments|blobs|blobs/incoming|blobs/\d{3}|blobs/\d{3}/\d{3}|index|trail|"
    r"trail/(?:sealed|tile|tile/entries|tile/\d{1,2})(?:/x\d{3})*"
)


def walk(home: Path) -> Walk:
    """Read everything under `home`; raises `NotDocumentedError` at what the documents do not explain."""
    met = Walk(home)
    order = {name: number for number, (name, _) in enumerate(_FILES)}
    found: list[tuple[int, Path, Callable[[Path, Walk], None]]] = []
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        require(not path.is_symlink(), path, "a link")
        if path.is_dir():
            require(re.fullmatch(_FOLDERS, name), path, "a folder that is not documented")
            continue
        if path.is_socket():
            require(name == "control.sock", path, "another socket")
            continue
        reader = next(((form, read) for form, read in _FILES if re.fullmatch(form, name)), None)
        require(reader and path.is_file(), path, "a file that is not documented")
        assert reader
        found.append((order[reader[0]], path, reader[1]))
    for _, path, read in sorted(found, key=lambda each: each[0]):
        read(path, met)
        met.files += 1
    require(met.archive_id, home, "no keys")
    return met
