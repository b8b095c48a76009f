"""The people who have an account: their roles, and a password that is only ever compared."""

import base64
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from leadglass.access.clock import Clock
from leadglass.access.factors import Factor, Used, new_factor, readable
from leadglass.access.grant import AdministerGrant, SigningIn
from leadglass.access.holds import Leaving
from leadglass.access.identity import ATTRIBUTES, Attributes
from leadglass.access.sealed import SealedFile
from leadglass.access.secret import Secret
from leadglass.access.table import Table
from leadglass.errors import NotAllowed, WrongUsage
from leadglass.vocabulary import Role

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
MIN_PASSWORD = 12
MAX_PASSWORD = 1024
MAX_VALUES, MAX_VALUE = 1000, 64
"""Of an attribute: enough for a list of patients, and bounded, as each becomes part of a question to the index."""
_ITERATIONS, _LANES, _MEMORY_KIB = 3, 4, 64 * 1024
"""RFC 9106 section 4, second recommended option: about 0.1 s and 64 MiB a guess."""
_SALT_BYTES, _HASH_BYTES = 16, 32
_PASSWORD_GROUPS, _PASSWORD_GROUP = 5, 5


def generate_password() -> Secret:
    """A password of 125 random bits that can be read out and typed."""
    return readable(_PASSWORD_GROUPS, _PASSWORD_GROUP)


def require_name(name: str) -> None:
    """Raise `WrongUsage` unless `name` is fit for an account."""
    if not _NAME.fullmatch(name):
        raise WrongUsage("a user name is 1 to 64 ASCII letters, digits, dots, dashes and underscores, beginning with a letter or digit")


@dataclass(frozen=True, slots=True)
class Account:
    """A person's account; `created` in nanoseconds since 1970."""

    name: str
    roles: frozenset[Role]
    disabled: bool
    created: int
    password_hash: str = field(repr=False)
    factor: Factor | None = None
    """Without one nobody signs in at the pages."""
    attributes: Attributes = ()
    """What rules of the policy may hold against a study: names of `identity.ATTRIBUTES` with their values."""


def _decode(row: dict[str, Any]) -> tuple[str, Account]:
    roles = frozenset(Role(role) for role in row["roles"])
    kept = row.get("factor")
    factor = None if kept is None else Factor(kept["secret"], tuple(kept["recovery"]), kept["last_step"])
    attributes = tuple((name, tuple(values)) for name, values in sorted(row.get("attributes", {}).items()))
    return row["name"], Account(row["name"], roles, row["disabled"], row["created"], row["password"], factor, attributes)


def _encode(account: Account) -> dict[str, Any]:
    roles = sorted(account.roles)
    factor = account.factor
    kept = None if factor is None else {"secret": factor.secret, "recovery": list(factor.recovery), "last_step": factor.last_step}
    return {
        "name": account.name,
        "roles": roles,
        "disabled": account.disabled,
        "created": account.created,
        "password": account.password_hash,
        "factor": kept,
        "attributes": {name: list(values) for name, values in account.attributes},
    }


