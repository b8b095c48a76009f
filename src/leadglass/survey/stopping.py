"""How a survey is stopped: at the first signal those who probe end what is under way, at the second they are cut off.

The end of the authority stops it too, early enough that what is under way has ended by then.
"""

import asyncio
import contextlib
import datetime as dt
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias, TypeVar

Clock: TypeAlias = Callable[[], dt.datetime]
Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)

ENDING_SECONDS = 10.0
"""For those who probe, once they were told to stop: the associations that stand are ended first."""

LOOKED_AT_SECONDS = 1.0
"""How often the clock on the wall is read: it may be set, and it goes on while a machine sleeps."""


def clock_of_this_host() -> dt.datetime:
    """Now."""
    return dt.datetime.now(dt.UTC)


class Stop:
    """What has been asked of a running survey."""

    def __init__(self) -> None:
        self.signal = 0
        self.authority_ended = False
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self, number: int) -> None:
        """Stop; asked again, stop at once."""
        (self.hurried if self.signal else self.asked).set()
        self.signal = self.signal or number

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """Be asked by Ctrl-C and SIGTERM; only a process's main thread can listen to them."""
        loop = asyncio.get_running_loop()
        listening = []
        for number in SIGNALS:
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, self.ask, int(number))
                listening.append(number)
        try:
            yield
        finally:
            for number in listening:
                loop.remove_signal_handler(number)

    @contextlib.asynccontextmanager
    async def before(self, end: dt.datetime, clock: Clock) -> AsyncIterator[None]:
        """Be asked by the end of the authority, `ENDING_SECONDS` before it: nothing is to be sent after it."""

        async def watch() -> None:
            while (left := (end - clock()).total_seconds() - ENDING_SECONDS) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, LOOKED_AT_SECONDS)):
                        await self.asked.wait()
                    return
            self.authority_ended = True
            self.asked.set()

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def supervise(self, doing: Awaitable[Result]) -> Result | None:
        """What `doing` comes to; once asked to stop, None, as soon as it has ended what is under way."""
        work = asyncio.ensure_future(doing)
        asked = asyncio.ensure_future(self.asked.wait())
        hurried = asyncio.ensure_future(self.hurried.wait())
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work, hurried}, return_when=asyncio.FIRST_COMPLETED)
                # What is ending is cut off by being cancelled again.
                work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                return await work
        finally:
            for each in (work, asked, hurried):
                each.cancel()
        return None
