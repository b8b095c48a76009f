"""How the command line prints: tables for people, JSON for programs, complaints on standard error."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from leadglass.errors import WrongUsage

PIPED_WIDTH = 100_000
"""A pipe has no width: every row stands on one line."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
Row = Mapping[str, object]


def read_text(path: Path) -> str:
    """The text in a file that was named on the command line; raises `WrongUsage` where it cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUsage(f"{path} does not hold text; a certificate or request is wanted as PEM, a password as a line") from None


def printable(text: str) -> str:
    r"""`text` with what would steer a terminal spelt out: a file's name can hold any byte.

    >>> printable("IM\x1b[2J001")
    'IM\\x1b[2J001'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)


def complain(sentence: str) -> None:
    """Say what went wrong, on standard error."""
    print(f"leadglass: {printable(sentence)}", file=sys.stderr)


def say(sentence: str) -> None:
    """Print one line as it is: no markup is read from it."""
    console.print(Text(printable(sentence)), soft_wrap=True)


def remark(sentence: str) -> None:
    """Say something beside what a program reads from standard output."""
    print(printable(sentence), file=sys.stderr)


def print_json(content: object) -> None:
    """Print `content` as JSON, on one line when it is piped into a program."""
    print(json.dumps(content, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False, default=str))


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value) or "-"
    if value is None:
        return "-"
    return "yes" if value is True else "no" if value is False else str(value)


def print_rows(rows: Iterable[Row], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print `rows` as a table of `columns`, or all of each row as JSON; `empty` says what it means that there are none."""
    listed = [dict(row) for row in rows]
    if as_json:
        print_json(listed)
        return
    if not listed:
        say(empty)
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in listed:
        # Folded rather than cut: what an auditor reads must be there whole, however narrow the terminal.
        table.add_row(*(Text(printable(_cell(row.get(column))), overflow="fold") for column in columns))
    console.print(table)


def progress_bar(ending: str = "") -> Progress:
    """A progress bar that shows on a terminal and keeps silent in a pipe; it ends in `ending`, else in the time that is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(ending) if ending else TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=False,
    )
