from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.people import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An archive's access half under the default policy."""
    built = House(tmp_path)
    yield built
    built.trail.close()
