"""`python -m bench`: side by side with Orthanc, on one disk, in one run (docs/benchmarks.md)."""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench import engine_sink, http_servers
from bench.figures import QUICK, WHOLE, Extent, file_system, heading
from bench.finding import bench_find
from bench.hostile import bench_hostile
from bench.idle import bench_idle
from bench.memory import bench_memory
from bench.retrieving import bench_retrieve
from bench.sides import missing
from bench.starting import bench_start
from bench.storing import bench_store, bench_storescu
from bench.surveying import bench_survey
from bench.web import bench_web

_BENCHES: Mapping[str, Callable[[Path, Extent], None]] = {
    "start": bench_start,
    "store": bench_store,
    "storescu": bench_storescu,
    "retrieve": bench_retrieve,
    "web": bench_web,
    "find": bench_find,
    "memory": bench_memory,
    "idle": bench_idle,
    "hostile": bench_hostile,
    "survey": bench_survey,
}
_ASIDE: Mapping[str, Callable[[], None]] = {
    "engine": lambda: engine_sink.main([]),
    "http-servers": lambda: http_servers.main([]),
}
_NO_DISK = frozenset({"tmpfs", "ramfs", "overlay"})


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(_BENCHES)} (all of them, unless named); {', '.join(_ASIDE)}")
    parser.add_argument("--quick", action="store_true", help="short runs, small studies")
    parser.add_argument("--folder", type=Path, help="where the archives lie meanwhile: on a disk (beside the checkout, unless named)")
    parser.add_argument("--rounds", type=int, help="how often each side has its turn")
    parser.add_argument("--seconds", type=float, help="how long a sender sends")
    arguments = parser.parse_args(words)
    for name in arguments.names:
        if name not in {*_BENCHES, *_ASIDE}:
            parser.error(f"there is no bench {name!r}; there are {', '.join([*_BENCHES, *_ASIDE])}")
    return arguments


def main(words: Sequence[str] | None = None) -> int:
    """Run what is named and print it."""
    arguments = _arguments(words)
    extent = QUICK if arguments.quick else WHOLE
    extent = replace(extent, rounds=arguments.rounds or extent.rounds, seconds=arguments.seconds or extent.seconds)
    if lacking := missing():
        print(f"not installed: {', '.join(lacking)}; `make peers` as root installs them", file=sys.stderr)
        return 2
    beside = arguments.folder or Path(__file__).parents[2]
    if file_system(beside)[0] in _NO_DISK:
        print(f"{beside} is not on a disk; name a folder that is: --folder", file=sys.stderr)
        return 2
    # Ended from outside, it still stops what it started and removes its folder.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    started = time.monotonic()
    failed = []
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=beside) as name:
        folder = Path(name)
        chosen = arguments.names or list(_BENCHES)
        if any(each in _BENCHES for each in chosen):
            print(heading(folder, extent), flush=True)
        for each in chosen:
            try:
                _run(each, folder, extent)
            except Exception:  # noqa: BLE001 - whatever goes wrong in one bench, the others are still worth their figures
                traceback.print_exc()
                failed.append(each)
    print(f"\n{time.monotonic() - started:.0f} seconds in all{'; failed: ' if failed else ''}{', '.join(failed)}")
    return 1 if failed else 0


def _run(name: str, folder: Path, extent: Extent) -> None:
    if name in _BENCHES:
        _BENCHES[name](folder, extent)
    else:
        _ASIDE[name]()


if __name__ == "__main__":
    sys.exit(main())
