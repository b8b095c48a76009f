"""How often somebody may try: a few times at once, then at a steady pace, whoever he says he is and wherever he comes from.

Nothing is kept of a name or an address but the place of its keyed hash in a table of fixed size. So a stranger can neither fill memory
nor push out what is known of another by trying many names, and two that share a place are slowed together, which is rare and harmless.
"""

import hmac
import ipaddress
import secrets
import threading
from typing import Final

from leadglass.access.clock import NANOSECONDS, Clock

_PLACES: Final = 1 << 16
_IPV6_NETWORK: Final = 64
"""What one subscriber has (RFC 6177); each of its addresses is nobody else's."""


class Throttle:
    """`burst` tries at once, then one every `seconds` (the generic cell rate algorithm); thread-safe."""

    def __init__(self, burst: int, seconds: float, clock: Clock) -> None:
        self._interval = int(seconds * NANOSECONDS)
        self._ahead = burst * self._interval
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._free_at: dict[int, int] = {}
        self._lock = threading.Lock()

    def _place(self, who: str) -> int:
        return int.from_bytes(hmac.digest(self._key, who.encode(errors="surrogatepass"), "sha256")[:4], "big") % _PLACES

    def take(self, who: str) -> int:
        """One try; 0 if it may be made, else the seconds to wait, and it is not counted."""
        now, place = self._clock(), self._place(who)
        with self._lock:
            # Not beyond what a full burst makes: a clock that was put back must shut nobody out for longer.
            free_at = min(max(self._free_at.get(place, 0), now), now + self._ahead)
            if (over := free_at + self._interval - now - self._ahead) > 0:
                self._free_at[place] = free_at
                return -(-over // NANOSECONDS)
            self._free_at[place] = free_at + self._interval
        return 0

    def give_back(self, who: str) -> None:
        """The try was no guess."""
        place = self._place(who)
        with self._lock:
            self._free_at[place] = self._free_at.get(place, 0) - self._interval


def network_of(address: str) -> str:
    """Whose address it is, for counting: itself, or its network of IPv6.

    >>> network_of("192.0.2.7"), network_of("2001:db8:1:2:3:4:5:6"), network_of("")
    ('192.0.2.7', '2001:db8:1:2::', '')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(found), _IPV6_NETWORK), strict=False).network_address)
    return address
