"""demo: the whole path, told on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from leadglass.cli.output import console, progress_bar, say
from leadglass.wire.files.importing import Imported


class _Terminal:
    def heading(self, text: str) -> None:
        console.print()
        console.print(Text(text, style="bold"))

    def line(self, text: str) -> None:
        say(text)

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Callable[[], None]]:
        with progress_bar() as bar:
            task = bar.add_task(text, total=total)
            yield lambda: bar.advance(task)

    def imported(self, imported: Imported) -> None:
        # The folder is the same for all: its path in front of every name would hide the names.
        for label, why in imported.refused:
            self.line(f"  refused   {Path(label).name}: {why}")
        for label in imported.conflicts:
            self.line(f"  conflict  {Path(label).name}: its UID is there with other content; it is kept aside, the first is served")
        self.line(imported.summary())


def demo(once: Annotated[bool, typer.Option("--once", help="End by itself.")] = False) -> None:
    """Everything in a temporary folder: a closed archive beside an open one, surveyed side by side."""
    # No other verb needs it, nor the doors and the survey that it loads.
    from leadglass.demo.run import run

    run(_Terminal(), once=once)
