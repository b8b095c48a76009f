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

MOST_PATIENCE = 10.0
"""A neighbourhood that answers more slowly than it did gets connections rarer by that factor, up to this one."""

USUAL_LATENCY = 0.02
"""Seconds; differences below it are noise."""


@dataclass(frozen=True, slots=True)
class NoConnection:
    """A connection that did not come about; expected, so it is a value."""

    ending: Ending


class Dialer(Protocol):
    """Opens connections; one at a time for each address."""

    def connection(self, address: IpAddress, port: int) -> AbstractAsyncContextManager[socket.socket | NoConnection]:
        """A connected, non-blocking socket, closed at the end; raises `OutOfScope`."""
        ...


class Pace:
    """When the next connection may begin: a rate overall, a part of it for each neighbourhood, less where answers get slower."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = 0.0
        self._next_near: dict[str, float] = defaultdict(float)
        self._first_latency: dict[str, float] = {}
        self._patience: dict[str, float] = {}

    async def turn(self, address: IpAddress) -> None:
        """Wait until a connection to `address` may begin."""
        near = neighbourhood(address)
        interval = self._interval / NEIGHBOURHOOD_SHARE * self._patience.get(near, 1.0)
        at = max(time.monotonic(), self._next_near[near])
        self._next_near[near] = at + interval
        await asyncio.sleep(at - time.monotonic())
        at = max(time.monotonic(), self._next)
        self._next = at + self._interval
        await asyncio.sleep(at - time.monotonic())

    def observe(self, address: IpAddress, latency: float) -> None:
        """Learn from how long a connection took, in seconds."""
        near = neighbourhood(address)
        first = self._first_latency.setdefault(near, max(latency, USUAL_LATENCY))
        self._patience[near] = min(MOST_PATIENCE, max(1.0, latency / first))


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

    def __init__(self, systems: Iterable[System], *, per_second: float, timeout: float) -> None:
        allowed: dict[IpAddress, set[int]] = defaultdict(set)
        for system in systems:
            allowed[system.address].update(system.ports)
        self._allowed: Mapping[IpAddress, frozenset[int]] = {address: frozenset(ports) for address, ports in allowed.items()}
        self._hosts: dict[IpAddress, asyncio.Lock] = {address: asyncio.Lock() for address in allowed}
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

    async def _connect(self, link: socket.socket, address: IpAddress, port: int) -> NoConnection | None:
        began = time.monotonic()
        self.opened += 1
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.get_running_loop().sock_connect(link, (str(address), port))
        except TimeoutError:
            self._pace.observe(address, self._timeout)
            return NoConnection(Ending.NO_ANSWER)
        except ConnectionRefusedError:
            return NoConnection(Ending.REFUSED)
        except OSError:
            return NoConnection(Ending.UNREACHABLE)
        self._pace.observe(address, time.monotonic() - began)
        # On loopback a closed port may be dialled from itself (TCP's simultaneous open): that is nobody.
        return NoConnection(Ending.REFUSED) if link.getsockname() == link.getpeername() else None
