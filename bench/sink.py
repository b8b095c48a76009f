"""An acceptor that discards what it gets: `python -m bench.sink PORT [CERTIFICATE KEY AUTHORITY]`, until it is killed."""

import asyncio
import sys
from pathlib import Path

from bench.engine_sink import decide
from leadglass.net.acceptor import serve
from leadglass.net.tls import Identity, server_context


async def _run(port: int, files: list[Path]) -> None:
    tls = None
    if files:
        certificate, key, authority = files
        tls = server_context(Identity(certificate, key), trusted_clients=authority.read_text())
    async with await serve("127.0.0.1", port, decide, tls=tls):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), [Path(each) for each in sys.argv[2:]]))
