"""init, serve, import, check, index, keys: the archive itself."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from leadglass.assemble.founding import Founding, found
from leadglass.assemble.operator import operator, rebuild_index
from leadglass.assemble.recovering import recover
from leadglass.cli.access import HomeArgument, JsonOption, read_secret
from leadglass.cli.output import complain, console, print_json, print_rows, progress_bar, say
from leadglass.errors import WrongUsage
from leadglass.home import Home
from leadglass.wire.files.importing import Imported, import_files

index = typer.Typer(help="The index, which can be rebuilt from the blobs.", no_args_is_help=True)
keys = typer.Typer(help="The keys.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(init)
    app.command("serve")(serve_command)
    app.command("import")(import_command)
    app.command()(check)
    app.add_typer(index, name="index")
    app.add_typer(keys, name="keys")


def init(
    home: HomeArgument,
    hostname: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name or address in the server's certificate; may be repeated.")
    ] = None,
    aet: Annotated[str, typer.Option(metavar="AETITLE", help="Our AE title.")] = "LEADGLASS",
    admin: Annotated[str, typer.Option(metavar="NAME", help="The first administrator.")] = "admin",
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="First line: the administrator's password.", exists=True)
    ] = None,
    root_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the root key goes; by default your data folder, outside HOME.")
    ] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Seal the root key file with a passphrase.")] = False,
    unsafe_key_beside_data: Annotated[
        bool, typer.Option("--unsafe-key-beside-data", help="Put the root key into HOME: whoever takes HOME can read it all.")
    ] = False,
) -> None:
    """Make an archive: keys, a CA, certificates, settings, policy and the first administrator."""
    secret = read_secret(None, "passphrase for the root key") if passphrase else None
    if passphrase and secret is None:
        raise WrongUsage("--passphrase needs a terminal to type it at")
    password = None if password_file is None else read_secret(password_file, "")
    founded = found(
        Founding(
            home=Home(home),
            hostnames=tuple(hostname or ()),
            aet=aet,
            administrator=admin,
            password=password,
            root_key=root_key,
            passphrase=secret,
            unsafe_key_beside_data=unsafe_key_beside_data,
        )
    )
    say(f"archive {home} made; AE title {aet}")
    say(f"root key: {founded.root_key}{', sealed by your passphrase' if passphrase else ''}")
    say(f"trail key, keep it elsewhere: {founded.trail_key}")
    if founded.password:
        say(f"password of {admin}, shown once: {founded.password}")
    console.out(f"recovery key, shown once; write it down and keep it apart from HOME and the root key:\n\n    {founded.recovery_key}\n")
    if sys.stdin.isatty():
        while not founded.proves(typer.prompt("type the recovery key back")):
            complain("that is not it; look again at what was printed above")
        say("it opens the archive")
    else:
        say("the recovery key was tried and opens the archive")


def serve_command(
    home: HomeArgument,
    dimse: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="DICOM over TLS.")] = None,
    web: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="HTTPS.")] = None,
    unsafe_dimse_plaintext: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="DICOM without TLS, for peers marked so, echo and store only.")
    ] = None,
) -> None:
    """Serve the archive until SIGTERM or Ctrl-C."""
    # The doors take a third of the command's loading time, and no other verb needs them.
    from leadglass.assemble.serving import Doors, Listening, serve

    def ready(listening: Listening) -> None:
        print(listening.line(), flush=True)

    serve(Home(home), Doors(dimse=dimse, web=web, unsafe_plaintext=unsafe_dimse_plaintext), ready)


def import_command(
    home: HomeArgument,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, folders, zips.")],
    as_json: JsonOption = False,
) -> None:
    """Take in files, folders and zips; says what was stored, was there already, conflicts, and was refused with why."""
    with operator(Home(home)) as owner, progress_bar() as bar:
        task = bar.add_task("import", total=None)

        def on_file(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        imported = import_files(paths, owner.deposit, on_file)
    report_import(imported, as_json=as_json)
    if imported.refused or imported.conflicts:
        raise typer.Exit(1)


def report_import(imported: Imported, *, as_json: bool) -> None:
    """Print what became of every file; labels are outside file names and appear on this terminal only."""
    if as_json:
        print_json(imported.as_json())
        return
    for label, why in imported.refused:
        say(f"refused   {label}: {why}")
    for label in imported.conflicts:
        say(f"conflict  {label}: its UID is there with other content; the first keeps being served, this one is kept aside")
    say(imported.summary())


def check(
    home: HomeArgument,
    sample: Annotated[float, typer.Option(metavar="PERCENT", help="How many of the blobs to read whole.", min=0, max=100)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Hold every blob, key, index row and trail entry against each other."""
    with operator(Home(home)) as owner:
        result = owner.one("check", sample=sample)
    problems = [str(problem) for problem in _listed(result["problems"])]
    if as_json:
        print_json(result)
    else:
        for problem in problems:
            say(f"problem: {problem}")
        if result["open_conflicts"]:
            say(f"open conflicts: {result['open_conflicts']}; `leadglass conflicts list {home}` shows them")
        read = f"{result['read_whole']} of {result['blobs']} blobs read whole"
        say(f"{read}, {result['instances']} indexed, {result['entries']} trail entries, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


@index.command("rebuild")
def index_rebuild(home: HomeArgument) -> None:
    """Make the index anew from blobs, keys and journal; the archive must not be serving meanwhile."""
    say(f"{rebuild_index(Home(home))} instances indexed")


@keys.command("rotate")
def keys_rotate(home: HomeArgument) -> None:
    """Make a new key version and wrap every key anew; no image is touched."""
    with operator(Home(home)) as owner:
        result = owner.one("keys-rotate")
    say(f"key version {result['version']} is in force; {result['keys']} keys wrapped anew")


@keys.command("check")
def keys_check(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Unwrap every key."""
    with operator(Home(home)) as owner:
        rows = list(owner.rows("keys-check"))
    print_rows(rows, ["problem"], as_json=as_json, empty="every key opens")
    if rows:
        raise typer.Exit(1)


@keys.command("recover")
def keys_recover(
    home: HomeArgument,
    root_key: Annotated[Path, typer.Option(metavar="FILE", help="Where the new root key goes.")],
    recovery_key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="First line: the recovery key.", exists=True)] = None,
) -> None:
    """Make a new root key with the recovery key, when the old one is lost."""
    typed = read_secret(recovery_key_file, "recovery key")
    if typed is None:
        raise WrongUsage("the recovery key is typed at a terminal, or lies in --recovery-key-file")
    recover(Home(home), typed, root_key)
    say(f"new root key: {root_key}; leadglass.toml names it")
