"""What the services of the door hold, and what they leave behind, when the peer is no good one."""

import asyncio
import contextlib
import threading
import time
from typing import cast

from leadglass.archive.archive import Fetched, FetchedObject, InstanceRow
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, Offer, negotiate, propose
from leadglass.dicom.dimse import StoreRequest
from leadglass.dicom.pdu import AssociateRequest
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection
from leadglass.net.acceptor import Accept, PeerInfo, ServerAssociation
from leadglass.net.acceptor import serve as listen
from leadglass.net.requestor import connect, tcp
from leadglass.net.streams import OVERHEAD, DataSetStream
from leadglass.net.workers import Workers
from leadglass.pixels.pool import Decoders, DecodingLimits
from leadglass.vault.blobs import BlobPlace
from leadglass.wire.dimse import store
from leadglass.wire.dimse.suboperations import Sending, Tally, Threads
from tests.net.doors import CT, STUDY_GET, run


class SlowSource:
    """An object on a slow disk, without end; it knows whether somebody reads it when it is closed, or later."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._closed = False
        self.first_read = threading.Event()
        self.read_when_closed = False

    def read(self, size: int = -1, /) -> bytes:
        with self._reading:
            self.read_when_closed |= self._closed
            self.first_read.set()
            time.sleep(0.2)
            return bytes(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:  # noqa: ARG002 # as files have it
        return offset

    def tell(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self.read_when_closed |= self._reading.locked()
        self._closed = True


class OneSlowObject:
    """A fetch that opens this source and nothing else."""

    def __init__(self, source: SlowSource) -> None:
        self._source = source

    def open(self, row: InstanceRow) -> FetchedObject:
        uids = row.study, row.series, row.sop_class, row.sop_instance, row.transfer_syntax
        closing = contextlib.ExitStack()
        closing.callback(self._source.close)
        return FetchedObject(*uids, row.size, self._source, Decoders(DecodingLimits()), closing)


def test_no_thread_reads_an_object_any_more_when_its_sending_has_failed() -> None:
    source, workers = SlowSource(), Workers(2)
    ended = asyncio.Event()

    async def serve(association: ServerAssociation) -> None:
        place = BlobPlace(0, bytes(16))
        row = InstanceRow(Uid("1.2"), Uid("1.3"), Uid("1.4"), CT, EXPLICIT_LITTLE_ENDIAN, 1 << 30, 0, place)
        sending = Sending(cast(Fetched, OneSlowObject(source)), Threads(workers, workers, lambda: False), Tally(1))
        async for _ in association:
            try:
                async for _ in sending.each([row], association):
                    pass
            finally:
                ended.set()

    async def decide(request: AssociateRequest, _: PeerInfo) -> Accept:
        return Accept(negotiate(request, lambda _: Offer((EXPLICIT_LITTLE_ENDIAN,), as_scu=True)), serve)

    async def test() -> None:
        syntaxes = [EXPLICIT_LITTLE_ENDIAN]
        request = propose("TESTSCU", "LEADGLASS", [(STUDY_GET, syntaxes), (CT, syntaxes)], roles=[RoleSelection(CT, scu=False, scp=True)])
        async with await listen("127.0.0.1", 0, decide) as acceptor:
            async with connect(tcp(*acceptor.address), request) as association:
                async for message in association.get(association.context(STUDY_GET), b"identifier"):
                    assert isinstance(message.command, StoreRequest)
                    association.abort()
                    break
            await ended.wait()
            await asyncio.sleep(0.5)

    try:
        run(test)
    finally:
        workers.close()
    assert source.first_read.is_set()
    assert not source.read_when_closed


class Unheard:
    """A connection that nobody has to slow down."""

    def account(self, size: int, messages: int = 0, /) -> None:
        """Nothing is bounded here."""

    def raise_failure(self) -> None:
        """It never fails."""

    async def wait(self, waitable: object, during: str, /) -> None:
        raise AssertionError((waitable, during))


def test_what_is_gathered_of_an_object_counts_what_its_fragments_cost() -> None:
    count = store.PIECE // 10
    data = DataSetStream(Unheard())
    for number in range(count):
        data.feed(b"x", is_last=number == count - 1)

    async def test() -> None:
        pieces, ended = await store.gather(data)
        assert not ended
        assert len(pieces) * (OVERHEAD + 1) < store.PIECE + 2 * OVERHEAD

    run(test)
