"""survey: which archives in the scope are open, how far, for how many patients; its parts merged, its runs compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from typer.core import TyperGroup

from leadglass.cli.access import JsonOption
from leadglass.cli.advisories import advisories
from leadglass.cli.output import console, printable, progress_bar, say
from leadglass.survey.scope import ExposureLimit

if TYPE_CHECKING:
    from leadglass.survey.results import Results

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
    told = "Measure exposure: `survey SCOPE.toml --out DIR`; merge its parts, compare its runs, update its advisories."
    app.add_typer(group, name="survey", help=told)


Out: TypeAlias = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where the results go; only you can read them.", file_okay=False)
]
Folders: TypeAlias = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of surveys.", exists=True, file_okay=False)]
EncryptTo: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--encrypt-to", metavar="RECIPIENT", help="Encrypt everything in DIR to this age recipient (age1...); may be repeated."),
]
Identity: TypeAlias = Annotated[
    Path | None, typer.Option("--identity", metavar="FILE", help="The age identity that opens encrypted folders.", dir_okay=False)
]


@group.command(RUN)
def survey(
    scope: Annotated[
        Path, typer.Argument(metavar="SCOPE.toml", help="The written authorisation: targets, authority, limits.", exists=True)
    ],
    out: Out,
    level: Annotated[ExposureLimit | None, typer.Option(help="Go no further than this; it can only lower the scope's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent to whom; send nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the survey in DIR that was stopped or killed.")] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Survey the I-th of N parts of the scope; merge them afterwards.")] = "1/1",
    encrypt_to: EncryptTo = None,
    identity: Identity = None,
    as_json: JsonOption = False,
) -> None:
    """Survey what SCOPE.toml names (the word `run` may be left out): counts, never a patient. Exits 1 when there are findings."""
    # Loaded here, and the demo in its command: they take half a second that no start of the archive should wait for.
    from leadglass.survey.folder import Identities, Seal
    from leadglass.survey.report import text
    from leadglass.survey.results import to_json
    from leadglass.survey.run import Course, Progress
    from leadglass.survey.run import survey as run_survey
    from leadglass.survey.shard import Shard

    course = Course(Shard.parse(shard), resume, Seal(encrypt_to or ()), Identities(identity))
    with progress_bar("{task.fields[pace]}") as bar:
        task = bar.add_task("survey", total=None, pace="")

        def on_system(progress: Progress) -> None:
            found = f"survey: {progress.found_open} open, {progress.patients} patients"
            bar.update(
                task, completed=progress.done, total=progress.total, description=found, pace=text.pace(progress.rate, progress.remaining)
            )

        results = run_survey(scope, out, level=level, dry_run=dry_run, progress=on_system, course=course)
    if as_json:
        console.out(to_json(results).decode())
    elif dry_run:
        console.out(printable(text.plan(results)))
    else:
        _tell(results, out)
    if results.signal:
        raise typer.Exit(128 + results.signal)
    if results.exit_code:
        raise typer.Exit(results.exit_code)


def _tell(results: "Results", out: Path) -> None:
    from leadglass.survey.folder import Folder
    from leadglass.survey.report import text

    console.out(printable(text.summary(results)))
    if results.left:
        renewed = "have the authority renewed, change authority.valid_until, then " if results.authority_ended else ""
        say(f"{results.left} systems were not asked yet: {renewed}go on with the same command and --resume")
    say(f"report: {Folder(out).path_of('report.html')}")


@group.command("merge")
def merge(folders: Folders, out: Out, encrypt_to: EncryptTo = None, identity: Identity = None, as_json: JsonOption = False) -> None:
    """Put the shards of one survey together: the report that it would have given in one piece. Exits as the survey does."""
    from leadglass.survey.folder import Identities, Seal
    from leadglass.survey.merge import merge as merge_shards
    from leadglass.survey.results import to_json

    results = merge_shards(folders, out, seal=Seal(encrypt_to or ()), identities=Identities(identity))
    if as_json:
        console.out(to_json(results).decode())
    else:
        _tell(results, out)
    if results.exit_code:
        raise typer.Exit(results.exit_code)


@group.command("compare")
def compare(folders: Folders, out: Out, encrypt_to: EncryptTo = None, identity: Identity = None, as_json: JsonOption = False) -> None:
    """Put runs side by side: gone, better, unchanged, worse, new, by country, and the trend. Exits 1 when the last is worse anywhere."""
    from leadglass.survey import compare as comparing
    from leadglass.survey import published
    from leadglass.survey.folder import Folder, Identities, Seal, stay_encrypted
    from leadglass.survey.report import comparison as page
    from leadglass.survey.report import text

    target = Folder(out, Seal(encrypt_to or ()))
    sources = [Folder(path, identities=Identities(identity)) for path in folders]
    comparing.check_folder(target)
    stay_encrypted(target, [each for each in sources if each.is_encrypted("results.json")])
    compared = comparing.compare(published.read(each) for each in sources)
    target.make()
    target.write("comparison.json", comparing.to_json(compared))
    target.write("comparison.html", page.render(compared))
    if as_json:
        console.out(comparing.to_json(compared).decode())
    else:
        console.out(printable(text.comparison(compared)))
        say(f"page: {target.path_of('comparison.html')}")
    if compared.exit_code:
        raise typer.Exit(compared.exit_code)
