"""A relay between a peer that speaks no TLS (getscu, dcmsend) and a door over TLS, which records what went over it."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Identity
from tests.peers import LOOPBACK, DimseAddress

_DATA, _COMMAND, _LAST = 4, 1, 2


@dataclass
class Relay:
    """Listens in plaintext at `address`; what it read from peers and doors is kept, one pair of streams for each connection."""

    address: DimseAddress
    sent: list[bytearray] = field(default_factory=list)
    answered: list[bytearray] = field(default_factory=list)

    def messages(self) -> list[tuple[bytes, bytes]]:
        """Every command set with a data set that a peer sent, byte for byte, in order."""
        return [message for stream in self.sent for message in messages(bytes(stream))]


def messages(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Command sets with their data sets in one direction of an association (PS3.8 9.3.5 and annex E), read without any code of ours."""
    found: list[tuple[bytes, bytes]] = []
    command, pending, position = bytearray(), bytearray(), 0
    while position + 6 <= len(stream):
        kind, length = stream[position], int.from_bytes(stream[position + 2 : position + 6], "big")
        body, position = stream[position + 6 : position + 6 + length], position + 6 + length
        at = 0
        while kind == _DATA and at < len(body):
            size, flags = int.from_bytes(body[at : at + 4], "big"), body[at + 5]
            (command if flags & _COMMAND else pending).extend(body[at + 6 : at + 4 + size])
            if flags & _LAST and not flags & _COMMAND:
                found.append((bytes(command), bytes(pending)))
                command.clear()
                pending.clear()
            at += 4 + size
    return found


def client_context(authority: Path, identity: Identity | None = None) -> ssl.SSLContext:
    """What trusts `authority`, and shows `identity`."""
    context = ssl.create_default_context(cafile=str(authority))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


def server_context(identity: Identity) -> ssl.SSLContext:
    """What shows `identity`, and asks for a certificate of the same authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(identity.authority))
    context.load_cert_chain(identity.certificate, identity.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.contextmanager
def relay(door: DimseAddress, context: ssl.SSLContext) -> Iterator[Relay]:
    """A relay to `door` while the context lasts."""
    made = Relay(DimseAddress(0, door.aet))
    loop = asyncio.new_event_loop()
    listening = threading.Event()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_serve(door, context, made, listening, stop),))
    thread.start()
    try:
        if not listening.wait(30):
            raise TimeoutError("the relay does not listen")
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


async def _serve(door: DimseAddress, context: ssl.SSLContext, made: Relay, listening: threading.Event, stop: asyncio.Event) -> None:
    """One event loop for both directions: an SSL object may not be read by one thread while another writes to it."""
    joined: set[asyncio.Task[None]] = set()

    async def join(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            joined.add(task)
        with contextlib.suppress(OSError):
            far, forth = await asyncio.open_connection(door.host, door.port, ssl=context, server_hostname=door.host)
            sent, answered = bytearray(), bytearray()
            made.sent.append(sent)
            made.answered.append(answered)
            await asyncio.gather(_pump(near, forth, sent), _pump(far, back, answered))
        back.close()

    server = await asyncio.start_server(join, LOOPBACK, 0)
    made.address = DimseAddress(server.sockets[0].getsockname()[1], door.aet)
    listening.set()
    await stop.wait()
    server.close()
    if joined:
        await asyncio.wait(joined, timeout=30)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            record += data
            sink.write(data)
            await sink.drain()
    sink.close()
