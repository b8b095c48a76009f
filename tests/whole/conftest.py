"""One archive founded for all, copies of it for each: founding costs seconds, copying nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.archives import ArchiveUnderTest, copy_of
from tests.certificates import Identity
from tests.whole.stock import FEW, few

PEERS = {"CT1": "store,find,get", "MOVER": "find,move", "STORER": "store", "FINDER": "find", "GETTER": "get"}


@dataclass(frozen=True)
class Founded:
    """An archive with its peers, stopped and empty; only copies of it are used."""

    archive: ArchiveUnderTest
    peers: dict[str, Identity]


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("founded") / "archive")
    return Founded(archive, {aet: archive.peer(aet, may) for aet, may in PEERS.items()})


@pytest.fixture(scope="session")
def peers_of(founded: Founded) -> dict[str, Identity]:
    return founded.peers


@pytest.fixture(scope="session")
def new_archive(founded: Founded, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], ArchiveUnderTest]:
    """Makes an empty, stopped archive that knows the peers."""
    return lambda: copy_of(founded.archive, tmp_path_factory.mktemp("copy") / "archive")


@pytest.fixture
def archive(new_archive: Callable[[], ArchiveUnderTest]) -> ArchiveUnderTest:
    return new_archive()


@pytest.fixture(scope="session")
def stocked(new_archive: Callable[[], ArchiveUnderTest]) -> Iterator[ArchiveUnderTest]:
    """A serving archive that holds `few()`; nobody changes it."""
    archive = new_archive()
    with archive.serving():
        taken = archive.take_in(few())
        assert taken["stored"] == len(FEW), taken
        yield archive
