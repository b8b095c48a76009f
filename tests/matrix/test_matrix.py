"""Peers, services, ways and transports: over a sample of the images in `make test`, over all of them in `make test-long`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.archives import ArchiveUnderTest
from tests.matrix import by_dcmtk, by_orthanc, by_pynetdicom  # noqa: F401 # they enter their rows
from tests.matrix.bench import Bench
from tests.matrix.cells import Transport, cells
from tests.matrix.comparing import Original
from tests.matrix.conftest import Founded
from tests.matrix.document import DOCUMENT, regenerated
from tests.matrix.table import REASONS, ROWS, Row
from tests.peers import Orthanc

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # real files hold values that PS3.5 does not allow


@pytest.mark.parametrize("extent", ["sample", pytest.param("all", marks=pytest.mark.long)])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_it_works(
    row: Row,
    extent: str,
    founded: Founded,
    images: Callable[[str], list[Original]],
    stocked: Callable[[str], ArchiveUnderTest],
    orthanc: Callable[[Transport], Orthanc],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    archive = stocked(extent) if row.stocked else request.getfixturevalue("empty")
    folder = tmp_path / "bench"
    folder.mkdir()
    row.run(Bench(archive, row.cell.transport, images(extent), founded.known, folder, orthanc))


def test_every_cell_has_a_row_or_the_reason_why_it_has_none() -> None:
    filled = {row.cell for row in ROWS}
    assert [str(cell) for cell in cells() if cell not in filled and cell not in REASONS] == []
    assert [str(cell) for cell in filled if cell in REASONS] == []


def test_the_document_says_what_the_matrix_is() -> None:
    assert DOCUMENT.read_text() == regenerated(DOCUMENT.read_text()), "run `make conformance`"
