"""One object on its way in: sealed as it arrives, compared with what is there, durable before it is acknowledged."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from leadglass.dicom.content import content_digest
from leadglass.errors import BadInput, Damaged, KeyUnavailable, NoRoom, StorageFailed
from leadglass.vault.journal import Conflict, ConflictKind, Standing, State
from leadglass.vault.rows import Entry, patient_id_of
from leadglass.vault.sealedblob import Ending, finish_blob, start_blob, unseal_blob
from leadglass.vocabulary import StoreResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leadglass.dicom.header import Header
    from leadglass.dicom.predicate import StudyPredicate
    from leadglass.seal.chunked import Bytes, SealingWriter
    from leadglass.vault.blobs import BlobPlace, BlobWriter
    from leadglass.vault.holdings import Holdings, StoredObject
    from leadglass.vault.sealedblob import Descriptor

_REPLAY_SIZE: Final = 1024 * 1024


def _not_told(_result: StoreResult) -> None:
    pass


class Deposit:
    """Write the data set, then commit or abandon. Not for several threads at once.

    An instance that is there already is only compared as long as its bytes are the same: a sender who repeats himself writes nothing.
    """

    def __init__(self, holdings: Holdings, header: Header, descriptor: Descriptor, predicate: StudyPredicate) -> None:
        self._holdings = holdings
        self._header = header
        self._descriptor = descriptor
        self._predicate = predicate
        self._writer: BlobWriter = holdings.blobs.create()
        self._sealing: SealingWriter | None = None
        self._key_id = b""
        self._size = 0
        self._over = False
        self._twin = self._open_twin()

    def write(self, data: Bytes) -> None:
        """Take the next bytes of the data set. NoRoom or StorageFailed, after which nothing is kept."""
        if self._over:
            raise ValueError("this deposit is over")
        try:
            if self._twin is None:
                self._seal(data)
            elif self._twin_goes_on_with(data):
                self._size += len(data)
            else:
                self._stop_comparing()
                self._seal(data)
        except BaseException:
            self.abandon()
            raise

    def commit(self, decided: Callable[[StoreResult], object] = _not_told) -> StoreResult:
        """Keep the object, durably, and say what became of it. NoRoom or StorageFailed: it is not kept; send it again.

        `decided` is called once with what becomes of it: when a kill of the process cannot undo it any more, while a power cut still may.
        """
        if self._over:
            raise ValueError("this deposit is over")
        try:
            if self._twin is not None:
                if self._size == self._twin.size:
                    decided(StoreResult.ALREADY_THERE)
                    return StoreResult.ALREADY_THERE
                self._stop_comparing()
            sealing = self._sealing_writer()
            with self._holdings.alone_with(self._header):
                clash = self._clash()
                ending = Ending(clash is not None, self._holdings.next_commit())
                finish_blob(sealing, ending)
                if clash is not None:
                    return self._keep_once(*clash, ending, decided)
                return self._store(ending, decided)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Keep nothing; harmless after a commit."""
        self._over = True
        self._close_twin()
        self._writer.abandon()

    def _seal(self, data: Bytes) -> None:
        self._sealing_writer().write(data)
        self._size += len(data)

    def _sealing_writer(self) -> SealingWriter:
        if self._sealing is None:
            key = self._holdings.key_for(self._header)
            self._key_id = key.key_id
            self._sealing = start_blob(self._holdings.keys.archive_id, key, self._writer, self._descriptor)
        return self._sealing

    def _open_twin(self) -> StoredObject | None:
        place = self._holdings.index.place(self._header.instance)
        if place is None:
            return None
        with suppress(Damaged, KeyUnavailable):
            twin = self._holdings.open_place(place)
            if twin.descriptor.transfer_syntax == self._descriptor.transfer_syntax:
                return twin
            twin.close()
        return None

    def _twin_goes_on_with(self, data: Bytes) -> bool:
        assert self._twin is not None  # noqa: S101 - for the type checker
        try:
            return self._twin.reader.read(len(data)) == data
        except Damaged:
            # What was compared before was whole; this object is kept aside, as nobody can say that they are the same.
            return False

    def _stop_comparing(self) -> None:
        """The bytes differ from here on: begin to seal, with what was the same before taken from the stored object."""
        twin, self._twin = self._twin, None
        if twin is None:
            return
        same, self._size = self._size, 0
        with twin:
            twin.reader.seek(0)
            while self._size < same:
                self._seal(twin.reader.read(min(_REPLAY_SIZE, same - self._size)))

    def _close_twin(self) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None

    def _clash(self) -> tuple[ConflictKind, bytes] | None:
        """Why the object cannot simply be stored, and the blob that was there first; nobody else decides about the same meanwhile."""
        holdings, header = self._holdings, self._header
        place = holdings.index.place(header.instance)
        if place is not None:
            return ConflictKind.SAME_INSTANCE, place.blob_id
        study = holdings.index.study(header.study)
        if study is None:
            return None
        if study.patient_id != patient_id_of(header):
            return ConflictKind.OTHER_PATIENT, study.first_blob_id
        if not holdings.index.admits(header.study, self._predicate):
            # To join it would change a study that the sender may not see, and might make him see all of it.
            return ConflictKind.UNSEEN_STUDY, study.first_blob_id
        return None

    def _store(self, ending: Ending, decided: Callable[[StoreResult], object]) -> StoreResult:
        holdings, descriptor = self._holdings, self._descriptor
        with holdings.landing():
            place = self._writer.put()
            moments = descriptor.received_ns, ending.committed_ns
            entry = Entry(self._header, descriptor.transfer_syntax, self._size, *moments, place, self._key_id)
            with self._removed_if_it_fails(place):
                decided(StoreResult.STORED)
            self._writer.make_durable()
            with self._removed_if_it_fails(place):
                holdings.index.add(entry)
        return StoreResult.STORED

    def _keep_once(self, kind: ConflictKind, first: bytes, ending: Ending, decided: Callable[[StoreResult], object]) -> StoreResult:
        """Put the object aside, unless it equals what is served or was put aside already."""
        digest = self._digest()
        if digest is not None:
            place = self._holdings.index.place(self._header.instance)
            if place is not None and self._digest_at(place) == digest:
                decided(StoreResult.ALREADY_THERE)
                return StoreResult.ALREADY_THERE
            if self._is_aside(digest):
                decided(StoreResult.CONFLICT)
                return StoreResult.CONFLICT
        self._put_aside(kind, first, ending, digest, decided)
        return StoreResult.CONFLICT

    def _put_aside(
        self, kind: ConflictKind, first: bytes, ending: Ending, digest: bytes | None, decided: Callable[[StoreResult], object]
    ) -> None:
        holdings = self._holdings
        with holdings.landing():
            place = self._writer.put()
            conflict = Conflict(kind, place.blob_id, first, ending.committed_ns)
            with self._removed_if_it_fails(place):
                decided(StoreResult.CONFLICT)
            self._writer.make_durable()
            with self._removed_if_it_fails(place):
                holdings.journal.append(conflict)
                # Durable from here on: should the index refuse, the next start tells it.
                with suppress(NoRoom, StorageFailed):
                    holdings.index.put_aside(Standing(conflict, State.OPEN, 0), place, self._header, digest)

    @contextmanager
    def _removed_if_it_fails(self, place: BlobPlace) -> Iterator[None]:
        """Not acknowledged, so it must not turn up later either; only where a flush failed it may, as nobody knows what the disk has."""
        try:
            yield
        except BaseException:
            self._holdings.blobs.remove(place)
            raise

    def _is_aside(self, digest: bytes) -> bool:
        """Whether an object that says the same is kept aside already; each one there is read at most once, not for every store."""
        index, instance = self._holdings.index, self._header.instance
        with index.asides() as asides:
            unread = asides.unread(instance)
        for place in unread:
            theirs = self._digest_at(place)
            if theirs is not None:
                with index.asides() as asides:
                    asides.note_digest(place.blob_id, theirs)
        with index.asides() as asides:
            return asides.holds(instance, digest)

    def _digest(self) -> bytes | None:
        """What this object says: by its elements, whatever its transfer syntax and its encoding of lengths."""
        mine = self._writer.reread()
        try:
            descriptor, _, reader = unseal_blob(self._holdings.keys, mine, self._writer.blob_id)
            return content_digest(reader, descriptor.transfer_syntax)
        except (Damaged, KeyUnavailable, BadInput):
            return None
        finally:
            mine.close()

    def _digest_at(self, place: BlobPlace) -> bytes | None:
        try:
            with self._holdings.open_place(place) as stored:
                return content_digest(stored.reader, stored.descriptor.transfer_syntax)
        except (Damaged, KeyUnavailable, BadInput):
            return None
