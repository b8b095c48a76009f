"""Answers that stream: pulled from the archive piece by piece, and settled however they end."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from leadglass import logs
from leadglass.archive.archive import Session
from leadglass.errors import GivenUp, LeadglassError, NotIdentified
from leadglass.net.workers import Workers, gather, pull
from leadglass.wire.dicomweb.standing import settled, while_current

Stopped = Callable[[], bool]
"""Whether nobody waits any more; asked in the threads that make an answer."""

DOWNLOAD: Final[Mapping[str, str]] = {"Content-Disposition": "attachment"}
"""Whatever an object holds, no browser shows it as part of a page."""


class Streamed(Response):
    """A body made in threads while it is sent; `closing` is left when it ends: whole or broken off.

    The answer begins with its first piece: an error before that is raised, and can be answered. It is broken off when the client leaves,
    by an error, and when the caller is no longer who he was. After the first byte none of that can be told any more: the connection ends
    without the end of the answer, so that nobody takes a part for the whole.

    `pieces` makes them, and is given what says whether they are still wanted.
    """

    def __init__(
        self,
        workers: Workers,
        session: Session,
        pieces: Callable[[Stopped], Generator[bytes, None, None]],
        closing: contextlib.ExitStack,
        media_type: str,
        fields: Mapping[str, str] = {},
    ) -> None:
        self.background = None
        self.status_code = 200
        self.media_type = media_type
        self.init_headers({**DOWNLOAD, "Content-Type": media_type, **fields})
        self._workers = workers
        self._session = session
        self._begun = False
        self._stop = threading.Event()
        self._pieces = pieces(self._stop.is_set)
        self._closing = closing

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_client_gone(receive))
        gone.add_done_callback(lambda _: self._stop.set())
        error: BaseException | None = None
        try:
            await while_current(self._session, self._send(send, gone), self._stop.set)
        except GivenUp:
            # The client has left, and there is nobody to tell.
            pass
        except LeadglassError as problem:
            # Who is shut out is so by somebody whom the trail names: nothing failed.
            error = None if isinstance(problem, NotIdentified) else problem
            if not self._begun:
                raise
            if error is not None:
                logs.fault("dicomweb answer broken off", error)
        except BaseException as problem:
            error = problem
            raise
        finally:
            gone.cancel()
            await settled(gone)
            await self._workers.run(lambda: self._close(error))

    async def _send(self, send: Send, gone: asyncio.Future[None]) -> None:
        async with contextlib.aclosing(pull(self._workers, gather(self._pieces))) as pieces:
            async for piece in pieces:
                await self._begin(send)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if gone.done():
                    return
        await self._begin(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            start: Message = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)

    def _close(self, error: BaseException | None) -> None:
        try:
            self._pieces.close()
        finally:
            self._closing.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
