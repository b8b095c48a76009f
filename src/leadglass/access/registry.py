"""Everyone who is known, and the one place that recognises them."""

import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from leadglass.access.accounts import Account, Accounts
from leadglass.access.clock import Clock
from leadglass.access.destinations import Destination, destination_of
from leadglass.access.holds import Holds
from leadglass.access.identity import (
    BearerToken,
    Credentials,
    Kind,
    LocalUser,
    PeerCertificate,
    PlaintextPeer,
    Principal,
    SessionCookie,
    UserToken,
    parse_certificate,
    spki_pin,
)
from leadglass.access.peers import ALONE, Peer, Peers
from leadglass.access.sealed import Changing, SealedFile
from leadglass.access.seen import Seen
from leadglass.access.sessions import USUAL, Open, SessionLimits, Sessions
from leadglass.access.tokens import Token, Tokens
from leadglass.access.vouchers import Shown, utc
from leadglass.durable import make_folder
from leadglass.errors import NotIdentified, Refused, WrongUsage
from leadglass.vocabulary import Action, Refusal, Role

LOCAL_RIGHTS = frozenset(Action)
PLAINTEXT = "plaintext"
TABLES = ("users", "peers", "tokens", "holds")

Listener = Callable[[], None]


class Stranger(StrEnum):
    """Why somebody was not identified: for the trail's counts, never for the stranger."""

    NOT_A_CERTIFICATE = "not-a-certificate"
    UNKNOWN_PEER = "unknown-peer"
    ANOTHER_KEY = "another-key"
    ANOTHER_SUBJECT = "another-subject-or-authority"
    AMBIGUOUS_SUBJECT = "ambiguous-subject"
    REVOKED_KEY = "revoked-key"
    EXPIRED_CERTIFICATE = "expired-certificate"
    ANOTHER_ADDRESS = "another-address"
    REVOKED_PEER = "revoked-peer"
    NEEDS_TLS = "needs-tls"
    UNKNOWN_TOKEN = "unknown-token"  # noqa: S105
    DEAD_TOKEN = "dead-token"  # noqa: S105
    DISABLED_USER = "disabled-user"
    HELD_USER = "held-user"
    ANOTHER_USER = "another-user"
    TOKEN_WITHOUT_TLS = "token-without-tls"  # noqa: S105
    ANOTHER_LOCAL_USER = "another-local-user"
    WRONG_DOOR = "wrong-door"
    UNKNOWN_USER = "unknown-user"
    WRONG_PASSWORD = "wrong-password"  # noqa: S105
    NO_SECOND_FACTOR = "no-second-factor"
    WRONG_CODE = "wrong-code"
    TOO_MANY_CODES = "too-many-wrong-codes"
    TOO_OFTEN = "too-often"
    DEAD_SESSION = "dead-session"


