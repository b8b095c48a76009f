"""What is refused before an operation is counted, not listed, so that nobody can fill the trail by knocking.

Strangers are one trail entry a minute and door; somebody known is one a minute, door and address, with why.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from leadglass.access.clock import NANOSECONDS
from leadglass.access.registry import Stranger
from leadglass.trail.entries import Entry, Kind
from leadglass.vocabulary import Door, Outcome, Refusal

MINUTE = 60 * NANOSECONDS
MOST_KNOWN = 100
"""Callers, each at one address, told apart in a minute; those beyond them by their name alone, and names are as many as are known."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """Whose refusals are counted together; nobody's name and address for a stranger."""

    door: Door
    principal: str = ""
    address: str = ""


class Denials:
    """The refusals that no entry tells of yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[_Caller, Counter[str]] = {}

    def count(self, now: int, door: Door, reason: Stranger) -> None:
        """One more stranger."""
        self._count(now, _Caller(door), reason)

    def count_known(self, now: int, door: Door, principal: str, address: str, reason: Refusal | Stranger) -> None:
        """One more refusal of somebody known."""
        caller = _Caller(door, principal, address)
        if len(self._counts) >= MOST_KNOWN and caller not in self._counts:
            caller = _Caller(door, principal)
        self._count(now, caller, reason)

    def _count(self, now: int, caller: _Caller, reason: str) -> None:
        with self._lock:
            if not self._counts:
                self._minute = now // MINUTE
            self._counts.setdefault(caller, Counter())[reason] += 1

    def due(self, now: int, *, closing: bool = False) -> Iterable[Entry]:
        """The entries of a minute that is over; each refusal is in exactly one."""
        if not self._counts:
            return ()
        with self._lock:
            if not self._counts or (now // MINUTE == self._minute and not closing):
                return ()
            counts, self._counts = self._counts, {}
            start = self._minute * MINUTE
        return [
            Entry(
                start,
                Kind.DENIED if caller.principal else Kind.UNIDENTIFIED,
                principal=caller.principal,
                door=caller.door,
                address=caller.address,
                count=reasons.total(),
                outcome=Outcome.REFUSED,
                detail={str(reason): number for reason, number in sorted(reasons.items())},
            )
            for caller, reasons in counts.items()
        ]
