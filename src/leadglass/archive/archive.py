"""The archive as every door sees it: enter with credentials, and ask.

A request's way is the same for every door: the gate identifies, decides, writes the intent to the trail and hands out a grant;
one operation does the work under that grant; the outcome is written when it ends, however it ends.
"""

from collections.abc import Callable
from dataclasses import dataclass

from leadglass.access.destinations import Destination
from leadglass.access.identity import BearerToken, Credentials, PasswordAndCode, Principal
from leadglass.access.secret import Secret
from leadglass.archive.administration import Administration, Parts
from leadglass.archive.commitment import Promise, check, take_on
from leadglass.archive.conflicts import Conflicts
from leadglass.archive.fetch import Fetched, FetchedObject, Outgoing, outgoing_syntax
from leadglass.archive.find import Found, Record
from leadglass.archive.look import Accesses, accesses_to, series_of
from leadglass.archive.move import Moved, begin_move
from leadglass.archive.peering import Peering, Reached, Trial
from leadglass.archive.people import People
from leadglass.archive.proofs import NewPeer, NewProof
from leadglass.archive.rights import Rights
from leadglass.archive.store import Deposit, Limits, Provenance
from leadglass.dicom.commitment import CommitmentReport, CommitmentRequest
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.uid import Uid
from leadglass.vault.index import InstanceRow
from leadglass.vault.journal import ConflictKind
from leadglass.vault.vault import Counts
from leadglass.vocabulary import Action, Door, Refusal

__all__ = [
    "Accesses",
    "Archive",
    "Caller",
    "ConflictKind",
    "Conflicts",
    "Deposit",
    "Destination",
    "Fetched",
    "FetchedObject",
    "Found",
    "InstanceRow",
    "Limits",
    "Moved",
    "NewPeer",
    "NewProof",
    "Outgoing",
    "Parts",
    "Peering",
    "People",
    "Promise",
    "Provenance",
    "Reached",
    "Record",
    "Session",
    "Trial",
    "outgoing_syntax",
]


@dataclass(frozen=True)
class Caller:
    """Who asks, by which door and from where; the three things that every trail entry names."""

    principal: Principal
    door: Door
    address: str


class Session:
    """What one identified caller may do; thread-safe, and checked anew by the gate at every request."""

    def __init__(self, parts: Parts, caller: Caller, limits: Limits) -> None:
        self._parts = parts
        self._gate = parts.gate
        self._vault = parts.vault
        self._limits = limits
        self.caller = caller

    @property
    def principal(self) -> Principal:
        return self.caller.principal

    def may(self, action: Action) -> bool:
        """Whether the policy gives `action` for any study at all: for negotiation only, it grants nothing."""
        return self._gate.may(self.caller.principal, self.caller.door, action, self.caller.address)

    def refused(self, reason: Refusal) -> None:
        """Count in the trail that the caller was refused by the door itself."""
        self._gate.refused(self.caller.principal, self.caller.door, self.caller.address, reason)

    def is_current(self) -> bool:
        """Whether the caller is still who it was when it entered: not revoked, disabled, held, expired or elsewhere."""
        return self._gate.is_current(self.caller.principal, self.caller.door, self.caller.address)

    def echo(self) -> None:
        """Answer that we are here; raises `NotAllowed`."""
        with self._gate.admit_echo(self.caller.principal, self.caller.door, self.caller.address):
            pass

    def find(self, query: Query) -> Found:
        """The records that match `query` and that the caller may see, as a context manager over an iterable (PS3.4 C.4.1)."""
        grant = self._gate.admit_find(self.caller.principal, self.caller.door, self.caller.address)
        return Found(grant, self._vault, query)

    def series_of(self, study: Uid, returns: tuple[str, ...]) -> list[Record]:
        """The series of one study that the caller may see, by keywords of `Query.returns`; the trail names the study."""
        grant = self._gate.admit_find(self.caller.principal, self.caller.door, self.caller.address, detail={"verb": "look"})
        return series_of(grant, self._vault, study, returns)

    def accesses_to(self, study: Uid) -> Accesses | None:
        """Who has looked at one study that the caller may see; None for any other."""
        grant = self._gate.admit_find(self.caller.principal, self.caller.door, self.caller.address, detail={"verb": "accesses"})
        return accesses_to(grant, self._vault, self._parts.trail, study)

    def fetch(self, selection: Selection) -> Fetched:
        """The stored objects that `selection` names and that the caller may see, as a context manager over an iterable."""
        grant = self._gate.admit_get(self.caller.principal, self.caller.door, self.caller.address)
        return Fetched(grant, self._vault, selection, self._parts.decoders)

    def move(self, selection: Selection, destination: str) -> Moved:
        """As `fetch`, to be sent to the peer of this AE title; raises `NotAllowed` or `UnknownDestination`."""
        caller = self.caller
        return begin_move(
            self._gate, self._vault, self._parts.decoders, (caller.principal, caller.door, caller.address), selection, destination
        )

    def promise(self, request: CommitmentRequest) -> Promise:
        """Take on a storage commitment: in the trail first, and durable on return; raises `NotAllowed`, `TooMuchAtOnce` or `NoRoom`."""
        return take_on(self._gate, self._parts.promises, request, (self.caller.principal, self.caller.door, self.caller.address))

    def require_store(self) -> None:
        """Raise `NotAllowed`, with the denial in the trail, for a caller who may store nothing; asked before his data are read."""
        if not self.may(Action.STORE):
            with self._gate.admit_store(self.caller.principal, self.caller.door, self.caller.address):
                pass

    def deposit(self, transfer_syntax: Uid, provenance: Provenance) -> Deposit:
        """Take in one object, pushed piece by piece; raises `NotAllowed` or `NoRoom` before a byte is taken."""
        grant = self._gate.admit_store(self.caller.principal, self.caller.door, self.caller.address)
        return Deposit(grant, self._vault, transfer_syntax, provenance, self._limits, self._parts.receipts)

    @property
    def conflicts(self) -> Conflicts:
        """What was put aside: each call asks the gate for itself."""
        return Conflicts(self._gate, self._vault, self._parts.receipts, self.caller.principal, self.caller.door, self.caller.address)

    def acting_for(self, token: str) -> "Session":
        """A session for whoever made the token, of a caller who holds it at the same door; raises `NotIdentified`."""
        principal = self._gate.identify(self.caller.door, BearerToken(token), self.caller.address)
        return Session(self._parts, Caller(principal, self.caller.door, self.caller.address), self._limits)

    @property
    def administration(self) -> Administration:
        """People, peers, tokens, keys, the trail: each call asks the gate for itself."""
        return Administration(self._parts, self.caller.principal, self.caller.door, self.caller.address)

    @property
    def rights(self) -> Rights:
        """Who may do what: each call asks the gate for itself."""
        return Rights(self._parts, self.caller.principal, self.caller.door, self.caller.address)

    @property
    def people(self) -> People:
        """How people sign in: each call asks the gate for itself."""
        return People(self._parts, self.caller.principal, self.caller.door, self.caller.address)

    @property
    def peering(self) -> Peering:
        """What a peer is set up and tried out with: each call asks the gate for itself."""
        return Peering(self._parts, self.caller.principal, self.caller.door, self.caller.address)

    def sign_out(self) -> None:
        """End the session in which the caller signed in, now and in the trail."""
        self._gate.sign_out(self.caller.principal, self.caller.door, self.caller.address)


