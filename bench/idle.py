"""What an association costs that does nothing: the growth of the server's PSS over a thousand of them, plain and over TLS."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from bench import sides
from bench.figures import Extent, Table
from bench.memory import Watch
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.sopclasses import VERIFICATION
from leadglass.net import tls
from leadglass.net.limits import Limits, open_all_descriptors
from leadglass.net.requestor import connect, tcp
from tests.archives import ArchiveUnderTest, leadglass

_COUNT = 1000
_PATIENT = Limits(handshake_seconds=120, idle_seconds=120)
_SETTINGS = f"max_associations = {_COUNT + 20}\nmax_associations_per_address = {_COUNT + 20}\nidle_timeout_seconds = 600\n"


def bench_idle(folder: Path, extent: Extent) -> None:  # noqa: ARG001 # as many whatever the extent: it is the figure that was promised
    """A thousand associations that asked for one echo each, and then for nothing."""
    open_all_descriptors()
    table = Table(f"Memory of the server for {_COUNT} idle associations", "", "PSS before, MB", "with them, MB", "kB for each")
    for label, plain in (("plaintext", True), ("TLS, client certificates", False)):
        with tempfile.TemporaryDirectory(dir=folder) as name, _served(Path(name) / "ours") as archive:
            before, held = asyncio.run(_hold(archive, plain=plain))
            table.add(label, f"{before / 1e6:.0f}", f"{held / 1e6:.0f}", f"{(held - before) / 1e3 / _COUNT:.1f}")
    table.show()


@contextmanager
def _served(folder: Path) -> Iterator[ArchiveUnderTest]:
    archive = ArchiveUnderTest.found(folder)
    settings = archive.home / "leadglass.toml"
    settings.write_text(settings.read_text().replace("[dimse]\n", f"[dimse]\n{_SETTINGS}", 1))
    with archive.serving("--unsafe-dimse-plaintext", "127.0.0.1:0"):
        yield archive


async def _hold(archive: ArchiveUnderTest, *, plain: bool) -> tuple[int, int]:
    """PSS in bytes with a few associations, and with a thousand more."""
    if plain:
        leadglass("peer", "add", archive.home, sides.PLAIN_PEER, "--address", "127.0.0.0/8", "--may", "store", "--unsafe-plaintext")
        address, calling, context = archive.plaintext, sides.PLAIN_PEER, None
    else:
        identity = archive.peer(sides.PEER)
        calling, address = sides.PEER, archive.dimse
        own = tls.Identity(identity.certificate, identity.key)
        context = tls.client_context(trusted_servers=identity.authority.read_text(), identity=own)
    request = propose(calling, address.aet, [(VERIFICATION, [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN])])
    watch = Watch(sides.our_process(archive))
    async with AsyncExitStack() as held:

        async def hold() -> None:
            association = await held.enter_async_context(connect(tcp(address.host, address.port, tls=context), request, limits=_PATIENT))
            if await association.echo():
                raise RuntimeError("the echo failed")

        for _ in range(10):
            await hold()
        before = watch.now
        for _ in range(_COUNT):
            await hold()
        await asyncio.sleep(1)
        return before, watch.now
