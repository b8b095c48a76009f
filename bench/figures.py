"""How long, how often, where; and how figures are put on the terminal."""

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from bench import sides


@dataclass(frozen=True)
class Extent:
    """How much of a bench is run."""

    rounds: int
    seconds: float
    """Of each run of a sender."""
    most_bytes: int
    """That one run may leave on the disk."""
    study_images: int
    studies: int
    """That QIDO is asked about."""
    frames: int
    """Of the large object, 2 MB each."""
    found_studies: int
    """That C-FIND is asked about, of ten instances each; Orthanc has one in fifty of them."""


WHOLE = Extent(rounds=3, seconds=10, most_bytes=2_000_000_000, study_images=250, studies=2000, frames=1000, found_studies=1_000_000)
QUICK = Extent(rounds=3, seconds=2, most_bytes=500_000_000, study_images=50, studies=200, frames=125, found_studies=20_000)


class Table:
    """Rows with a title, printed in columns as soon as they are whole."""

    def __init__(self, title: str, *heads: str) -> None:
        self._title = title
        self._heads = heads
        self._rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        """One more row."""
        self._rows.append(cells)

    def show(self) -> None:
        """Print it: the first column to the left, the others to the right."""
        rows = [self._heads, *self._rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self._heads))]
        print(f"\n{self._title}")
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            print("  " + "  ".join([row[0].ljust(widths[0]), *cells]).rstrip(), flush=True)


def median(values: Sequence[float]) -> float:
    """The middle of them."""
    return statistics.median(values)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The median of the ratios of runs that followed each other; on a shared machine it is steadier than the ratio of medians."""
    return f"{median([mine / other for mine, other in zip(ours, theirs, strict=True)]):.2f}"


def file_system(folder: Path) -> tuple[str, str]:
    """The type and the device of the file system that holds `folder`."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        if front.split()[2] == wanted:
            kind, source = back.split()[:2]
            return kind, source
    return "unknown", wanted


def heading(folder: Path, extent: Extent) -> str:
    """Where and with what it was measured."""
    kind, source = file_system(folder)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    packages = ", ".join(f"{name} {installed(name)}" for name in ("cryptography", "apsw-sqlite3mc", "uvicorn"))
    others = ", ".join(sides.version(*command) for command in (("Orthanc", "--version"), ("nginx", "-v"), ("storescu", "--version")))
    return "\n".join(
        (
            f"leadglass {installed('leadglass')}, Python {sys.version.split()[0]}, {packages}",
            others,
            f"Linux {platform.release()}, {os.cpu_count()} cores, {memory:.0f} GB, load average {load}; {folder} on {source} ({kind})",
            f"medians of {extent.rounds} rounds, the sides taking turns within each; senders run {extent.seconds:g} s; TCP_NODELAY=1",
            "CPU: user and system time of the serving processes. A ratio of rates or times above 1 is faster than Orthanc, a ratio of CPU",
            "below 1 is less work than Orthanc's; both are medians over the rounds.",
        )
    )
