"""How much slower a well-behaved peer is served while others attack the same door: medians with and without, taking turns.

The attackers are a process of their own, at other addresses of loopback; what they take of the two cores counts against us too.
`python -m bench.hostile KIND HOST PORT` is that process.
"""

import asyncio
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles

from bench import sides
from bench.figures import Extent, Table
from bench.objects import CT, Identifiers, Template, template
from bench.sender import ROOT
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.pdu import AssociateRequest
from leadglass.dicom.sopclasses import VERIFICATION
from leadglass.dicom.uid import Uid
from leadglass.net import tls
from leadglass.net.requestor import ClientAssociation, Dial, connect, tcp
from tests.archives import ArchiveUnderTest

_ATTACKERS = 60
_ADDRESSES = 6
_SIZE = 8_000


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _byte_by_byte(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in _hello():
        writer.write(bytes((byte,)))
        await asyncio.sleep(1)


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(os.urandom(4096))
    await reader.read()


async def _hello_and_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_hello())
    await reader.read(1)


async def _gone(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    pass


_ATTACKS: dict[str, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {
    "silent": _silent,
    "one byte a second": _byte_by_byte,
    "garbage": _garbage,
    "handshakes begun for ever": _hello_and_gone,
    "connecting for ever": _gone,
}


def _hello() -> bytes:
    """A ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


async def _attack(kind: str, host: str, port: int) -> None:
    async def one(number: int) -> None:
        while True:
            with suppress(OSError):
                source = (f"127.0.0.{2 + number % _ADDRESSES}", 0)
                reader, writer = await asyncio.open_connection(host, port, local_addr=source)
                try:
                    await _ATTACKS[kind](reader, writer)
                finally:
                    writer.transport.abort()

    await asyncio.gather(*(one(number) for number in range(_ATTACKERS)))


def bench_hostile(folder: Path, extent: Extent) -> None:
    """C-ECHO and C-STORE on a standing association, and a new association with TLS, beside each attack."""
    table = Table(
        f"A well-behaved peer beside {_ATTACKERS} attackers: median ms quiet > attacked, ratio (99th percentile, ms)",
        "",
        "C-ECHO",
        f"C-STORE {_SIZE // 1000} kB",
        "new association",
    )
    with tempfile.TemporaryDirectory(dir=folder) as name, sides.ours(Path(name) / "ours") as archive:
        peer = _Peer(archive)
        for kind in _ATTACKS:
            quiet, attacked = _Waits(), _Waits()
            for _ in range(extent.rounds):
                asyncio.run(peer.ask(quiet, extent.seconds / 4))
                with _attacking(kind, archive):
                    time.sleep(1)
                    asyncio.run(peer.ask(attacked, extent.seconds / 4))
            table.add(kind, *(_cell(quiet.of[what], attacked.of[what]) for what in quiet.of))
    table.show()


def _cell(quiet: list[float], attacked: list[float]) -> str:
    before, during = median(quiet) * 1e3, median(attacked) * 1e3
    return f"{before:.1f} > {during:.1f}, {during / before:.2f} ({quantiles(attacked, n=100)[98] * 1e3:.0f})"


class _Waits:
    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {"echo": [], "store": [], "association": []}


@contextmanager
def _attacking(kind: str, archive: ArchiveUnderTest) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.hostile", kind, archive.dimse.host, str(archive.dimse.port)]
    with subprocess.Popen(command, cwd=ROOT) as attackers:
        try:
            yield
            if attackers.poll() is not None:
                raise RuntimeError("the attackers ended by themselves")
        finally:
            attackers.kill()


class _Peer:
    """Asks for one thing after another and notes how long each took."""

    def __init__(self, archive: ArchiveUnderTest) -> None:
        identity = archive.peer(sides.PEER)
        self._address = archive.dimse
        own = tls.Identity(identity.certificate, identity.key)
        self._context = tls.client_context(trusted_servers=identity.authority.read_text(), identity=own)
        self._template = Template(template(_SIZE))
        self._number = 0
        self._run = int(time.time()) % 10**9

    async def ask(self, waits: _Waits, seconds: float) -> None:
        """For so long."""
        end = time.monotonic() + seconds
        async with connect(self._dial(), self._request()) as standing:
            while time.monotonic() < end:
                for _ in range(10):
                    await self._timed(waits.of["echo"], standing.echo())
                    await self._timed(waits.of["store"], self._store(standing))
                await self._timed(waits.of["association"], self._associate())

    async def _timed(self, into: list[float], asked: Awaitable[int | None]) -> None:
        began = time.perf_counter()
        if await asked:
            raise RuntimeError("the peer was refused")
        into.append(time.perf_counter() - began)

    async def _store(self, association: ClientAssociation) -> int:
        self._number += 1
        identifiers = Identifiers.of(self._run, self._number, 250)
        answer = await association.store(association.context(CT), Uid(identifiers.instance), bytes(self._template.fill(identifiers)))
        return answer.status

    async def _associate(self) -> int:
        async with connect(self._dial(), self._request()) as association:
            return await association.echo()

    def _dial(self) -> Dial:
        return tcp(self._address.host, self._address.port, tls=self._context)

    def _request(self) -> AssociateRequest:
        return propose(sides.PEER, self._address.aet, [(VERIFICATION, [EXPLICIT_LITTLE_ENDIAN]), (CT, [EXPLICIT_LITTLE_ENDIAN])])


if __name__ == "__main__":
    asyncio.run(_attack(sys.argv[1], sys.argv[2], int(sys.argv[3])))
