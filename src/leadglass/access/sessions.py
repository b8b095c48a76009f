"""Sessions of people who have signed in at the pages: in memory only, so that a restart signs everybody out and no disk holds one.

What the browser keeps is 256 random bits; what is kept here is their hash. A session lives as long as the password and the second factor
with which it was opened are still the person's, is ended by silence, and in any case after a working day.
"""

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from leadglass.access.clock import NANOSECONDS, Clock
from leadglass.access.secret import Secret

MOST_OF_ONE: Final = 16
"""Sessions that one person has at once; one more ends the one that was silent for longest."""


@dataclass(frozen=True)
class SessionLimits:
    """How long a session lives, in seconds: without a request, and at most."""

    idle_seconds: float = 15 * 60
    longest_seconds: float = 10 * 3600


USUAL: Final = SessionLimits()


@dataclass(slots=True)
class Open:
    """One session; `opened` and `seen` in nanoseconds since 1970."""

    id: str
    name: str
    proof: str = field(repr=False)
    """What of the account must be as it was."""
    opened: int
    seen: int


class Sessions:
    """Every open session; thread-safe."""

    def __init__(self, clock: Clock, limits: SessionLimits) -> None:
        self._clock = clock
        self._idle = int(limits.idle_seconds * NANOSECONDS)
        self._longest = int(limits.longest_seconds * NANOSECONDS)
        self._lock = threading.Lock()
        self._by_hash: dict[bytes, Open] = {}

    def open(self, name: str, proof: str) -> tuple[str, Secret]:
        """A new session: its id, which proves nothing, and what the browser shows."""
        text, now = Secret(secrets.token_urlsafe(32)), self._clock()
        session = Open(secrets.token_hex(8), name, proof, now, now)
        with self._lock:
            self._drop(lambda each: not self._in_time(each, now))
            mine = sorted((each.seen, each.id) for each in self._by_hash.values() if each.name == name)
            surplus = {known for _, known in mine[: max(0, len(mine) + 1 - MOST_OF_ONE)]}
            self._drop(lambda each: each.id in surplus)
            self._by_hash[_hash(text.reveal())] = session
        return session.id, text

    def use(self, text: str) -> Open | None:
        """The session that a browser shows, which is not silent now; None if there is none."""
        now = self._clock()
        with self._lock:
            session = self._by_hash.get(_hash(text))
            if session is None or not self._in_time(session, now):
                return None
            session.seen = now
            return session

    def get(self, session_id: str) -> Open | None:
        """The session of that id, if it is still open."""
        now = self._clock()
        with self._lock:
            return next((each for each in self._by_hash.values() if each.id == session_id and self._in_time(each, now)), None)

    def end(self, wanted: Callable[[Open], bool]) -> int:
        """End every session that is `wanted`; gives how many were."""
        with self._lock:
            return self._drop(wanted)

    def _drop(self, wanted: Callable[[Open], bool]) -> int:
        kept = {key: each for key, each in self._by_hash.items() if not wanted(each)}
        count, self._by_hash = len(self._by_hash) - len(kept), kept
        return count

    def _in_time(self, session: Open, now: int) -> bool:
        return now - session.seen < self._idle and now - session.opened < self._longest


def _hash(text: str) -> bytes:
    # One pass is enough: there are 256 random bits to guess, not a person's choice.
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
