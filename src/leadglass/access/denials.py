"""Strangers are counted, not listed: one trail entry a minute and door, so that nobody can fill the trail by knocking."""

import threading
from collections import Counter
from collections.abc import Iterable

from leadglass.access.clock import NANOSECONDS
from leadglass.access.registry import Stranger
from leadglass.trail.entries import Entry, Kind
from leadglass.vocabulary import Door, Outcome

MINUTE = 60 * NANOSECONDS


class Denials:
    """The denials of the unidentified that no entry tells of yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[Door, Counter[Stranger]] = {}

    def count(self, now: int, door: Door, reason: Stranger) -> None:
        with self._lock:
            if not self._counts:
                self._minute = now // MINUTE
            self._counts.setdefault(door, Counter())[reason] += 1

    def due(self, now: int, *, closing: bool = False) -> Iterable[Entry]:
        """The entries of a minute that is over; each denial is in exactly one."""
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
                Kind.UNIDENTIFIED,
                door=door,
                count=reasons.total(),
                outcome=Outcome.REFUSED,
                detail={str(reason): number for reason, number in sorted(reasons.items())},
            )
            for door, reasons in counts.items()
        ]
