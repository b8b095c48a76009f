"""What a vault holds, opened together, and the rules about who may add to it at the same time."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self

from leadglass.dicom.header import Header
from leadglass.dicom.uid import Uid
from leadglass.errors import NoRoom, StorageFailed
from leadglass.seal.chunked import UnsealingReader
from leadglass.vault.blobs import BlobPlace, BlobStore, OpenBlob
from leadglass.vault.index import Index
from leadglass.vault.journal import Journal
from leadglass.vault.keys import Keys, StudyKey
from leadglass.vault.rows import patient_id_of
from leadglass.vault.sealedblob import Descriptor, unseal_blob

_REMEMBERED_STUDIES: Final = 1024


@dataclass(frozen=True)
class StoredObject:
    """One stored object, opened; `reader` is a seekable file over the data set exactly as it was received."""

    descriptor: Descriptor
    reader: UnsealingReader
    size: int
    _blob: OpenBlob

    def close(self) -> None:
        self.reader.close()
        self._blob.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Claims:
    """Who may commit right now: one per SOP instance, and alone in a study or series that is not there yet."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._changed = threading.Condition()
        self._taken: set[tuple[str, ...]] = set()
        self._inside: Counter[str] = Counter()

    @contextmanager
    def held(self, header: Header) -> Iterator[None]:
        instance, study, series = ("instance", header.instance), ("study", header.study), ("series", header.study, header.series)
        mine: set[tuple[str, ...]] = {instance}
        with self._changed:
            self._changed.wait_for(lambda: self._taken.isdisjoint((instance, study, series)))
            study_is_there, series_is_there = self._index.holds_study_and_series(header)
            if not study_is_there:
                mine.add(study)
            if not series_is_there:
                mine.add(series)
            self._taken |= mine
            self._inside[header.study] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= mine
                self._inside[header.study] -= 1
                if not self._inside[header.study]:
                    del self._inside[header.study]
                self._changed.notify_all()

    @contextmanager
    def settling(self, instance: str, studies: set[str]) -> Iterator[None]:
        mine: set[tuple[str, ...]] = {("instance", instance), *(("study", study) for study in studies)}
        with self._changed:
            self._changed.wait_for(lambda: self._taken.isdisjoint(mine))
            self._taken |= mine
            # Nobody comes in any more; who is in may finish.
            self._changed.wait_for(lambda: not any(study in self._inside for study in studies))
        try:
            yield
        finally:
            with self._changed:
                self._taken -= mine
                self._changed.notify_all()


class _StudyKeys:
    """Which key a study's objects get.

    The same Study Instance UID under another patient gets a key of its own: forgetting the one must not take the other along.
    """

    def __init__(self, keys: Keys, index: Index) -> None:
        self._keys = keys
        self._index = index
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], StudyKey] = OrderedDict()

    def __call__(self, study: Uid, patient_id: str) -> StudyKey:
        with self._lock:
            key = self._known.get((study, patient_id))
            if key is None:
                row = self._index.study(study)
                same = row is not None and row.patient_id == patient_id
                key = StudyKey(row.key_id, self._keys.key(row.key_id)) if row is not None and same else self._keys.new_study_key()
                self._known[study, patient_id] = key
                if len(self._known) > _REMEMBERED_STUDIES:
                    self._known.popitem(last=False)
            return key


class Holdings:
    """Keys, blobs, index and journal of one archive; safe for several threads."""

    def __init__(self, keys: Keys, blobs: BlobStore, index: Index, journal: Journal) -> None:
        self.keys = keys
        self.blobs = blobs
        self.index = index
        self.journal = journal
        self._claims = _Claims(index)
        self._study_keys = _StudyKeys(keys, index)
        self._in_flight: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._committed_ns = 0
        self.settlements = threading.Lock()
        """Held by whoever settles a conflict: one at a time."""
        self._complete_before = index.state("shard")

    def open_place(self, place: BlobPlace) -> StoredObject:
        """Open the blob that lies there; Damaged if it is missing, changed or another's, KeyUnavailable if its study was forgotten."""
        blob = self.blobs.open(place)
        try:
            descriptor, _, reader = unseal_blob(self.keys, blob, place.blob_id)
        except BaseException:
            blob.close()
            raise
        return StoredObject(descriptor, reader, reader.size, blob)

    def key_for(self, header: Header) -> StudyKey:
        """The key of the header's study and patient; durable before it is returned."""
        return self._study_keys(header.study, patient_id_of(header))

    @contextmanager
    def alone_with(self, header: Header) -> Iterator[None]:
        """While this lasts, nobody else commits the same instance, nor into a study or series that is not there yet.

        So the object that makes a study or series, and speaks for it from then on, is the first of it in the order of commits.
        """
        with self._claims.held(header):
            yield

    @contextmanager
    def settling(self, instance: Uid, studies: set[Uid]) -> Iterator[None]:
        """While this lasts, nobody commits this instance, nor anything into these studies: what is served of them may be exchanged."""
        with self._claims.settling(instance, set(studies)):
            yield

    def next_commit(self) -> int:
        """The moment of a commit, in nanoseconds: later than every one before it, also when the clock was set back."""
        with self._lock:
            self._committed_ns = max(time.time_ns(), self._committed_ns + 1, self.index.latest + 1)
            return self._committed_ns

    @contextmanager
    def landing(self) -> Iterator[None]:
        """A blob is placed and indexed while this lasts: the index must not call its shard complete meanwhile."""
        with self._lock:
            shard = self.blobs.shard
            self._in_flight[shard] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[shard] -= 1
                if not self._in_flight[shard]:
                    del self._in_flight[shard]
                self._note_complete(min(self._in_flight, default=self.blobs.shard))

    def _note_complete(self, shard: int) -> None:
        if shard > self._complete_before:
            # Only spares the next start some looking; the object that just landed is safe without it.
            with suppress(NoRoom, StorageFailed):
                self.index.set_state("shard", shard)
                self._complete_before = shard
