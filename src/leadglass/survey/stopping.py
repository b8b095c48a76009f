"""How a survey is stopped: at the first signal those who probe end what is under way, at the second they are cut off."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """What has been asked of a running survey."""

    def __init__(self) -> None:
        self.signal = 0
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

    async def supervise(self, probing: Awaitable[None]) -> None:
        """Wait for `probing`; once asked to stop, for as long as it needs to end what is under way."""
        work = asyncio.ensure_future(probing)
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
                await work
        finally:
            for each in (work, asked, hurried):
                each.cancel()
