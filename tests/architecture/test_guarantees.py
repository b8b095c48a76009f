"""Every guarantee of the threat model names tests that exist and run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUARANTEES = re.findall(r"^(\d+)\. (.+)$", (ROOT / "docs" / "threat-model.md").read_text(), re.MULTILINE)


def test_the_guarantees_are_numbered_without_a_gap() -> None:
    assert [int(number) for number, _ in GUARANTEES] == list(range(1, len(GUARANTEES) + 1))
    assert len(GUARANTEES) > 15


@pytest.mark.parametrize(("number", "text"), GUARANTEES, ids=[number for number, _ in GUARANTEES])
def test_a_guarantee_names_tests_that_exist(number: str, text: str) -> None:
    named = re.findall(r"`(tests/[^`]+)`", text)
    assert named, f"guarantee {number} names no test"
    for path in named:
        assert "def test_" in (ROOT / path).read_text(), path
