"""The only opener of sockets in the survey: it connects to what the scope names, as slowly as the scope says, and to nothing else."""

import asyncio
import contextlib
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from typing import Protocol

from leadglass.errors import OutOfScope
from leadglass.survey.addresses import IpAddress, System
from leadglass.survey.observations import Ending

NEIGHBOURHOOD_SHARE = 0.25
"""Of the overall rate, at most this part goes to one /24 (IPv6: /64), which is often one hospital's line."""

HOST_SHARE = 0.1
"""And at most this part to one host: new connections, and questions over one that stands."""

MOST_PATIENCE = 10.0
"""Who answers more slowly than he did gets connections rarer by that factor, up to this one."""

USUAL_LATENCY = 0.02
"""Seconds; differences below it are noise."""

_WEIGHT_OF_LATEST = 0.3
"""One slow answer is forgotten after some ten that are not."""


@dataclass(frozen=True, slots=True)
class NoConnection:
    """A connection that did not come about; expected, so it is a value."""

    ending: Ending


class Dialer(Protocol):
    """Opens connections; one at a time for each address."""

    def connection(self, address: IpAddress, port: int) -> AbstractAsyncContextManager[socket.socket | NoConnection]:
        """A connected, non-blocking socket, closed at the end; raises `OutOfScope`."""
        ...

    async def pause(self, address: IpAddress) -> None:
        """Wait until `address` may be asked again over a connection that stands."""
        ...

    def observe(self, address: IpAddress, slowdown: float) -> None:
        """Learn how many times slower than the first of its kind an answer of `address` was; connections get rarer by it."""
        ...


class Slowness:
    """How many times slower answers get than the first of their kind.

    >>> slowness = Slowness()
    >>> slowness.of("page", 0.1), slowness.of("page", 0.05), slowness.of("page", 0.3)
    (1.0, 1.0, 3.0)
    """

    def __init__(self) -> None:
        self._first: dict[str, float] = {}

    def of(self, kind: str, seconds: float) -> float:
        first = self._first.setdefault(kind, max(seconds, USUAL_LATENCY))
        return max(1.0, round(seconds / first, 3))


