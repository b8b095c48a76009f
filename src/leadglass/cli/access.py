"""peer, user, token, hold: who may come in."""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from leadglass import durable
from leadglass.access.accounts import MAX_PASSWORD
from leadglass.assemble.operator import operator
from leadglass.cli.output import Row, console, print_rows, read_text, remark, say
from leadglass.errors import WrongUsage
from leadglass.home import Home
from leadglass.vocabulary import Action, Role

HomeArgument = Annotated[Path, typer.Argument(metavar="HOME", help="The archive's folder.")]
CaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="An outside CA (PEM), its intermediates with it: a certificate under it is the peer's if --subject fits.",
        exists=True,
    ),
]
SubjectOption = Annotated[
    str | None,
    typer.Option(
        metavar="RULE", help="Which certificate of that CA, exactly: as in CN=ct1.hospital.example,O=Hospital or DNS=ct1.hospital.example."
    ),
]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="An AE title, a user's name or a token's id; where one name is two: peer:NAME, user:NAME, token:ID."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

peer = typer.Typer(help="Application entities that may connect by DIMSE.", no_args_is_help=True)
user = typer.Typer(help="People.", no_args_is_help=True)
token = typer.Typer(help="What programs and browsers sign in with.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(peer, name="peer")
    app.add_typer(user, name="user")
    app.add_typer(token, name="token")
    app.command()(hold)
    app.command()(release)


def parse_actions(text: str, allowed: set[Action]) -> list[Action]:
    """`store,find` as actions; anything else is refused with what would be right."""
    names = {action.value: action for action in allowed}
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in names]
    if unknown or not chosen:
        raise WrongUsage(f"--may takes one or more of {','.join(sorted(names))}, joined by commas")
    return [names[part] for part in chosen]


def _parse_where(given: list[str]) -> list[tuple[str, list[str]]]:
    """`Modality=CT,MR` as an attribute and its values."""
    parsed = []
    for text in given:
        keyword, sign, values = text.partition("=")
        if not sign:
            # What was typed may be a patient's: it is not repeated.
            raise WrongUsage("--where takes ATTRIBUTE=VALUE, as in --where Modality=CT,MR")
        parsed.append((keyword.strip(), [value.strip() for value in values.split(",")]))
    return parsed


def read_secret(path: Path | None, prompt: str) -> str | None:
    """The first line of the file, or what is typed twice at a terminal, or None where there is neither."""
    if path is not None:
        lines = read_text(path).splitlines()
        if not lines or not lines[0]:
            raise WrongUsage(f"{path} is empty; its first line is the password")
        return lines[0]
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=True))
    return None


@peer.command("add")
def peer_add(
    home: HomeArgument,
    aetitle: Annotated[str, typer.Argument(metavar="AETITLE", help="The peer's AE title.")],
    address: Annotated[list[str], typer.Option(metavar="CIDR", help="Where it may connect from; may be repeated.")],
    may: Annotated[str, typer.Option(metavar="store,find,get,move", help="What it may ask for: one or more of these.")],
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Its host, when it is a destination of C-MOVE.")] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Its port, when it is a destination of C-MOVE.", min=1, max=65535)
    ] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="Its certificate (PEM): its key is pinned.", exists=True)] = None,
    csr: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its certificate request (PEM): a certificate is printed.", exists=True)
    ] = None,
    issue: Annotated[Path | None, typer.Option(metavar="DIR", help="Make its key and certificate here.", file_okay=False)] = None,
    ca: CaOption = None,
    subject: SubjectOption = None,
    needs_user: Annotated[
        bool, typer.Option("--needs-user", help="It may do nothing but echo unless a person's token comes with it (user identity).")
    ] = False,
    unsafe_plaintext: Annotated[bool, typer.Option("--unsafe-plaintext", help="It has no TLS: echo and store only.")] = False,
) -> None:
    """Add a peer: AE title, addresses and the key that it must prove to hold, or the outside CA that vouches for it."""
    if sum(given is not None for given in (certificate, csr, issue, ca)) + unsafe_plaintext != 1:
        raise WrongUsage(
            "a peer needs exactly one of --certificate FILE, --csr FILE, --issue DIR, --ca FILE with --subject RULE "
            "(or --unsafe-plaintext, echo and store only)"
        )
    _require_rule(ca, subject)
    if (host is None) != (port is None):
        raise WrongUsage("--host and --port go together: they make the peer a destination")
    actions = parse_actions(may, {Action.STORE, Action.FIND, Action.GET, Action.MOVE})
    _prepare(issue)
    with operator(Home(home)) as owner:
        added = owner.one(
            "peer-add",
            peer={
                "ae_title": aetitle,
                "addresses": address,
                "may": actions,
                "host": host,
                "port": port,
                "certificate": read_text(certificate) if certificate else None,
                "csr": read_text(csr) if csr else None,
                "issue": issue is not None,
                "unsafe_plaintext": unsafe_plaintext,
                "ca": read_text(ca) if ca else None,
                "subject": subject,
                "needs_user": needs_user,
            },
        )
    _hand_over(added, issue, aetitle)
    told = f"peer {aetitle} added: may {', '.join(actions)} from {', '.join(address)}"
    if csr is None:
        say(told)
    else:
        remark(f"{told}; the certificate is on standard output, the archive's own to trust is {home / 'tls' / 'ca.cert.pem'}")


