"""C-MOVE (PS3.7 9.1.4, PS3.4 C.4.2): objects go to a known peer at its configured address, on an association that we make with it."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from leadglass.archive.archive import Destination, InstanceRow, Moved
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.dimse import MoveRequest, MoveResponse
from leadglass.dicom.pdu import MAX_CONTEXTS
from leadglass.dicom.query import MAX_IDENTIFIER_BYTES, selection_from_identifier
from leadglass.dicom.sopclasses import ROOT_OF
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.net.failures import AssociationFailed
from leadglass.wire.dimse.call import Call
from leadglass.wire.dimse.suboperations import Sending, Tally, Threads, failed_list

RETRIES: Final = 1
"""How often in one C-MOVE an association that could not be made or broke is made again."""
GRACE_SECONDS: Final = 2.0
"""What a sub-operation under way may still take after a C-CANCEL, or after the caller has gone."""

Proposal = tuple[Uid, tuple[str, ...]]
"""A SOP class and the transfer syntaxes of one presentation context."""


async def serve(call: Call, command: MoveRequest) -> None:
    """Send every object that is asked for to the destination, with the counts in pending responses after each."""
    workers = call.workers
    identifier = await call.data.read_all(MAX_IDENTIFIER_BYTES)
    _, selection = selection_from_identifier(identifier, call.transfer_syntax, ROOT_OF[command.sop_class])
    moved = await workers.run(partial(call.session.move, selection, command.destination))
    tally = Tally(moved.count)
    leave = partial(moved.__exit__, None, None, None)
    try:
        await _Move(call, command, moved, tally).run()
    except BaseException as error:
        leave = partial(moved.__exit__, type(error), error, None)
        raise
    finally:
        await workers.run(leave)
    status = tally.final(cancelled=tally.remaining > 0)
    data = failed_list(tally.failed, call.transfer_syntax)
    await call.association.respond(call.message, _response(command, status, tally), data)


class _Move:
    """One C-MOVE under way."""

    def __init__(self, call: Call, command: MoveRequest, moved: Moved, tally: Tally) -> None:
        self._call = call
        self._command = command
        self._moved = moved
        self._tally = tally
        originator = (call.association.request.calling, command.message_id)
        self._sending = Sending(moved, Threads(call.workers, call.conversions, self._is_unwanted), tally, originator)
        self._retries = RETRIES
        self._patience = asyncio.timeout(None)
        self._stopping = False

    async def run(self) -> None:
        """Send everything; what remains in the tally afterwards was cancelled."""
        with self._call.association.interrupting(self._command.message_id, self._stop_soon):
            try:
                async with self._patience:
                    for proposals, rows in batches(self._moved.rows):
                        await self._send_batch(proposals, rows)
            except TimeoutError:
                if not self._is_cancelled():
                    raise

    def _is_cancelled(self) -> bool:
        caller = self._call.association
        caller.raise_failure()
        return caller.cancelled(self._command.message_id)

    def _is_unwanted(self) -> bool:
        """Whether what is converted would be for nobody; asked in the thread that converts."""
        caller = self._call.association
        return caller.failure is not None or caller.cancelled(self._command.message_id)

    def _stop_soon(self) -> None:
        """Let what is under way end of itself, but do not wait for a destination that keeps silent."""
        if not self._stopping:
            self._stopping = True
            self._patience.reschedule(asyncio.get_running_loop().time() + GRACE_SECONDS)

    async def _send_batch(self, proposals: Sequence[Proposal], rows: Sequence[InstanceRow]) -> None:
        done = 0
        while done < len(rows) and not self._is_cancelled():
            before = self._tally.remaining
            destination = self._moved.current_destination()
            if destination is None:
                self._sending.give_up(rows[done:], "the destination is not known any more")
                return
            try:
                await self._send_on_one_association(destination, proposals, rows[done:])
                done += before - self._tally.remaining
            except AssociationFailed as failed:
                self._call.association.raise_failure()
                done += before - self._tally.remaining
                if self._is_cancelled():
                    return
                if not self._retries:
                    self._sending.give_up(rows[done:], _reason(failed))
                    return
                self._retries -= 1

    async def _send_on_one_association(self, destination: Destination, proposals: Sequence[Proposal], rows: Sequence[InstanceRow]) -> None:
        caller = self._call.association
        request = propose(self._call.aet, destination.ae_title, proposals)
        async with (
            self._call.outbound.associate(destination, request) as association,
            aclosing(self._sending.each(rows, association)) as sent,
        ):
            async for _ in sent:
                if self._is_cancelled() or self._moved.current_destination() is None:
                    return
                if self._tally.remaining:
                    await caller.respond(self._call.message, _response(self._command, Status.PENDING, self._tally))


def batches(rows: Sequence[InstanceRow]) -> list[tuple[list[Proposal], list[InstanceRow]]]:
    """The objects in as few associations as have room for all their presentation contexts, in their order within each.

    Each stored transfer syntax has a context of its own, so that the destination cannot pick one for all; what we convert to has one more.
    """
    syntaxes: dict[Uid, dict[str, None]] = {}
    for row in rows:
        syntaxes.setdefault(row.sop_class, {})[row.transfer_syntax] = None
    made: list[tuple[list[Proposal], list[InstanceRow]]] = []
    place: dict[Uid, int] = {}
    for sop_class, stored in syntaxes.items():
        wanted: list[Proposal] = [(sop_class, (syntax,)) for syntax in stored]
        others = tuple(each for each in (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN) if each not in stored)
        wanted += [(sop_class, others)] if others else []
        if not made or len(made[-1][0]) + len(wanted) > MAX_CONTEXTS:
            made.append(([], []))
        made[-1][0].extend(wanted)
        place[sop_class] = len(made) - 1
    for row in rows:
        made[place[row.sop_class]][1].append(row)
    return made


def _reason(failed: AssociationFailed) -> str:
    return f"no association ({type(failed.failure).__name__})"


def _response(command: MoveRequest, status: Status, tally: Tally) -> MoveResponse:
    final = status not in {Status.PENDING, Status.CANCELLED}
    comment = None if status is Status.PENDING else tally.comment
    return MoveResponse(command.message_id, status, command.sop_class, *tally.counts(with_remaining=not final), comment)
