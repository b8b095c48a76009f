"""Host names to addresses, side by side and each within its time: a resolver that is silent about one name holds up none of the others."""

import asyncio
import contextlib
import hashlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a name; empty where it has none."""

LOOK_UP_SECONDS = 12.0
"""For one name: a resolver asks a silent server twice, 5 s each (resolv.conf(5))."""

AT_ONCE = 64
"""Names that are looked up at the same time."""


async def look_up(names: Iterable[str], resolve: Resolve, *, seconds: float = LOOK_UP_SECONDS) -> Mapping[str, Sequence[str] | None]:
    """The addresses of each name; None where nobody answered within `seconds`.

    Where the first `AT_ONCE` names all had no answer, nobody is asked for the rest: the resolver is dead, and a long list would wait for
    it name by name.
    """
    found: dict[str, Sequence[str] | None] = dict.fromkeys(names)
    # In no order that a list has: the names of one dead zone often stand together.
    waiting = iter(sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest()))
    silent, is_alive = 0, False

    async def work() -> None:
        nonlocal silent, is_alive
        for name in waiting:
            if silent >= AT_ONCE and not is_alive:
                return
            try:
                async with asyncio.timeout(seconds):
                    found[name] = await resolve(name)
                is_alive = True
            except TimeoutError:
                silent += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(found))):
            group.create_task(work())
    return found


async def resolve_by_system(name: str) -> Sequence[str]:
    """The addresses of `name` by the host's resolver; empty where it has none.

    Nothing can stop a look-up of the C library, so it has a thread of its own, which nobody waits for once its time is over; the library
    ends it by its own limits (resolv.conf(5)).
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(addresses: Sequence[str]) -> None:
        if not answer.done():
            answer.set_result(addresses)

    def ask() -> None:
        addresses = _addresses(name)
        # The loop may have ended long before.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, addresses)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return await answer


def _addresses(name: str) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
