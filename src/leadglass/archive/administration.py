"""Administration: people, peers, tokens, policy, keys, and reading the trail; each call asks the gate for itself.

Every method raises `NotAllowed` when the policy does not give the caller the right, and what it changes is in the trail.
"""

import ipaddress
import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from leadglass.access.accounts import generate_password
from leadglass.access.anchor import Keeper
from leadglass.access.authority import Authority
from leadglass.access.gate import Gate
from leadglass.access.grant import AdministerGrant, TrailGrant
from leadglass.access.identity import Kind, Principal
from leadglass.access.peers import Peer
from leadglass.access.policy import describe
from leadglass.access.registry import Registry
from leadglass.access.secret import Secret
from leadglass.access.vouchers import Voucher
from leadglass.archive import holding
from leadglass.archive.alerts import ALERT, OF_PATIENTS, alert, seen_by
from leadglass.archive.commitment import Promises, Receipts
from leadglass.archive.holding import hold_row, standing
from leadglass.archive.proofs import NewPeer, NewProof, certify, peer_row
from leadglass.archive.rows import NANOSECONDS, Row, entry_row, is_wanted, time_text
from leadglass.dicom.predicate import Condition
from leadglass.errors import BadInput, ConfigurationError, WrongUsage
from leadglass.pixels.pool import Decoders
from leadglass.trail.export import Piece, pieces
from leadglass.trail.log import TrailLog
from leadglass.vault.keys import Keys
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Action, Door, Outcome, Role, StoreResult

RENEW_WITHIN = 30 * 24 * 3600 * NANOSECONDS


_WITHDRAWN_WITHIN = 4096
"""Outcomes of stores, far more than can be under way at once."""


@dataclass(frozen=True)
class Parts:
    """What administration works on; all of it opened by `assemble`."""

    gate: Gate
    vault: Vault
    keys: Keys
    registry: Registry
    anchor: Keeper
    authority: Authority
    trail: TrailLog
    promises: Promises
    decoders: Decoders
    policy_file: Path
    aet: str
    receipts: Receipts = field(default_factory=Receipts)


