"""The crossing from asyncio to the synchronous archive: a few threads, and answers pulled from them piece by piece."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

PIECE: Final = 512 * 1024
"""Bytes pulled from a thread at once: crossing costs 0.1 ms, which this much TLS takes three times over (bench/http_servers.py)."""


class Workers:
    """Threads that run one call of the archive at a time each; a slow client holds none while it is being waited for."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="archive")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work` in a thread; when cancelled, it ends first, since a thread cannot be stopped and must not be left behind."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


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
