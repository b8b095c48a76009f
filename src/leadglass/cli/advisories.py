"""survey advisories: which published flaws a survey knows of."""

from pathlib import Path
from typing import Annotated

import typer

from leadglass.cli.access import JsonOption
from leadglass.cli.output import console, say

advisories = typer.Typer(help="The table of advisories by which a survey says what is possibly affected.", no_args_is_help=True)


@advisories.callback()
def _advisories() -> None:
    """The table of advisories by which a survey says what is possibly affected."""


@advisories.command("update")
def update(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="CSAF 2.0 files, as CISA publishes them.", exists=True, dir_okay=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Read CSAF files into your own table, beside the packaged one; sends nothing. Exits 1 when a file could not be read."""
    import json

    from leadglass.survey.advisories import update as update_table
    from leadglass.survey.advisories import user_table

    done = update_table(files, user_table())
    unread = sorted(set(done.unread))
    if as_json:
        answer = {
            "table": str(done.table),
            "added": done.added,
            "unchanged": done.unchanged,
            "other_products": done.others,
            "unread": unread,
            "refused": len(done.refused),
        }
        console.out(json.dumps(answer))
    else:
        console.out(f"{done.added} rows new or changed, {done.unchanged} as before; {done.others} products that no survey recognises")
        console.out(f"table: {done.table} (a survey of the same user finds it there; delete it to go back to the packaged one)")
    for name in unread:
        say(f"{name}: a version range that cannot be read with certainty was left out; look at the advisory itself")
    for file, why in done.refused:
        say(f"{file}: {why}; left out")
    if done.refused:
        raise typer.Exit(1)
