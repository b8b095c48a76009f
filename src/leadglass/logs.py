"""Logging that cannot print an element's value: an event is a fixed name and fields of types that hold no text.

What a library logs is reduced to its name, level and the place it came from, because its message may quote what it was given.
"""

import logging
import sys
from enum import Enum
from typing import NewType

PublicName = NewType("PublicName", str)
"""Text that an administrator chose, never a patient's: an AE title of a known peer, a user's name, an address."""

Field = int | float | bool | Enum | None
_EVENTS = logging.getLogger("leadglass")
_NAME_OF_FIELD = "leadglass_event"


def event(level: int, name: str, *, who: PublicName | None = None, **fields: Field) -> None:
    """Log `name`, a literal in our source, with `fields`; raises `TypeError` for a field that could carry text."""
    for key, value in fields.items():
        if not isinstance(value, int | float | Enum | None):
            raise TypeError(f"log field {key!r} is text-like; an event carries numbers and enums alone")
    words = [name, *(f"{key}={value.value if isinstance(value, Enum) else value}" for key, value in fields.items())]
    if who is not None:
        words.append(f"who={who}")
    _EVENTS.log(level, "%s", " ".join(words), extra={_NAME_OF_FIELD: True})


def warn(sentence: str) -> None:
    """Log a warning: a sentence of our source, without any field."""
    event(logging.WARNING, sentence)


def fault(name: str, error: BaseException) -> None:
    """Log that something broke: the exception's type and where in our code, never its message."""
    _EVENTS.error("%s", f"{name} error={type(error).__name__} at={place_of(error)}", extra={_NAME_OF_FIELD: True})


def place_of(error: BaseException) -> str:
    """The file and line where `error` was raised."""
    place = "?"
    trace = error.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        if getattr(record, _NAME_OF_FIELD, False):
            return f"{stamp} {record.levelname.lower()} {record.getMessage()}"
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "-"
        return f"{stamp} {record.levelname.lower()} library={record.name} at={record.filename}:{record.lineno} error={kind}"


def to_stderr(level: int = logging.INFO) -> None:
    """Send every event to standard error, and what libraries say from WARNING up, in reduced form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _EVENTS.setLevel(level)
