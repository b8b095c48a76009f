"""What serving large objects takes, by the peak of the proportional set size: one in and out by each door, and many in at once."""

import asyncio
import http.client
import ssl
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench import sides
from bench.figures import Extent, Table
from bench.objects import FRAME, MULTI_FRAME, Identifiers, multi_frame, study_identifier
from bench.web import MULTIPART
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.dimse import GetResponse, StoreRequest, StoreResponse
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.sopclasses import STUDY_ROOT_GET
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection
from leadglass.net import tls
from leadglass.net.requestor import ClientAssociation, connect, tcp
from tests.archives import ArchiveUnderTest

_SAMPLE_SECONDS = 0.02
_AT_ONCE = 16
_BY_DIMSE, _BY_STOW = Identifiers.of(1, 0, 1), Identifiers.of(2, 0, 1)


def pss(process: int) -> int:
    """The proportional set size of a process, in bytes."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024


class Watch:
    """The peak of a process's PSS over a block."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.peak = 0
        self.seconds = 0.0

    @property
    def now(self) -> int:
        """In bytes."""
        return pss(self._process)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample in a thread for the length of the block."""
        over, started = threading.Event(), time.perf_counter()
        self.peak = self.now
        thread = threading.Thread(target=self._sample, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.seconds = time.perf_counter() - started

    def _sample(self, over: threading.Event) -> None:
        while not over.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, self.now)


def bench_memory(folder: Path, extent: Extent) -> None:
    """One large multi-frame object, in and out."""
    size = extent.frames * FRAME
    with tempfile.TemporaryDirectory(dir=folder) as name, sides.ours(Path(name) / "ours") as archive:
        client = _Client(archive, extent.frames)
        watch = Watch(sides.our_process(archive))
        table = Table(f"Memory of the server with one multi-frame object of {size / 1e9:g} GB", "", "PSS before, MB", "peak, MB", "MB/s")
        for label, step in (
            ("C-STORE in", client.store),
            (f"C-STORE in, {_AT_ONCE} at once, a quarter of it each", client.store_at_once),
            ("STOW-RS in", client.stow),
            ("C-GET out", client.get),
            ("WADO-RS out", client.wado),
        ):
            before = watch.now
            with watch.watching():
                came = step()
            if came < size:
                raise RuntimeError(f"{label}: only {came} bytes passed")
            table.add(label, f"{before / 1e6:.0f}", f"{watch.peak / 1e6:.0f}", f"{came / watch.seconds / 1e6:.0f}")
        table.show()


class _Client:
    """One peer and one person with a token, who send and fetch the same kind of object."""

    def __init__(self, archive: ArchiveUnderTest, frames: int) -> None:
        self._archive = archive
        self._frames = frames
        identity = archive.peer(sides.PEER)
        self._tls = tls.client_context(
            trusted_servers=identity.authority.read_text(), identity=tls.Identity(identity.certificate, identity.key)
        )
        self._storing = archive.token("storing", "technologist", "store,find")
        self._reading = archive.token("reading")

    def store(self) -> int:
        """C-STORE; bytes sent."""
        return asyncio.run(self._store(_BY_DIMSE, self._frames))

    def store_at_once(self) -> int:
        """C-STORE over many associations at the same time, an object on each; bytes sent."""

        async def all_of_them() -> int:
            objects = [Identifiers.of(10 + number, 0, 1) for number in range(_AT_ONCE)]
            return sum(await asyncio.gather(*(self._store(each, -(-self._frames // 4)) for each in objects)))

        return asyncio.run(all_of_them())

    def get(self) -> int:
        """C-GET; bytes received."""
        return asyncio.run(self._get())

    @asynccontextmanager
    async def _association(self) -> AsyncIterator[ClientAssociation]:
        address = self._archive.dimse
        request = propose(
            sides.PEER,
            address.aet,
            [(MULTI_FRAME, [EXPLICIT_LITTLE_ENDIAN]), (STUDY_ROOT_GET, [EXPLICIT_LITTLE_ENDIAN])],
            roles=[RoleSelection(MULTI_FRAME, scu=True, scp=True)],
        )
        async with connect(tcp(address.host, address.port, tls=self._tls), request) as association:
            yield association

    async def _store(self, identifiers: Identifiers, frames: int) -> int:
        size, pieces = multi_frame(identifiers, frames)
        async with self._association() as association:
            answer = await association.store(association.context(MULTI_FRAME), Uid(identifiers.instance), pieces)
            if answer.status != Status.SUCCESS:
                raise RuntimeError(f"C-STORE was answered by {answer.status:#06x}")
        return size

    async def _get(self) -> int:
        came = 0
        async with self._association() as association:
            context = association.context(STUDY_ROOT_GET)
            async for message in association.get(context, study_identifier(_BY_DIMSE.study)):
                command = message.command
                if isinstance(command, StoreRequest) and message.data is not None:
                    async for fragment in message.data:
                        came += len(fragment)
                    answer = StoreResponse(command.message_id, Status.SUCCESS, command.sop_class, command.sop_instance)
                    await association.respond(message, answer)
                elif isinstance(command, GetResponse) and command.status not in {Status.SUCCESS, Status.PENDING}:
                    raise RuntimeError(f"C-GET was answered by {command.status:#06x}")
        return came

    def stow(self) -> int:
        """STOW-RS; bytes sent."""
        size, pieces = multi_frame(_BY_STOW, self._frames)
        meta = file_meta(MULTI_FRAME, _BY_STOW.instance, EXPLICIT_LITTLE_ENDIAN)
        head, tail = b"--bench\r\nContent-Type: application/dicom\r\n\r\n" + meta, b"\r\n--bench--\r\n"

        def body() -> Iterator[bytes]:
            yield head
            yield from pieces
            yield tail

        headers = {
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=bench',
            "Content-Length": str(len(head) + size + len(tail)),
            "Accept": "application/dicom+json",
        }
        with closing(self._connection()) as connection:
            connection.request("POST", "/dicom-web/studies", body(), {**headers, "Authorization": f"Bearer {self._storing}"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"STOW-RS was answered by {answer.status}")
        return size

    def wado(self) -> int:
        """WADO-RS; bytes received."""
        headers = {"Accept": MULTIPART, "Authorization": f"Bearer {self._reading}"}
        came = 0
        with closing(self._connection()) as connection:
            connection.request("GET", f"/dicom-web/studies/{_BY_STOW.study}", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"WADO-RS was answered by {answer.status}")
            while piece := answer.read(1024 * 1024):
                came += len(piece)
        return came

    def _connection(self) -> http.client.HTTPSConnection:
        url = urlsplit(self._archive.web)
        context = ssl.create_default_context(cafile=str(self._archive.ca))
        return http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=300)
