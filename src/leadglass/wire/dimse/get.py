"""C-GET (PS3.7 9.1.3, PS3.4 C.4.3): each object goes back on the association on which it was asked for."""

import asyncio
import struct
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from leadglass import logs
from leadglass.archive.archive import Fetched, FetchedObject
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.dimse import GetRequest, GetResponse
from leadglass.dicom.levels import Root
from leadglass.dicom.query import MAX_IDENTIFIER_BYTES, selection_from_identifier
from leadglass.dicom.status import Status, StatusKind, kind_of
from leadglass.dicom.uid import Uid
from leadglass.errors import CannotConvert, Damaged
from leadglass.net.acceptor import ServerAssociation
from leadglass.net.workers import Workers, pull
from leadglass.wire.dimse.call import Call

PIECE = 512 * 1024


@dataclass
class _Tally:
    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[Uid] = field(default_factory=list)


async def serve(call: Call, command: GetRequest) -> None:
    """Send every object that is asked for, one sub-operation each, with the counts in pending responses between them."""
    workers = call.workers
    identifier = await call.data.read_all(MAX_IDENTIFIER_BYTES)
    _, selection = selection_from_identifier(identifier, call.transfer_syntax, Root.STUDY)
    fetched = await workers.run(partial(call.session.fetch, selection))
    tally = _Tally(remaining=fetched.count)
    leave = partial(fetched.__exit__, None, None, None)
    try:
        cancelled = await _send_all(fetched, tally, call, command)
    except BaseException as error:
        leave = partial(fetched.__exit__, type(error), error, None)
        raise
    finally:
        await workers.run(leave)
    await _conclude(call, command, tally, cancelled=cancelled)


async def _send_all(fetched: Fetched, tally: _Tally, call: Call, command: GetRequest) -> bool:
    """Send the objects in turn; gives whether the peer cancelled."""
    association, workers = call.association, call.workers
    objects = iter(fetched)
    while (stored := await workers.run(lambda: next(objects, None))) is not None:
        status = await send(stored, association, workers)
        tally.remaining -= 1
        if kind_of(status) is StatusKind.SUCCESS:
            tally.completed += 1
            fetched.delivered()
        elif kind_of(status) is StatusKind.WARNING:
            tally.warning += 1
            fetched.delivered()
        else:
            tally.failed.append(stored.sop_instance)
            fetched.failed()
        await asyncio.sleep(0)
        if association.cancelled(command.message_id):
            return True
        if tally.remaining:
            await association.respond(call.message, _response(command, Status.PENDING, tally))
    return False


async def send(stored: FetchedObject, association: ServerAssociation, workers: Workers) -> int:
    """Send one object in a transfer syntax that the peer takes; where there is none, the sub-operation fails."""
    contexts = {context.transfer_syntax: context for context in reversed(association.contexts_for(stored.sop_class))}
    if not contexts:
        return Status.SOP_CLASS_NOT_SUPPORTED
    try:
        outgoing = await workers.run(partial(stored.open_in, tuple(contexts)))
    except CannotConvert as error:
        logs.fault("dimse-get", error)
        return Status.SOP_CLASS_NOT_SUPPORTED
    context = contexts[outgoing.transfer_syntax]
    try:
        if outgoing.size is not None and outgoing.size <= PIECE:
            response = await association.store(context, stored.sop_instance, await workers.run(partial(b"".join, outgoing.pieces)))
        else:
            # However the sending ends, no thread may read the object any more when it is closed.
            async with aclosing(pull(workers, outgoing.pieces)) as pulled:
                response = await association.store(context, stored.sop_instance, pulled)
    except (Damaged, CannotConvert) as error:
        if association.failure is not None:
            raise
        logs.fault("dimse-get", error)
        return Status.PROCESSING_FAILURE
    return response.status


def _response(command: GetRequest, status: Status, tally: _Tally) -> GetResponse:
    final = status not in {Status.PENDING, Status.CANCELLED}
    return GetResponse(
        command.message_id,
        status,
        command.sop_class,
        None if final else tally.remaining,
        tally.completed,
        len(tally.failed),
        tally.warning,
    )


async def _conclude(call: Call, command: GetRequest, tally: _Tally, *, cancelled: bool) -> None:
    """The last response, with the list of what failed (PS3.4 C.4.3.1.3.2)."""
    if cancelled:
        status = Status.CANCELLED
    elif not tally.failed:
        status = Status.SUCCESS if not tally.warning else Status.SUBOPERATIONS_FAILED
    elif tally.completed or tally.warning:
        status = Status.SUBOPERATIONS_FAILED
    else:
        status = Status.CANNOT_PERFORM_SUBOPERATIONS
    data = None if status is Status.SUCCESS else _failed_list(tally.failed, call.transfer_syntax)
    await call.association.respond(call.message, _response(command, status, tally), data)


def _failed_list(failed: list[Uid], transfer_syntax: str) -> bytes:
    """Failed SOP Instance UID List (0008,0058) as a data set."""
    value = "\\".join(failed).encode("ascii")
    value += b"\0" * (len(value) % 2)
    if transfer_syntax == IMPLICIT_LITTLE_ENDIAN:
        return struct.pack("<HHI", 0x0008, 0x0058, len(value)) + value
    # VR UI has a 16-bit length in explicit VR: what does not fit is left out whole, the counts still say it all.
    while len(value) > 0xFFFE:
        value = value[: value.rindex(b"\\", 0, 0xFFFE)]
        value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0008, 0x0058, b"UI", len(value)) + value
