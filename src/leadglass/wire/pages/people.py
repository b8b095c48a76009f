"""People, for whoever administers: the operations of the command line, under the same grants and in the same trail."""

from collections.abc import Callable, Mapping
from typing import Final

from starlette.responses import Response

from leadglass.access.identity import ATTRIBUTES
from leadglass.archive.archive import Session
from leadglass.errors import Refused, WrongUsage
from leadglass.vocabulary import Role
from leadglass.wire.pages.asking import Row, ask_back, why
from leadglass.wire.pages.visit import Visit, elsewhere

_AT: Final = "/people/"
_ROLE: Final = "role-"


def _roles(form: Mapping[str, str]) -> list[Role]:
    return [role for role in Role if form.get(f"{_ROLE}{role}")]


def _hold(session: Session, name: str, _: Mapping[str, str]) -> None:
    session.administration.hold(f"user:{name}")


def _release(session: Session, name: str, _: Mapping[str, str]) -> None:
    session.administration.release(f"user:{name}")


def _set_attribute(session: Session, name: str, form: Mapping[str, str]) -> None:
    session.rights.set_attributes(name, {form.get("attribute", ""): form.get("values", "").splitlines()})


def _sign_out(session: Session, name: str, _: Mapping[str, str]) -> None:
    session.people.sign_out(name)


Change = Callable[[Session, str, Mapping[str, str]], Row | None]
CHANGES: Final[Mapping[str, Change]] = {
    "roles": lambda session, name, form: session.rights.set_roles(name, _roles(form)),
    "attribute": _set_attribute,
    "password": lambda session, name, _: session.people.set_password(name, None),
    "factor": lambda session, name, _: session.people.set_factor(name),
    "sign-out": _sign_out,
    "hold": _hold,
    "release": _release,
    "disable": lambda session, name, _: session.administration.disable_user(name),
}
"""What can be done to a person by the word in the form; what comes back is shown once."""
SHOWN_ONCE: Final = frozenset({"password", "factor"})
ALERTING: Final = frozenset({"roles", "attribute", "password", "factor"})
"""What may give access to patients."""


async def show(visit: Visit) -> Response:
    """GET /people."""
    return await _list(visit)


async def add(visit: Visit) -> Response:
    """POST /people: the password is made here, and shown once."""
    name, role, session = visit.form.get("name", "").strip(), visit.form.get("role", ""), visit.known
    # Whoever may not is answered as everywhere, whatever he sent.
    await visit.house.workers.run(session.administration.users)
    if role not in set(Role):
        return await _list(visit, 400, said=visit.words.administration.choose_role)
    try:
        given = await visit.house.workers.run(lambda: session.administration.add_user(name, Role(role), None))
    except (WrongUsage, Refused) as error:
        return await _list(visit, 400, why=why(error))
    return visit.page("given.html.j2", name=name, given=given, back=f"{_AT}{name}")


async def one(visit: Visit) -> Response:
    """GET /people/{name}."""
    return await _one(visit)


async def change(visit: Visit) -> Response:
    """POST /people/{name}: asked back first, then done."""
    name, session, form = _name(visit), visit.known, visit.form
    row, word = await _row(visit, name), form.get("do", "")
    if row is None or word not in CHANGES:
        return visit.nothing()
    if word in SHOWN_ONCE and name == session.principal.name:
        return await _one(visit, 409, said=visit.words.administration.not_your_own)
    if form.get("sure") != "1":
        own, asked = visit.words.administration, ", ".join(visit.words.administration.roles_named[role] for role in _roles(form))
        what = f"{own.does[word]} ({asked})" if word == "roles" and asked else own.does[word]
        return ask_back(visit, f"{_AT}{name}", f"{name}: {what}", own.means[word], alerts=word in ALERTING)
    try:
        given = await visit.house.workers.run(lambda: CHANGES[word](session, name, form))
    except (WrongUsage, Refused) as error:
        return await _one(visit, 409, why=why(error))
    return visit.page("given.html.j2", name=name, given=given, back=f"{_AT}{name}") if given else elsewhere(f"{_AT}{name}")


def _name(visit: Visit) -> str:
    path: str = visit.request.scope["path"]
    return path.removeprefix(_AT)


async def _row(visit: Visit, name: str) -> Row | None:
    rows = await visit.house.workers.run(visit.known.administration.users)
    return next((row for row in rows if row["name"] == name), None)


async def _list(visit: Visit, status: int = 200, *, said: str = "", why: str = "") -> Response:
    rows = await visit.house.workers.run(visit.known.administration.users)
    return visit.page("people.html.j2", status, rows=rows, said=said, why=why, roles=list(Role))


async def _one(visit: Visit, status: int = 200, *, said: str = "", why: str = "") -> Response:
    row = await _row(visit, _name(visit))
    if row is None:
        return visit.nothing()
    own, attributes = row["name"] == visit.known.principal.name, sorted(ATTRIBUTES)
    return visit.page("person.html.j2", status, row=row, said=said, why=why, roles=list(Role), attributes=attributes, is_own=own)
