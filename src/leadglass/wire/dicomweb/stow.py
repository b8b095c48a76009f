"""Store (PS3.18 10.5): every part of the request pushed into a deposit of its own while it arrives, and one report at the end.

A part that cannot be taken fails alone. What was stored before a request breaks off stays stored, and is reported wherever it can be.
"""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from leadglass import logs
from leadglass.archive.archive import Deposit, Provenance
from leadglass.dicom.part10 import MAX_META_BYTES, FileMeta, read_file_meta
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet, LeadglassError, NoRoom, NotAllowed, StorageFailed
from leadglass.net.workers import PIECE
from leadglass.wire.dicomweb import report
from leadglass.wire.dicomweb.accept import DICOM, MULTIPART, parse_media_type, require_json
from leadglass.wire.dicomweb.call import Call
from leadglass.wire.dicomweb.multipart import Event, PartBegan, PartData, PartEnded, Reader
from leadglass.wire.dicomweb.problems import BadRequest
from leadglass.wire.dicomweb.report import Failure, Report, Stored
from leadglass.wire.dicomweb.standing import while_current

MAX_PARTS: Final = 10_000
"""More than the slices of one examination; each is an entry in the report."""
STALL_SECONDS: Final = 60.0


async def store(call: Call) -> Response:
    """POST /studies and /studies/{study}."""
    await call.workers.run(call.session.require_store)
    return await while_current(call.session, _store(call))


async def _store(call: Call) -> Response:
    study = call.uid("study")
    require_json(call.accepted())
    events = _events(call)
    result = Report(call.base, study)
    intake = _Intake(call, study, result)
    try:
        async for event in events:
            await intake.take(event)
    except BadRequest as refusal:
        # A request that breaks off after something was stored must not look as if nothing had been.
        if not result.stored:
            raise
        result.failed.append(Failure(report.reason_for(refusal)))
    finally:
        await intake.abandon()
    return result.response()


def _events(call: Call) -> AsyncIterator[Event]:
    """The parts of the request's body; raises `BadRequest` before reading any of it if it cannot be one of ours."""
    fields = call.request.headers
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest(415, "compressed requests are not taken: send the body as it is", {"Accept-Encoding": "identity"})
    content_type = fields.get("content-type")
    if content_type is None:
        raise _unsupported()
    media_type = parse_media_type(content_type)
    body = _body(call.request, call.settings.max_request_bytes)
    if media_type.name == DICOM:
        return _single_part(body, content_type)
    if media_type.name != MULTIPART or media_type.content not in {DICOM, ""}:
        raise _unsupported()
    return _parts(body, Reader(media_type.parameters.get("boundary", ""), MAX_PARTS))


def _unsupported() -> BadRequest:
    accepted = 'multipart/related; type="application/dicom", application/dicom'
    return BadRequest(415, f"objects are taken as one of: {accepted}", {"Accept": accepted})


