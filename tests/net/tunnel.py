"""A TLS tunnel for peers that speak none (dcmtk 3.6.7 has no TLS in getscu and dcmqrscp): plain on loopback, TLS from there on."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def tunnel(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port on which plain connections become TLS ones to `port`."""

    forwarding: set[asyncio.Task[None] | None] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarding.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for task in forwarding - {None}:
        assert task is not None
        await asyncio.wait([task])
