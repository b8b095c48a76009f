"""How long it takes from the command to doors that accept."""

import tempfile
import time
from pathlib import Path

from bench.figures import Extent, Table, median
from tests.archives import ArchiveUnderTest
from tests.peers import orthanc


def bench_start(folder: Path, extent: Extent) -> None:
    """`serve` of an empty archive to its ready line, and Orthanc until it listens."""
    times: dict[str, list[float]] = {"leadglass serve": [], "Orthanc": []}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        archive = ArchiveUnderTest.found(Path(name) / "ours")
        for _ in range(max(5, extent.rounds)):
            started = time.perf_counter()
            with archive.serving():
                times["leadglass serve"].append(time.perf_counter() - started)
            started = time.perf_counter()
            with orthanc(Path(name) / "orthanc"):
                times["Orthanc"].append(time.perf_counter() - started)
    table = Table("Start", "", "median s", "longest s")
    for label, values in times.items():
        table.add(label, f"{median(values):.2f}", f"{max(values):.2f}")
    table.show()