async def _body(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    too_large = BadRequest(413, f"the request is larger than {max_bytes} bytes; send its objects in several")
    if int(request.headers.get("content-length", "0")) > max_bytes:
        raise too_large
    length = 0
    async for chunk in _chunks(request.receive):
        length += len(chunk)
        if length > max_bytes:
            raise too_large
        if chunk:
            yield chunk


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await receive()
        except TimeoutError:
            raise BadRequest(408, f"nothing of the request's body came for {STALL_SECONDS:.0f} seconds", {"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise BadRequest(400, "the client broke off")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _single_part(body: AsyncIterator[bytes], content_type: str) -> AsyncIterator[Event]:
    yield PartBegan({"content-type": content_type})
    async for chunk in body:
        yield PartData(chunk)
    yield PartEnded()


async def _parts(body: AsyncIterator[bytes], reader: Reader) -> AsyncIterator[Event]:
    async for chunk in body:
        for event in reader.feed(chunk):
            yield event
    if not reader.ended:
        raise BadRequest(400, "the body ends before its closing boundary: it was cut off, or the boundary in Content-Type is another")


class _Intake:
    """The part that is arriving, on its way into the archive."""

    def __init__(self, call: Call, study: Uid | None, result: Report) -> None:
        self._call = call
        self._study = study
        self._report = result
        self._part: _Part | None = None

    async def take(self, event: Event) -> None:
        """One event of the request's body; raises what must end the request."""
        if isinstance(event, PartBegan):
            self._part = None
            if not _is_dicom(event):
                self._report.failed.append(Failure(report.CANNOT_UNDERSTAND))
                return
            self._part = _Part(self._call, self._study)
        elif self._part is not None:
            try:
                if isinstance(event, PartData):
                    await self._part.write(event.data)
                else:
                    self._report.stored.append(await self._part.commit())
            except (BadDataSet, NoRoom, NotAllowed, StorageFailed) as error:
                await self._fail(self._part, error)

    async def _fail(self, part: "_Part", error: LeadglassError) -> None:
        self._part = None
        await part.abandon()
        if isinstance(error, NoRoom | NotAllowed | StorageFailed) and not self._report.stored:
            raise error
        if isinstance(error, StorageFailed):
            logs.fault("dicomweb store failed", error)
        self._report.failed.append(part.failure(error))

    async def abandon(self) -> None:
        """Keep nothing of a part that never ended."""
        if self._part is not None:
            await self._part.abandon()


class _Part:
    """One object, gathered into pieces worth a thread's while; one piece is handed over while the next arrives."""

    def __init__(self, call: Call, study: Uid | None) -> None:
        self._call = call
        self._study = study
        self._meta: FileMeta | None = None
        self._deposit: Deposit | None = None
        self._head = b""
        self._pieces: list[bytes] = []
        self._length = 0
        self._busy: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        """Take some of the part; raises what became of an earlier piece."""
        self._pieces.append(data)
        self._length += len(data)
        if self._length >= PIECE:
            await self._previous()
            piece = self._gathered()
            self._busy = asyncio.create_task(self._call.workers.run(lambda: self._push(piece, last=False)))

    async def commit(self) -> Stored:
        """The part is whole: durable when this returns."""
        await self._previous()
        piece = self._gathered()
        return await self._call.workers.run(lambda: self._commit(piece))

    async def abandon(self) -> None:
        """Keep nothing; without effect once it is over."""
        if self._busy is not None:
            await asyncio.wait([self._busy])
            self._busy.exception()
        if (deposit := self._deposit) is not None:
            await self._call.workers.run(deposit.abandon)

    def failure(self, error: LeadglassError) -> Failure:
        """What the report says of this part."""
        header = self._deposit.header if self._deposit is not None else None
        if header is not None:
            elsewhere = self._study not in {None, header.study}
            return Failure(report.OTHER_STUDY if elsewhere else report.reason_for(error), header.sop_class, header.instance)
        if self._meta is not None:
            return Failure(report.reason_for(error), self._meta.sop_class, self._meta.sop_instance)
        return Failure(report.reason_for(error))

    async def _previous(self) -> None:
        if self._busy is not None:
            busy, self._busy = self._busy, None
            await busy

    def _gathered(self) -> bytes:
        piece = b"".join(self._pieces)
        self._pieces.clear()
        self._length = 0
        return piece

    def _push(self, piece: bytes, *, last: bool) -> None:
        data = memoryview(piece)
        if self._deposit is None:
            head = self._head + piece
            offset = self._open(head, last=last)
            if offset is None:
                self._head = head
                return
            self._head = b""
            data = memoryview(head)[offset:]
        if data and self._deposit is not None:
            self._deposit.write(data)

    def _open(self, head: bytes, *, last: bool) -> int | None:
        """Begin the deposit, and return where the data set begins; None: more is needed to see that."""
        try:
            self._meta, offset = read_file_meta(BytesIO(head))
        except BadDataSet:
            if last or len(head) > MAX_META_BYTES:
                raise
            return None
        # What the file meta information says of the object is not kept, and in real files often not what the data set says.
        self._deposit = self._call.session.deposit(self._meta.transfer_syntax, Provenance(study=self._study))
        return offset

    def _commit(self, piece: bytes) -> Stored:
        self._push(piece, last=True)
        deposit = self._deposit
        if deposit is None:
            raise BadDataSet("the part is empty")
        deposit.commit()
        header = deposit.header
        if header is None:
            raise BadDataSet("the part holds no data set")
        return Stored(header.sop_class, header.instance, header.study, header.series)


def _is_dicom(part: PartBegan) -> bool:
    content_type = part.fields.get("content-type")
    if part.fields.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit"} or "content-encoding" in part.fields:
        return False
    if content_type is None:
        return True
    try:
        return parse_media_type(content_type).name == DICOM
    except BadRequest:
        return False
