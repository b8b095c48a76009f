"""Who is held: a peer, a person or a token that is out at every door until it is released, whatever else is known of it.

A hold is about a name, not about a row: a peer that is revoked and added again meanwhile is still held.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from leadglass.access.clock import Clock
from leadglass.access.grant import AdministerGrant
from leadglass.access.identity import Kind
from leadglass.access.sealed import SealedFile
from leadglass.access.table import Table
from leadglass.errors import WrongUsage

HOLDABLE: Final = (Kind.PEER, Kind.USER, Kind.TOKEN)

Leaving: TypeAlias = Callable[[str], None]
"""Raises `Refused` where the person of that name must not go: he is the last administrator."""


@dataclass(frozen=True, slots=True)
class Hold:
    """That somebody is held; `name` is an AE title, a user's name or a token's id, `since` in nanoseconds since 1970."""

    kind: Kind
    name: str
    since: int
    by: str
    """The id of the principal who asked for it."""

    @property
    def who(self) -> str:
        """Whom, exactly, as `leadglass hold` takes it and the trail names him."""
        return _key(self.kind, self.name)


def _key(kind: Kind, name: str) -> str:
    return f"{kind}:{name}"


def _decode(row: dict[str, Any]) -> tuple[str, Hold]:
    hold = Hold(Kind(row["kind"]), row["name"], row["since"], row["by"])
    return hold.who, hold


def _encode(hold: Hold) -> dict[str, Any]:
    return {"kind": hold.kind, "name": hold.name, "since": hold.since, "by": hold.by}


class Holds:
    """Everyone who is held now; what was is in the trail."""

    def __init__(self, file: SealedFile, clock: Clock, lock: threading.RLock, leaving: Leaving) -> None:
        self.table = Table(file, _decode, _encode, lock)
        self._clock = clock
        self._leaving = leaving

    def get(self, kind: Kind, name: str) -> Hold | None:
        return self.table.get(_key(kind, name))

    def hold(self, grant: AdministerGrant, kind: Kind, name: str) -> Hold:
        """Hold somebody from now on, on what is live too; one that is held already stays so since then. `Refused` as `Leaving` says."""

        def make(existing: Hold | None) -> Hold:
            if existing is not None:
                return existing
            if kind is Kind.USER:
                self._leaving(name)
            return Hold(kind, name, self._clock(), grant.principal.id)

        return self.table.put(grant, _key(kind, name), make)

    def release(self, grant: AdministerGrant, kind: Kind, name: str) -> Hold:
        """End a hold; raises `WrongUsage` where there is none."""
        ended = self.table.remove(grant, _key(kind, name))
        if ended is None:
            raise WrongUsage(f"{_key(kind, name)} is not held, there is nothing to release; `leadglass {kind} list HOME` shows who is")
        return ended
