"""Two archives for the matrix, each with both its doors open: one that holds the images already, and empty ones."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import peers, samples
from tests.archives import ArchiveUnderTest, copy_of
from tests.matrix.bench import OLD, OLD_ORTHANC, ORTHANC, TRUSTED, Known
from tests.matrix.by_orthanc import SETTINGS
from tests.matrix.cells import Transport
from tests.matrix.comparing import Original, all_distinct
from tests.whole.stock import few

PLAINTEXT = ("--unsafe-dimse-plaintext", "127.0.0.1:0")


@dataclass(frozen=True)
class Founded:
    """An archive with its peers, stopped and empty; only copies of it are used."""

    archive: ArchiveUnderTest
    known: dict[str, Known]


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("founded") / "archive")
    known = {aet: Known(aet, peers.free_port(), None) for aet in (OLD, OLD_ORTHANC)}
    for each in known.values():
        archive.plaintext_peer(each.aet, each.port)
    for aet in (TRUSTED, ORTHANC):
        port = peers.free_port()
        known[aet] = Known(aet, port, archive.peer(aet, "store,find,get,move", port=port))
    return Founded(archive, known)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Original]]:
    """The images of an extent: a sample of six studies and six transfer syntaxes, or all that pydicom brings."""
    folder = tmp_path_factory.mktemp("images")
    made: dict[str, list[Original]] = {}

    def of(extent: str) -> list[Original]:
        if extent not in made:
            made[extent] = all_distinct(few() if extent == "sample" else samples.objects(), folder)
        return made[extent]

    return of


@pytest.fixture
def empty(founded: Founded, tmp_path: Path) -> Iterator[ArchiveUnderTest]:
    """An empty archive, for one row."""
    with copy_of(founded.archive, tmp_path / "archive").serving(*PLAINTEXT) as archive:
        yield archive


@pytest.fixture(scope="session")
def stocked(
    founded: Founded, images: Callable[[str], list[Original]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], ArchiveUnderTest]]:
    """Gives the archive that holds the images of an extent; made when the first row asks."""
    serving: dict[str, ArchiveUnderTest] = {}

    def with_images(extent: str) -> ArchiveUnderTest:
        if extent not in serving:
            archive = copy_of(founded.archive, tmp_path_factory.mktemp("stocked") / "archive")
            archive.start(*PLAINTEXT)
            serving[extent] = archive
            taken = archive.take_in([each.path for each in images(extent)])
            assert taken["stored"] == len(images(extent)), taken
        return serving[extent]

    yield with_images
    for archive in serving.values():
        archive.stop()


@pytest.fixture(scope="session")
def orthanc(founded: Founded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Transport], peers.Orthanc]]:
    """Gives the one Orthanc of a transport; over TLS it shows its certificate."""
    running: dict[Transport, peers.Orthanc] = {}
    with ExitStack() as stack:

        def of(transport: Transport) -> peers.Orthanc:
            if transport not in running:
                who = founded.known[ORTHANC if transport is Transport.TLS else OLD_ORTHANC]
                settings = {**SETTINGS, "DicomPort": who.port}
                folder = tmp_path_factory.mktemp("orthanc")
                running[transport] = stack.enter_context(peers.orthanc(folder, settings, tls=who.tls, aet=who.aet))
            return running[transport]

        yield of
