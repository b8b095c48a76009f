"""The crossing from asyncio to the synchronous archive: a few threads, and answers pulled from them piece by piece."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

PIECE: Final = 512 * 1024
"""Bytes pulled from a thread at once: crossing costs 0.1 ms, which this much TLS takes three times over (bench/http_servers.py)."""


class _Job:
    """One call on its way through a thread; `finish` runs in the loop that asked."""

    __slots__ = ("ended", "future", "is_over", "loop", "work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Any]) -> None:
        self.loop = loop
        self.work = work
        self.future: asyncio.Future[Any] = loop.create_future()
        self.ended: asyncio.Future[None] | None = None
        self.is_over = False

    def run(self) -> None:
        result, problem = None, None
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 - whoever asked is told
            problem = error
        with contextlib.suppress(RuntimeError):
            # A loop that was closed meanwhile has nobody left to tell.
            self.loop.call_soon_threadsafe(self.finish, result, problem)

    def finish(self, result: object, problem: BaseException | None) -> None:
        self.is_over = True
        if not self.future.done():
            if problem is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(problem)
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)


class Workers:
    """Threads that run one call of the archive at a time each; a slow client holds none while it is being waited for.

    Not a ThreadPoolExecutor: its futures, chained and shielded, cost as much as taking in a small object.
    """

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._count = count
        self._busy = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work` in a thread; when cancelled, it ends first, since a thread cannot be stopped and must not be left behind."""
        loop = asyncio.get_running_loop()
        job = _Job(loop, work)
        self._busy += 1
        if self._busy > len(self._threads) < self._count:
            self._add_thread()
        self._jobs.put(job)
        try:
            result: T = await job.future
        except asyncio.CancelledError:
            while not job.is_over:
                job.ended = loop.create_future()
                with contextlib.suppress(asyncio.CancelledError):
                    await job.ended
            raise
        finally:
            self._busy -= 1
        return result

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"archive_{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            # Not held while this thread waits for the next: it may be large.
            del job


def gather(pieces: Iterator[bytes], size: int = PIECE) -> Iterator[bytes]:
    """The same bytes in pieces of about `size`: small ones joined, large ones left as they are."""
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= size:
            yield held[0] if len(held) == 1 else b"".join(held)
            held.clear()
            length = 0
    if held:
        yield b"".join(held)


async def pull(workers: Workers, pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The pieces, each made by a thread while the one before it is being sent."""
    ahead = asyncio.ensure_future(workers.run(lambda: next(pieces, None)))
    try:
        while (piece := await ahead) is not None:
            ahead = asyncio.ensure_future(workers.run(lambda: next(pieces, None)))
            yield piece
    finally:
        # Whoever closes `pieces` next must not meet a thread still in it.
        if not ahead.done():
            ahead.cancel()
            await asyncio.wait([ahead])
        elif not ahead.cancelled():
            ahead.exception()