class Administration:
    """What one caller may ask about the archive itself."""

    def __init__(self, parts: Parts, principal: Principal, door: Door, address: str) -> None:
        self._hold = parts
        self._who = (principal, door, address)

    def _admit(self, **detail: str | int) -> AdministerGrant:
        try:
            return self._hold.gate.admit_administer(*self._who, detail=detail)
        except BadInput:
            # The trail takes no such name, so nobody can have been given it.
            raise WrongUsage("names are ASCII letters, digits and common signs; no user and no peer is called otherwise") from None

    def _admit_reading(self, **detail: str | int) -> TrailGrant:
        return self._hold.gate.admit_read_trail(*self._who, detail=detail)

    # Peers

    def add_peer(self, new: NewPeer) -> Row:
        """Add a peer; gives the issued certificate (and key, when we made it) as PEM."""
        with self._admit(verb="peer-add", peer=new.ae_title) as grant:
            if new.ae_title == self._hold.aet:
                raise WrongUsage(f"{new.ae_title} is this archive's own AE title; a peer has another")
            known = self._hold.registry.peers.get(new.ae_title)
            if known is not None and not known.revoked:
                raise WrongUsage(f"there is a peer {new.ae_title} already; `leadglass peer renew` gives it a new certificate")
            # Made before its certificate, so that nothing is issued to whoever can be no peer.
            peer = Peer(
                ae_title=new.ae_title,
                networks=tuple(_network(address) for address in new.addresses),
                may=frozenset(new.may),
                host=new.host,
                port=new.port,
                unsafe_plaintext=new.unsafe_plaintext,
                needs_user=new.needs_user,
            )
            issued: Row = {}
            if not new.unsafe_plaintext:
                issued, proof = certify(grant, self._hold.authority, new.ae_title, new.proof)
                peer = replace(peer, vouchers=(proof,)) if isinstance(proof, Voucher) else replace(peer, pins=(proof,))
            self._hold.registry.peers.add(grant, peer)
            grant.settle(Outcome.DONE, count=1, detail=alert("peer-add", new.ae_title) if OF_PATIENTS.intersection(new.may) else {})
            return issued

    def renew_peer(self, ae_title: str, new: NewProof, *, only: bool = False) -> Row:
        """A further key or outside CA for a peer; what it has goes on until it ends, unless `only`."""
        with self._admit(verb="peer-renew", peer=ae_title) as grant:
            peer = self._require_peer(ae_title)
            if peer.revoked:
                raise WrongUsage(f"{ae_title} is revoked: add it again, with a new key")
            if peer.unsafe_plaintext:
                raise WrongUsage(f"{ae_title} has no TLS and no certificate to renew: revoke it, then add it again with one")
            issued, proof = certify(grant, self._hold.authority, ae_title, new)
            self._hold.registry.peers.renew(grant, ae_title, proof, only=only)
            grant.settle(Outcome.DONE, count=1)
            return issued

    def revoke_peer(self, ae_title: str) -> None:
        """Shut a peer out; the doors cut its live associations."""
        with self._admit(verb="peer-revoke", peer=ae_title) as grant:
            self._require_peer(ae_title)
            self._hold.registry.peers.revoke(grant, ae_title)
            grant.settle(Outcome.DONE, count=1)

    def peers(self) -> list[Row]:
        """Every peer, without its keys."""
        with self._admit(verb="peer-list") as grant:
            holds = self._hold.registry.holds
            rows = [
                peer_row(peer, holds.get(Kind.PEER, peer.ae_title), self._last_seen(Kind.PEER, peer.ae_title))
                for peer in self._hold.registry.peers.list()
            ]
            grant.settle(Outcome.DONE, count=len(rows))
            return rows

    def _require_peer(self, ae_title: str) -> Peer:
        peer = self._hold.registry.peers.get(ae_title)
        if peer is None:
            raise WrongUsage(f"there is no peer {ae_title}; `leadglass peer list` shows them")
        return peer

    # People and tokens

    def add_user(self, name: str, role: Role, password: str | None) -> Row:
        """Add a person; without a password one is made and given back, once."""
        with self._admit(verb="user-add", user=name, role=role) as grant:
            chosen = Secret(password) if password is not None else generate_password()
            account = self._hold.registry.accounts.add(grant, name, [role], chosen)
            seeing = seen_by(self._hold.gate.policy, account.roles)
            grant.settle(Outcome.DONE, count=1, detail=alert("user-add", name) if seeing else {})
            return {"password": chosen.reveal()} if password is None else {}

    def users(self) -> list[Row]:
        """Every person, without passwords."""
        with self._admit(verb="user-list") as grant:
            registry = self._hold.registry
            people = [(each, registry.holds.get(Kind.USER, each.name)) for each in registry.accounts.list()]
            rows: list[Row] = [
                {
                    "name": each.name,
                    "role": sorted(each.roles),
                    "last_seen": self._last_seen(Kind.USER, each.name),
                    "attributes": {key: len(values) for key, values in each.attributes},
                    "second_factor": each.factor is not None,
                    "state": standing("disabled" if each.disabled else "active", hold),
                    **hold_row(hold),
                }
                for each, hold in people
            ]
            grant.settle(Outcome.DONE, count=len(rows))
            return rows

    def disable_user(self, name: str) -> None:
        """Shut a person out, with every token of theirs."""
        with self._admit(verb="user-disable", user=name) as grant:
            self._require_user(name)
            self._hold.registry.accounts.disable(grant, name)
            grant.settle(Outcome.DONE, count=1)

    def _require_user(self, name: str) -> None:
        if self._hold.registry.accounts.get(name) is None:
            raise WrongUsage(f"there is no user {name}; `leadglass user list` shows them")

    def create_token(self, user: str, may: Sequence[Action], days: int, where: Sequence[tuple[str, Sequence[str]]] = ()) -> str:
        """Make a token within the user's rights, for studies that meet every condition of `where`: a keyword and its values."""
        # Of the conditions the trail has how many there are: their values may be a patient's.
        with self._admit(verb="token-create", user=user, may=",".join(sorted(may)), days=days, conditions=len(where)) as grant:
            self._require_user(user)
            _, secret = self._hold.registry.tokens.create(grant, user, frozenset(may), days, _conditions(where))
            grant.settle(Outcome.DONE, count=1, detail=alert("token-create", user) if OF_PATIENTS.intersection(may) else {})
            return secret.reveal()

    def tokens(self) -> list[Row]:
        """Every token by its id, without its secret."""
        with self._admit(verb="token-list") as grant:
            now, registry = time.time_ns(), self._hold.registry
            tokens = [(each, registry.holds.get(Kind.TOKEN, each.id)) for each in registry.tokens.list()]
            rows: list[Row] = [
                {
                    "id": token.id,
                    "user": token.user,
                    "may": sorted(token.may),
                    "studies": describe(token.studies),
                    "expires": time_text(token.expires),
                    "last_seen": self._last_seen(Kind.TOKEN, token.id),
                    "state": standing("revoked" if token.revoked else "ended" if token.expires <= now else "active", hold),
                    **hold_row(hold),
                }
                for token, hold in tokens
            ]
            grant.settle(Outcome.DONE, count=len(rows))
            return rows

    def _last_seen(self, kind: Kind, name: str) -> str | None:
        seen = self._hold.registry.seen.last(kind, name)
        return None if seen is None else time_text(seen)

    def revoke_token(self, token_id: str) -> None:
        """End one token."""
        with self._admit(verb="token-revoke", token=token_id) as grant:
            if self._hold.registry.tokens.get(token_id) is None:
                raise WrongUsage(f"there is no token {token_id}; `leadglass token list` shows their ids")
            self._hold.registry.tokens.revoke(grant, token_id)
            grant.settle(Outcome.DONE, count=1)

    # Holds

    def hold(self, name: str) -> Row:
        """Shut a peer, a person or a token out until it is released, live work included; gives who, since when and by whom."""
        with self._admit(verb="hold", name=name) as grant:
            held = holding.hold(self._hold.registry, grant, name)
            grant.settle(Outcome.DONE, count=1, detail={"held": held.who})
            return {"who": held.who, **hold_row(held)}

    def release(self, name: str) -> Row:
        """End a hold; gives whose, since when it was and by whom."""
        with self._admit(verb="release", name=name) as grant:
            held = holding.release(self._hold.registry, grant, name)
            grant.settle(Outcome.DONE, count=1, detail={"released": held.who})
            return {"who": held.who, **hold_row(held)}

    def renew_server_certificate_if_due(self, hostnames: Sequence[str]) -> bool:
        """Make a new server certificate when fewer than 30 days are left of the one there is; gives whether it did."""
        authority = self._hold.authority
        if authority.server_expires() - time.time_ns() > RENEW_WITHIN:
            return False
        with self._admit(verb="server-certificate-renew") as grant:
            authority.renew_server(grant, hostnames)
            grant.settle(Outcome.DONE, count=1)
            return True

    # Vault and keys

    def check(self, sample: float) -> Row:
        """Hold blobs, keys, index and trail against each other; `sample` is the per cent of blobs that are read whole."""
        with self._admit(verb="check") as grant:
            whole = itertools.count()
            problems = [f"{problem.kind}: {problem.text}" for problem in self._hold.vault.check(sample, lambda: next(whole))]
            trail = self._hold.trail.verify(vouched=self._hold.anchor.checkpoint)
            problems += [f"trail: {problem}" for problem in trail.problems]
            problems += [f"access: {problem}" for problem in self._hold.anchor.problems()]
            problems += [f"commitments: {problem}" for problem in self._hold.promises.problems()]
            counts = self._hold.vault.counts()
            stored = self._stored_by_the_trail()
            if stored > counts.instances:
                # The other way round is no problem: an object that a stop kept from being acknowledged may be there all the same.
                problems.append(
                    f"vault: the trail names {stored} stored objects and {counts.instances} are there: older blobs were put back, "
                    "or power was lost in the middle of a store, of which nothing was acknowledged"
                )
            grant.settle(Outcome.DONE, count=len(problems))
            return {
                "blobs": counts.blobs,
                "read_whole": next(whole),
                "instances": counts.instances,
                "open_conflicts": self._hold.vault.open_conflicts(),
                "entries": trail.size,
                "problems": problems,
            }

    def _stored_by_the_trail(self) -> int:
        """How many objects the trail says were stored; an outcome that was withdrawn, which is soon if ever, does not count."""
        lately: deque[int | None] = deque(maxlen=_WITHDRAWN_WITHIN)
        count = 0
        for _, entry in self._hold.trail.read():
            if entry.detail.get("result") == StoreResult.STORED:
                count += 1
                lately.append(entry.refers_to)
            elif entry.detail.get("withdrawn") and entry.refers_to in lately:
                count -= 1
        return count

    def rotate_keys(self) -> Row:
        """Make a new key version and wrap every key by it."""
        with self._admit(verb="keys-rotate") as grant:
            version = self._hold.keys.rotate()
            count = sum(1 for _ in self._hold.keys.records())
            grant.settle(Outcome.DONE, count=count)
            return {"version": version, "keys": count}

    def note_recovery(self) -> None:
        """Put into the trail that the archive was opened by its recovery key and has a new root key."""
        with self._admit(verb="keys-recover") as grant:
            grant.settle(Outcome.DONE, count=1)

    def check_keys(self) -> list[str]:
        """What is wrong with the keys, a sentence each."""
        with self._admit(verb="keys-check") as grant:
            problems = list(self._hold.keys.check())
            grant.settle(Outcome.DONE, count=len(problems))
            return problems

    # Trail

    def trail_entries(self, *, last: int, who: str | None, study: str | None, alerts: bool = False) -> Iterator[Row]:
        """The newest `last` entries that match, of those that alert the auditor alone if `alerts`, oldest first."""
        with self._admit_reading(verb="trail-alerts" if alerts else "trail-show") as grant:
            log = self._hold.trail
            chosen: list[Row] = []
            # Read backwards in steps, so that the newest fifty of ten million cost fifty.
            stop = log.size
            while stop > 0 and len(chosen) < last:
                start = max(0, stop - max(last, 256))
                rows = [
                    row
                    for sequence, entry in log.read(start, stop)
                    if (not alerts or ALERT in entry.detail) and is_wanted(row := entry_row(sequence, entry), who, study)
                ]
                chosen = rows + chosen
                stop = start
            chosen = chosen[-last:]
            grant.settle(Outcome.DONE, count=len(chosen))
        yield from chosen

    def export_trail(self) -> Iterator[Piece]:
        """The trail in pieces for anybody's verifier; the caller writes them where he may."""
        with self._admit_reading(verb="trail-export") as grant:
            size = self._hold.trail.size
            yield from pieces(self._hold.trail)
            grant.settle(Outcome.DONE, count=size)

    def trail_checkpoint(self) -> str:
        """The newest signed checkpoint."""
        with self._admit_reading(verb="trail-checkpoint") as grant:
            grant.settle(Outcome.DONE)
            return self._hold.trail.checkpoint().decode()

    def verify_trail(self, kept_checkpoint: str | None, key: str | None) -> Row:
        """Verify the trail while it is in use; `key` is a verifier key that was kept elsewhere."""
        with self._admit_reading(verb="trail-verify") as grant:
            report = self._hold.trail.verify(None if kept_checkpoint is None else kept_checkpoint.encode(), self._hold.anchor.checkpoint)
            problems = [*report.problems, *self._hold.anchor.problems()]
            if key is not None and key != self._hold.trail.verifier_text:
                problems.append("the trail is not signed by the key that was given with --key")
            grant.settle(Outcome.DONE, count=len(problems))
            return {"size": report.size, "origin": report.origin, "problems": problems, "notes": list(report.notes)}


def _conditions(where: Sequence[tuple[str, Sequence[str]]]) -> tuple[Condition, ...]:
    try:
        return tuple(Condition(keyword, frozenset(values)) for keyword, values in where)
    except ConfigurationError as error:
        raise WrongUsage(str(error)) from None


def _network(address: str) -> str:
    try:
        return str(ipaddress.ip_network(address))
    except ValueError:
        raise WrongUsage(f"{address!r} is not an address or CIDR, as in 10.1.2.3/32") from None
