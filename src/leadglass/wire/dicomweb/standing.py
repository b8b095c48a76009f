"""Out at once: work for a caller that stops when he is no longer who he was, also in the middle of a long transfer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from leadglass.archive.archive import Session
from leadglass.errors import NotIdentified

T = TypeVar("T")

RECHECK_SECONDS: Final = 0.5
"""Half of the second within which whoever is held is out."""


def _nothing() -> None:
    """There are no threads to be stopped."""


async def while_current(session: Session, work: Coroutine[Any, Any, T], stop: Callable[[], None] = _nothing) -> T:
    """The result of `work`; the caller is looked at again and again, also while it waits for the client.

    `stop` is called before `work` is cancelled, for threads that it waits for.

    Raises `NotIdentified`, with `work` cancelled and ended, when the caller was revoked, disabled or held or his token expired meanwhile.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=RECHECK_SECONDS))[0]:
            # Not in a thread, where it might wait for other work: it reads memory alone, without a lock.
            if not session.is_current():
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
