"""Storage commitment, push model (PS3.4 annex J): N-ACTION asks, N-EVENT-REPORT answers, on the same association or on one that we make.

What was asked is durable before it is acknowledged. It is reported on the association on which it was asked while that idles; else, and
after a restart, on a new one to the peer's configured address, again and again at growing intervals until `GIVE_UP_SECONDS` have passed.
While who asked is held, nothing is checked or told; the attempts go on.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

from leadglass import logs
from leadglass.archive.archive import Archive, Promise
from leadglass.dicom.commitment import MAX_REQUEST_BYTES, REQUEST, CommitmentReport, decode_request, encode_report
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.dimse import ActionRequest, ActionResponse
from leadglass.dicom.sopclasses import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from leadglass.dicom.status import Status
from leadglass.dicom.user_information import RoleSelection
from leadglass.errors import LeadglassError, PeerFailed, Refused
from leadglass.net.acceptor import ServerAssociation
from leadglass.net.failures import AssociationFailed
from leadglass.net.link import Link
from leadglass.net.workers import Workers
from leadglass.wire.dimse.call import Call
from leadglass.wire.dimse.outbound import Outbound

PAUSES: Final = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0)
"""Seconds between attempts; the last one again and again."""
GIVE_UP_SECONDS: Final = 24 * 3600.0
_NANOSECONDS: Final = 1_000_000_000
_AT_ONCE: Final = 2
"""Commitments that are checked at the same time: each reads objects as fast as the disk gives them."""
_CALLS_AT_ONCE: Final = 8


class Commitments:
    """Checks and reports what was promised; one for all DIMSE doors of an archive, used in its event loop."""

    def __init__(self, archive: Archive, workers: Workers, outbound: Outbound, pauses: Sequence[float] = PAUSES) -> None:
        self._archive = archive
        self._workers = workers
        self._outbound = outbound
        self._pauses = pauses
        self._checking = asyncio.Semaphore(_AT_ONCE)
        self._calling = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Take up what waited when the archive was last stopped."""
        for promise in self._archive.promises():
            self._spawn(promise, None)

    async def close(self) -> None:
        """Stop; what is not reported yet is taken up at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def serve(self, call: Call, command: ActionRequest) -> None:
        """Answer an N-ACTION, and report on the same association if the peer waits there for it."""
        association = call.association
        status = _refusal(command)
        if status is not None:
            await association.refuse(call.message, status)
            return
        request = decode_request(await call.data.read_all(MAX_REQUEST_BYTES), call.transfer_syntax)
        promise = await self._workers.run(partial(call.session.promise, request))
        response = ActionResponse(command.message_id, Status.SUCCESS, command.sop_class, command.sop_instance, command.action_type)
        try:
            await association.respond(call.message, response)
        except BaseException:
            self._spawn(promise, None)
            raise
        checking = asyncio.ensure_future(self._checked(promise))
        try:
            await _until(checking, association)
        except BaseException:
            self._spawn(promise, checking)
            raise
        if not checking.done() or not await self._report_here(promise, checking, association):
            self._spawn(promise, checking)

    async def _checked(self, promise: Promise) -> CommitmentReport:
        async with self._checking:
            return await self._workers.run(partial(self._archive.check_promise, promise))

    async def _report_here(self, promise: Promise, checking: "asyncio.Future[CommitmentReport]", association: ServerAssociation) -> bool:
        """Report where it was asked; gives whether the peer took it."""
        if checking.exception() is not None or association.release_asked or association.failure is not None:
            return False
        if not await _report(association, checking.result()):
            return False
        await self._workers.run(partial(self._archive.end_promise, promise))
        return True

    def _spawn(self, promise: Promise, checking: "asyncio.Future[CommitmentReport] | None") -> None:
        task = asyncio.get_running_loop().create_task(self._see_to_it(promise, checking))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _see_to_it(self, promise: Promise, checking: "asyncio.Future[CommitmentReport] | None") -> None:
        """Check, report on associations of our own until one takes it, and forget the promise."""
        try:
            report = await self._report_for(promise, checking)
            await self._report_elsewhere(promise, report)
        except Refused:
            # Who asked is no longer known, or may not store any more: the trail says so, and nobody is told anything.
            pass
        except (LeadglassError, OSError) as error:
            # Kept for the next start: the disk may be in order then.
            logs.fault("a storage commitment could not be checked", error)
            return
        with suppress(OSError):
            await self._workers.run(partial(self._archive.end_promise, promise))

    async def _report_for(self, promise: Promise, checking: "asyncio.Future[CommitmentReport] | None") -> CommitmentReport:
        """The report, once who asked for it is not held any more; `Refused` when he may not ask, or is held for too long."""
        for pause in self._until_given_up(promise):
            try:
                return await (checking or self._checked(promise))
            except Refused:
                if not self._archive.is_held(promise):
                    raise
            checking = None
            await asyncio.sleep(pause)
        raise Refused("a storage commitment was not checked in time: who asked for it is held")

    async def _report_elsewhere(self, promise: Promise, report: CommitmentReport) -> None:
        for pause in self._until_given_up(promise):
            if await self._called(promise, report):
                return
            await asyncio.sleep(pause)
        logs.event(logging.WARNING, "a storage commitment could not be reported", who=logs.PublicName(promise.peer))

    def _until_given_up(self, promise: Promise) -> Iterator[float]:
        """The seconds to wait after each attempt, the first of which is always made."""
        yield self._pauses[0]
        for attempt in count(1):
            if time.time_ns() - promise.asked_ns > GIVE_UP_SECONDS * _NANOSECONDS:
                return
            yield self._pauses[min(attempt, len(self._pauses) - 1)]

    async def _called(self, promise: Promise, report: CommitmentReport) -> bool:
        """Report on an association of our own; gives whether the peer took it."""
        destination = self._archive.destination_of(promise)
        if destination is None:
            return False
        request = propose(
            self._archive.aet,
            destination.ae_title,
            [(STORAGE_COMMITMENT, (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN))],
            roles=[RoleSelection(STORAGE_COMMITMENT, scu=False, scp=True)],
        )
        with suppress(PeerFailed):
            async with self._calling, self._outbound.associate(destination, request) as association:
                return await _report(association, report)
        return False


def _refusal(command: ActionRequest) -> Status | None:
    if command.sop_instance != STORAGE_COMMITMENT_INSTANCE:
        return Status.NO_SUCH_SOP_INSTANCE
    return None if command.action_type == REQUEST else Status.NO_SUCH_ACTION


async def _until(checking: "asyncio.Future[CommitmentReport]", association: ServerAssociation) -> None:
    """Return when the check is done, or the peer goes on with something else."""
    if association.requests or association.release_asked:
        return
    turning = asyncio.ensure_future(association.wait(association.requests, "a request"))
    both: tuple[asyncio.Future[CommitmentReport], asyncio.Future[None]] = checking, turning
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        turning.cancel()
        await asyncio.wait([turning])


async def _report(association: Link, report: CommitmentReport) -> bool:
    """N-EVENT-REPORT in a context in which we are SCP; gives whether the peer took it."""
    for context in association.contexts_for(STORAGE_COMMITMENT, we_are_scp=True):
        data = encode_report(report, context.transfer_syntax)
        try:
            return await association.report(context, STORAGE_COMMITMENT_INSTANCE, report.event_type, data) == Status.SUCCESS
        except AssociationFailed:
            return False
    return False
