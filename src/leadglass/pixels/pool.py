"""The archive's decoders: worker processes, as many as cores at most, begun when first needed, ended when they misbehave, and begun anew.

A worker is executed with nothing of ours: no environment, no descriptor but its two pipes, no key. It is given one frame at a time, a
time for it, and is believed nothing: an answer that is not exactly as long as the frame must be, late or missing ends it. That fails the
one object whose frame it was.
"""

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

from leadglass.errors import CannotConvert, GivenUp
from leadglass.pixels.protocol import ANSWER, GREETING, MAX_COMPRESSED, Frame, Outcome, Protection, unpack_answer

START_SECONDS: Final = 60.0
LIFE_SECONDS: Final = 900.0
"""Of decoding; then a worker is replaced, so that whatever it lost of its memory comes back."""
WAIT_SECONDS: Final = 120.0
"""For a free worker. Each is busy for the time of one frame at most, so that this passes under a flood alone."""
ROOM_SECONDS: Final = 5.0
ASK_SECONDS: Final = 0.5
"""Between two questions whether what is waited for is still wanted. A frame that takes less is decoded to its end: its process lives on."""
MIB: Final = 1024 * 1024
_CHUNK: Final = 1024 * 1024

_REASONS: Final = {
    Outcome.DAMAGED: "the compressed pixels are damaged or cut off",
    Outcome.MISMATCH: "the compressed pixels are not of the size the header says",
    Outcome.TOO_LARGE: "a frame is larger than is decoded here",
    Outcome.UNSUPPORTED: "the pixels are compressed in a way not decoded here",
}


@dataclass(frozen=True)
class DecodingLimits:
    """What decoding may take; 0 processes: as many as cores."""

    processes: int = 0
    seconds_per_frame: float = 30.0
    frame_bytes: int = 128 * MIB
    memory_bytes: int = 1024 * MIB
    held_bytes: int = 128 * MIB
    """Decoded frames that wait in our memory for their receivers, in all."""


Stopped = Callable[[], bool]
"""Whether nobody wants the pixels any more; asked in the thread that has them decoded."""


def never() -> bool:
    """They are wanted."""
    return False


class Broken(Exception):  # not in errors.py: it never leaves the pool
    """The worker is late, gone, or says what it may not."""


class Exchange:
    """The two pipes of a worker, seen from the archive: what is written and read has an end in time and in length."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        for descriptor in (requests, answers):
            os.set_blocking(descriptor, False)

    def greeted(self, deadline: float) -> Protection:
        """What the worker says that it is closed in by; `Broken` if it says something else."""
        greeting = self._read(len(GREETING) + 1, deadline)
        if not greeting.startswith(GREETING):
            raise Broken
        return Protection(greeting[-1] & sum(Protection))

    def decode(self, frame: Frame, data: bytes, deadline: float, stopped: Stopped = never) -> tuple[Outcome, bytes]:
        """The answer to one frame; `Broken` or OSError when there is none, `GivenUp` when nobody waits for it any more."""
        self._write(frame.pack(len(data)), deadline, stopped)
        self._write(data, deadline, stopped)
        try:
            outcome = unpack_answer(self._read(ANSWER.size, deadline, stopped), frame.size)
        except ValueError:
            raise Broken from None
        return outcome, self._read(frame.size, deadline, stopped) if outcome is Outcome.DECODED else b""

    def _write(self, data: bytes, deadline: float, stopped: Stopped) -> None:
        view = memoryview(data)
        while view:
            _wait(self._requests, select.POLLOUT, deadline, stopped)
            view = view[os.write(self._requests, view[:_CHUNK]) :]

    def _read(self, size: int, deadline: float, stopped: Stopped = never) -> bytes:
        taken = bytearray()
        while len(taken) < size:
            _wait(self._answers, select.POLLIN, deadline, stopped)
            piece = os.read(self._answers, min(_CHUNK, size - len(taken)))
            if not piece:
                raise Broken
            taken += piece
        return bytes(taken)


def _wait(descriptor: int, event: int, deadline: float, stopped: Stopped) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(min(left, ASK_SECONDS) * 1000):
            return
        if stopped():
            raise GivenUp("nobody waits for the decoded pixels any more")
    raise Broken


class _Worker:
    def __init__(self, command: Sequence[str]) -> None:
        # Executed with an empty environment: libraries must not take a core's worth of threads each, and nothing else is known to them.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no word of it from outside
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
            cwd="/",
            close_fds=True,
            start_new_session=True,
            bufsize=0,
        )
        self._busy = 0.0
        try:
            self._exchange = Exchange(_number(self._process.stdin), _number(self._process.stdout))
            standing = self._exchange.greeted(time.monotonic() + START_SECONDS)
        except (Broken, OSError):
            self.end()
            raise CannotConvert("the process that decodes pixels does not start") from None
        except BaseException:
            self.end()
            raise
        if not standing & Protection.SECCOMP:
            self.end()
            raise CannotConvert("pixels are not decoded on this machine: the process that does it cannot be closed in")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def worn_out(self) -> bool:
        return self._busy > LIFE_SECONDS

    def decode(self, frame: Frame, data: bytes, seconds: float, stopped: Stopped) -> tuple[Outcome, bytes]:
        started = time.monotonic()
        answer = self._exchange.decode(frame, data, started + seconds, stopped)
        self._busy += time.monotonic() - started
        return answer

    def end(self) -> None:
        """Kill the process and give back what it had."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _number(stream: IO[bytes] | None) -> int:
    if stream is None:
        raise Broken
    return stream.fileno()


