"""Storage commitment: of which objects a peer may be told that they are kept, after each was read back whole (PS3.4 annex J).

A peer learns of an object only if it may find or get its study, or has handed the object in itself: as the blob says, or, where an equal
object was there already, as `Receipts` remember. For everybody else it is not there.
"""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from leadglass import logs
from leadglass.access.gate import Gate
from leadglass.access.grant import CommitmentGrant
from leadglass.access.identity import Kind, Principal
from leadglass.dicom.commitment import CommitmentReport, CommitmentRequest, Reference
from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Selection
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.errors import Damaged, KeyUnavailable, LeadglassError, StorageFailed, TooMuchAtOnce
from leadglass.vault.index import InstanceRow
from leadglass.vault.outbox import Outbox
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Door, Outcome, StoreResult

MAX_WAITING: Final = 256
"""Commitments that are not reported yet, of all peers."""
MAX_WAITING_OF_PEER: Final = 32
_FORMAT_VERSION: Final = 1
_REMEMBERED: Final = 65_536
_LOOKED_UP_AT_ONCE: Final = 500
_READ_AT_ONCE: Final = 1024 * 1024


class Receipts:
    """Who handed in what was not stored anew, lately: an equal object was there already, or it clashed. In memory and bounded.

    After a restart, or when it is full, a peer that sends the object again is remembered again.
    """

    def __init__(self) -> None:
        self._served: OrderedDict[bytes, bool] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, principal_id: str, instance: Uid, result: StoreResult) -> None:
        """Remember what became of an object that this principal handed in."""
        if result is StoreResult.STORED:
            return  # its blob says so
        with self._lock:
            key = self._key(principal_id, instance)
            self._served[key] = result is StoreResult.ALREADY_THERE
            self._served.move_to_end(key)
            if len(self._served) > _REMEMBERED:
                self._served.popitem(last=False)

    def served(self, principal_id: str, instance: Uid) -> bool | None:
        """Whether what he handed in equals what is served; None if nothing is remembered."""
        with self._lock:
            return self._served.get(self._key(principal_id, instance))

    def forget(self) -> None:
        """What is served has changed: nobody is told of what equalled it before; who sends again is remembered again."""
        with self._lock:
            self._served.clear()

    @staticmethod
    def _key(principal_id: str, instance: Uid) -> bytes:
        return hashlib.sha256(f"{sender_of(principal_id)} {instance}".encode()).digest()[:16]


def sender_of(principal_id: str) -> str:
    """The peer in a principal's id, whoever used it: the same modality counts as the same sender."""
    _, at, ae_title = principal_id.partition(f"+{Kind.PEER}:")
    return f"{Kind.PEER}:{ae_title}" if at and principal_id.startswith(f"{Kind.TOKEN}:") else principal_id


@dataclass(frozen=True)
class Promise:
    """A commitment that was asked for and is not reported yet; who asked is judged anew whenever it is taken up."""

    request: CommitmentRequest
    principal: Principal
    """The peer that asked, with the person at it if there was one; to be looked up again by the gate."""
    door: Door
    address: str
    asked_ns: int
    """Nanoseconds since 1970."""
    name: str = ""
    """Under which it lies in the outbox."""

    def encode(self) -> bytes:
        """As it is kept."""
        user = self.principal.user
        fields = {
            "v": _FORMAT_VERSION,
            "transaction": self.request.transaction,
            "peer": self.peer,
            "credential": self.principal.credential,
            "ends": self.principal.ends,
            "user": None if user is None else {"id": user.id, "name": user.name, "credential": user.credential},
            "door": self.door,
            "address": self.address,
            "asked": self.asked_ns,
            "objects": [[each.sop_class, each.sop_instance] for each in self.request.references],
        }
        return json.dumps(fields, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, content: bytes, name: str) -> "Promise":
        """Damaged for what `encode` does not write."""
        try:
            fields = json.loads(content)
            if fields["v"] != _FORMAT_VERSION:
                raise Damaged("a waiting commitment has a format version that this leadglass does not know; use a newer one")
            references = tuple(Reference(Uid(sop_class), Uid(instance)) for sop_class, instance in fields["objects"])
            request = CommitmentRequest(Uid(fields["transaction"]), references)
            door = Door(fields["door"])
            return cls(request, _principal(fields), door, fields["address"], fields["asked"], name)
        except (ValueError, KeyError, TypeError, LeadglassError):
            raise Damaged(f"commitments/{name} opens but is not one that leadglass writes; remove it") from None

    @property
    def peer(self) -> str:
        """The AE title of who asked."""
        return self.principal.name


def _principal(fields: dict[str, Any]) -> Principal:
    name, user = fields["peer"], fields["user"]
    peer = Principal(f"peer:{name}", Kind.PEER, name, credential=fields["credential"], ends=fields["ends"])
    return peer if user is None else Principal(user["id"], Kind.TOKEN, user["name"], credential=user["credential"]).at(peer)


