"""Runs every fuzz target for a stated time: `python fuzz/run.py --seconds 60 [NAME...]`.

A target is a file beside this one with `target(data: bytes) -> None` and `seeds() -> list[bytes]`. It may raise `BadInput`, for that is
how bad input is refused; anything else is a crash: the input is saved under fuzz/crashes/NAME and the run ends in exit code 1. Once the
fault is mended, the input moves to fuzz/regressions/NAME, which `make test` replays.

With atheris the search is guided by coverage; without it, seeds are mutated blindly.
"""

import argparse
import contextlib
import hashlib
import importlib
import importlib.util
import os
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, cast

FOLDER = Path(__file__).resolve().parent
# Run as a script, Python looks in this folder first, where a target named like a library would hide it.
sys.path[:] = [str(FOLDER.parent), *(folder for folder in sys.path if folder not in {str(FOLDER), str(FOLDER.parent)})]

from leadglass.errors import BadInput  # noqa: E402 # found through the line above also when run as a script

MAX_INPUT_BYTES = 1 << 16
MEMORY_MB = 1024
"""Python, atheris and leadglass take 150 MB; an input of 64 KiB must never cost the rest."""
SLOWEST_INPUT_SECONDS = 10


class Target(Protocol):
    """What a file of this folder offers."""

    def target(self, data: bytes) -> None:
        """Do with `data` what is done with bytes from the network; raise `BadInput` or nothing."""

    def seeds(self) -> list[bytes]:
        """Inputs that reach far into the code, well-formed ones above all."""


def names() -> list[str]:
    """Every target there is."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "run" and not path.stem.startswith("_"))


def load(name: str) -> Target:
    """The module of a target."""
    return cast("Target", importlib.import_module(f"fuzz.{name}"))


def regressions(name: str) -> list[bytes]:
    """Inputs that once were crashes."""
    return [path.read_bytes() for path in sorted((FOLDER / "regressions" / name).glob("*"))]


def attempt(target: Callable[[bytes], None], data: bytes) -> None:
    """Run `target`; raises what it may not raise."""
    with contextlib.suppress(BadInput):
        target(data)


def mutated(seeds: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """The seeds, then mutations of them for ever: the same for the same `chance`."""
    yield from seeds
    pool = [b"", *seeds]
    while True:
        data = bytearray(chance.choice(pool))
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(data) + 1)
            stop = min(len(data), at + chance.choice((1, 2, 4, 16, 256)))
            match chance.randrange(6):
                case 0:
                    data[at:stop] = b""
                case 1:
                    data[at:at] = chance.randbytes(stop - at)
                case 2:
                    data[at:stop] = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * (stop - at)
                case 3:
                    data[at:at] = data[at:stop]
                case 4:
                    other = chance.choice(pool)
                    data[at:stop] = other[chance.randrange(len(other) + 1) :]
                case _:
                    del data[at:]
        yield bytes(data[:MAX_INPUT_BYTES])


def _save(name: str, data: bytes) -> Path:
    path = FOLDER / "crashes" / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _mutate_blindly(name: str, seconds: float) -> int:
    module = load(name)
    limit = time.monotonic() + seconds
    tries = 0
    for data in mutated([*module.seeds(), *regressions(name)], random.Random()):
        started = time.monotonic()
        if started > limit:
            break
        try:
            attempt(module.target, data)
        except Exception:  # noqa: BLE001 # every other exception is what we look for
            traceback.print_exc()
            print(f"{name}: crash, saved as {_save(name, data)}")
            return 1
        if time.monotonic() - started > SLOWEST_INPUT_SECONDS:
            print(f"{name}: too slow, saved as {_save(name, data)}")
            return 1
        tries += 1
    print(f"{name}: {tries} inputs, no crash (not guided: atheris is not installed)")
    return 0


def _search_with_atheris(name: str, seconds: float) -> int:
    import atheris  # noqa: PLC0415 # only a child process pays for its hooks

    with atheris.instrument_imports(include=["leadglass", "fuzz"], enable_loader_override=False):
        module = load(name)
    corpus, crashes = FOLDER / "corpus" / name, FOLDER / "crashes" / name
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    for seed in [*module.seeds(), *regressions(name)]:
        (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    options = [
        f"-max_total_time={seconds:.0f}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={SLOWEST_INPUT_SECONDS}",
        f"-artifact_prefix={crashes}/",
        "-len_control=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: attempt(module.target, data))
    atheris.Fuzz()  # ends the process: 0 when the time is up
    return 0


def run_one(name: str, seconds: float) -> int:
    """Search in this process, which may not outlive it."""
    if importlib.util.find_spec("atheris") is None:
        return _mutate_blindly(name, seconds)
    return _search_with_atheris(name, seconds)


def _run_in_child(name: str, seconds: float) -> tuple[str, int, str]:
    command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=seconds + 120)
    except subprocess.TimeoutExpired as late:
        return name, 1, f"{(late.stdout or b'').decode(errors='replace')}\n{name}: did not end in time"
    return name, done.returncode, done.stdout.decode(errors="replace")


def main() -> int:
    """Run the targets named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Run fuzz targets; exit code 1 if one crashes.")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at the same time")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=", ".join(names()))
    arguments = parser.parse_args()
    if arguments.one:
        return run_one(arguments.one, arguments.seconds)
    if unknown := sorted(set(arguments.names) - set(names())):
        parser.error(f"no such target: {', '.join(unknown)}; there are: {', '.join(names())}")
    crashed = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for name, code, output in pool.map(_run_in_child, arguments.names or names(), [arguments.seconds] * len(names())):
            executed = next((line.split()[-1] for line in output.splitlines() if "number_of_executed_units" in line), None)
            print(f"{name}: {'ok' if code == 0 else 'CRASHED'}" + (f", {executed} inputs" if executed else ""), flush=True)
            if code:
                crashed.append(name)
                print(output[-4000:])
    if crashed:
        print(f"crashed: {', '.join(crashed)}; the inputs are in fuzz/crashes")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
