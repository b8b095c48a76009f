"""When each peer, person and token was last let do something: for whoever looks after them, not for any decision.

Kept in memory and written once a minute, so that no request waits for it; a process that is killed forgets the last minute. The trail
has every access, and is what counts.
"""

import threading
from typing import Final

from leadglass.access.clock import Clock
from leadglass.access.identity import Kind, Principal
from leadglass.access.sealed import SealedFile

_NAMED: Final = frozenset({Kind.PEER, Kind.USER, Kind.TOKEN})


class Seen:
    """The last time of each, in nanoseconds since 1970; thread-safe. No part of what the anchor vouches for."""

    def __init__(self, file: SealedFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._times = {(Kind(row["kind"]), str(row["name"])): int(row["at"]) for row in file.load()}
        self._changed = False

    def last(self, kind: Kind, name: str) -> int | None:
        """When the one of that name last did something: an AE title, a user's name, a token's id; None if never."""
        return self._times.get((kind, name))

    def note(self, principal: Principal) -> None:
        """That this principal does something now; a token's user and a peer's person do too."""
        now = self._clock()
        with self._lock:
            for one in (principal, principal.user):
                if one is None or one.kind not in _NAMED:
                    continue
                if one.kind is Kind.TOKEN:
                    self._times[Kind.TOKEN, one.credential] = now
                # A token is used in its user's name.
                self._times[Kind.USER if one.kind is Kind.TOKEN else one.kind, one.name] = now
                self._changed = True

    def save(self) -> None:
        """Write what has changed; raises what replacing a file raises, and then it is written the next time."""
        with self._lock:
            if not self._changed:
                return
            rows = [{"kind": kind, "name": name, "at": at} for (kind, name), at in sorted(self._times.items())]
            self._changed = False
        try:
            self._file.save(rows)
        except BaseException:
            with self._lock:
                self._changed = True
            raise