class Accounts:
    """Who has an account; a disabled one keeps its name for ever, so that the trail stays unambiguous."""

    def __init__(self, file: SealedFile, clock: Clock, lock: threading.RLock, leaving: Leaving) -> None:
        self.table = Table(file, _decode, _encode, lock)
        self._clock = clock
        self._leaving = leaving
        # One guess at a time: 64 MiB each, and a stranger must not choose how many.
        self._guessing = threading.Lock()
        self._nobody = _phc(os.urandom(_SALT_BYTES), os.urandom(_HASH_BYTES))

    def get(self, name: str) -> Account | None:
        return self.table.get(name)

    def list(self) -> tuple[Account, ...]:
        return self.table.rows()

    def add(self, grant: AdministerGrant, name: str, roles: Iterable[Role], password: Secret) -> Account:
        """A new account; raises `WrongUsage` for a name in use or unfit, for no role, and for a password that is too short."""
        require_name(name)
        given = frozenset(roles)
        if not given:
            raise WrongUsage(f"an account needs a role: {', '.join(Role)}")
        _require_fit(password)
        account = Account(name, given, disabled=False, created=self._clock(), password_hash=_hash(password))

        def make(existing: Account | None) -> Account:
            if existing is not None:
                raise WrongUsage(f"there is an account {name} already; names are never used again, choose another")
            return account

        return self.table.put(grant, name, make)

    def disable(self, grant: AdministerGrant, name: str) -> Account:
        """Disable an account, with every token and session, from the next request on; `Refused` for the last administrator's."""

        def leave(account: Account) -> Account:
            self._leaving(name)
            return replace(account, disabled=True)

        return self._change(grant, name, leave)

    def set_roles(self, grant: AdministerGrant, name: str, roles: Iterable[Role]) -> Account:
        """Other roles, from the next request on; `Refused` where the last administrator would be none any more."""
        given = frozenset(roles)
        if not given:
            raise WrongUsage(f"an account needs a role: {', '.join(Role)}")

        def change(account: Account) -> Account:
            if Role.ADMINISTRATOR in account.roles - given:
                self._leaving(name)
            return replace(account, roles=given)

        return self._change(grant, name, change)

    def set_attributes(self, grant: AdministerGrant, name: str, given: Mapping[str, Iterable[str]]) -> Account:
        """Other values of the attributes named, from the next request on; without values an attribute is gone. `WrongUsage` for others."""
        wanted = {key: tuple(sorted({value.strip() for value in values} - {""})) for key, values in given.items()}
        for key, values in wanted.items():
            if key not in ATTRIBUTES:
                raise WrongUsage(f"a person has no attribute {key!r}; take one of {', '.join(sorted(ATTRIBUTES))}")
            if len(values) > MAX_VALUES or any(len(value) > MAX_VALUE for value in values):
                raise WrongUsage(f"an attribute has at most {MAX_VALUES} values of {MAX_VALUE} characters; {key} has more")

        def change(account: Account) -> Account:
            kept = {**dict(account.attributes), **wanted}
            return replace(account, attributes=tuple(sorted((key, values) for key, values in kept.items() if values)))

        return self._change(grant, name, change)

    def set_password(self, grant: AdministerGrant, name: str, password: Secret) -> Account:
        """Another password; raises `WrongUsage` for one that is too short."""
        _require_fit(password)
        hashed = _hash(password)
        return self._change(grant, name, lambda account: replace(account, password_hash=hashed))

    def set_factor(self, grant: AdministerGrant, name: str) -> tuple[str, tuple[Secret, ...]]:
        """A new second factor in place of what there was: its secret (base32) and its recovery codes, which are shown once."""
        factor, codes = new_factor()
        self._change(grant, name, lambda account: replace(account, factor=factor))
        return factor.secret, codes

    def _change(self, grant: AdministerGrant, name: str, change: Callable[[Account], Account]) -> Account:
        def make(existing: Account | None) -> Account:
            if existing is None:
                raise NotAllowed(f"there is no account {name}; `leadglass user list HOME` shows who has one")
            return change(existing)

        return self.table.put(grant, name, make)

    def use_code(self, authority: SigningIn, code: Secret) -> Used | None:
        """Use up a code of whoever signs in, durable on return; None if it is none of his."""
        found: list[Used] = []

        def make(existing: Account | None) -> Account:
            used = existing.factor.use(code, self._clock()) if existing and existing.factor else None
            if existing is None or used is None:
                raise _NoCode
            found.append(used)
            return replace(existing, factor=used.factor)

        try:
            self.table.put(authority, authority.name, make)
        except _NoCode:
            return None
        return found[0]

    def matches(self, name: str, password: Secret) -> bool:
        """Whether this is the password of that account, be it disabled or not; takes as long when there is none of that name."""
        account = self.table.get(name)
        with self._guessing:
            right = _matches(account.password_hash if account else self._nobody, password)
        return right and account is not None

    def verify(self, name: str, password: Secret) -> bool:
        """Whether this is the password of an enabled account; takes as long when there is none of that name."""
        account = self.table.get(name)
        return self.matches(name, password) and account is not None and not account.disabled


class _NoCode(Exception):
    """Nothing is changed: what was shown is no code."""


def _require_fit(password: Secret) -> None:
    if not MIN_PASSWORD <= len(password.reveal_bytes()) <= MAX_PASSWORD:
        raise WrongUsage(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} bytes")


def _phc(salt: bytes, hashed: bytes) -> str:
    """A hash as it is kept; of random bytes, the hash of a password that nobody knows."""
    text = (base64.b64encode(each).decode().rstrip("=") for each in (salt, hashed))
    return "$".join(("", "argon2id", "v=19", f"m={_MEMORY_KIB},t={_ITERATIONS},p={_LANES}", *text))


def _hash(password: Secret) -> str:
    salt = os.urandom(_SALT_BYTES)
    made = Argon2id(salt=salt, length=_HASH_BYTES, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return made.derive_phc_encoded(password.reveal_bytes())


def _matches(password_hash: str, password: Secret) -> bool:
    if len(password.reveal_bytes()) > MAX_PASSWORD:
        return False
    try:
        Argon2id.verify_phc_encoded(password.reveal_bytes(), password_hash)
    except InvalidKey:
        return False
    return True
