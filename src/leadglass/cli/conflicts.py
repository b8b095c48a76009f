"""conflicts: what was put aside, shown side by side, and settled."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from leadglass.archive.archive import ConflictKind
from leadglass.assemble.operator import operator
from leadglass.cli.access import HomeArgument, JsonOption
from leadglass.cli.output import complain, print_json, print_rows, read_text, say
from leadglass.errors import LeadglassError, NotIdentified, WrongUsage
from leadglass.home import Home

TokenOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Ask as the owner of this token: a file whose first line it is, or - for standard input."),
]
ConflictArgument = Annotated[str, typer.Argument(metavar="ID", help="The conflict's id, as `conflicts list` shows it.")]
ConflictsArgument = Annotated[list[str], typer.Argument(metavar="ID", help="The conflicts' ids, as `conflicts list` shows them.")]
AgainOption = Annotated[bool, typer.Option("--again", help="Also where it was settled before: this verdict takes the place of that one.")]

conflicts = typer.Typer(help="Objects that were put aside because others were there first.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(conflicts, name="conflicts")


@conflicts.command("list")
def list_command(
    home: HomeArgument,
    study: Annotated[str | None, typer.Option(metavar="UID", help="Only those whose object names this StudyInstanceUID.")] = None,
    kind: Annotated[ConflictKind | None, typer.Option(help="Only those of this kind.")] = None,
    settled: Annotated[bool, typer.Option("--settled", help="Also those that are settled.")] = False,
    token_file: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is in conflict, by UIDs: no value of a patient is shown."""
    with operator(Home(home)) as owner:
        found = owner.rows("conflicts-list", token=_token(token_file), kind=kind, study=study, settled=settled)
        rows = sorted(found, key=lambda row: (str(row["since"]), str(row["id"])))
        columns = ["id", "kind", "state", "since", "from", "study", "instance"]
        print_rows(rows, columns, as_json=as_json, empty="no conflicts" if settled else "no open conflicts")


@conflicts.command("show")
def show(home: HomeArgument, conflict: ConflictArgument, token_file: TokenOption = None, as_json: JsonOption = False) -> None:
    """Show both sides of a conflict and what differs; values only to one who may `get` the study (see --token-file)."""
    with operator(Home(home)) as owner:
        rows = list(owner.rows("conflicts-show", token=_token(token_file), conflict=conflict))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        _PRINT[str(row["what"])](row)


def _print_conflict(row: Mapping[str, object]) -> None:
    settled = f", {row['settled']}" if row["settled"] else ""
    say(f"conflict {row['id']}: {row['kind']}, since {row['since']}, {row['state']}{settled}")
    say(f"  study    {row['study']}\n  series   {row['series']}\n  instance {row['instance']}")
    if not row["values"]:
        say("  values are shown to one who may get this study: --token-file FILE")


def _print_side(row: Mapping[str, object]) -> None:
    who = f"{row['from']} by {row['door']}, {row['received']}"
    say(f"  {row['side']}: {row['bytes']} bytes, transfer syntax {row['transfer_syntax']}, from {who}")


def _print_difference(row: Mapping[str, object]) -> None:
    say(f"{row['path']} {row['keywords']}: {row['differs']}")
    for side in ("first", "other"):
        if side in row:
            say(f"  {side}: {'-' if row[side] is None else row[side]}")


def _print_pixels(row: Mapping[str, object]) -> None:
    frames = "" if row["differing_frames"] is None else f", {row['differing_frames']} frames differ"
    say(f"pixels, as they lie: {'equal' if row['equal'] else f'not equal{frames}'}")
    for side in ("first", "other"):
        seen = row.get(side)
        if isinstance(seen, Mapping):
            size = f"{seen['columns']} x {seen['rows']}, frames {seen['frames']}, {seen['bytes']} bytes"
            say(f"  {side}: {size}{', compressed' if seen['encapsulated'] else ''}, SHA-256 {seen['sha256']}")


def _print_end(row: Mapping[str, object]) -> None:
    if not row["compared"]:
        say("nothing is served that it could be compared with")
        return
    untold = f", {row['untold']} of them not shown" if row["untold"] else ""
    say(f"{row['differences']} elements differ{untold}{'' if row['complete'] else '; there are too many elements to look at all of them'}")


_PRINT = {
    "conflict": _print_conflict,
    "side": _print_side,
    "difference": _print_difference,
    "pixels": _print_pixels,
    "end": _print_end,
}


@conflicts.command("accept")
def accept(
    home: HomeArgument, ids: ConflictsArgument, again: AgainOption = False, token_file: TokenOption = None, as_json: JsonOption = False
) -> None:
    """Serve what was put aside from now on, in the place of what is served under its SOP Instance UID; that is kept aside instead."""
    _settle("conflicts-accept", home, ids, token_file, again=again, as_json=as_json)


@conflicts.command("reject")
def reject(
    home: HomeArgument, ids: ConflictsArgument, again: AgainOption = False, token_file: TokenOption = None, as_json: JsonOption = False
) -> None:
    """Leave aside what was put aside: it stays sealed in the archive, and nobody is offered it any more."""
    _settle("conflicts-reject", home, ids, token_file, again=again, as_json=as_json)


def _settle(verb: str, home: Path, ids: list[str], token_file: Path | None, *, again: bool, as_json: bool) -> None:
    token = _token(token_file)
    settled: list[Mapping[str, object]] = []
    failures: list[LeadglassError] = []
    with operator(Home(home)) as owner:
        for conflict in ids:
            try:
                row = owner.one(verb, token=token, conflict=conflict, again=again)
            except NotIdentified:
                raise
            except LeadglassError as error:
                # The others are settled all the same: each is a decision of its own.
                failures.append(error)
                complain(f"{conflict}: {error}")
                continue
            settled.append(row)
            if not as_json:
                say(f"{row['state']} {row['id']}: instance {row['instance']} of study {row['study']}{_meaning(row)}")
    if as_json:
        print_json(settled)
    if failures:
        raise typer.Exit(max(error.exit_code for error in failures))


def _meaning(row: Mapping[str, object]) -> str:
    if row["state"] != "accepted":
        return " stays aside"
    return " is served in the place of the one before" if row["replaced"] else " is served"


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    lines = sys.stdin.read(4096).splitlines() if str(path) == "-" else read_text(path).splitlines()
    if not lines or not lines[0].strip():
        raise WrongUsage(f"{path} is empty; its first line is the token")
    return lines[0].strip()
