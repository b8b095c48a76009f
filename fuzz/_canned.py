"""A dialer for fuzz targets: whoever is called says what the input says."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from ipaddress import ip_address

from leadglass.survey.addresses import IpAddress, System
from leadglass.survey.briefing import Briefing
from leadglass.survey.dialer import Dialer, NoConnection
from leadglass.survey.scope import ExposureLimit, Target


class Canned:
    """Every connection has said `data` and ended."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @contextlib.asynccontextmanager
    async def connection(self, address: IpAddress, port: int) -> AsyncIterator[socket.socket | NoConnection]:  # noqa: ARG002 - the Dialer's
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(self._data)
            theirs.shutdown(socket.SHUT_WR)
            ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
            yield ours

    async def pause(self, address: IpAddress) -> None:
        """Nobody is tired here."""

    def observe(self, address: IpAddress, slowdown: float) -> None:
        """Nobody is slow here."""


BETWEEN = b"\n--\n"


class InTurn(Canned):
    """Every connection gives the parts of `data` in turn, one to each question."""

    @contextlib.asynccontextmanager
    async def connection(self, address: IpAddress, port: int) -> AsyncIterator[socket.socket | NoConnection]:  # noqa: ARG002 - the Dialer's
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for each in (ours, theirs):
                each.setblocking(False)  # noqa: FBT003 - the standard library's signature
            task = asyncio.create_task(self._serve(theirs))
            try:
                yield ours
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task

    async def _serve(self, link: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for part in self.parts(self._data.split(BETWEEN)):
            asked = await loop.sock_recv(link, 65536)
            if not asked:
                return
            await loop.sock_sendall(link, self.answer(asked, part))
        link.shutdown(socket.SHUT_WR)

    def parts(self, given: Sequence[bytes]) -> Iterable[bytes]:
        """What is said to one question after the other."""
        return given

    def answer(self, asked: bytes, part: bytes) -> bytes:  # noqa: ARG002 - for those who listen
        """What is said to `asked`."""
        return part


def system(port: int) -> System:
    """A system that may be asked everything; `port` is a DIMSE port and 80 a web port."""
    target = Target(name="a", host="127.0.0.1", dimse_ports=(port,), web_ports=(80,))
    return System(target, ip_address("127.0.0.1"), ExposureLimit.RETRIEVE, from_range=False)


def briefing(dialer: Dialer) -> Briefing:
    """What a probe is told."""
    return Briefing(dialer=dialer, timeout=0.05, max_matches=20, run_id="000000", contact="nobody", key=b"k" * 32)