class Archive:
    """The open archive: what it holds, and the sessions that use it."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        self._parts = parts
        self._limits = limits
        self.aet = parts.aet

    def enter(self, door: Door, credentials: Credentials, address: str) -> Session:
        """A session for whoever the credentials prove; raises `NotIdentified`, which says nothing more."""
        principal = self._parts.gate.identify(door, credentials, address)
        return Session(self._parts, Caller(principal, door, address), self._limits)

    def sign_in(self, door: Door, shown: PasswordAndCode, address: str) -> tuple[Session, Secret]:
        """A session for the person who shows this, and what his browser is to show from now on; `NotIdentified` or `TooOften`."""
        principal, cookie = self._parts.gate.sign_in(door, shown, address)
        return Session(self._parts, Caller(principal, door, address), self._limits), cookie

    def counts(self) -> Counts:
        """How much the archive holds; for whoever owns its HOME."""
        return self._parts.vault.counts()

    def open_conflicts(self) -> int:
        """How many conflicts nobody has settled; for whoever owns its HOME."""
        return self._parts.vault.open_conflicts()

    def destination(self, ae_title: str) -> Destination | None:
        """The peer of this AE title as one to whom something can be sent, at the address that was configured for it."""
        return self._parts.registry.destination(ae_title)

    def destination_of(self, promise: Promise) -> Destination | None:
        """Where a storage commitment is reported on an association of ours; None if nowhere, and while who asked for it is held."""
        if self._parts.gate.refused_if_held(promise.principal, promise.door, promise.address):
            return None
        return self.destination(promise.peer)

    def is_held(self, promise: Promise) -> bool:
        """Whether who asked for a storage commitment is held: it waits until that ends."""
        return self._parts.gate.is_held(promise.principal, promise.address)

    def promises(self) -> tuple[Promise, ...]:
        """The storage commitments that are not reported yet, also from before the last start."""
        return self._parts.promises.waiting()

    def check_promise(self, promise: Promise) -> CommitmentReport:
        """Read back what a storage commitment asks about; raises `NotAllowed` when its asker may not store any more."""
        return check(self._parts.gate, self._parts.vault, self._parts.receipts, promise)

    def end_promise(self, promise: Promise) -> None:
        """It was reported, or nobody can be told."""
        self._parts.promises.end(promise)

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change of people, peers or tokens, in the thread that made it; gives the way to stop that."""
        return self._parts.registry.on_change(callback)

    def tick(self) -> None:
        """To be called about once a minute: writes what is counted, such as denials of the unidentified, and vouches for all of it."""
        self._parts.gate.tick()
        self._parts.anchor.renew()
        self._parts.registry.seen.save()

    def started(self) -> None:
        """Put the start of serving into the trail."""
        self._parts.gate.started()
        self._parts.anchor.renew()

    def stopped(self) -> None:
        """Put the clean stop of serving into the trail."""
        self._parts.gate.stopped()
