"""What a reader waits for: the messages of an association, and the data set of one, with a bounded number of bytes unread."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol, Self

from leadglass.dicom.contexts import Context
from leadglass.dicom.dimse import Command
from leadglass.errors import BadMessage

OVERHEAD = 64
"""What a fragment costs beside its bytes, so that a data set in pieces of one byte is bounded too."""


class Waitable:
    """Something that one reader at a time waits for."""

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Something changed; who waits looks again."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Flow(Protocol):
    """What a stream needs of the connection that feeds it."""

    def account(self, size: int, messages: int = 0, /) -> None:
        """So many bytes and messages more, or fewer, wait to be read."""

    def raise_failure(self) -> None:
        """Raise what ended the association, if it has ended."""

    async def wait(self, waitable: Waitable, during: str, /) -> None:
        """Return when `waitable` was woken; the association ends if the peer takes too long."""


class DataSetStream(Waitable):
    """An async iterator over the fragments of a data set; `take` and `read_all` give it whole."""

    __slots__ = ("_discarding", "_ended", "_flow", "_fragments", "received")

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._fragments: deque[bytes] = deque()
        self._ended = False
        self._discarding = False
        self.received = 0

    @property
    def is_whole(self) -> bool:
        """The last fragment has come, read or not."""
        return self._ended

    def feed(self, fragment: bytes, *, is_last: bool) -> None:
        """The driver's side: one more fragment."""
        self._ended = is_last
        self.received += len(fragment)
        if fragment and not self._discarding:
            self._fragments.append(fragment)
            self._flow.account(len(fragment) + OVERHEAD)
        self.wake()

    def discard(self) -> None:
        """Nobody will read the rest; it is dropped as it comes."""
        self._discarding = True
        self._flow.account(-sum(len(each) + OVERHEAD for each in self._fragments))
        self._fragments.clear()

    def take(self) -> bytes | None:
        """The whole rest of the data set if it is here already, without waiting; None if it is not."""
        if not self._ended:
            return None
        if len(self._fragments) == 1:
            data = self._fragments.popleft()
            self._flow.account(-len(data) - OVERHEAD)
            return data
        data = b"".join(self._fragments)
        self._flow.account(-len(data) - OVERHEAD * len(self._fragments))
        self._fragments.clear()
        return data

    async def read_all(self, limit: int) -> bytes:
        """The whole rest of the data set; BadMessage if it is longer than `limit` bytes."""
        if self._ended and len(self._fragments) == 1 and len(self._fragments[0]) <= limit:
            return self.take() or b""
        whole = bytearray()
        async for fragment in self:
            if len(whole) + len(fragment) > limit:
                self.discard()
                raise BadMessage(f"a data set longer than the {limit} bytes that it may have here")
            whole += fragment
        return bytes(whole)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._fragments:
            if self._ended or self._discarding:
                raise StopAsyncIteration
            self._flow.raise_failure()
            await self._flow.wait(self, "the rest of a data set")
        fragment = self._fragments.popleft()
        self._flow.account(-len(fragment) - OVERHEAD)
        return fragment


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message from the peer; `data` is None if it has no data set."""

    context: Context
    command: Command
    data: DataSetStream | None


class Inbox(Waitable):
    """Messages that came and nobody took yet; false while there are none."""

    __slots__ = ("_flow", "_messages")

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._messages: deque[Message] = deque()

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def next(self) -> Message | None:
        """The message that came first, left where it is."""
        return self._messages[0] if self._messages else None

    def put(self, message: Message) -> None:
        """The driver's side: one more message."""
        self._messages.append(message)
        self._flow.account(0, 1)
        self.wake()

    def get(self) -> Message:
        """The message that came first."""
        message = self._messages.popleft()
        self._flow.account(0, -1)
        return message

    def clear(self) -> None:
        """Drop what is here, and what is still coming of it."""
        while self._messages:
            message = self.get()
            if message.data is not None:
                message.data.discard()
