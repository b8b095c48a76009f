"""trail: show, verify, export, checkpoint."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from leadglass.assemble.operator import operator
from leadglass.assemble.verifying import verify_trail
from leadglass.cli.access import HomeArgument, JsonOption
from leadglass.cli.output import console, print_json, print_rows, say
from leadglass.home import Home
from leadglass.trail.export import Piece, write

trail = typer.Typer(help="The record of every access, which nobody can rewrite unnoticed.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(trail, name="trail")


@trail.command("show")
def show(
    home: HomeArgument,
    last: Annotated[int, typer.Option(metavar="N", help="How many entries, counted from the newest.", min=1)] = 50,
    who: Annotated[str | None, typer.Option(metavar="WHO", help="Only what this principal did, as in user:anna or peer:CT1.")] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="Only what touched this StudyInstanceUID.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show who did what, from where, and how it ended."""
    with operator(Home(home)) as owner:
        rows = owner.rows("trail-show", last=last, who=who, study=study)
        columns = ["sequence", "time", "who", "door", "address", "action", "kind", "outcome", "count", "studies"]
        print_rows(rows, columns, as_json=as_json, empty="no entries")


@trail.command("alerts")
def alerts(
    home: HomeArgument,
    last: Annotated[int, typer.Option(metavar="N", help="How many, counted from the newest.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show who gave whom access to patients: by a role, a policy, a token or a peer."""
    with operator(Home(home)) as owner:
        rows = list(owner.rows("trail-alerts", last=last))
        shown = rows if as_json else [{**row, **row["detail"]} for row in rows if isinstance(row["detail"], dict)]
        print_rows(shown, ["sequence", "time", "who", "verb", "to"], as_json=as_json, empty="nobody was given access to patients")


@trail.command("verify")
def verify(
    place: Annotated[Path, typer.Argument(metavar="HOME", help="The archive's folder, or a copy of its trail/ alone.")],
    checkpoint: Annotated[Path | None, typer.Option(metavar="FILE", help="An earlier checkpoint, kept elsewhere.", exists=True)] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The verifier key, kept elsewhere.", exists=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that no entry was changed, removed, reordered or cut off."""
    report = verify_trail(place, checkpoint=checkpoint, key=key)
    if as_json:
        print_json(report.as_json())
    else:
        for sentence in report.sentences():
            say(sentence)
    if not report.ok:
        raise typer.Exit(1)


@trail.command("export")
def export(
    home: HomeArgument,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="A folder that does not exist yet: tiles for anybody's verifier, entries.jsonl for the auditor.",
            file_okay=False,
        ),
    ],
) -> None:
    """Write the trail out: C2SP tlog-tiles and the entries as JSON lines.

    Any verifier of tlog-tiles reads `checkpoint`, `key` and `tile/`.
    `leadglass trail verify` does not read an export: give it HOME, or a copy of its trail/.
    """
    with operator(Home(home)) as owner:
        pieces = (Piece(str(row["path"]), base64.b64decode(str(row["data"]))) for row in owner.rows("trail-export"))
        count = write(pieces, out)
    say(f"{count} entries written to {out}")


@trail.command("checkpoint")
def checkpoint(home: HomeArgument) -> None:
    """Print the newest signed checkpoint, to be kept elsewhere."""
    with operator(Home(home)) as owner:
        console.out(str(owner.one("trail-checkpoint")["checkpoint"]), end="")
