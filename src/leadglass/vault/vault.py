"""Class Vault: everything that is stored of patients, behind four verbs: deposit, find, instances, open_object.

What holds: an object is acknowledged (by `Deposit.commit` returning) only after its blob, its place and its key are durable; the first
object of a SOP Instance UID, and the first patient of a Study Instance UID, stay the ones that are served.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from leadglass.dicom.header import Header
from leadglass.dicom.predicate import StudyPredicate
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.uid import Uid
from leadglass.durable import make_folder
from leadglass.errors import Damaged
from leadglass.vault.asides import ConflictRow, Wanted
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.check import Problem, check
from leadglass.vault.contenders import Contender, admits, contenders, counterpart
from leadglass.vault.deposit import Deposit
from leadglass.vault.folder import PACKED, FolderBlobs
from leadglass.vault.holdings import Holdings, StoredObject
from leadglass.vault.index import Index, InstanceRow
from leadglass.vault.journal import Conflict, Journal
from leadglass.vault.keys import Keys
from leadglass.vault.room import Room
from leadglass.vault.sealedblob import Descriptor
from leadglass.vault.settling import accept, catch_up, reject
from leadglass.vault.upkeep import admit_unknown, rebuild


@dataclass(frozen=True)
class Counts:
    """How many objects lie in the vault; `blobs` counts what was put aside too."""

    blobs: int
    instances: int


def _no_progress(_count: int) -> None:
    pass


def _not_counted() -> None:
    pass


class Vault:
    """Safe for several threads of one process; one process at a time."""

    def __init__(self, home: Path, holdings: Holdings) -> None:
        self._home = home
        self._holdings = holdings

    @classmethod
    def create(cls, home: Path, keys: Keys, *, reserve_bytes: int = 0, packed: int = PACKED) -> Self:
        """Make HOME/blobs and HOME/index for a new archive whose keys exist."""
        make_folder(home / "blobs")
        make_folder(home / "index")
        Journal.create(_journal_path(home), keys.archive_id)
        Index.create(_index_path(home), keys.named("index")).close()
        return cls.open(home, keys, reserve_bytes=reserve_bytes, packed=packed)

    @classmethod
    def open(cls, home: Path, keys: Keys, *, reserve_bytes: int = 0, packed: int = PACKED) -> Self:
        """Open what is stored, and admit what an unclean stop kept out of the index; blobs of up to `packed` bytes share packs.

        Damaged if the journal or the index is missing or was changed; `remake_index` makes the index again.
        """
        journal = Journal(_journal_path(home), keys.archive_id, keys.named("journal"))
        blobs = FolderBlobs(home / "blobs", Room(home, reserve_bytes), packed=packed)
        blobs.sweep()
        vault = cls(home, Holdings(keys, blobs, Index.open(_index_path(home), keys.named("index")), journal))
        try:
            vault.reconcile()
        except BaseException:
            vault.close()
            raise
        return vault

    @staticmethod
    def remake_index(home: Path, keys: Keys, progress: Callable[[int], None] = _no_progress) -> int:
        """Make the index of a vault that is not open from its blobs, keys and journal; returns how many blobs it tells of."""
        make_folder(home / "index")
        journal = Journal(_journal_path(home), keys.archive_id, keys.named("journal"))
        blobs = FolderBlobs(home / "blobs", Room(home, 0))
        try:
            return rebuild(_index_path(home), keys, blobs, journal, progress)
        finally:
            blobs.close()
            journal.close()

    def deposit(
        self, header: Header, transfer_syntax: Uid, predicate: StudyPredicate, *, route: str, sender: Mapping[str, str] | None = None
    ) -> Deposit:
        """Begin to store an object whose header is known; its data set then goes through `Deposit.write`, from its first byte.

        It joins a study that is there only if `predicate` admits that study as it is, and is put aside otherwise.
        NoRoom below the low-water mark, before anything is written; StorageFailed.
        """
        descriptor = Descriptor(header.sop_class, header.instance, header.study, transfer_syntax, time.time_ns(), route, dict(sender or {}))
        return Deposit(self._holdings, header, descriptor, predicate)

    def find(
        self, query: Query, predicate: StudyPredicate, stopped: Callable[[], bool] = lambda: False
    ) -> Generator[dict[str, str], None, None]:
        """The records that match within the studies admitted, streamed; keyword to text. Close it, or read it to its end.

        They end early once `stopped` says so, which is asked all the while.
        """
        return self._holdings.index.find(query, predicate, stopped)

    def instances(self, selection: Selection, predicate: StudyPredicate) -> Iterator[InstanceRow]:
        """The instances selected within the studies admitted, streamed in the order of study, series and number."""
        return self._holdings.index.instances(selection, predicate)

    def open_object(self, row: InstanceRow) -> StoredObject:
        """Open an instance that `instances` gave; Damaged if its blob is missing, changed or another's."""
        stored = self._holdings.open_place(row.place)
        if stored.descriptor.sop_instance != row.sop_instance:
            stored.close()
            raise Damaged("a blob holds another object than the index says; run `leadglass index rebuild HOME`")
        return stored

    def senders_aside(self, instance: Uid) -> Iterator[Mapping[str, str]]:
        """Who sent the objects of this instance that were put aside; Damaged, KeyUnavailable at their turn."""
        for place in self._holdings.index.aside(instance):
            with self._holdings.open_place(place) as stored:
                yield stored.descriptor.sender

    def conflicts(self) -> Iterator[Conflict]:
        """What was put aside, in the order in which it was."""
        return (record for record in self._holdings.journal if isinstance(record, Conflict))

    def admits(self, study: Uid, predicate: StudyPredicate) -> bool:
        """Whether a search within `predicate` finds the study; for `EVERY_STUDY` whether or not it is there."""
        return self._holdings.index.admits(study, predicate)

    def in_conflict(self, wanted: Wanted, predicate: StudyPredicate) -> Iterator[Contender]:
        """What was put aside, opened for a look, where `predicate` admits both sides; see `vault.contenders`."""
        return contenders(self._holdings, wanted, predicate)

    def may_know(self, contender: Contender, predicate: StudyPredicate) -> bool:
        """Whether `predicate` admits both sides of a conflict."""
        return admits(self._holdings, contender, predicate)

    def counterpart(self, contender: Contender, predicate: StudyPredicate) -> Contender | None:
        """What an object in conflict is compared with; see `vault.contenders`."""
        return counterpart(self._holdings, contender, predicate)

    def open_side(self, place: BlobPlace) -> StoredObject:
        """Open one side of a conflict; Damaged, KeyUnavailable."""
        return self._holdings.open_place(place)

    def accept(self, row: ConflictRow, intent: int, *, again: bool) -> None:
        """Serve what was put aside; see `vault.settling`."""
        accept(self._holdings, row, intent, again=again)

    def reject(self, row: ConflictRow, intent: int, *, again: bool) -> None:
        """Leave aside what was put aside; see `vault.settling`."""
        reject(self._holdings, row, intent, again=again)

    def open_conflicts(self) -> int:
        """How many conflicts nobody has settled."""
        with self._holdings.index.asides() as asides:
            return asides.count()

    def reconcile(self) -> int:
        """Make the index say what blobs and journal say, as after a kill or a power cut; returns how much it did not."""
        return catch_up(self._holdings) + admit_unknown(self._holdings)

    def check(self, sample: float = 100, read_whole: Callable[[], object] = _not_counted) -> Iterator[Problem]:
        """Compare keys, blobs, journal and index with each other; the content of `sample` percent of the blobs is read to its last byte.

        `read_whole` is called once for each blob whose content is looked at.
        """
        return check(self._holdings, sample, read_whole)

    def counts(self) -> Counts:
        """How much there is, by the blobs' places and by the index."""
        (instances,) = next(self._holdings.index.rows("SELECT count(*) FROM instance_rows"))
        blobs = self._holdings.blobs
        return Counts(blobs=sum(len(blobs.places_in(shard)) for shard in range(blobs.shard + 1)), instances=instances)

    def index_dump(self) -> Iterator[str]:
        """All that the index says, one line a row, in an order that does not depend on how it was made."""
        return self._holdings.index.dump()

    def close(self) -> None:
        """Close blobs, index and journal; the keys stay with whoever opened them."""
        self._holdings.blobs.close()
        self._holdings.index.close()
        self._holdings.journal.close()


def _journal_path(home: Path) -> Path:
    return home / "blobs" / "journal"


def _index_path(home: Path) -> Path:
    return home / "index" / "index.db"