class Decoders:
    """All decoding of one archive; thread-safe. Nothing is started before it is needed."""

    def __init__(self, limits: DecodingLimits, command: Sequence[str] | None = None) -> None:
        self.limits = limits
        own = (sys.executable, "-I", "-m", "leadglass.pixels.worker", str(limits.frame_bytes), str(limits.memory_bytes))
        self._command = tuple(command) if command is not None else own
        self._most = limits.processes or len(os.sched_getaffinity(0))
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._number = 0
        self._held = 0
        self._closed = False
        self._warming = False

    @property
    def processes(self) -> tuple[int, ...]:
        """The process ids of the workers that wait for work."""
        with self._changed:
            return tuple(worker.pid for worker in self._idle)

    def warm(self) -> None:
        """Begin a worker in the background if there is none yet: whoever knows that decoding is near need not wait for it then."""
        with self._changed:
            if self._number or self._warming or self._closed:
                return
            self._warming = True
        threading.Thread(target=self._warm, name="decoder-start", daemon=True).start()

    def _warm(self) -> None:
        # That it does not start is told to whoever needs it.
        with contextlib.suppress(CannotConvert, OSError):
            self._give_back(self._take())
        with self._changed:
            self._warming = False

    def decode(self, frame: Frame, data: bytes, stopped: Stopped = never) -> bytes:
        """The pixels of one frame, exactly `frame.size` bytes; `CannotConvert` with the reason, `GivenUp` soon after `stopped()`."""
        if stopped():
            raise GivenUp("nobody waits for the decoded pixels any more")
        if frame.size > self.limits.frame_bytes or len(data) > MAX_COMPRESSED:
            raise CannotConvert(_REASONS[Outcome.TOO_LARGE])
        worker = self._take(stopped)
        try:
            outcome, pixels = worker.decode(frame, data, self.limits.seconds_per_frame, stopped)
        except (Broken, OSError):
            self._drop(worker)
            raise CannotConvert("decoding the pixels failed: it took too long or broke off") from None
        except BaseException:
            self._drop(worker)
            raise
        if worker.worn_out:
            self._drop(worker)
        else:
            self._give_back(worker)
        if outcome is not Outcome.DECODED:
            raise CannotConvert(_REASONS[outcome])
        return pixels

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Keep `size` bytes of decoded pixels in memory meanwhile; `CannotConvert` where too much is held already.

        The wait is short: those who hold may need the very thread that waits.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._held or self._held + size <= self.limits.held_bytes, ROOM_SECONDS):
                raise CannotConvert("too many large images are being decoded at once; try again")
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()

    def _take(self, stopped: Stopped = never) -> _Worker:
        deadline = time.monotonic() + WAIT_SECONDS
        with self._changed:
            while not self._changed.wait_for(lambda: self._closed or self._idle or self._number < self._most, ASK_SECONDS):
                if stopped():
                    raise GivenUp("nobody waits for the decoded pixels any more")
                if time.monotonic() > deadline:
                    raise CannotConvert("too many images are being decoded at once; try again")
            if self._closed:
                raise CannotConvert("the archive is closing")
            if self._idle:
                return self._idle.pop()
            self._number += 1
        try:
            return _Worker(self._command)
        except BaseException:
            self._forget()
            raise

    def _give_back(self, worker: _Worker) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(worker)
                self._changed.notify_all()
                return
        self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        worker.end()
        self._forget()

    def _forget(self) -> None:
        with self._changed:
            self._number -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """End every worker; whoever still decodes is told so."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for worker in idle:
            self._drop(worker)
