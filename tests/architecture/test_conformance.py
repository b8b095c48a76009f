"""docs/conformance.md says what the code does: its tables are made from the code, and are compared here."""

from collections.abc import Mapping

import pytest

from leadglass.dicom.status import Status
from tools.conformance import services
from tools.conformance.document import BLOCKS, DOCUMENT, UnknownBlockError, regenerated

TEXT = DOCUMENT.read_text()


def test_the_document_is_what_the_code_says() -> None:
    assert regenerated(TEXT) == TEXT, "run `make conformance` and read what it changed"


@pytest.mark.parametrize("name", list(BLOCKS))
def test_a_table_that_says_something_else_is_seen(name: str) -> None:
    made = BLOCKS[name]()
    lines = [line for line in made.splitlines() if line.startswith("| ")]
    assert len(lines) > 1
    assert made in TEXT
    assert regenerated(TEXT.replace(made, made.replace(lines[-1], "| 1 | 2 |"))) == TEXT


def test_a_mark_without_a_maker_is_refused() -> None:
    with pytest.raises(UnknownBlockError):
        regenerated(TEXT + "<!-- from the code: nothing -->\n<!-- end -->\n")


def test_a_status_without_its_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    less: Mapping[Status, str] = {status: told for status, told in services.MEANING["C-FIND"].items() if status is not Status.CANCELLED}
    monkeypatch.setitem(services.MEANING, "C-FIND", less)
    with pytest.raises(services.MeaningMissingError, match="CANCELLED"):
        services.statuses()
