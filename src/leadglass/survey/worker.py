"""A process that probes (`workers.py`): it reads its errand, says in lines what it saw, and ends; so it does when its input ends."""

import asyncio
import contextlib
import gc
import os
import resource
import sys

from leadglass.net.limits import open_all_descriptors
from leadglass.survey.probing import SEEN, Seen, probe_here
from leadglass.survey.workers import ERRAND


def main() -> None:
    """Read, ask, say."""
    # What an archive answered must not come onto a disk by a crash.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    open_all_descriptors()
    orders, systems = ERRAND.validate_json(sys.stdin.buffer.readline())
    # Nothing but what is said below may come out between its lines.
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # What is here now stays to the end: not to be looked through again and again.
    gc.freeze()

    def say(place: int, seen: Seen) -> None:
        line = memoryview(SEEN.dump_json((place, seen)) + b"\n")
        while line:
            line = line[os.write(out, line) :]

    async def ask() -> None:
        loop, asking = asyncio.get_running_loop(), asyncio.create_task(probe_here(systems, orders, say))

        def stop() -> None:
            loop.remove_reader(sys.stdin)
            asking.cancel()

        loop.add_reader(sys.stdin, stop)
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    asyncio.run(ask())


if __name__ == "__main__":
    main()
