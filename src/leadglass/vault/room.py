"""Room on the disk: the low-water mark below which nothing is stored, and what a disk's errors mean."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from leadglass.errors import NoRoom, StorageFailed

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
BELOW_RESERVE: Final = "free room is below the reserve: nothing is stored until there is more; reading goes on"
_TRUSTED_SECONDS: Final = 0.25
"""How long a measurement of the free room is believed where it is enough, our own writes taken off; a refusal always measures first."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the system's refusal to store into NoRoom or StorageFailed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoRoom("the disk is full: nothing of this object was kept; free some room, then send it again") from None
        reason = os.strerror(error.errno) if error.errno else "no reason given"
        raise StorageFailed(f"the disk did not take this object ({reason}): nothing of it was kept; check the disk") from None


class Room:
    """Watches the free room of one file system; `reserve` bytes of it are kept for the trail, the index and the system."""

    def __init__(self, folder: Path, reserve: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._reserve = reserve
        self._clock = clock
        self._measured = float("-inf")
        self._free = 0

    def require(self, size: int = 0, waiting: int = 0) -> None:
        """NoRoom if `size` more bytes, which are then taken as written, would eat into the reserve; `waiting` are in memory before them."""
        needed = self._reserve + size + waiting
        self._measure_unless(needed)
        if self._free < needed:
            raise NoRoom(BELOW_RESERVE)
        self._free -= size

    def spare(self, enough: int) -> int:
        """How many bytes may be written now before they eat into the reserve; measured where they are not `enough`."""
        self._measure_unless(self._reserve + enough)
        return self._free - self._reserve

    def take(self, size: int) -> None:
        """Count `size` bytes as written that were not asked for by `require`."""
        self._free -= size

    def _measure_unless(self, needed: int) -> None:
        """Measure, unless a measurement that is believed yet found as much free as this."""
        if self._clock() - self._measured <= _TRUSTED_SECONDS and self._free >= needed:
            return
        state = os.statvfs(self._folder)
        self._free, self._measured = state.f_bavail * state.f_frsize, self._clock()