class Promises:
    """The commitments that wait to be reported, in memory as on the disk; thread-safe."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._lock = threading.Lock()
        self._waiting: dict[str, Promise] = {}
        for promise in self._readable():
            self._waiting[promise.name] = promise

    def _readable(self) -> Iterator[Promise]:
        try:
            names = self._outbox.names()
        except Damaged as error:
            logs.fault("waiting storage commitments cannot be read", error)
            return
        for name in names:
            try:
                yield Promise.decode(self._outbox.read(name), name)
            except Damaged as error:
                # One that is lost must not keep the archive from serving; `problems` names it.
                logs.fault("a waiting storage commitment cannot be read", error)

    def problems(self) -> Iterator[str]:
        """What is wrong with the files of those that wait."""
        try:
            names = self._outbox.names()
        except Damaged as error:
            yield str(error)
            return
        for name in names:
            try:
                Promise.decode(self._outbox.read(name), name)
            except FileNotFoundError:
                continue  # it was reported meanwhile
            except Damaged as error:
                yield str(error)

    def waiting(self) -> tuple[Promise, ...]:
        with self._lock:
            return tuple(self._waiting.values())

    def make(self, request: CommitmentRequest, principal: Principal, door: Door, address: str) -> Promise:
        """Keep it, durably; TooMuchAtOnce, NoRoom, StorageFailed."""
        promise = Promise(request, principal, door, address, time.time_ns())
        with self._lock:
            of_peer = sum(each.peer == promise.peer for each in self._waiting.values())
            if len(self._waiting) >= MAX_WAITING or of_peer >= MAX_WAITING_OF_PEER:
                raise TooMuchAtOnce("too many storage commitments wait to be reported; ask again when they are")
            name = self._outbox.put(promise.encode())
            kept = Promise.decode(promise.encode(), name)
            self._waiting[name] = kept
            return kept

    def end(self, promise: Promise) -> None:
        """It was reported, or given up."""
        with self._lock:
            if self._waiting.pop(promise.name, None) is not None:
                self._outbox.remove(promise.name)


def take_on(gate: Gate, promises: Promises, request: CommitmentRequest, who: tuple[Principal, Door, str]) -> Promise:
    """Keep what was asked for, once the trail says by whom; NotAllowed, TooMuchAtOnce, NoRoom, StorageFailed."""
    with gate.admit_commitment(*who, detail=_described(request, "storage-commitment-request")) as grant:
        promise = promises.make(request, *who)
        try:
            grant.settle(Outcome.DONE)
        except BaseException:
            promises.end(promise)
            raise
        return promise


def _described(request: CommitmentRequest, verb: str) -> dict[str, str | int]:
    return {"verb": verb, "transaction": request.transaction, "asked": len(request.references)}


def check(gate: Gate, vault: Vault, receipts: Receipts, promise: Promise) -> CommitmentReport:
    """Read every object back and say which are kept; NotAllowed if who asked may not any more."""
    request = promise.request
    detail = _described(request, "storage-commitment")
    with gate.admit_commitment(promise.principal, promise.door, promise.address, detail=detail) as grant:
        judge = _Judge(grant, vault, receipts)
        committed: list[Reference] = []
        failed: list[tuple[Reference, int]] = []
        for reference, reason in judge.reasons(request.references):
            if reason is None:
                committed.append(reference)
            else:
                failed.append((reference, reason))
        outcome = Outcome.PARTIAL if failed else Outcome.DONE
        grant.settle(outcome, studies=sorted(judge.studies), count=len(committed), detail={"failed": len(failed)})
        return CommitmentReport(request.transaction, tuple(committed), tuple(failed))


class _Judge:
    """What one grant lets be said about objects; `studies` are those of which something was committed."""

    def __init__(self, grant: CommitmentGrant, vault: Vault, receipts: Receipts) -> None:
        self._grant = grant
        self._vault = vault
        self._receipts = receipts
        self._sender = sender_of(grant.principal.id)
        self.studies: set[Uid] = set()

    def reasons(self, references: Iterable[Reference]) -> Iterator[tuple[Reference, int | None]]:
        """Each reference with why it cannot be committed, or None."""
        remaining = iter(references)
        while some := list(islice(remaining, _LOOKED_UP_AT_ONCE)):
            selection = Selection(instances=tuple({each.sop_instance for each in some}))
            seen = {row.sop_instance for row in self._vault.instances(selection, self._grant.visible)}
            # Whose they are, only the blobs say: nothing of a row is told unless it is the sender's own.
            rows = {row.sop_instance: row for row in self._vault.instances(selection, EVERY_STUDY)}
            for each in some:
                try:
                    reason = self._reason(each, rows.get(each.sop_instance), is_seen=each.sop_instance in seen)
                except (Damaged, KeyUnavailable, StorageFailed) as error:
                    logs.fault("an object could not be read back for a storage commitment", error)
                    # Whose it is, it cannot say any more: only who may know of it all the same is told that there is something wrong.
                    known = each.sop_instance in seen or self._receipts.served(self._sender, each.sop_instance) is not None
                    reason = Status.PROCESSING_FAILURE if known else Status.NO_SUCH_SOP_INSTANCE
                yield each, reason

    def _reason(self, asked: Reference, row: InstanceRow | None, *, is_seen: bool) -> Status | None:
        served = self._receipts.served(self._sender, asked.sop_instance)
        if served is False or any(self._is_own(sender) for sender in self._vault.senders_aside(asked.sop_instance)):
            # What he sent is kept aside: until that is settled, what is served may not be what he has.
            return Status.PROCESSING_FAILURE
        if row is None:
            return Status.NO_SUCH_SOP_INSTANCE
        with self._vault.open_object(row) as stored:
            if not (is_seen or served or self._is_own(stored.descriptor.sender)):
                return Status.NO_SUCH_SOP_INSTANCE
            if row.sop_class != asked.sop_class:
                return Status.CLASS_INSTANCE_CONFLICT
            try:
                while stored.reader.read(_READ_AT_ONCE):
                    pass
            except (Damaged, StorageFailed) as error:
                logs.fault("an object could not be read back for a storage commitment", error)
                return Status.PROCESSING_FAILURE
        self.studies.add(row.study)
        return None

    def _is_own(self, sender: object) -> bool:
        return isinstance(sender, dict) and sender_of(str(sender.get("principal", ""))) == self._sender