def _require_rule(ca: Path | None, subject: str | None) -> None:
    if (ca is None) != (subject is None):
        raise WrongUsage(
            "--ca and --subject go together: the CA vouches for every device of the hospital, the rule says which is this peer"
        )


def _prepare(folder: Path | None) -> None:
    """Make sure that a key can be written before one is made: it is handed over once, and lost if that fails."""
    if folder is None:
        return
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise WrongUsage(f"{folder} cannot be written: {error.strerror}; name another folder with --issue") from None


def _hand_over(issued: dict[str, object], folder: Path | None, aetitle: str) -> None:
    if folder is not None:
        folder.mkdir(mode=durable.PRIVATE_FOLDER, parents=True, exist_ok=True)
        name = aetitle.replace("/", "_")
        durable.replace_file(folder / f"{name}.key.pem", str(issued["key"]).encode())
        durable.replace_file(folder / f"{name}.cert.pem", str(issued["certificate"]).encode(), mode=0o644)
        durable.replace_file(folder / "ca.pem", str(issued["authority"]).encode(), mode=0o644)
        say(f"wrote {name}.key.pem, {name}.cert.pem and ca.pem to {folder}")
    elif issued.get("certificate"):
        console.out(str(issued["certificate"]), end="")


@peer.command("list")
def peer_list(home: HomeArgument, as_json: JsonOption = False) -> None:
    """List the peers, what they may and when their certificates end."""
    with operator(Home(home)) as owner:
        print_rows(
            _shown(owner.rows("peer-list"), as_json=as_json),
            ["ae_title", "may", "addresses", "destination", "proof", "expires", "last_seen", "state"],
            as_json=as_json,
            empty="no peers: `leadglass peer add` makes one",
        )


@peer.command("renew")
def peer_renew(
    home: HomeArgument,
    aetitle: Annotated[str, typer.Argument(metavar="AETITLE", help="The peer's AE title.")],
    issue: Annotated[Path | None, typer.Option(metavar="DIR", help="Make a new key and certificate here.", file_okay=False)] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="Its new certificate (PEM).", exists=True)] = None,
    csr: Annotated[Path | None, typer.Option(metavar="FILE", help="Its new certificate request (PEM).", exists=True)] = None,
    ca: CaOption = None,
    subject: SubjectOption = None,
    only: Annotated[bool, typer.Option("--only", help="What it had ends now, not when its certificate ends.")] = False,
) -> None:
    """Give a peer a new certificate, CA or rule; what it had goes on until it ends; `--only` or `revoke` ends it now."""
    if sum(given is not None for given in (certificate, csr, issue, ca)) != 1:
        raise WrongUsage("renewing needs exactly one of --certificate FILE, --csr FILE, --issue DIR, --ca FILE with --subject RULE")
    _require_rule(ca, subject)
    _prepare(issue)
    with operator(Home(home)) as owner:
        renewed = owner.one(
            "peer-renew",
            ae_title=aetitle,
            proof={
                "certificate": read_text(certificate) if certificate else None,
                "csr": read_text(csr) if csr else None,
                "ca": read_text(ca) if ca else None,
                "subject": subject,
                "issue": issue is not None,
            },
            only=only,
        )
    _hand_over(renewed, issue, aetitle)
    say(f"peer {aetitle} renewed")


@peer.command("revoke")
def peer_revoke(home: HomeArgument, aetitle: Annotated[str, typer.Argument(metavar="AETITLE", help="The peer's AE title.")]) -> None:
    """Shut a peer out, now: its live associations are cut."""
    with operator(Home(home)) as owner:
        owner.one("peer-revoke", ae_title=aetitle)
    say(f"peer {aetitle} revoked")


@user.command("add")
def user_add(
    home: HomeArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")],
    role: Annotated[Role, typer.Option(help="What the user is to the archive.")],
    password_file: Annotated[Path | None, typer.Option(metavar="FILE", help="First line: the password.", exists=True)] = None,
) -> None:
    """Add a person."""
    password = read_secret(password_file, "password")
    with operator(Home(home)) as owner:
        added = owner.one("user-add", name=name, role=role, password=password)
    say(f"user {name} added as {role}")
    if added.get("password"):
        say(f"password, shown once: {added['password']}")


