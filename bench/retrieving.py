"""C-GET and C-MOVE of a study side by side: the same receiver, and the same destination, for both archives."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import sides
from bench.figures import Extent, Table, median, ratio
from bench.objects import Identifiers
from bench.receiver import Errand, ask
from bench.sender import ROOT, send
from bench.sides import Receiver, cpu_seconds
from tests.certificates import Identity, make_authority
from tests.peers import OPENED, free_port, orthanc, started

_IMAGE = 525_000
_RUN = 1
_PLAIN_SINK, _TLS_SINK = "SINK", "SINKTLS"


@dataclass(frozen=True)
class _Side:
    """An archive that holds the study, and the destination that it is asked to send to."""

    name: str
    receiver: Receiver
    sink: str

    def errand(self, study: str, *, moving: bool) -> Errand:
        files = self.receiver.tls
        certificate, key, authority = ("", "", "") if files is None else (files.certificate, files.key, files.authority)
        return Errand(
            host=self.receiver.address.host,
            port=self.receiver.address.port,
            called=self.receiver.address.aet,
            calling=self.receiver.calling,
            study=study,
            destination=self.sink if moving else "",
            certificate=str(certificate),
            key=str(key),
            authority=str(authority),
        )


@contextmanager
def _sink(port: int, folder: Path, identity: Identity | None = None) -> Iterator[None]:
    files: list[str | Path] = [] if identity is None else [identity.certificate, identity.key, identity.authority]
    command: list[str | Path] = [sys.executable, "-m", "bench.sink", str(port), *files]
    with started(command, [port], folder / f"sink-{port}.log", {"PYTHONPATH": str(ROOT)}):
        yield


@contextmanager
def _sides(folder: Path) -> Iterator[list[_Side]]:
    """Orthanc plain and over TLS, and ours over TLS, each with a plain destination or one over TLS."""
    authority = make_authority(folder / "authority")
    identity = authority.issue("orthanc")
    plain, theirs, mine = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        archive = stack.enter_context(sides.ours(folder / "ours"))
        me = archive.peer(sides.PEER, "store,find,get,move")
        archive.plaintext_peer(_PLAIN_SINK, plain)
        sink_identity = archive.peer(_TLS_SINK, "store", port=mine)
        stack.enter_context(_sink(plain, folder))
        stack.enter_context(_sink(theirs, folder, identity))
        stack.enter_context(_sink(mine, folder, sink_identity))
        destinations = {
            _PLAIN_SINK: {"AET": _PLAIN_SINK, "Host": "127.0.0.1", "Port": plain},
            _TLS_SINK: {"AET": _TLS_SINK, "Host": "127.0.0.1", "Port": theirs, "UseDicomTls": True},
        }
        settings = {**OPENED, "DicomModalities": destinations}
        open_one = stack.enter_context(orthanc(folder / "plain", settings))
        secured = stack.enter_context(orthanc(folder / "tls", settings, tls=identity))
        ours = Receiver(sides.OURS, archive.dimse, sides.our_process(archive), tls=me)
        yield [
            _Side(sides.ORTHANC, Receiver(sides.ORTHANC, open_one.dicom, open_one.process), _PLAIN_SINK),
            _Side(sides.ORTHANC_TLS, Receiver(sides.ORTHANC_TLS, secured.dicom, secured.process, tls=identity), _TLS_SINK),
            _Side(sides.OURS, ours, _TLS_SINK),
            _Side("leadglass, to a plain destination", ours, _PLAIN_SINK),
        ]


def bench_retrieve(folder: Path, extent: Extent) -> None:
    """A study by C-GET, and by C-MOVE to a sink."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        all_sides = stack.enter_context(_sides(place))
        count = extent.study_images
        for side in all_sides[:3]:
            send(side.receiver.task(size=_IMAGE, associations=1, seconds=600, run=_RUN, most=count, per_study=count))
        _compare(all_sides[:3], extent, moving=False)
        _compare(all_sides, extent, moving=True)


def _compare(all_sides: list[_Side], extent: Extent, *, moving: bool) -> None:
    study = Identifiers.of(_RUN, 0, extent.study_images).study
    seconds: dict[str, list[float]] = {side.name: [] for side in all_sides}
    cpu: dict[str, list[float]] = {side.name: [] for side in all_sides}
    for _ in range(max(5, extent.rounds)):
        for side in all_sides:
            before = cpu_seconds(side.receiver.process)
            came = ask(side.errand(study, moving=moving))
            if came.count != extent.study_images:
                raise RuntimeError(f"{side.name}: only {came.count} objects of the study came")
            seconds[side.name].append(came.seconds)
            cpu[side.name].append(1000 * (cpu_seconds(side.receiver.process) - before) / came.count)
    title = f"{'C-MOVE' if moving else 'C-GET'} of a study, {extent.study_images} x 525 kB"
    table = Table(title, "", "seconds", "MB/s", "CPU ms/image", "ratio to Orthanc", "to Orthanc, TLS", "CPU to Orthanc", "to its TLS")
    theirs = sides.ORTHANC, sides.ORTHANC_TLS
    for name, runs in seconds.items():
        compared = (
            []
            if name in theirs
            else [*(ratio(seconds[other], runs) for other in theirs), *(ratio(cpu[name], cpu[each]) for each in theirs)]
        )
        speed = extent.study_images * _IMAGE / median(runs) / 1e6
        table.add(name, f"{median(runs):.3f}", f"{speed:.0f}", f"{median(cpu[name]):.2f}", *(compared or [""] * 4))
    table.show()
