"""C-STORE (PS3.7 9.1.1, PS3.4 annex B): an object is pushed into a deposit while it arrives, and acknowledged when it is durable."""

from functools import partial

from leadglass.archive.archive import Provenance, Session
from leadglass.dicom.dimse import StoreRequest, StoreResponse
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.net.streams import OVERHEAD, DataSetStream
from leadglass.net.workers import Workers
from leadglass.wire.dimse.call import Call

PIECE = 1024 * 1024
"""What is gathered before a thread is asked: a usual object crosses into one whole, a large one piece by piece."""


async def serve(call: Call, command: StoreRequest) -> None:
    """Store one object; stored, already there and kept aside as a conflict are all success to its sender."""
    user = call.association.request.user
    provenance = Provenance(
        sop_class=command.sop_class,
        sop_instance=command.sop_instance,
        implementation_class=user.implementation_class_uid,
        implementation_version=user.implementation_version_name,
    )
    await _take_in(call.session, call.transfer_syntax, provenance, call.data, call.workers)
    response = StoreResponse(command.message_id, Status.SUCCESS, command.sop_class, command.sop_instance)
    await call.association.respond(call.message, response)


async def _take_in(session: Session, transfer_syntax: Uid, provenance: Provenance, data: DataSetStream, workers: Workers) -> None:
    pieces, ended = await gather(data)
    if ended:
        await workers.run(partial(_whole, session, transfer_syntax, provenance, pieces))
        return
    deposit = await workers.run(partial(session.deposit, transfer_syntax, provenance))
    try:
        while pieces:
            await workers.run(partial(deposit.write, b"".join(pieces)))
            pieces, ended = await gather(data) if not ended else ([], True)
        await workers.run(deposit.commit)
    finally:
        await workers.run(deposit.abandon)


async def gather(data: DataSetStream) -> tuple[list[bytes], bool]:
    """Fragments that take up `PIECE` bytes together, or fewer, and whether the data set ended with them."""
    pieces: list[bytes] = []
    size = 0
    async for fragment in data:
        pieces.append(fragment)
        size += len(fragment) + OVERHEAD
        if size >= PIECE:
            return pieces, False
    return pieces, True


def _whole(session: Session, transfer_syntax: Uid, provenance: Provenance, pieces: list[bytes]) -> None:
    deposit = session.deposit(transfer_syntax, provenance)
    try:
        for piece in pieces:
            deposit.write(piece)
        deposit.commit()
    finally:
        deposit.abandon()
