"""C-GET (PS3.7 9.1.3, PS3.4 C.4.3): each object goes back on the association on which it was asked for."""

from contextlib import aclosing
from functools import partial

from leadglass.archive.archive import Fetched
from leadglass.dicom.dimse import GetRequest, GetResponse
from leadglass.dicom.query import MAX_IDENTIFIER_BYTES, selection_from_identifier
from leadglass.dicom.sopclasses import ROOT_OF
from leadglass.dicom.status import Status
from leadglass.wire.dimse.call import Call
from leadglass.wire.dimse.suboperations import Sending, Tally, Threads, failed_list


async def serve(call: Call, command: GetRequest) -> None:
    """Send every object that is asked for, one sub-operation each, with the counts in pending responses between them."""
    workers = call.workers
    identifier = await call.data.read_all(MAX_IDENTIFIER_BYTES)
    _, selection = selection_from_identifier(identifier, call.transfer_syntax, ROOT_OF[command.sop_class])
    fetched = await workers.run(partial(call.session.fetch, selection))
    tally = Tally(fetched.count)
    leave = partial(fetched.__exit__, None, None, None)
    try:
        cancelled = await _send_all(fetched, tally, call, command)
    except BaseException as error:
        leave = partial(fetched.__exit__, type(error), error, None)
        raise
    finally:
        await workers.run(leave)
    status = tally.final(cancelled=cancelled)
    data = failed_list(tally.failed, call.transfer_syntax)
    await call.association.respond(call.message, _response(command, status, tally), data)


async def _send_all(fetched: Fetched, tally: Tally, call: Call, command: GetRequest) -> bool:
    """Send the objects in turn; gives whether the peer cancelled."""
    association = call.association
    threads = Threads(call.workers, call.conversions, lambda: association.cancelled(command.message_id))
    sending = Sending(fetched, threads, tally)
    async with aclosing(sending.each(fetched.rows, association)) as sent:
        async for _ in sent:
            if association.cancelled(command.message_id):
                return True
            if tally.remaining:
                await association.respond(call.message, _response(command, Status.PENDING, tally))
    return association.cancelled(command.message_id)


def _response(command: GetRequest, status: Status, tally: Tally) -> GetResponse:
    final = status not in {Status.PENDING, Status.CANCELLED}
    comment = None if status is Status.PENDING else tally.comment
    return GetResponse(command.message_id, status, command.sop_class, *tally.counts(with_remaining=not final), comment)