@user.command("list")
def user_list(home: HomeArgument, as_json: JsonOption = False) -> None:
    """List the people."""
    with operator(Home(home)) as owner:
        rows = _shown(owner.rows("user-list"), as_json=as_json)
        columns = ["name", "role", "second_factor", "last_seen", "state"]
        print_rows(rows, columns, as_json=as_json, empty="no users: `leadglass user add` makes one")


@user.command("disable")
def user_disable(home: HomeArgument, name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]) -> None:
    """Shut a person out, with every token of theirs."""
    with operator(Home(home)) as owner:
        owner.one("user-disable", name=name)
    say(f"user {name} disabled")


@user.command("password")
def user_password(
    home: HomeArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")],
    make: Annotated[bool, typer.Option("--make", help="Make one and print it, once.")] = False,
) -> None:
    """Give a person another password, typed twice or from standard input; their sessions end."""
    password = None if make else read_secret(None, "password") or _piped_line()
    with operator(Home(home)) as owner:
        made = owner.one("user-password", name=name, password=password)
    say(f"user {name} has another password, and is signed in nowhere")
    if made.get("password"):
        say(f"password, shown once: {made['password']}")


def _piped_line() -> str:
    line = sys.stdin.readline(MAX_PASSWORD + 2).rstrip("\r\n")
    if not line:
        raise WrongUsage("no password came on standard input; type it at a terminal, pipe one line, or use --make")
    return line


@user.command("factor")
def user_factor(home: HomeArgument, name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]) -> None:
    """Give a person a new second factor: for an authenticator, and recovery codes. What they had is void; their sessions end."""
    with operator(Home(home)) as owner:
        made = owner.one("user-factor", name=name)
    say(f"second factor of {name}, shown once; make a QR code of it or type its secret into an authenticator:")
    console.out(made["uri"])
    say("recovery codes, shown once, each good for one sign-in without the authenticator:")
    codes = made["recovery_codes"]
    for code in codes if isinstance(codes, list) else ():
        console.out(f"    {code}")


@user.command("sign-out")
def user_sign_out(home: HomeArgument, name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]) -> None:
    """End every session of a person, now."""
    with operator(Home(home)) as owner:
        ended = owner.one("user-sign-out", name=name)
    say(f"{ended['sessions']} sessions of {name} ended")


@token.command("create")
def token_create(
    home: HomeArgument,
    user_name: Annotated[str, typer.Option("--user", metavar="NAME", help="Whose token it is: it can never do more than this user.")],
    may: Annotated[str, typer.Option(metavar="find,get,store,move,settle", help="What it is for: one or more of these.")],
    days: Annotated[int, typer.Option(metavar="N", help="Days until it ends.", min=1, max=366)] = 30,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ATTRIBUTE=VALUE[,VALUE]", help="Only for studies with one of these values; of several --where, all must hold."
        ),
    ] = None,
) -> None:
    """Make a token and print it, alone and once; use it as `Authorization: Bearer TOKEN`, or as a DICOM user identity over TLS."""
    actions = parse_actions(may, {Action.STORE, Action.FIND, Action.GET, Action.MOVE, Action.SETTLE})
    with operator(Home(home)) as owner:
        made = owner.one("token-create", user=user_name, may=actions, days=days, where=_parse_where(where or []))
    console.out(made["token"])


@token.command("list")
def token_list(home: HomeArgument, as_json: JsonOption = False) -> None:
    """List the tokens by their ids, never their secrets."""
    with operator(Home(home)) as owner:
        rows = _shown(owner.rows("token-list"), as_json=as_json)
        print_rows(rows, ["id", "user", "may", "studies", "expires", "last_seen", "state"], as_json=as_json, empty="no tokens")


@token.command("revoke")
def token_revoke(
    home: HomeArgument, token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `token list` shows it.")]
) -> None:
    """End one token, now."""
    with operator(Home(home)) as owner:
        owner.one("token-revoke", token=token_id)
    say(f"token {token_id} revoked")


def _shown(rows: Iterable[Row], *, as_json: bool) -> Iterator[Row]:
    """Rows of a list; for people the state of whoever is held says since when."""
    for row in rows:
        told = "held" if row["state"] == "held" else f"{row['state']}, held"
        yield row if as_json or not row["held_since"] else {**row, "state": f"{told} since {row['held_since']}"}


def hold(home: HomeArgument, name: NameArgument) -> None:
    """Shut a peer, a person or a token out, now, until `release`: live associations and transfers are cut."""
    with operator(Home(home)) as owner:
        held = owner.one("hold", name=name)
    say(f"{held['who']} is held since {held['held_since']} by {held['held_by']}; `leadglass release HOME {held['who']}` ends it")


def release(home: HomeArgument, name: NameArgument) -> None:
    """End a hold: whoever was held is again what he was."""
    with operator(Home(home)) as owner:
        held = owner.one("release", name=name)
    say(f"{held['who']} is released; it was held since {held['held_since']} by {held['held_by']}")
