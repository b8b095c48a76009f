"""An archive for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vault.making import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path).create()
    yield made
    made.close()