OF_USERS = frozenset(
    {Stranger.UNKNOWN_TOKEN, Stranger.DEAD_TOKEN, Stranger.DISABLED_USER, Stranger.ANOTHER_USER, Stranger.TOKEN_WITHOUT_TLS}
)
"""Those that speak of a person, where a peer brings one."""


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody who has proved who he is, and is held: a stranger to himself, `principal` to the trail."""

    principal: Principal
    reason: Refusal

    def __str__(self) -> str:
        return self.reason


Recognised = Principal | Stranger | Held
"""Only a `Principal` goes in."""


class Registry:
    """Accounts, peers, tokens and who of them is held, sealed under HOME/access, and the sessions of now; thread-safe."""

    def __init__(self, folder: Path, key: bytes, archive_id: bytes, clock: Clock, owner_uid: int, sessions: SessionLimits) -> None:
        self._clock = clock
        self._owner_uid = owner_uid
        self._listeners: list[Listener] = []
        self._files = tuple(_file(folder, key, archive_id, what) for what in TABLES)
        users, peers, tokens, holds = self._files
        # One for both: whoever goes last as an administrator is judged by both tables.
        leaving = threading.RLock()
        self.accounts = Accounts(users, clock, leaving, self._require_another_administrator)
        self.peers = Peers(peers, clock)
        self.tokens = Tokens(tokens, clock, self._has_account)
        self.holds = Holds(holds, clock, leaving, self._require_another_administrator)
        self.sessions = Sessions(clock, sessions)
        self.seen = Seen(_file(folder, key, archive_id, "seen"), clock)
        for table in (self.accounts.table, self.peers.table, self.tokens.table, self.holds.table):
            table.changed = self._changed

    @classmethod
    def create(cls, folder: Path, key: bytes, archive_id: bytes, clock: Clock, *, owner_uid: int | None = None) -> Self:
        """An empty registry in `folder`, which must not exist: nobody is known."""
        if folder.exists():
            raise WrongUsage(f"{folder} exists already; who is known is never started over")
        make_folder(folder)
        for what in TABLES:
            _file(folder, key, archive_id, what).save([])
        return cls.open(folder, key, archive_id, clock, owner_uid=owner_uid)

    @classmethod
    def open(
        cls,
        folder: Path,
        key: bytes,
        archive_id: bytes,
        clock: Clock,
        *,
        owner_uid: int | None = None,
        sessions: SessionLimits = USUAL,
    ) -> Self:
        """The registry in `folder`; raises `Damaged` when a part of it is missing or does not open."""
        return cls(folder, key, archive_id, clock, os.geteuid() if owner_uid is None else owner_uid, sessions)

    def _has_account(self, name: str) -> bool:
        account = self.accounts.get(name)
        return account is not None and not account.disabled

    def _require_another_administrator(self, name: str) -> None:
        """Raise `Refused` where without this person nobody would be left who may let others in."""
        active = {each.name for each in self.accounts.list() if Role.ADMINISTRATOR in each.roles and not each.disabled}
        if {each for each in active if self.holds.get(Kind.USER, each) is None} == {name}:
            raise Refused(f"{name} is the last administrator; add another first: `leadglass user add HOME NAME --role administrator`")

    def authorities(self) -> str:
        """The outside CAs (PEM) that vouch for somebody now: what a handshake may follow a chain to."""
        vouched = (peer for peer in self.peers.list() if not peer.revoked and self.holds.get(Kind.PEER, peer.ae_title) is None)
        return "".join(sorted({voucher.pem for peer in vouched for voucher in peer.vouchers}))

    def digests(self) -> dict[str, str]:
        """SHA-256 in hex of each table as it was read, by the name of its file."""
        return {file.name: file.digest for file in self._files}

    def guard(self, changing: Changing) -> None:
        """Surround every replacement of a table by `changing`."""
        for file in self._files:
            file.changing = changing

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every change, in the thread that made it; gives what undoes this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _changed(self) -> None:
        self.sessions.end(lambda session: not isinstance(self._of_session(session), Principal))
        for listener in tuple(self._listeners):
            listener()

    def recognise(self, credentials: Credentials) -> Recognised:
        """Whose credentials these are, or why they are nobody's; decides nothing about what he may."""
        match credentials:
            case PeerCertificate():
                return self._with_user(self._peer_by_key(credentials), credentials.user)
            case PlaintextPeer():
                if credentials.user is not None:
                    return Stranger.TOKEN_WITHOUT_TLS
                return self._alone(self._peer_by_address(credentials))
            case BearerToken():
                token = self.tokens.find(credentials.text)
                return Stranger.UNKNOWN_TOKEN if token is None else self._bearer(token)
            case LocalUser():
                return self._local(credentials.uid)
            case SessionCookie():
                session = self.sessions.use(credentials.text)
                return Stranger.DEAD_SESSION if session is None else self._of_session(session)

    def current(self, principal: Principal, address: str) -> Recognised:
        """The same principal as he is known now, or why he is nobody any more; what he was told before counts for nothing."""
        match principal.kind:
            case Kind.PEER:
                peer = self.peers.get(principal.name)
                if peer is None:
                    return Stranger.UNKNOWN_PEER
                known = self._peer(peer, principal.credential, address, principal.ends)
                if principal.user is None:
                    return self._alone(known)
                return _at(known, self.current(principal.user, address))
            case Kind.TOKEN:
                token = self.tokens.get(principal.credential)
                return Stranger.UNKNOWN_TOKEN if token is None or token.user != principal.name else self._bearer(token)
            case Kind.LOCAL:
                return self._local(int(principal.name))
            case Kind.USER:
                session = self.sessions.get(principal.credential)
                return Stranger.DEAD_SESSION if session is None or session.name != principal.name else self._of_session(session)

    def destination(self, ae_title: str) -> Destination | None:
        """The peer of this AE title as one to whom objects can be sent; None if there is none such, and while it is held."""
        peer = None if self.holds.get(Kind.PEER, ae_title) is not None else self.peers.get(ae_title)
        return destination_of(peer, self._clock(), lambda: () if peer is None else self._others(peer))

    def user(self, name: str) -> Principal | Stranger:
        """The person with this account, as the policy sees him."""
        return self._person(name) if self.holds.get(Kind.USER, name) is None else Stranger.HELD_USER

    def _person(self, name: str) -> Principal | Stranger:
        account = self.accounts.get(name)
        if account is None or account.disabled:
            return Stranger.DISABLED_USER
        return Principal(f"user:{name}", Kind.USER, name, account.roles, frozenset(Action), attributes=account.attributes)

    def _unless_held(self, principal: Principal, *names: tuple[Kind, str]) -> Recognised:
        """The principal, unless one of these names of his is held: asked last, so that only who proved who he is stands in the trail."""
        for kind, name in names:
            if self.holds.get(kind, name) is not None:
                return Held(principal, Refusal(f"held-{kind}"))
        return principal

    def ways_in(self, name: str) -> list[tuple[str, Principal]]:
        """Who that name is to the policy, and by which way in, held or not; nothing for nobody, a disabled user and a revoked peer."""
        ways: list[tuple[str, Principal]] = []
        user, peer = self._person(name), self.peers.get(name)
        if isinstance(user, Principal):
            ways.append(("a token", user))
        if peer is None or peer.revoked:
            return ways

        def known(rights: frozenset[Action]) -> Principal:
            return Principal(f"peer:{name}", Kind.PEER, name, may=rights)

        if peer.pins or peer.vouchers:
            ways.append(("TLS", known(peer.alone(peer.rights))))
            if peer.needs_user:
                ways.append(("TLS, a person at it", known(peer.rights)))
        if peer.unsafe_plaintext:
            ways.append(("unsafe plaintext", known(peer.alone(peer.unproven_rights))))
        return ways

    def _with_user(self, peer: Recognised, user: UserToken | None) -> Recognised:
        """The peer, or the person at it; who the peer is comes first, so that no stranger learns of tokens."""
        if user is None:
            return self._alone(peer)
        if not isinstance(peer, Principal):
            return peer
        token = self.tokens.find(user.token.text)
        if token is None:
            return Stranger.UNKNOWN_TOKEN
        if user.name is not None and user.name != token.user:
            return Stranger.ANOTHER_USER
        return _at(peer, self._bearer(token))

    def _alone(self, known: Recognised) -> Recognised:
        """A peer without a person, who may be needed."""
        if not isinstance(known, Principal):
            return known
        peer = self.peers.get(known.name)
        return replace(known, may=known.may & ALONE if peer is None else peer.alone(known.may))

    def _peer_by_key(self, given: PeerCertificate) -> Recognised:
        try:
            pin = spki_pin(given.certificate)
            certificate = parse_certificate(given.certificate)
        except NotIdentified:
            return Stranger.NOT_A_CERTIFICATE
        now = self._clock()
        if not certificate.not_valid_before_utc <= utc(now) <= certificate.not_valid_after_utc:
            return Stranger.EXPIRED_CERTIFICATE
        peer = self.peers.get(given.calling_ae.strip(" "))
        if peer is None:
            return Stranger.UNKNOWN_PEER
        if peer.revoked or not peer.vouchers or peer.has_pinned(pin):
            return self._peer(peer, pin, given.address)
        if pin in peer.barred:
            return Stranger.REVOKED_KEY
        shown = Shown.of(certificate, given.chain)
        found = peer.vouched(shown, now)
        if found is None:
            return Stranger.ANOTHER_SUBJECT
        for other in self._others(peer):
            if other.has_pinned(pin):
                return Stranger.ANOTHER_KEY
            if not other.revoked and other.vouched(shown, now) is not None:
                # Two rules under CAs of which one leads to the other: nothing but the title would say who it is.
                return Stranger.AMBIGUOUS_SUBJECT
        credential, ends = found
        return self._peer(peer, credential, given.address, ends)

    def _others(self, peer: Peer) -> Iterator[Peer]:
        return (each for each in self.peers.list() if each.ae_title != peer.ae_title)

    def _peer_by_address(self, shown: PlaintextPeer) -> Recognised:
        peer = self.peers.get(shown.calling_ae.strip(" "))
        if peer is None:
            return Stranger.UNKNOWN_PEER
        return self._peer(peer, PLAINTEXT, shown.address)

    def _peer(self, peer: Peer, credential: str, address: str, ends: int = 0) -> Recognised:
        if peer.revoked:
            return Stranger.REVOKED_PEER
        rights = peer.rights
        if credential == PLAINTEXT:
            if not peer.unsafe_plaintext:
                return Stranger.NEEDS_TLS
            rights = peer.unproven_rights
        elif ends:
            if not any(peer.credential_of(voucher) == credential for voucher in peer.vouchers):
                return Stranger.ANOTHER_SUBJECT
            if ends < self._clock():
                return Stranger.EXPIRED_CERTIFICATE
        else:
            pinned = [pin for pin in peer.pins if hmac.compare_digest(pin.sha256, credential)]
            if not pinned:
                return Stranger.ANOTHER_KEY
            if pinned[0].not_after < self._clock():
                return Stranger.EXPIRED_CERTIFICATE
        if not peer.calls_from(address):
            return Stranger.ANOTHER_ADDRESS
        known = Principal(f"peer:{peer.ae_title}", Kind.PEER, peer.ae_title, may=rights, credential=credential, ends=ends)
        return self._unless_held(known, (Kind.PEER, peer.ae_title))

    def _bearer(self, token: Token) -> Recognised:
        account = self.accounts.get(token.user)
        if not self.tokens.alive(token):
            return Stranger.DEAD_TOKEN
        if account is None or account.disabled:
            return Stranger.DISABLED_USER
        known = Principal(
            f"token:{token.id}@{account.name}",
            Kind.TOKEN,
            account.name,
            account.roles,
            token.may,
            token.id,
            attributes=account.attributes,
            within=token.studies,
        )
        return self._unless_held(known, (Kind.TOKEN, token.id), (Kind.USER, account.name))

    def _of_session(self, session: Open) -> Recognised:
        account = self.accounts.get(session.name)
        known = self._person(session.name)
        if account is None or isinstance(known, Stranger):
            return known
        # A password or a second factor that was changed: whoever stole the old one is out with it.
        if not hmac.compare_digest(proof_of(account), session.proof):
            return Stranger.DEAD_SESSION
        return self._unless_held(replace(known, credential=session.id), (Kind.USER, session.name))

    def _local(self, uid: int) -> Recognised:
        if uid not in (0, self._owner_uid):
            return Stranger.ANOTHER_LOCAL_USER
        return Principal(f"local:{uid}", Kind.LOCAL, str(uid), may=LOCAL_RIGHTS)


def proof_of(account: Account) -> str:
    """What a session hangs on: another password or another second factor gives another."""
    secret = account.factor.secret if account.factor else ""
    return hashlib.sha256(f"{account.password_hash}\0{secret}".encode()).hexdigest()


def _at(peer: Recognised, user: Recognised) -> Recognised:
    if not isinstance(peer, Principal) or isinstance(user, Stranger):
        return user if isinstance(peer, Principal) else peer
    return Held(user.principal.at(peer), user.reason) if isinstance(user, Held) else user.at(peer)


def _file(folder: Path, key: bytes, archive_id: bytes, what: str) -> SealedFile:
    return SealedFile(folder / f"{what}.sealed", key, archive_id, what, may_be_missing=what in {"holds", "seen"})
