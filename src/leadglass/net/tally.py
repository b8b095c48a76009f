"""Of what happens to many, one line a minute."""

import asyncio
import logging

from leadglass import logs

_SECONDS_BETWEEN_REPORTS = 60.0


class Tally:
    """Tells of what happens to many: the first at once, those of each minute after it together."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._count = 0
        self._errno: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def count(self, problem: OSError | None = None) -> None:
        """One more."""
        self._count += 1
        self._errno = None if problem is None else problem.errno
        if self._timer is None:
            self._tell()

    def close(self) -> None:
        """Tell of those that nobody was told of yet."""
        self._tell()
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._stop_timer()
        if self._count:
            if self._errno is None:
                logs.event(logging.WARNING, self._event, count=self._count)
            else:
                logs.event(logging.WARNING, self._event, count=self._count, errno=self._errno)
            self._count = 0
            self._timer = asyncio.get_running_loop().call_later(_SECONDS_BETWEEN_REPORTS, self._tell)
