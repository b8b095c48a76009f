"""The gate: who is it, may he, note it down, hand out a grant. Every request of every door comes through here.

The order is the guarantee: what leaves the archive (find, get) does so after its intent is durable in the trail; what comes in
(store) is acknowledged after intent and outcome are. When the trail cannot be written, nothing is served.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from leadglass.access.clock import Clock
from leadglass.access.denials import Denials
from leadglass.access.grant import (
    NOTHING,
    AdministerGrant,
    CommitmentGrant,
    Detail,
    EchoGrant,
    FindGrant,
    GetGrant,
    Grant,
    MoveGrant,
    Queued,
    SettleGrant,
    SigningIn,
    StoreGrant,
    TrailGrant,
)
from leadglass.access.identity import (
    BearerToken,
    Credentials,
    Kind,
    LocalUser,
    PasswordAndCode,
    PeerCertificate,
    PlaintextPeer,
    Principal,
    SessionCookie,
)
from leadglass.access.policy import Asking, Policy, decide
from leadglass.access.registry import OF_USERS, PLAINTEXT, Held, Registry, Stranger
from leadglass.access.secret import Secret
from leadglass.access.signing_in import SignedIn, SignIn
from leadglass.dicom.predicate import NO_STUDY, StudyPredicate
from leadglass.errors import NotAllowed, NotIdentified, TooOften, TrailUnwritable, UserNotIdentified
from leadglass.trail import entries
from leadglass.trail.entries import MAX_STUDIES, Entry
from leadglass.trail.log import TrailLog
from leadglass.vocabulary import Action, Door, Outcome, Refusal

G = TypeVar("G", bound=Grant)

TAKES: Mapping[Door, tuple[type[Credentials], ...]] = MappingProxyType(
    {
        Door.DIMSE: (PeerCertificate,),
        Door.DIMSE_PLAINTEXT: (PlaintextPeer,),
        Door.DICOMWEB: (BearerToken,),
        Door.PAGES: (SessionCookie,),
        Door.CONTROL: (LocalUser, BearerToken),
    }
)
"""What each door believes; shown anything else, it knows nobody. At the control socket the local user may show the token of a person."""

IMAGES = frozenset({Action.STORE, Action.FIND, Action.GET})
OFFERS: Mapping[Door, frozenset[Action]] = MappingProxyType(
    {
        Door.DIMSE: IMAGES | {Action.ECHO, Action.MOVE},
        Door.DIMSE_PLAINTEXT: frozenset({Action.ECHO, Action.STORE}),
        Door.DICOMWEB: IMAGES,
        Door.PAGES: frozenset({Action.FIND, Action.READ_TRAIL, Action.ADMINISTER}),
        Door.CONTROL: frozenset({Action.ADMINISTER, Action.READ_TRAIL, Action.STORE, Action.SETTLE, Action.GET}),
    }
)
"""What each door is for, whatever a policy says: nothing leaves by the plaintext door, by the control socket only values of conflicts."""


_WITH_USERS = frozenset({Door.DIMSE, Door.DIMSE_PLAINTEXT})
"""Where a person comes by a peer, and a wrong token is told from a wrong peer: its sender has proved who it is."""


def _entered_by(principal: Principal, door: Door) -> bool:
    """Whether this door identifies such principals: who came in without TLS does not go on where TLS is asked for."""
    match door:
        case Door.DIMSE:
            return principal.kind is Kind.PEER and principal.credential != PLAINTEXT
        case Door.DIMSE_PLAINTEXT:
            return principal.kind is Kind.PEER and principal.credential == PLAINTEXT and principal.user is None
        case Door.DICOMWEB:
            return principal.kind is Kind.TOKEN
        case Door.PAGES:
            return principal.kind is Kind.USER
        case Door.CONTROL:
            return principal.kind in {Kind.LOCAL, Kind.TOKEN}


class Gate:
    """Admits requests under a policy, for those whom the registry knows, into the trail."""

    def __init__(self, policy: Policy, registry: Registry, trail: TrailLog, clock: Clock = time.time_ns) -> None:
        self._policy = policy
        self._registry = registry
        self._trail = trail
        self._clock = clock
        self._denials = Denials()
        self._sign_in = SignIn(registry, clock)
        self._untold: deque[Entry] = deque()

    def identify(self, door: Door, credentials: Credentials, address: str = "") -> Principal:
        """Who shows these credentials at this door, from where; raises `NotIdentified`, which says nothing more, and counts it.

        `UserNotIdentified` where it is the person whom nobody knows, not the peer. Who is held is nobody, and told by name in the trail.
        """
        self._catch_up()
        fits = isinstance(credentials, TAKES[door])
        found = self._registry.recognise(credentials) if fits else Stranger.WRONG_DOOR
        if isinstance(found, Principal):
            return found
        if isinstance(found, Held):
            self.refused(found.principal, door, address, found.reason)
            is_of_user = found.reason is not Refusal.HELD_PEER
        else:
            self._denials.count(self._clock(), door, found)
            is_of_user = found in OF_USERS
        raise UserNotIdentified("not identified") if is_of_user and door in _WITH_USERS else NotIdentified("not identified")

    def sign_in(self, door: Door, shown: PasswordAndCode, address: str) -> tuple[Principal, Secret]:
        """Let a person in: who it is, and what his browser is to show; the trail says so before it is true.

        Raises `NotIdentified`, which says nothing more, or `TooOften`. Each failure is in the trail: by the account's name where there is
        one, else counted, because what was typed for a name may be a password. What was typed is in neither.
        """
        self._catch_up()
        who = f"user:{shown.name}" if self._registry.accounts.get(shown.name) is not None else ""
        if seconds := self._sign_in.wait(shown.name, address):
            self._count_sign_in(door, who, address, Stranger.TOO_OFTEN)
            raise TooOften(seconds)
        found = self._sign_in.prove(SigningIn._issue(shown.name), shown, address)  # noqa: SLF001
        if isinstance(found, Stranger):
            if who:
                # Not waited for: the answer must take as long as to a name that nobody has.
                refused = Entry(
                    self._clock(), entries.Kind.SIGN_IN_REFUSED, who, door, address, outcome=Outcome.REFUSED, detail={"reason": found}
                )
                self._trail.append(refused)
            else:
                self._count_sign_in(door, who, address, found)
            raise NotIdentified("not identified")
        return self._signed_in(door, who, address, found), found.cookie

    def _count_sign_in(self, door: Door, who: str, address: str, reason: Stranger) -> None:
        if who:
            self._denials.count_known(self._clock(), door, who, address, reason)
        else:
            self._denials.count(self._clock(), door, reason)

    def _signed_in(self, door: Door, who: str, address: str, found: SignedIn) -> Principal:
        told: Detail = {"session": found.session, "by": found.how, "recovery-codes": found.left}
        try:
            self._trail.flush(self._trail.append(Entry(self._clock(), entries.Kind.SIGNED_IN, who, door, address, detail=told)))
            return self.identify(door, SessionCookie(found.cookie.reveal()))
        except BaseException:
            self._registry.sessions.end(lambda session: session.id == found.session)
            raise

    def sign_out(self, principal: Principal, door: Door, address: str) -> None:
        """End the session, at once; durable in the trail on return."""
        self._registry.sessions.end(lambda session: session.id == principal.credential)
        told = {"session": principal.credential}
        self._trail.flush(self._trail.append(Entry(self._clock(), entries.Kind.SIGNED_OUT, principal.id, door, address, detail=told)))

    def refused(self, principal: Principal, door: Door, address: str, reason: Refusal) -> None:
        """Count that somebody known was refused before he reached an operation; the trail tells it within two minutes."""
        self._denials.count_known(self._clock(), door, principal.id, address, reason)

    def is_held(self, principal: Principal, address: str) -> bool:
        """Whether he would be known, were he not held: then he may be known again."""
        return isinstance(self._registry.current(principal, address), Held)

    def refused_if_held(self, principal: Principal, door: Door, address: str) -> bool:
        """Whether what is about to be done for him must not be, because he is held; then the trail counts it as refused."""
        current = self._registry.current(principal, address)
        if isinstance(current, Held):
            self.refused(principal, door, address, current.reason)
        return isinstance(current, Held)

    def is_current(self, principal: Principal, door: Door, address: str) -> bool:
        """Whether he is still whom he was identified as, for doors that keep connections; admits him to nothing."""
        return _entered_by(principal, door) and isinstance(self._registry.current(principal, address), Principal)

    def may(self, principal: Principal, door: Door, action: Action, address: str) -> bool:
        """Whether the policy gives `action` for any study at all, for negotiation only: it grants nothing and leaves no entry."""
        return action in OFFERS[door] and _entered_by(principal, door) and self._visible(principal, action, address) is not None

    def _visible(self, principal: Principal, action: Action, address: str) -> StudyPredicate | None:
        """The studies about which he may; of a person at a peer, what both may. To be told that we are here is the peer's alone."""
        asking = Asking.at(self._clock(), address)
        visible = decide(self._policy, principal, action, asking)
        if visible is None or principal.user is None or action is Action.ECHO:
            return visible
        persons = decide(self._policy, principal.user, action, asking)
        return None if persons is None else visible & persons

    def admit_echo(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> EchoGrant:
        return self._admit(EchoGrant, principal, door, address, studies, detail)

    def admit_store(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> StoreGrant:
        return self._admit(StoreGrant, principal, door, address, studies, detail)

    def admit_find(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> FindGrant:
        return self._admit(FindGrant, principal, door, address, studies, detail)

    def admit_get(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> GetGrant:
        return self._admit(GetGrant, principal, door, address, studies, detail)

    def admit_settle(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> SettleGrant:
        return self._admit(SettleGrant, principal, door, address, studies, detail)

    def admit_move(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> MoveGrant:
        return self._admit(MoveGrant, principal, door, address, studies, detail)

    def admit_commitment(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> CommitmentGrant:
        """Storing gives it; `visible` is what the same caller may find or get at this door, which may be nothing."""
        return self._admit(CommitmentGrant, principal, door, address, studies, detail)

    def admit_administer(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> AdministerGrant:
        return self._admit(AdministerGrant, principal, door, address, studies, detail)

    def admit_read_trail(
        self, principal: Principal, door: Door, address: str, *, studies: Iterable[str] = (), detail: Detail = NOTHING
    ) -> TrailGrant:
        return self._admit(TrailGrant, principal, door, address, studies, detail)

    def _admit(self, kind: type[G], principal: Principal, door: Door, address: str, studies: Iterable[str], detail: Detail) -> G:
        """A grant, or `NotAllowed` after the denial was noted; raises `TrailUnwritable` when neither can be noted."""
        self._catch_up()
        action = kind.action
        current = self._registry.current(principal, address)
        visible: StudyPredicate | None = None
        if isinstance(current, Principal) and action in OFFERS[door] and _entered_by(principal, door):
            visible = self._visible(current, action, address)
            if kind is CommitmentGrant and visible is not None:
                visible = self._seen(current, door, address)
        entry = Entry(
            self._clock(),
            entries.Kind.INTENT if visible is not None else entries.Kind.DENIED,
            principal=principal.id,
            door=door,
            address=address,
            action=action,
            studies=tuple(studies)[:MAX_STUDIES],
            outcome=None if visible is not None else Outcome.REFUSED,
            detail=detail if isinstance(current, Principal) else {**detail, "reason": str(current)},
        )
        sequence = self._trail.append(entry)
        if visible is None or not isinstance(current, Principal):
            self._trail.flush(sequence)
            raise NotAllowed(f"{principal.id} may not {action}; `leadglass policy explain` says what it may")
        if kind.intent_first:
            self._flush_intent(entry, sequence)
        self._registry.seen.note(current)
        return kind._issue(current, door, address, visible, sequence, self._record, self._abandon)  # noqa: SLF001

    def _seen(self, principal: Principal, door: Door, address: str) -> StudyPredicate:
        """The studies of which this principal may learn at this door that they exist."""
        seen = NO_STUDY
        for action in OFFERS[door] & {Action.FIND, Action.GET}:
            seen |= self._visible(principal, action, address) or NO_STUDY
        return seen

    def _flush_intent(self, intent: Entry, sequence: int) -> None:
        try:
            self._trail.flush(sequence)
        except TrailUnwritable:
            # The intent is queued and will be written when there is room: it must not stay without its end.
            self._abandon(sequence, intent.principal, intent.door, intent.address, intent.action, Outcome.REFUSED)
            raise

    def _record(self, grant: Grant, outcome: Outcome | None, studies: tuple[str, ...], count: int, detail: Detail) -> Queued:
        now = self._clock()

        def entry(kind: entries.Kind, part: tuple[str, ...]) -> Entry:
            first = kind is entries.Kind.OUTCOME
            return Entry(
                now,
                kind,
                principal=grant.principal.id,
                door=grant.door,
                address=grant.address,
                action=grant.action,
                studies=part,
                count=count if first else 0,
                outcome=outcome if first else None,
                refers_to=grant.intent,
                detail=detail if first else NOTHING,
            )

        begun = 0 if outcome is None else MAX_STUDIES
        told = [entry(entries.Kind.OUTCOME, studies[:begun])] if begun else []
        rest = range(begun, len(studies), MAX_STUDIES)
        told += [entry(entries.Kind.CONTINUED, studies[start : start + MAX_STUDIES]) for start in rest]
        sequences = [self._trail.append(one) for one in told]
        return Queued(self._trail.hurry, lambda: self._trail.flush(sequences[-1]) if sequences else None)

    def _abandon(
        self, intent: int, principal: str, door: Door | None, address: str, action: Action | None, outcome: Outcome = Outcome.FAILED
    ) -> None:
        self._untold.append(
            Entry(
                self._clock(),
                entries.Kind.OUTCOME,
                principal=principal,
                door=door,
                address=address,
                action=action,
                outcome=outcome,
                refers_to=intent,
                detail={"abandoned": 1},
            )
        )

    def _catch_up(self, *, closing: bool = False) -> None:
        """Queue what waits to be told: grants that were dropped, minutes of strangers that are over."""
        self._untold.extend(self._denials.due(self._clock(), closing=closing))
        while True:
            try:
                entry = self._untold.popleft()
            except IndexError:
                # Empty, or another thread told the last.
                return
            try:
                self._trail.append(entry)
            except TrailUnwritable:
                self._untold.appendleft(entry)
                raise

    def apply_policy(self, grant: AdministerGrant, policy: Policy) -> None:
        """Decide by `policy` from the next request on."""
        if not isinstance(grant, AdministerGrant):
            raise TypeError("the policy is changed under an AdministerGrant")
        grant.require_open()
        self._policy = policy

    @property
    def policy(self) -> Policy:
        return self._policy

    @property
    def registry(self) -> Registry:
        return self._registry

    def started(self) -> None:
        """Note that serving begins; durable on return."""
        self._trail.flush(self._trail.append(Entry(self._clock(), entries.Kind.STARTED)))

    def stopped(self) -> None:
        """Note that serving ends; durable on return."""
        self._trail.flush(self._trail.append(Entry(self._clock(), entries.Kind.STOPPED)))

    def tick(self) -> None:
        """Write what is due; to be called about once a minute."""
        self._catch_up()
        self._trail.flush()

    def close(self) -> None:
        """Write everything that waits; the trail itself is closed by whoever opened it."""
        self._catch_up(closing=True)
        self._trail.flush()
