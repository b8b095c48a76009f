"""Logging that cannot print an element's value."""

import io
import logging
from collections.abc import Iterator

import pytest

from leadglass import logs
from leadglass.errors import BadDataSet
from leadglass.logs import PublicName
from leadglass.vocabulary import Door

SECRET = "SECRET^PATIENT"


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.to_stderr()
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_an_event_prints_its_name_and_fields(output: io.StringIO) -> None:
    logs.event(logging.INFO, "stored", who=PublicName("CT1"), count=3, door=Door.DIMSE)
    assert output.getvalue().endswith("info stored count=3 door=dimse who=CT1\n")


@pytest.mark.parametrize("value", [SECRET, SECRET.encode(), [SECRET], {"name": SECRET}, object()])
def test_text_is_no_field(output: io.StringIO, value: object) -> None:
    with pytest.raises(TypeError):
        logs.event(logging.INFO, "stored", patient=value)  # type: ignore[arg-type]
    assert output.getvalue() == ""


def test_a_fault_says_what_and_where_but_not_its_message(output: io.StringIO) -> None:
    try:
        raise BadDataSet(SECRET)
    except BadDataSet as error:
        logs.fault("store", error)
    assert "store error=BadDataSet at=test_logs.py:" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_what_a_library_logs_is_reduced_to_where_it_came_from(output: io.StringIO) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("some.library").exception("cannot parse %s", SECRET)
    assert "error library=some.library at=test_logs.py:" in output.getvalue()
    assert "ValueError" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_what_a_library_tells_below_a_warning_is_not_kept(output: io.StringIO) -> None:
    logging.getLogger("some.library").info("detail")
    assert output.getvalue() == ""
