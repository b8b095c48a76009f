"""C-FIND (PS3.7 9.1.2, PS3.4 C.4.1): matches stream out as the index gives them, and end soon after a C-CANCEL."""

import asyncio
from collections.abc import Iterator
from functools import partial
from itertools import islice

from leadglass.archive.archive import Found
from leadglass.dicom.dimse import FindRequest, FindResponse
from leadglass.dicom.query import IdentifierWriter, Query, query_from_identifier
from leadglass.dicom.sopclasses import ROOT_OF
from leadglass.dicom.status import Status, comment
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet, BadQuery
from leadglass.wire.dimse.call import Call
from leadglass.wire.dimse.statuses import status_of

MAX_IDENTIFIER = 64 * 1024
AT_ONCE = 64
"""Records that one visit to a thread brings back."""
LOOK_SECONDS = 0.05
"""So often a search that takes long is asked whether anybody still waits for it."""


async def serve(call: Call, command: FindRequest) -> None:
    """Answer a query with one pending response a match, then success, cancelled, or what is wrong with its identifier."""
    data = await call.data.read_all(MAX_IDENTIFIER)
    options = call.association.negotiated.query_options(command.sop_class)
    root = ROOT_OF[command.sop_class]
    try:
        query = query_from_identifier(data, call.transfer_syntax, root, relational=options.relational, combine=options.combined_datetime)
    except (BadQuery, BadDataSet) as wrong:
        refusal = FindResponse(command.message_id, status_of(wrong), command.sop_class, comment(wrong))
        await call.association.respond(call.message, refusal)
        return
    status = await _Answer(call, command, query).send()
    await call.association.respond(call.message, FindResponse(command.message_id, status, command.sop_class))


class _Answer:
    """One query's matches on their way: a short answer takes one visit to a thread, in which its outcome is written too."""

    def __init__(self, call: Call, command: FindRequest, query: Query) -> None:
        self._call = call
        self._command = command
        self._query = query
        self._found: Found | None = None
        self._records: Iterator[bytes] = iter(())

    async def send(self) -> Status:
        """Send them all; gives the status to end with."""
        call, command = self._call, self._command
        pending = Status.PENDING_WITHOUT_OPTIONAL_KEYS if self._query.unsupported else Status.PENDING
        response = FindResponse(command.message_id, pending, command.sop_class)
        try:
            while batch := await self._watched():
                for answer in batch:
                    await call.association.respond(call.message, response, answer)
                await asyncio.sleep(0)
                if self._is_unwanted():
                    return await self._left(Status.CANCELLED)
                if len(batch) < AT_ONCE:
                    break
            return await self._left(Status.CANCELLED if self._is_unwanted() else Status.SUCCESS)
        except BaseException as error:
            await call.workers.run(partial(self._leave, error))
            raise

    async def _watched(self) -> list[bytes]:
        """The next records; a search that nobody waits for any more is stopped."""
        task = asyncio.ensure_future(self._call.workers.run(self._next))
        try:
            while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
                if self._is_unwanted() and self._found is not None:
                    self._found.stop()
        except asyncio.CancelledError:
            if self._found is not None:
                self._found.stop()
            await asyncio.wait({task})
            raise
        return task.result()

    def _is_unwanted(self) -> bool:
        association = self._call.association
        return association.cancelled(self._command.message_id) or association.failure is not None

    async def _left(self, status: Status) -> Status:
        if self._found is not None:
            await self._call.workers.run(partial(self._leave, None))
        return status

    # In a thread --------------------------------------------------------------------------------

    def _next(self) -> list[bytes]:
        if self._found is None:
            self._found = self._call.session.find(self._query)
            self._records = _answers(self._found, self._query, self._call.transfer_syntax, self._call.aet)
        batch = list(islice(self._records, AT_ONCE))
        if len(batch) < AT_ONCE and not self._is_unwanted():
            self._leave(None)
        return batch

    def _leave(self, error: BaseException | None) -> None:
        found, self._found = self._found, None
        self._records = iter(())
        if found is not None:
            found.__exit__(type(error) if error else None, error, None)


def _answers(found: Found, query: Query, transfer_syntax: Uid, aet: str) -> Iterator[bytes]:
    write = IdentifierWriter(query, transfer_syntax).write
    for record in found:
        yield write({**record, "RetrieveAETitle": aet, "InstanceAvailability": "ONLINE"})
