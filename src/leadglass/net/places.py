"""Who gets a place when there are fewer than are asked for: turns among addresses, and connections that have no association yet."""

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from leadglass.net.limits import Limits

_IPV6_NETWORK = 64
"""Whoever has one IPv6 address has the 2**64 of its network."""


def neighbourhood(address: str) -> str:
    """Whose share of the places an address takes: its own, or that of its IPv6 network.

    >>> neighbourhood("192.0.2.7"), neighbourhood("::ffff:192.0.2.7"), neighbourhood("2001:db8::7%eth0")
    ('192.0.2.7', '192.0.2.7', '2001:db8::/64')
    """
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _IPV6_NETWORK), strict=False))


class Turns:
    """A few places for many who ask, given to each address in turn: one that asks for a thousand holds up nobody but itself."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, whose: str) -> AsyncIterator[None]:
        """A place for the length of a `with` block, once it is the turn of `whose`."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(whose)
        try:
            yield
        finally:
            self._next()

    async def _wait(self, whose: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(whose, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting:
            whose = next(iter(self._waiting))
            queue = self._waiting.pop(whose)
            turn = queue.popleft()
            if queue:
                # At the end of the row again: dictionaries keep the order of insertion.
                self._waiting[whose] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Patience:
    """How long to leave whoever breaks off again and again; who makes associations never waits.

    `FREE` connections of an address that came to nothing cost it no time; after them `A_SECOND` of its are listened to each second, and the
    others wait, unread, for up to `LONGEST` seconds.
    """

    FREE: Final = 64
    A_SECOND: Final = 20.0
    LONGEST: Final = 5.0
    MOST_ADDRESSES: Final = 4096

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paid: OrderedDict[str, float] = OrderedDict()
        """When each address has made up for what it broke off."""

    def __len__(self) -> int:
        return len(self._paid)

    def wait(self, whose: str) -> float:
        """Seconds before the next connection of this address is to be listened to."""
        return max(0.0, self._paid.get(whose, 0.0) - self._clock() - self.FREE / self.A_SECOND)

    def broke_off(self, whose: str) -> None:
        """A connection of this address has ended without as much as a request for an association."""
        now = self._clock()
        owed = max(now, self._paid.get(whose, now)) + 1 / self.A_SECOND
        self._paid[whose] = min(owed, now + self.FREE / self.A_SECOND + self.LONGEST)
        self._paid.move_to_end(whose)
        while self._paid and (len(self._paid) > self.MOST_ADDRESSES or next(iter(self._paid.values())) <= now):
            self._paid.popitem(last=False)


class Callers:
    """The connections without an association: in the TLS handshake, silent, being judged, or being told no.

    When all places are taken, a newcomer is given that of the oldest from whichever address has the most, unless that is its own: a few
    addresses cannot keep the others out.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._here: dict[str, dict[int, Callable[[], object]]] = {}
        self._count = 0
        self._number = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, whose: str, dismiss: Callable[[], object]) -> Callable[[], None] | None:
        """A way to give the place back, or None if there is none; `dismiss` is called if the place is given to somebody else."""
        own = len(self._here.get(whose, ()))
        if own >= self._limits.max_connections_per_address:
            return None
        if self._count >= self._limits.max_connections:
            greediest = max(self._here, key=lambda each: len(self._here[each]))
            if len(self._here[greediest]) <= own + 1:
                return None
            oldest, send_away = next(iter(self._here[greediest].items()))
            self._leave(greediest, oldest)
            send_away()
        self._number += 1
        self._count += 1
        self._here.setdefault(whose, {})[self._number] = dismiss
        return partial(self._leave, whose, self._number)

    def _leave(self, whose: str, number: int) -> None:
        # Nothing happens the second time, or if the place was given to somebody else.
        here = self._here.get(whose, {})
        if here.pop(number, None) is not None:
            self._count -= 1
            if not here:
                del self._here[whose]


class Shares:
    """How many associations there are, in all and of each address and each peer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._addresses: Counter[str] = Counter()
        self._peers: Counter[str] = Counter()
        self._all = 0

    def has_room(self, whose: str, peer: str | None = None) -> bool:
        """Whether there may be one more, of this address and, where it is known, of this peer."""
        limits = self._limits
        return (
            self._all < limits.max_associations
            and self._addresses[whose] < limits.max_associations_per_address
            and (peer is None or self._peers[peer] < limits.for_one_peer)
        )

    def take(self, whose: str, peer: str) -> None:
        """One more."""
        self._all += 1
        self._addresses[whose] += 1
        self._peers[peer] += 1

    def give_back(self, whose: str, peer: str) -> None:
        """One fewer."""
        self._all -= 1
        for counter, key in ((self._addresses, whose), (self._peers, peer)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
