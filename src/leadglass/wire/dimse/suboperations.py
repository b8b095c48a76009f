"""The C-STORE sub-operations of C-GET and C-MOVE (PS3.4 C.4.2, C.4.3): one object after the other, the next one read meanwhile.

An object that cannot be sent is a failed sub-operation with a reason; only what breaks in the middle of an object breaks the association.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from leadglass import logs
from leadglass.archive.archive import Fetched, FetchedObject, InstanceRow, Outgoing
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context
from leadglass.dicom.status import Status, StatusKind, kind_of
from leadglass.dicom.syntax import is_deflated
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet, CannotConvert, Damaged, GivenUp, KeyUnavailable, StorageFailed
from leadglass.net.link import Link
from leadglass.net.workers import Workers, pull

WHOLE: Final = 1024 * 1024
"""An object up to this size is read whole, while the one before it is being sent; a larger one goes in pieces, two of them in memory."""
_LARGEST_COUNT: Final = 0xFFFF
_LONGEST_COMMENT: Final = 64

T = TypeVar("T")

_UNREADABLE = (Damaged, KeyUnavailable, StorageFailed, BadDataSet)


@dataclass
class Tally:
    """The counts of sub-operations, and what failed and why."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[Uid] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def fail(self, sop_instance: Uid, reason: str) -> None:
        """One more that failed."""
        self.remaining -= 1
        self.failed.append(sop_instance)
        self.reasons[reason] += 1

    def counts(self, *, with_remaining: bool) -> tuple[int | None, int, int, int]:
        """Remaining, completed, failed, warning, as a response has them (PS3.7 9.1.3.1, US): of more than 65535 it says 65535."""
        remaining = min(self.remaining, _LARGEST_COUNT) if with_remaining else None
        done, failed, warning = (min(count, _LARGEST_COUNT) for count in (self.completed, len(self.failed), self.warning))
        return remaining, done, failed, warning

    def final(self, *, cancelled: bool) -> Status:
        """The status of the last response (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        if cancelled:
            return Status.CANCELLED
        if not self.failed:
            return Status.SUBOPERATIONS_FAILED if self.warning else Status.SUCCESS
        return Status.SUBOPERATIONS_FAILED if self.completed or self.warning else Status.CANNOT_PERFORM_SUBOPERATIONS

    @property
    def comment(self) -> str | None:
        """Error Comment (0000,0902): the commonest reason; None if nothing failed."""
        for reason, count in self.reasons.most_common(1):
            return f"{count} of {len(self.failed)} failed: {reason}"[:_LONGEST_COMMENT]
        return None


@dataclass
class Prepared:
    """One object on its way: opened and, if it is small and need not be converted, read already; `problem` if that failed."""

    row: InstanceRow
    opened: FetchedObject | None = None
    outgoing: Outgoing | None = None
    content: bytes | None = None
    problem: str | None = None

    def close(self) -> None:
        """Let go of it; in a thread, as everything that touches the vault."""
        if self.outgoing is not None:
            self.outgoing.pieces.close()
        if self.opened is not None:
            self.opened.close()
        self.opened = self.outgoing = None


def _prepare(fetched: Fetched, row: InstanceRow, accepted: frozenset[str], stopped: Callable[[], bool]) -> Prepared:
    """Open an object in one of the accepted transfer syntaxes; runs in a thread. GivenUp when a conversion was `stopped()`."""
    prepared = Prepared(row)
    if not accepted:
        prepared.problem = "its SOP class was not accepted"
        return prepared
    try:
        prepared.opened = fetched.open(row)
        if row.transfer_syntax in accepted and row.size <= WHOLE:
            # In one read: two halves to be joined cost three times as much.
            content = prepared.opened.reader.read(row.size)
            prepared.content = content + b"\0" if len(content) % 2 and is_deflated(row.transfer_syntax) else content
            prepared.close()
        else:
            prepared.outgoing = prepared.opened.open_in(accepted, stopped)
    except CannotConvert as error:
        logs.fault("an object could not be converted to be sent", error)
        prepared.problem = str(error)
    except _UNREADABLE as error:
        logs.fault("an object could not be read to be sent", error)
        prepared.problem = "it could not be read"
    except BaseException:
        prepared.close()
        raise
    return prepared


class Threads:
    """Where objects are opened: conversions apart from all else, and given up as soon as nobody waits for them.

    `stopped` says that of the request which the objects answer.
    """

    def __init__(self, workers: Workers, conversions: Workers, stopped: Callable[[], bool]) -> None:
        self._workers = workers
        self._conversions = conversions
        self.stopped = stopped

    def for_object(self, row: InstanceRow, syntax: str | None) -> Workers:
        """The threads in which an object is opened and read that leaves in this transfer syntax."""
        return self._workers if syntax == row.transfer_syntax else self._conversions

    async def run(self, work: Callable[[], T]) -> T:
        """What takes no longer than the disk."""
        return await self._workers.run(work)

    async def prepare(self, fetched: Fetched, row: InstanceRow, accepted: frozenset[str], association: Link) -> Prepared:
        """Open an object in one of the accepted transfer syntaxes; GivenUp when nobody waits for it any more."""
        asking = asyncio.current_task()

        def stopped() -> bool:
            # A thread cannot be cancelled with the task that waits for it.
            return self.stopped() or association.failure is not None or (asking is not None and asking.cancelling() > 0)

        threads = self.for_object(row, row.transfer_syntax if row.transfer_syntax in accepted else None)
        return await threads.run(partial(_prepare, fetched, row, accepted, stopped))


class Sending:
    """Sends objects of one answer over one association after the other."""

    def __init__(self, fetched: Fetched, threads: Threads, tally: Tally, originator: tuple[str, int] | None = None) -> None:
        self._fetched = fetched
        self._threads = threads
        self._tally = tally
        self._originator = originator

    async def each(self, rows: Sequence[InstanceRow], association: Link) -> AsyncGenerator[int, None]:
        """Send these, in turn; gives after each how many of them are done. AssociationFailed when the association did not last.

        It ends early when the request is stopped while an object is converted. Left early, or failing, it has closed what it had opened.
        """
        accepted = {
            sop_class: frozenset(str(context.transfer_syntax) for context in association.contexts_for(sop_class))
            for sop_class in {row.sop_class for row in rows}
        }
        async with self._reading_ahead(association) as ahead:
            for number, row in enumerate(rows):
                try:
                    prepared = await ahead.take(row, accepted[row.sop_class])
                except GivenUp:
                    association.raise_failure()
                    if self._threads.stopped():
                        return
                    raise
                try:
                    if number + 1 < len(rows):
                        following = rows[number + 1]
                        ahead.begin(following, accepted[following.sop_class])
                    await self._send(prepared, association)
                finally:
                    if prepared.opened is not None:
                        await self._threads.run(prepared.close)
                yield number + 1

    @asynccontextmanager
    async def _reading_ahead(self, association: Link) -> "AsyncGenerator[_Ahead, None]":
        ahead = _Ahead(self._fetched, self._threads, association)
        try:
            yield ahead
        finally:
            await ahead.close()

    async def _send(self, prepared: Prepared, association: Link) -> None:
        row, tally = prepared.row, self._tally
        contexts = association.contexts_for(row.sop_class)
        if prepared.content is not None:
            context = _context(contexts, row.transfer_syntax)
            response = await association.store(context, row.sop_instance, prepared.content, originator=self._originator)
        elif prepared.outgoing is None:
            self._fail(row, prepared.problem or "it could not be read")
            return
        else:
            context = _context(contexts, prepared.outgoing.transfer_syntax)
            threads = self._threads.for_object(row, prepared.outgoing.transfer_syntax)
            # However the sending ends, no thread may read the object any more when it is closed.
            try:
                async with aclosing(pull(threads, prepared.outgoing.pieces)) as pulled:
                    response = await association.store(context, row.sop_instance, pulled, originator=self._originator)
            except (*_UNREADABLE, CannotConvert) as error:
                if association.failure is not None:
                    raise
                logs.fault("an object could not be read to be sent", error)
                self._fail(row, "it could not be read")
                return
        match kind_of(response.status):
            case StatusKind.SUCCESS:
                tally.completed += 1
            case StatusKind.WARNING:
                tally.warning += 1
            case _:
                self._fail(row, f"the receiver answered 0x{response.status:04X}")
                return
        tally.remaining -= 1
        self._fetched.delivered()

    def _fail(self, row: InstanceRow, reason: str) -> None:
        self._tally.fail(row.sop_instance, reason)
        self._fetched.failed()

    def give_up(self, rows: Sequence[InstanceRow], reason: str) -> None:
        """None of these can be sent any more."""
        for row in rows:
            self._fail(row, reason)


class _Ahead:
    """The one object that is read while another is being sent."""

    def __init__(self, fetched: Fetched, threads: Threads, association: Link) -> None:
        self._fetched = fetched
        self._threads = threads
        self._association = association
        self._task: asyncio.Task[Prepared] | None = None

    def begin(self, row: InstanceRow, accepted: frozenset[str]) -> None:
        """Begin to read it; not what must be converted, which takes a decoder, nor what is large and would lie there."""
        if accepted and row.transfer_syntax in accepted and row.size <= WHOLE:
            self._task = asyncio.ensure_future(self._threads.prepare(self._fetched, row, accepted, self._association))

    async def take(self, row: InstanceRow, accepted: frozenset[str]) -> Prepared:
        """The object, which was begun or is read now."""
        task, self._task = self._task, None
        if task is not None:
            return await task
        return await self._threads.prepare(self._fetched, row, accepted, self._association)

    async def close(self) -> None:
        """Let go of what was read and will not be sent."""
        task, self._task = self._task, None
        if task is None:
            return
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await self._threads.run(task.result().close)


def _context(contexts: Sequence[Context], transfer_syntax: str) -> Context:
    return next(each for each in contexts if each.transfer_syntax == transfer_syntax)


def failed_list(failed: Sequence[Uid], transfer_syntax: str) -> bytes | None:
    """Failed SOP Instance UID List (0008,0058) as a data set; None if there is none (PS3.4 C.4.2.1.4.2)."""
    if not failed:
        return None
    value = "\\".join(failed).encode("ascii")
    value += b"\0" * (len(value) % 2)
    if transfer_syntax == IMPLICIT_LITTLE_ENDIAN:
        return struct.pack("<HHI", 0x0008, 0x0058, len(value)) + value
    # VR UI has a 16-bit length in explicit VR: what does not fit is left out whole, the counts still say it all.
    while len(value) > 0xFFFE:
        value = value[: value.rindex(b"\\", 0, 0xFFFE)]
        value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0008, 0x0058, b"UI", len(value)) + value
