"""The archives that are compared, each with all its doors, in a folder of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.sender import ROOT, Task
from tests.archives import ArchiveUnderTest, leadglass
from tests.certificates import Identity, make_authority
from tests.peers import OPENED, DimseAddress, find, free_port, nginx_before, orthanc, started

NEEDED = ("Orthanc", "nginx", "storescu", "curl")
ORTHANC, ORTHANC_TLS = "Orthanc", "Orthanc, TLS"
OURS, OURS_PLAIN = "leadglass, TLS", "leadglass, plaintext"
SINK, SINK_TLS = "into a sink", "into a sink, TLS"
PEER, PLAIN_PEER = "BENCH", "BENCHPLAIN"


def missing() -> list[str]:
    """The programs that are needed and not there."""
    return [program for program in NEEDED if find(program) is None]


@dataclass(frozen=True)
class Receiver:
    """A door that takes C-STORE."""

    name: str
    address: DimseAddress
    process: int
    calling: str = PEER
    tls: Identity | None = None

    def task(self, *, size: int, associations: int, seconds: float, run: int, most: int, per_study: int = 250) -> Task:
        """The task to send to it."""
        certificate, key, authority = ("", "", "") if self.tls is None else (self.tls.certificate, self.tls.key, self.tls.authority)
        return Task(
            host=self.address.host,
            port=self.address.port,
            called=self.address.aet,
            calling=self.calling,
            size=size,
            associations=associations,
            seconds=seconds,
            most=most,
            run=run,
            per_study=per_study,
            certificate=str(certificate),
            key=str(key),
            authority=str(authority),
        )


def cpu_seconds(process: int) -> float:
    """User and system time that a process and those it started have taken."""
    parent = psutil.Process(process)
    times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[ArchiveUnderTest]:
    """Our archive, serving with a plaintext door beside the others."""
    archive = ArchiveUnderTest.found(folder)
    with archive.serving("--unsafe-dimse-plaintext", "127.0.0.1:0"):
        yield archive


def our_process(archive: ArchiveUnderTest) -> int:
    """The process id of a serving archive."""
    if archive.process is None:
        raise RuntimeError("the archive does not serve")
    return archive.process.pid


def our_receivers(archive: ArchiveUnderTest) -> list[Receiver]:
    """Both DIMSE doors, with a peer for each."""
    identity = archive.peer(PEER)
    leadglass("peer", "add", archive.home, PLAIN_PEER, "--address", "127.0.0.0/8", "--may", "store", "--unsafe-plaintext")
    process = our_process(archive)
    return [
        Receiver(OURS, archive.dimse, process, tls=identity),
        Receiver(OURS_PLAIN, archive.plaintext, process, calling=PLAIN_PEER),
    ]


def find_and_store_peer(archive: ArchiveUnderTest) -> Identity:
    """A peer that may find and store, over TLS."""
    return archive.peer(PEER, "find,store")


@contextlib.contextmanager
def orthanc_receivers(folder: Path) -> Iterator[list[Receiver]]:
    """Two Orthancs with Debian's defaults, open to everyone: plain, and over TLS with client certificates."""
    identity = make_authority(folder / "authority").issue("orthanc")
    with orthanc(folder / "plain") as plain, orthanc(folder / "tls", tls=identity) as secured:
        yield [
            Receiver(ORTHANC, plain.dicom, plain.process),
            Receiver(ORTHANC_TLS, secured.dicom, secured.process, tls=identity),
        ]


@contextlib.contextmanager
def sinks(folder: Path) -> Iterator[list[Receiver]]:
    """Our acceptor in processes that forget what they get: what they reach is the sender's own limit."""
    identity = make_authority(folder / "sink-authority").issue("sink")
    with contextlib.ExitStack() as stack:
        receivers = []
        for name, tls in ((SINK, None), (SINK_TLS, identity)):
            port = free_port()
            files: list[str | Path] = [] if tls is None else [tls.certificate, tls.key, tls.authority]
            command: list[str | Path] = [sys.executable, "-m", "bench.sink", str(port), *files]
            process = stack.enter_context(started(command, [port], folder / f"sink-{port}.log", {"PYTHONPATH": str(ROOT)}))
            receivers.append(Receiver(name, DimseAddress(port), process, tls=tls))
        yield receivers


@dataclass(frozen=True)
class WebSide:
    """A DICOMweb root over TLS, and what counts as its CPU."""

    name: str
    url: str
    authority: Path
    processes: tuple[int, ...]
    receiver: Receiver
    token: str = ""

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return sum(cpu_seconds(process) for process in self.processes)


@contextlib.contextmanager
def web_sides(folder: Path) -> Iterator[list[WebSide]]:
    """Our DICOMweb door, and Orthanc's behind nginx with TLS."""
    identity = make_authority(folder / "authority").issue("nginx")
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(ours(folder / "ours"))
        other = stack.enter_context(orthanc(folder / "orthanc", OPENED))
        url = stack.enter_context(nginx_before(other.url, folder / "nginx", identity))
        nginx = next(each.pid for each in _listeners(int(url.rsplit(":", 1)[1])))
        token = archive.token("bench")
        yield [
            WebSide(
                "Orthanc behind nginx, TLS",
                f"{url}/dicom-web",
                identity.authority,
                (other.process, nginx),
                Receiver(ORTHANC, other.dicom, other.process),
            ),
            WebSide(OURS, archive.web, archive.ca, (our_process(archive),), our_receivers(archive)[0], token),
        ]


def _listeners(port: int) -> Iterator[psutil.Process]:
    """The eldest of our own children that listens on `port`."""
    for child in psutil.Process(os.getpid()).children():
        if any(each.laddr.port == port for each in child.net_connections() if each.status == psutil.CONN_LISTEN):
            yield child


def version(*command: str) -> str:
    """The first line that a program prints of itself."""
    path = find(command[0]) or command[0]
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip("$ ").removeprefix("/usr/sbin/").removeprefix("dcmtk: ")
