"""The people who have an account: their roles, and a password that is only ever compared."""

import os
import re
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from leadglass.access.clock import Clock
from leadglass.access.grant import AdministerGrant
from leadglass.access.holds import Leaving
from leadglass.access.sealed import SealedFile
from leadglass.access.secret import Secret
from leadglass.access.table import Table
from leadglass.errors import NotAllowed, WrongUsage
from leadglass.vocabulary import Role

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
MIN_PASSWORD = 12
MAX_PASSWORD = 1024
_ITERATIONS, _LANES, _MEMORY_KIB = 3, 4, 64 * 1024
"""RFC 9106 section 4, second recommended option: about 0.1 s and 64 MiB a guess."""
_READABLE = "abcdefghijkmnpqrstuvwxyz23456789"
_PASSWORD_GROUPS, _PASSWORD_GROUP = 5, 5


def generate_password() -> Secret:
    """A password of 125 random bits that can be read out and typed."""
    groups = ["".join(secrets.choice(_READABLE) for _ in range(_PASSWORD_GROUP)) for _ in range(_PASSWORD_GROUPS)]
    return Secret("-".join(groups))


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


def _decode(row: dict[str, Any]) -> tuple[str, Account]:
    roles = frozenset(Role(role) for role in row["roles"])
    return row["name"], Account(row["name"], roles, row["disabled"], row["created"], row["password"])


def _encode(account: Account) -> dict[str, Any]:
    roles = sorted(account.roles)
    return {
        "name": account.name,
        "roles": roles,
        "disabled": account.disabled,
        "created": account.created,
        "password": account.password_hash,
    }


class Accounts:
    """Who has an account; a disabled one keeps its name for ever, so that the trail stays unambiguous."""

    def __init__(self, file: SealedFile, clock: Clock, lock: threading.RLock, leaving: Leaving) -> None:
        self.table = Table(file, _decode, _encode, lock)
        self._clock = clock
        self._leaving = leaving
        # One guess at a time: 64 MiB each, and a stranger must not choose how many.
        self._guessing = threading.Lock()

    @cached_property
    def _nobody(self) -> str:
        """The hash of a password that nobody has."""
        return _hash(generate_password())

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
        if not MIN_PASSWORD <= len(password.reveal_bytes()) <= MAX_PASSWORD:
            raise WrongUsage(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} bytes")
        account = Account(name, given, disabled=False, created=self._clock(), password_hash=_hash(password))

        def make(existing: Account | None) -> Account:
            if existing is not None:
                raise WrongUsage(f"there is an account {name} already; names are never used again, choose another")
            return account

        return self.table.put(grant, name, make)

    def disable(self, grant: AdministerGrant, name: str) -> Account:
        """Disable an account and with it every token made for it, from the next request on; `Refused` for the last administrator's."""

        def make(existing: Account | None) -> Account:
            if existing is None:
                raise NotAllowed(f"there is no account {name}; `leadglass user list HOME` shows who has one")
            self._leaving(name)
            return replace(existing, disabled=True)

        return self.table.put(grant, name, make)

    def verify(self, name: str, password: Secret) -> bool:
        """Whether this is the password of an enabled account; takes as long when there is none of that name."""
        account = self.table.get(name)
        with self._guessing:
            nobody = self._nobody
            right = _matches(account.password_hash if account else nobody, password)
        return right and account is not None and not account.disabled


def _hash(password: Secret) -> str:
    return Argon2id(salt=os.urandom(16), length=32, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB).derive_phc_encoded(
        password.reveal_bytes()
    )


def _matches(password_hash: str, password: Secret) -> bool:
    if len(password.reveal_bytes()) > MAX_PASSWORD:
        return False
    try:
        Argon2id.verify_phc_encoded(password.reveal_bytes(), password_hash)
    except InvalidKey:
        return False
    return True
