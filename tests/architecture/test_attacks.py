"""Every known attack of docs/attacks.md names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "attacks.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| attack", "|---"))
]
UNTESTED = {"HL7 is not spoken."}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_an_attack_names_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 4
    named = re.findall(r"`(tests/[^`]+)`", row[3])
    assert named or row[2] in UNTESTED
    for each in named:
        path, _, function = each.partition("::")
        assert f"def {function or 'test_'}" in (ROOT / path).read_text(), each


def test_the_table_is_read() -> None:
    assert len(ROWS) > 15
