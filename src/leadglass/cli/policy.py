"""policy, user role, user attribute: who may do what."""

from pathlib import Path
from typing import Annotated

import typer

from leadglass.assemble.operator import operator
from leadglass.cli.access import HomeArgument, JsonOption, user
from leadglass.cli.output import print_rows, read_text, say
from leadglass.errors import WrongUsage
from leadglass.home import Home
from leadglass.vocabulary import Role

FileArgument = Annotated[Path | None, typer.Argument(metavar="FILE", help="Another file in place of HOME/policy.toml.", exists=True)]
UserArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]

policy = typer.Typer(help="Who may do what.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(policy, name="policy")


@policy.command("check")
def policy_check(home: HomeArgument, file: FileArgument = None) -> None:
    """Say whether policy.toml, or FILE, can be applied, without applying it."""
    with operator(Home(home)) as owner:
        owner.one("policy-check", text=None if file is None else read_text(file))
    say(f"{'policy.toml' if file is None else file} is valid")


@policy.command("apply")
def policy_apply(home: HomeArgument, file: FileArgument = None) -> None:
    """Put policy.toml in force in the running archive, or put FILE in its place first: whole, or not at all."""
    with operator(Home(home)) as owner:
        applied = owner.one("policy-apply", text=None if file is None else read_text(file))
    say(f"policy.toml is in force{'' if file is None else f', as in {file}'}: {applied['rules']} rules")


@policy.command("explain")
def policy_explain(
    home: HomeArgument,
    who: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A user's name or a peer's AE title.")] = None,
    user_name: Annotated[str | None, typer.Option("--user", metavar="NAME", help="The same, as an option.")] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="Only about this study: which rule decides.")] = None,
    address: Annotated[str, typer.Option(metavar="IP", help="As if asked from there, for rules about addresses.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what somebody may do, over which studies, and which rule gives it."""
    if (who is None) == (user_name is None):
        raise WrongUsage("say whom to explain once: `leadglass policy explain HOME NAME`, or with --user NAME")
    name = who or user_name or ""
    with operator(Home(home)) as owner:
        rows = list(owner.rows("policy-explain", who=name, study=study, address=address))
    columns = ["who", "by", "action", "allowed"] + (["studies", "rules", "against"] if study is None else ["why"])
    print_rows(rows, columns, as_json=as_json, empty=f"{name} is disabled or revoked, and may do nothing")
    if not as_json and study is None:
        for held, since in dict.fromkeys((row["who"], row["held_since"]) for row in rows if row["held_since"]):
            say(f"{held} is held since {since} and may do nothing, whatever the rules give; `leadglass release HOME {held}` ends it")


@user.command("role")
def user_role(
    home: HomeArgument,
    name: UserArgument,
    role: Annotated[list[Role], typer.Option(help="What the user is to the archive from now on; may be repeated.")],
) -> None:
    """Give a person other roles, from the next request on."""
    with operator(Home(home)) as owner:
        owner.one("user-role", name=name, roles=role)
    say(f"user {name} is now {', '.join(sorted(set(role)))}")


@user.command("attribute")
def user_attribute(
    home: HomeArgument,
    name: UserArgument,
    given: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="May be repeated; KEY= takes all values away.")],
) -> None:
    """Say of a person what rules of the policy hold against a study: department, institution, modality, physician, patient."""
    attributes: dict[str, list[str]] = {}
    for each in given:
        key, found, value = each.partition("=")
        if not found:
            raise WrongUsage("--set takes KEY=VALUE, as in --set modality=CT")
        attributes.setdefault(key.strip(), []).append(value)
    with operator(Home(home)) as owner:
        owner.one("user-attributes", name=name, attributes=attributes)
    say(f"user {name}: {', '.join(sorted(attributes))} set")
