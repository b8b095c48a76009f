"""How the command line prints: tables for people, JSON for programs, complaints on standard error."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
Row = Mapping[str, object]


def complain(sentence: str) -> None:
    """Say what went wrong, on standard error."""
    print(f"leadglass: {sentence}", file=sys.stderr)


def say(sentence: str) -> None:
    """Print one line as it is: no markup is read from it."""
    console.print(Text(sentence), soft_wrap=True)


def print_json(content: object) -> None:
    """Print `content` as JSON, on one line when it is piped into a program."""
    print(json.dumps(content, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False, default=str))


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value)
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
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    console.print(table)


def progress_bar() -> Progress:
    """A progress bar that shows on a terminal and keeps silent in a pipe."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=False,
    )
