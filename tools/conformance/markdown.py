"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with these columns; a bar in a cell is escaped."""
    lines = [_line(head), "|" + "---|" * len(head)]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def code(text: object) -> str:
    """As it is written in a file or on the wire."""
    return f"`{text}`"


def words(name: str) -> str:
    """The name of an enum's member as words: `OUT_OF_RESOURCES` is "out of resources"."""
    return name.lower().replace("_", " ")
