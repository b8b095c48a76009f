"""C-FIND (PS3.7 9.1.2, PS3.4 C.4.1): matches stream out as the index gives them."""

import asyncio
from collections.abc import Iterator
from functools import partial
from itertools import islice

from leadglass.archive.archive import Found
from leadglass.dicom.dimse import FindRequest, FindResponse
from leadglass.dicom.levels import Root
from leadglass.dicom.query import Query, identifier_from_record, query_from_identifier
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.wire.dimse.call import Call

MAX_IDENTIFIER = 64 * 1024
AT_ONCE = 64
"""Records that one visit to a thread brings back."""


async def serve(call: Call, command: FindRequest) -> None:
    """Answer a query at study root with one pending response a match, then success or cancelled."""
    association, message, workers = call.association, call.message, call.workers
    query = query_from_identifier(await call.data.read_all(MAX_IDENTIFIER), call.transfer_syntax, Root.STUDY)
    pending = Status.PENDING_WITHOUT_OPTIONAL_KEYS if query.unsupported else Status.PENDING
    found = await workers.run(partial(call.session.find, query))
    final = Status.SUCCESS
    leave = partial(found.__exit__, None, None, None)
    try:
        answers = _answers(found, query, call.transfer_syntax, call.aet)
        while batch := await workers.run(lambda: list(islice(answers, AT_ONCE))):
            for answer in batch:
                await association.respond(message, FindResponse(command.message_id, pending, command.sop_class), answer)
            await asyncio.sleep(0)
            if association.cancelled(command.message_id):
                final = Status.CANCELLED
                break
    except BaseException as error:
        leave = partial(found.__exit__, type(error), error, None)
        raise
    finally:
        await workers.run(leave)
    await association.respond(message, FindResponse(command.message_id, final, command.sop_class))


def _answers(found: Found, query: Query, transfer_syntax: Uid, aet: str) -> Iterator[bytes]:
    for record in found:
        yield identifier_from_record({**record, "RetrieveAETitle": aet, "InstanceAvailability": "ONLINE"}, query, transfer_syntax)
