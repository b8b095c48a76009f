from collections.abc import Iterator

import pytest

from tests import samples
from tests.archives import ArchiveUnderTest
from tests.pages.visitor import Person


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveUnderTest]:
    """An archive with a few studies."""
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("pages"))
    archive.take_in([samples.sample(name) for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")])
    with archive.serving():
        yield archive


@pytest.fixture(scope="package")
def clara(served: ArchiveUnderTest) -> Person:
    return Person.added(served, "clara", "clinician")


@pytest.fixture(scope="package")
def otto(served: ArchiveUnderTest) -> Person:
    return Person.added(served, "otto", "auditor")
