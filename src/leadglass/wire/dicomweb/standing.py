"""Out at once: work for a caller that stops when he is no longer who he was, also in the middle of a long transfer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from leadglass.archive.archive import Session
from leadglass.errors import NotIdentified
from leadglass.net.workers import Workers

T = TypeVar("T")

RECHECK_SECONDS: Final = 1.0


def _nothing() -> None:
    """There are no threads to be stopped."""


async def while_current(session: Session, workers: Workers, work: Coroutine[Any, Any, T], stop: Callable[[], None] = _nothing) -> T:
    """The result of `work`; asked once a second, also while it waits for the client.

    `stop` is called before `work` is cancelled, for threads that it waits for.

    Raises `NotIdentified`, with `work` cancelled and ended, when the caller was revoked or disabled or his token expired meanwhile.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=RECHECK_SECONDS))[0]:
            if not await workers.run(session.is_current):
                raise NotIdentified("no longer identified")
        return task.result()
    finally:
        stop()
        task.cancel()
        await settled(task)


async def settled(task: asyncio.Future[Any]) -> None:
    """Wait for `task` to end, and let its failure pass: who had to know of it was told."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
