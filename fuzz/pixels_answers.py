"""What a worker that was taken over says to the archive: exactly the pixels of the frame, a reason from the list, or it is broken off."""

import contextlib
import os
import time

from leadglass.pixels.pool import Broken, Exchange
from leadglass.pixels.protocol import ANSWER, ANSWER_MAGIC, GREETING, Codec, Flags, Frame, Outcome

_FRAME = Frame(Codec.RLE, Flags(0), 16, 16, 1, 8, 8)


def target(data: bytes) -> None:
    """Let the worker say `data` and hang up."""
    with contextlib.ExitStack() as closing:
        ends = [*os.pipe(), *os.pipe()]
        for descriptor in ends:
            closing.callback(_close, descriptor)
        heard, requests, answers, said = ends
        os.set_blocking(said, False)
        os.write(said, data[:60_000])
        os.close(said)
        deadline = time.monotonic() + 5
        exchange = Exchange(requests, answers)
        with contextlib.suppress(Broken):
            exchange.greeted(deadline)
            outcome, pixels = exchange.decode(_FRAME, b"a code stream", deadline)
            if len(pixels) != (_FRAME.size if outcome is Outcome.DECODED else 0):
                raise AssertionError(outcome)
            if not os.read(heard, 100).endswith(b"a code stream"):
                raise AssertionError("something else was asked")


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def seeds() -> list[bytes]:
    """A good answer, a refusal, and what is too short."""
    greeting = GREETING + b"\7"
    return [
        greeting + ANSWER.pack(ANSWER_MAGIC, 0, 256) + bytes(256),
        greeting + ANSWER.pack(ANSWER_MAGIC, 2, 0),
        greeting + ANSWER.pack(ANSWER_MAGIC, 0, 255) + bytes(255),
        greeting + ANSWER.pack(ANSWER_MAGIC, 0, 256) + bytes(100),
        GREETING,
    ]
