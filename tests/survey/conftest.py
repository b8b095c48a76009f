"""Every results.json that a test of the survey makes is one by its published schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.survey.published_schema import faults


@pytest.fixture(autouse=True)
def _results_are_by_their_schema(request: pytest.FixtureRequest) -> Iterator[None]:
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if isinstance(folder, Path):
        assert {path: found for path in folder.rglob("results.json") if (found := faults(path.read_bytes()))} == {}