class Pace:
    """When the next connection may begin: a rate overall, parts of it for each neighbourhood and host, less where answers get slower."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = 0.0
        self._next_near: dict[str, float] = {}
        self._next_host: dict[IpAddress, float] = {}
        self._queues: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._patience: dict[IpAddress | str, float] = {}

    async def turn(self, address: IpAddress) -> None:
        """Wait until a connection to `address` may begin; of each host, one waits at a time."""
        near = neighbourhood(address)
        await _until(self._next_host.get(address, 0.0))
        # Invariant: of each neighbourhood at most one is in the overall queue, so that two never leave it closer than they may.
        async with self._queues[near]:
            await _until(self._next_near.get(near, 0.0))
            slot = max(time.monotonic(), self._next)
            self._next = slot + self._interval
            await _until(slot)
            now = time.monotonic()
            self._next_near[near] = now + self._interval / NEIGHBOURHOOD_SHARE * self._patience.get(near, 1.0)
            self._next_host[address] = now + self._host_interval(address)

    async def pause(self, address: IpAddress) -> None:
        """Wait until `address` may be asked again over a connection that stands."""
        await _until(self._next_host.get(address, 0.0))
        self._next_host[address] = time.monotonic() + self._host_interval(address)

    async def rest(self) -> None:
        """Wait until everybody may be asked again."""
        await _until(max((self._next, *self._next_near.values(), *self._next_host.values())))

    def observe(self, address: IpAddress, slowdown: float) -> None:
        """Learn that an answer of `address`, just come, took `slowdown` times what the first of its kind took."""
        slowdown = min(MOST_PATIENCE, max(1.0, slowdown))
        for each in (address, neighbourhood(address)):
            before = self._patience.get(each, 1.0)
            self._patience[each] = before + _WEIGHT_OF_LATEST * (slowdown - before)
        # Counted from its last question, the time that a slow answer takes would be all the rest that a host gets.
        rest = self._host_interval(address) - self._interval / HOST_SHARE
        self._next_host[address] = max(self._next_host.get(address, 0.0), time.monotonic() + rest)

    def _host_interval(self, address: IpAddress) -> float:
        return self._interval / HOST_SHARE * self._patience.get(address, 1.0)


async def _until(moment: float) -> None:
    if (left := moment - time.monotonic()) > 0:
        await asyncio.sleep(left)


def neighbourhood(address: IpAddress) -> str:
    """The /24 (IPv6: /64) of `address`: often one hospital's line.

    >>> from ipaddress import ip_address
    >>> neighbourhood(ip_address("10.20.0.9"))
    '10.20.0.0/24'
    """
    prefix = 24 if isinstance(address, IPv4Address) else 64
    return str(ip_network((address, prefix), strict=False))


class ScopedDialer:
    """The dialer of a survey; knows every address and port it may speak to, and no other."""

    def __init__(
        self, systems: Iterable[System], *, per_second: float, timeout: float, name_server: tuple[IpAddress, int] | None = None
    ) -> None:
        allowed: dict[IpAddress, set[int]] = defaultdict(set)
        for system in systems:
            allowed[system.address].update(system.ports)
        if name_server is not None:
            allowed[name_server[0]].add(name_server[1])
        self._allowed: Mapping[IpAddress, frozenset[int]] = {address: frozenset(ports) for address, ports in allowed.items()}
        self._hosts: dict[IpAddress, asyncio.Lock] = {address: asyncio.Lock() for address in allowed}
        self._slowness: dict[IpAddress, Slowness] = {}
        self._pace = Pace(per_second)
        self._timeout = timeout
        self.opened = 0

    @contextlib.asynccontextmanager
    async def connection(self, address: IpAddress, port: int) -> AsyncIterator[socket.socket | NoConnection]:
        """A connected, non-blocking socket, closed at the end; raises `OutOfScope`."""
        if port not in self._allowed.get(address, ()):
            raise OutOfScope(f"the scope does not name {address} port {port}: nothing was sent")
        async with self._hosts[address]:
            await self._pace.turn(address)
            family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
            with socket.socket(family, socket.SOCK_STREAM) as link:
                link.setblocking(False)  # noqa: FBT003 - the standard library's signature
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                failure = await self._connect(link, address, port)
                yield failure or link
                # A transport on top of the socket lets go of it in the next turns of the loop.
                for _ in range(3):
                    await asyncio.sleep(0)

    async def pause(self, address: IpAddress) -> None:
        """Wait until `address` may be asked again over a connection that stands."""
        await self._pace.pause(address)

    def observe(self, address: IpAddress, slowdown: float) -> None:
        """Learn how many times slower than the first of its kind an answer of `address` was; connections get rarer by it."""
        self._pace.observe(address, slowdown)

    async def rest(self) -> None:
        """Wait until another dialer may begin with the same hosts."""
        await self._pace.rest()

    async def _connect(self, link: socket.socket, address: IpAddress, port: int) -> NoConnection | None:
        began = time.monotonic()
        self.opened += 1
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.get_running_loop().sock_connect(link, (str(address), port))
        except TimeoutError:
            # Silence of an address that never answered is no answer that got slower.
            if address in self._slowness:
                self._pace.observe(address, MOST_PATIENCE)
            return NoConnection(Ending.NO_ANSWER)
        except ConnectionRefusedError:
            return NoConnection(Ending.REFUSED)
        except OSError:
            return NoConnection(Ending.UNREACHABLE)
        self._pace.observe(address, self._slowness.setdefault(address, Slowness()).of("connection", time.monotonic() - began))
        # On loopback a closed port may be dialled from itself (TCP's simultaneous open): that is nobody.
        return NoConnection(Ending.REFUSED) if link.getsockname() == link.getpeername() else None
