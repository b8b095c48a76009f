"""survey: which archives in the scope are open, how far, for how many patients."""

from pathlib import Path
from typing import Annotated

import typer

from leadglass.cli.access import JsonOption
from leadglass.cli.output import console, progress_bar, say
from leadglass.survey.scope import ExposureLimit


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("survey")(survey)


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
