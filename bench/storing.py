"""C-STORE side by side: our sender and dcmtk's, one association and four, plain and TLS, small objects and large."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import sides
from bench.engine_sink import make_object
from bench.figures import Extent, Table, median, ratio
from bench.sender import Sent, send
from bench.sides import Receiver, cpu_seconds
from tests.peers import require, tls_arguments

SIZES = {"8 kB": 8_000, "525 kB": 525_000}


@dataclass
class _Series:
    """The runs of one receiver, in the order of the rounds."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Milliseconds for each object."""
    sender_cpu: list[float] = field(default_factory=list)

    def add(self, sent: Sent, cpu: float) -> None:
        self.rates.append(sent.rate)
        self.cpu.append(1000 * cpu / sent.count)
        self.sender_cpu.append(1000 * sent.cpu / sent.count)


def _show(title: str, series: dict[str, _Series]) -> None:
    table = Table(
        title, "", "objects/s", "CPU ms each", "sender's ms", "ratio to Orthanc", "to Orthanc, TLS", "CPU to Orthanc", "to its TLS"
    )
    for name, runs in series.items():
        ratios = ["", "", "", ""]
        if name in {sides.OURS, sides.OURS_PLAIN}:
            plain, secured = series[sides.ORTHANC], series[sides.ORTHANC_TLS]
            ratios = [
                ratio(runs.rates, plain.rates),
                ratio(runs.rates, secured.rates),
                ratio(runs.cpu, plain.cpu),
                ratio(runs.cpu, secured.cpu),
            ]
        table.add(name, f"{median(runs.rates):.0f}", f"{median(runs.cpu):.2f}", f"{median(runs.sender_cpu):.2f}", *ratios)
    table.show()


def bench_store(folder: Path, extent: Extent) -> None:
    """Objects a second of our sender."""
    run = 0
    for label, size in SIZES.items():
        for associations in (1, 4):
            # Fresh archives for each pair, so that what lies on the disk is bounded, and the same for both.
            with ExitStack() as stack:
                place = stack.enter_context(_emptied_afterwards(folder))
                receivers = [
                    *stack.enter_context(sides.orthanc_receivers(place)),
                    *sides.our_receivers(stack.enter_context(sides.ours(place / "ours"))),
                    *stack.enter_context(sides.sinks(place)),
                ]
                series = {receiver.name: _Series() for receiver in receivers}
                for _ in range(extent.rounds):
                    for receiver in receivers:
                        run += 1
                        _measure(receiver, series[receiver.name], extent, size=size, associations=associations, run=run)
            _show(f"C-STORE, {label} objects, associations: {associations}", series)


def _measure(receiver: Receiver, series: _Series, extent: Extent, *, size: int, associations: int, run: int) -> None:
    is_sink = receiver.name in {sides.SINK, sides.SINK_TLS}
    seconds = min(extent.seconds, 3) if is_sink else extent.seconds
    most = max(1, extent.most_bytes // size // associations)
    before = cpu_seconds(receiver.process)
    sent = send(receiver.task(size=size, associations=associations, seconds=seconds, run=run, most=most))
    series.add(sent, cpu_seconds(receiver.process) - before)


@contextmanager
def _emptied_afterwards(folder: Path) -> Iterator[Path]:
    """A new folder whose files give back their room afterwards, but not their names.

    ext4 looks long for an inode where many were freed in the last minutes: making a file took 400 us of CPU after a bench had removed
    its files, 50 us elsewhere, on both sides. So everything is removed at the very end.
    """
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield place
    finally:
        for parent, _, names in os.walk(place):
            for name in names:
                os.truncate(Path(parent) / name, 0)


def bench_storescu(folder: Path, extent: Extent) -> None:
    """Objects a second of dcmtk's storescu, its start included."""
    for label, size in SIZES.items():
        for associations in (1, 4):
            with ExitStack() as stack:
                place = stack.enter_context(_emptied_afterwards(folder))
                receivers = [
                    *stack.enter_context(sides.orthanc_receivers(place)),
                    *sides.our_receivers(stack.enter_context(sides.ours(place / "ours"))),
                    *stack.enter_context(sides.sinks(place)),
                ]
                file = place / "object.dcm"
                make_object(size).save_as(file, enforce_file_format=True)
                _storescu_round(receivers[-2], file, 50, associations)
                count = _count_for(receivers[-2], file, extent, size)
                series = {receiver.name: _Series() for receiver in receivers}
                for _ in range(extent.rounds):
                    for receiver in receivers:
                        before = cpu_seconds(receiver.process)
                        sent = _storescu_round(receiver, file, max(1, count // associations), associations)
                        series[receiver.name].add(sent, cpu_seconds(receiver.process) - before)
            _show(f"C-STORE by storescu, {label} objects, associations: {associations}, {count} objects a run", series)


def _count_for(sink: Receiver, file: Path, extent: Extent, size: int) -> int:
    """How many objects storescu sends to a sink in a third of the time: an archive takes about the whole of it."""
    sent = _storescu_round(sink, file, 100, 1)
    return max(50, min(extent.most_bytes // size, int(sent.rate * extent.seconds / 3)))


def _storescu_round(receiver: Receiver, file: Path, count: int, associations: int) -> Sent:
    """Run one storescu for each association, all at the same time; every object is given a new SOP Instance UID."""
    command: list[str | Path] = [require("storescu"), "-xe", "+II", "+IR", "250", "+IS", "1", "-pdu", "131072"]
    command += ["--repeat", str(count), "-aet", receiver.calling, "-aec", receiver.address.aet, *tls_arguments(receiver.tls)]
    command += [receiver.address.host, str(receiver.address.port), file]
    started = time.perf_counter()
    before = os.times()
    with ThreadPoolExecutor(associations) as pool:
        list(pool.map(_run_storescu, [command] * associations))
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Sent(count * associations, time.perf_counter() - started, cpu)


def _run_storescu(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TCP_NODELAY": "1"}, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"storescu failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
