"""survey: which archives in the scope are open, how far, for how many patients."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from leadglass.cli.access import JsonOption
from leadglass.cli.advisories import advisories
from leadglass.cli.output import console, progress_bar, say
from leadglass.survey.scope import ExposureLimit

RUN = "run"


class _ScopeFirst(TyperGroup):
    """`survey SCOPE.toml` is `survey run SCOPE.toml`: a word that is no command of the group is a scope."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # typer's own context
        if args and args[0] not in {*self.commands, "--help"}:
            args = [RUN, *args]
        return super().parse_args(ctx, args)


group = typer.Typer(cls=_ScopeFirst, no_args_is_help=True, rich_markup_mode=None)
group.add_typer(advisories, name="advisories")


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(group, name="survey", help="Measure exposure: `survey SCOPE.toml --out DIR`; which advisories it knows.")


@group.command(RUN)
def survey(
    scope: Annotated[
        Path, typer.Argument(metavar="SCOPE.toml", help="The written authorisation: targets, authority, limits.", exists=True)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go; only you can read them.", file_okay=False)],
    level: Annotated[ExposureLimit | None, typer.Option(help="Go no further than this; it can only lower the scope's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent to whom; send nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure exposure: counts, never a patient. Exits 1 when there are findings."""
    # Loaded here, and the demo in its command: they take half a second that no start of the archive should wait for.
    from leadglass.survey.report import text
    from leadglass.survey.results import to_json
    from leadglass.survey.run import Progress
    from leadglass.survey.run import survey as run_survey

    with progress_bar() as bar:
        task = bar.add_task("survey", total=None)

        def on_system(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=f"survey, {progress.found_open} open")

        results = run_survey(scope, out, level=level, dry_run=dry_run, progress=on_system)
    if as_json:
        console.out(to_json(results).decode())
    elif dry_run:
        console.out(text.plan(results))
    else:
        console.out(text.summary(results))
        say(f"report: {out / 'report.html'}")
    if results.exit_code:
        raise typer.Exit(results.exit_code)
