"""Bringing the index up to what is stored: after an unclean stop for the last shards, in a rebuild for all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leadglass import logs
from leadglass.dicom.header import Header, scan
from leadglass.durable import sync_folder
from leadglass.errors import BadInput, Damaged, KeyUnavailable
from leadglass.seal.chunked import UnsealingReader
from leadglass.vault.blobs import BlobPlace, BlobStore
from leadglass.vault.holdings import Holdings
from leadglass.vault.index import Index
from leadglass.vault.journal import Conflict, ConflictKind, Journal, Standing, State, standings
from leadglass.vault.keys import Keys
from leadglass.vault.rows import Entry
from leadglass.vault.sealedblob import read_clear_header, unseal_blob

_AT_ONCE: Final = 1024 * 1024

_FIRST_LOOK: Final = 16 * 1024


@dataclass(frozen=True)
class Found:
    """A blob that opens, with all that the index wants to know of it."""

    aside: bool
    """Whether it was put aside when it was committed."""
    entry: Entry


def read_header(reader: UnsealingReader, transfer_syntax: str) -> Header:
    """The header of the data set that begins where the reader is; BadDataSet if it has none."""
    length, prefix = _FIRST_LOOK, b""
    while True:
        prefix += reader.read(length - len(prefix))
        header = scan(prefix, transfer_syntax, complete=len(prefix) < length)
        if isinstance(header, Header):
            return header
        length *= 4


def look_at(keys: Keys, blobs: BlobStore, place: BlobPlace) -> Found:
    """What lies at a place; Damaged, KeyUnavailable or BadInput if it cannot be known."""
    blob = blobs.open(place)
    try:
        key_id = read_clear_header(blob).key_id
        descriptor, ending, reader = unseal_blob(keys, blob, place.blob_id)
        header = read_header(reader, descriptor.transfer_syntax)
        moments = descriptor.received_ns, ending.committed_ns
        return Found(ending.aside, Entry(header, descriptor.transfer_syntax, reader.size, *moments, place, key_id))
    finally:
        blob.close()


def admit_unknown(holdings: Holdings) -> int:
    """Index what lies in the last shards and is not indexed; returns how many there were.

    A blob that does not open stays where it is, for `check` to name: it may be somebody's work, and is evidence. Only what a power cut left
    half written at the end of a pack, hence never acknowledged, is made void.
    """
    index, blobs = holdings.index, holdings.blobs
    count = 0
    journaled: dict[bytes, Standing] | None = None
    for shard in range(index.state("shard"), blobs.shard + 1):
        known = index.blobs_in(shard)
        unknown = [place for place in blobs.places_in(shard) if place not in known]
        if unknown and journaled is None:
            journaled = standings(holdings.journal)
        for found in _in_order(holdings.keys, blobs, unknown, drop_torn=True):
            _admit(index, holdings.journal, journaled or {}, found)
            count += 1
    index.flush()
    return count


def rebuild(path: Path, keys: Keys, blobs: BlobStore, journal: Journal, progress: Callable[[int], None]) -> int:
    """Make a new index beside the old one, then put it in its place."""
    fresh = path.with_name(path.name + ".new")
    _remove(fresh)
    index = Index.create(fresh, keys.named("index"))
    index.set_state("journal", len(journal))
    journaled = standings(journal)
    count = 0
    for shard in range(blobs.shard + 1):
        index.set_state("shard", shard)
        for found in _in_order(keys, blobs, blobs.places_in(shard)):
            _admit(index, journal, journaled, found)
            count += 1
            progress(count)
    index.close()
    _remove(path)
    fresh.rename(path)
    sync_folder(path.parent)
    return count


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _in_order(keys: Keys, blobs: BlobStore, places: list[BlobPlace], *, drop_torn: bool = False) -> list[Found]:
    """What opens of one shard, in the order in which it was committed: where two claim the same, the earlier one is the first."""
    found = []
    for place in places:
        try:
            seen = look_at(keys, blobs, place)
            if drop_torn and blobs.is_torn(place):
                _read_whole(keys, blobs, place)
            found.append(seen)
        except (Damaged, KeyUnavailable, BadInput) as error:
            if drop_torn and isinstance(error, Damaged) and blobs.is_torn(place):
                blobs.remove(place)
                continue
            logs.fault("a blob does not open and is not indexed; `leadglass check` names it", error)
    return sorted(found, key=lambda one: one.entry.precedence)


def _read_whole(keys: Keys, blobs: BlobStore, place: BlobPlace) -> None:
    """Damaged where a power cut took any part of it: its head and its end alone may have reached the disk."""
    blob = blobs.open(place)
    try:
        _, _, reader = unseal_blob(keys, blob, place.blob_id)
        while reader.read(_AT_ONCE):
            pass
    finally:
        blob.close()


def _admit(index: Index, journal: Journal, journaled: dict[bytes, Standing], found: Found) -> None:
    entry = found.entry
    if index.holds(entry.place.blob_id, entry.header.instance):
        logs.warn("a blob lies in two places; `leadglass check` names the one that is too much")
        return
    standing = journaled.get(entry.place.blob_id)
    if standing is None and (conflict := _conflict(index, found)) is not None:
        # The stop came between the blob and its record: whoever was there first still is.
        journal.append(conflict)
        standing = Standing(conflict, State.OPEN, 0)
    if standing is not None:
        index.put_aside(standing, entry.place, entry.header)
    if standing is None or standing.state is State.ACCEPTED:
        index.add(entry)


def _conflict(index: Index, found: Found) -> Conflict | None:
    entry = found.entry
    place, study = index.place(entry.header.instance), index.study(entry.header.study)
    if place is not None:
        return Conflict(ConflictKind.SAME_INSTANCE, entry.place.blob_id, place.blob_id, entry.committed_ns)
    if study is not None and study.patient_id != entry.patient_id:
        return Conflict(ConflictKind.OTHER_PATIENT, entry.place.blob_id, study.first_blob_id, entry.committed_ns)
    if study is not None and found.aside:
        return Conflict(ConflictKind.UNSEEN_STUDY, entry.place.blob_id, study.first_blob_id, entry.committed_ns)
    return None
