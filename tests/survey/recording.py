"""A fleet of listeners on loopback that record who comes when: what a survey is like for those who are surveyed."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

REJECTED = bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, 1])
"""A-ASSOCIATE-RJ, permanent, by the user, no reason (PS3.8 9.3.4)."""


@dataclass
class Visit:
    """One connection, as the host saw it."""

    host: str
    port: int
    opened: float
    closed: float = 0.0


@dataclass
class Recorded:
    """Where the fleet listens, and who came."""

    ports: Sequence[int]
    visits: list[Visit] = field(default_factory=list)

    def of(self, *hosts: str) -> list[Visit]:
        """The visits to these hosts, in order."""
        return sorted((visit for visit in self.visits if visit.host in hosts), key=lambda visit: visit.opened)


@contextlib.contextmanager
def recording(hosts: Sequence[str], *, ports: int = 1, delay: Callable[[int], float] = lambda _: 0.0) -> Iterator[Recorded]:
    """Hosts that reject every association, `delay` seconds after it was asked for the nth time; the same ports on each."""
    sockets, recorded = _listening(hosts, ports)
    loop = asyncio.new_event_loop()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("sockname")
        seen = Visit(host, port, time.monotonic())
        recorded.visits.append(seen)
        with contextlib.suppress(OSError):
            if await reader.read(4096):
                await asyncio.sleep(delay(len(recorded.of(host))))
                writer.write(REJECTED)
                await reader.read()
        seen.closed = time.monotonic()
        writer.close()

    async def serve() -> None:
        for each in sockets:
            await asyncio.start_server(visit, sock=each)

    loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield recorded
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_finish())
        for each in sockets:
            each.close()
        loop.close()


async def _finish() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _listening(hosts: Sequence[str], count: int) -> tuple[list[socket.socket], Recorded]:
    sockets: list[socket.socket] = []
    ports: list[int] = []
    for _ in range(count):
        port = 0
        for host in hosts:
            each = socket.create_server((host, port), backlog=100)
            port = each.getsockname()[1]
            sockets.append(each)
        ports.append(port)
    return sockets, Recorded(ports)
