"""Tokens of programs: made for a user, within the user's rights, for some actions and some days; shown once, kept as a hash."""

import hashlib
import hmac
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from leadglass.access.clock import DAY, Clock
from leadglass.access.grant import AdministerGrant
from leadglass.access.sealed import SealedFile
from leadglass.access.secret import Secret
from leadglass.access.table import Table
from leadglass.dicom.predicate import EVERY_STUDY, Condition, StudyPredicate
from leadglass.errors import NotAllowed, WrongUsage
from leadglass.vocabulary import Action

PREFIX = "lg_"
"""So that scanners of source code and logs find a token that was left there."""
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BYTES = 32
_SECRET_DIGITS = 43
_CHECK_DIGITS = 6
_LENGTH = len(PREFIX) + _SECRET_DIGITS + _CHECK_DIGITS
MAX_DAYS = 366
GRANTABLE = frozenset({Action.STORE, Action.FIND, Action.GET, Action.MOVE, Action.SETTLE})
"""A program handles images; it does not administer and does not read the trail."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token; `created` and `expires` in nanoseconds since 1970."""

    id: str
    user: str
    may: frozenset[Action]
    created: int
    expires: int
    revoked: bool
    sha256: str = field(repr=False)
    where: tuple[Condition, ...] = field(default=(), repr=False)
    """All of which a study must meet; none: every study that its user may reach."""

    @property
    def studies(self) -> StudyPredicate:
        """Beyond which it reaches nothing, whatever its user may."""
        return StudyPredicate((self.where,)) if self.where else EVERY_STUDY


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), _CHECK_DIGITS)


def make_text() -> Secret:
    """A new token: prefix, 256 random bits, checksum, in letters and digits."""
    text = PREFIX + _base62(int.from_bytes(secrets.token_bytes(_SECRET_BYTES), "big"), _SECRET_DIGITS)
    return Secret(text + _checksum(text))


def well_formed(text: str) -> bool:
    """Whether this could be a token of ours; says nothing about whether it is one."""
    body = text[:-_CHECK_DIGITS]
    return (
        len(text) == _LENGTH and text.isascii() and text.startswith(PREFIX) and text.isprintable() and _checksum(body) == text[len(body) :]
    )


def _hash(text: str) -> str:
    # One pass is enough: there are 256 random bits to guess, not a person's choice.
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _decode(row: dict[str, Any]) -> tuple[str, Token]:
    may = frozenset(Action(action) for action in row["may"])
    # Tokens that were made before there were conditions have none.
    where = tuple(Condition(keyword, frozenset(values)) for keyword, values in row.get("where", ()))
    return row["id"], Token(row["id"], row["user"], may, row["created"], row["expires"], row["revoked"], row["sha256"], where)


def _encode(token: Token) -> dict[str, Any]:
    may = sorted(token.may)
    return {
        "id": token.id,
        "user": token.user,
        "may": may,
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
        "sha256": token.sha256,
        "where": [[condition.keyword, sorted(condition.values)] for condition in token.where],
    }


class Tokens:
    """Every token ever made; a revoked one stays, so that its id in the trail stays explained."""

    def __init__(self, file: SealedFile, clock: Clock, has_account: Callable[[str], bool]) -> None:
        self.table = Table(file, _decode, _encode)
        self._clock = clock
        self._has_account = has_account

    def get(self, token_id: str) -> Token | None:
        return self.table.get(token_id)

    def list(self) -> tuple[Token, ...]:
        return self.table.rows()

    def create(
        self, grant: AdministerGrant, user: str, may: frozenset[Action], days: int = 30, where: tuple[Condition, ...] = ()
    ) -> tuple[Token, Secret]:
        """A token for `user`, and its text, which is shown once; what the user may not do, it may not do either."""
        if not self._has_account(user):
            raise NotAllowed(f"there is no enabled account {user}; `leadglass user list HOME` shows who has one")
        if not may or not may <= GRANTABLE:
            raise WrongUsage(f"a token may only be given {', '.join(sorted(GRANTABLE))}")
        if not 1 <= days <= MAX_DAYS:
            raise WrongUsage(f"a token lives 1 to {MAX_DAYS} days")
        text, now = make_text(), self._clock()
        token = Token(secrets.token_hex(8), user, may, now, now + days * DAY, revoked=False, sha256=_hash(text.reveal()), where=where)
        return self.table.put(grant, token.id, lambda _: token), text

    def revoke(self, grant: AdministerGrant, token_id: str) -> Token:
        def make(existing: Token | None) -> Token:
            if existing is None:
                raise NotAllowed(f"there is no token {token_id}; `leadglass token list HOME` shows them")
            return replace(existing, revoked=True)

        return self.table.put(grant, token_id, make)

    def find(self, text: str) -> Token | None:
        """The token with this text; every one there is is compared, each in constant time."""
        if not well_formed(text):
            return None
        wanted = _hash(text)
        found = None
        for token in self.table.rows():
            if hmac.compare_digest(token.sha256, wanted):
                found = token
        return found

    def alive(self, token: Token) -> bool:
        return not token.revoked and self._clock() < token.expires
