"""Peers, for whoever administers: what they may, what to paste into a modality, and whether one can be reached."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from starlette.responses import Response

from leadglass.access.peers import GRANTABLE
from leadglass.archive.archive import NewPeer, NewProof, Reached, Session
from leadglass.errors import Refused, WrongUsage
from leadglass.wire.pages.asking import Row, ask_back, why
from leadglass.wire.pages.visit import Visit, elsewhere

_AT: Final = "/peers/"
_MAY: Final = "may-"
MAY: Final = tuple(sorted(GRANTABLE))
PROOFS: Final = ("issue", "csr", "certificate")
"""How a new peer gets its certificate: we make it with its key, we sign its request, or it has one."""
_PORTS: Final = range(1, 65536)


def _hold(session: Session, name: str) -> None:
    session.administration.hold(f"peer:{name}")


def _release(session: Session, name: str) -> None:
    session.administration.release(f"peer:{name}")


CHANGES: Final[Mapping[str, Callable[[Session, str], Row | None]]] = {
    "hold": _hold,
    "release": _release,
    "renew": lambda session, name: session.administration.renew_peer(name, NewProof(issue=True)),
    "revoke": lambda session, name: session.administration.revoke_peer(name),
}
"""What can be done to a peer by the word in the form; what comes back is shown once."""


async def show(visit: Visit) -> Response:
    """GET /peers."""
    return await _list(visit)


async def add(visit: Visit) -> Response:
    """POST /peers; what is issued is shown once."""
    session = visit.known
    # Whoever may not is answered as everywhere, whatever he sent.
    await visit.house.workers.run(session.administration.peers)
    try:
        new = _new(visit.form)
        given = await visit.house.workers.run(lambda: session.administration.add_peer(new))
    except (WrongUsage, Refused) as error:
        return await _list(visit, 400, reason=why(error))
    return (
        visit.page("given.html.j2", name=new.ae_title, given=given, back=_path(new.ae_title)) if given else elsewhere(_path(new.ae_title))
    )


async def one(visit: Visit) -> Response:
    """GET /peers/{AE title}."""
    return await _one(visit)


async def change(visit: Visit) -> Response:
    """POST /peers/{AE title}: a C-ECHO at once; what ends or gives something is asked back first."""
    name, session, word = _name(visit), visit.known, visit.form.get("do", "")
    row, own = await _row(visit, name), visit.words.administration.peers
    if row is None or word not in {*CHANGES, "echo"}:
        return visit.nothing()
    if word != "echo" and visit.form.get("sure") != "1":
        return ask_back(visit, _path(name), f"{name}: {own.does[word]}", own.means[word], alerts=False)
    try:
        if word == "echo":
            return await _one(visit, echoed=await _echo(visit, session, name))
        given = await visit.house.workers.run(lambda: CHANGES[word](session, name))
    except (WrongUsage, Refused) as error:
        return await _one(visit, 409, reason=why(error))
    return visit.page("given.html.j2", name=name, given=given, back=_path(name)) if given else elsewhere(_path(name))


async def authority(visit: Visit) -> Response:
    """GET /authority.pem."""
    session = visit.known
    pem = await visit.house.workers.run(session.peering.authority)
    fields = {"Content-Disposition": 'attachment; filename="leadglass-authority.pem"'}
    return Response(pem, media_type="application/x-pem-file", headers=fields)


async def _echo(visit: Visit, session: Session, name: str) -> Reached:
    trial = await visit.house.workers.run(lambda: session.peering.trial(name))
    reached: Reached | None = None
    try:
        reached = await visit.house.dicom.echo(trial.destination)
    finally:
        # Also for whoever has gone meanwhile: what was done is in the trail.
        await asyncio.shield(visit.house.workers.run(lambda: trial.end(reached)))
    return reached


def _new(form: Mapping[str, str]) -> NewPeer:
    host, port, proof = form.get("host", "").strip(), form.get("port", "").strip(), form.get("proof", "")
    if port and not (port.isascii() and port.isdecimal() and int(port[:6]) in _PORTS):
        raise WrongUsage("a port is a number from 1 to 65535")
    if proof not in PROOFS:
        raise WrongUsage(f"a peer is known by its certificate; choose one of {', '.join(PROOFS)}")
    pem = form.get("pem", "").strip() + "\n"
    return NewPeer(
        ae_title=form.get("name", "").strip(),
        addresses=form.get("addresses", "").replace(",", " ").split(),
        may=[action for action in MAY if form.get(f"{_MAY}{action}")],
        host=host or None,
        port=int(port) if port else None,
        certificate=pem if proof == "certificate" else None,
        csr=pem if proof == "csr" else None,
        issue=proof == "issue",
    )


def _path(name: str) -> str:
    return _AT + quote(name, safe="")


def _name(visit: Visit) -> str:
    path: str = visit.request.scope["path"]
    return path.removeprefix(_AT)


async def _row(visit: Visit, name: str) -> Row | None:
    rows = await visit.house.workers.run(visit.known.administration.peers)
    return next((row for row in rows if row["ae_title"] == name), None)


async def _list(visit: Visit, status: int = 200, *, reason: str = "") -> Response:
    rows = await visit.house.workers.run(visit.known.administration.peers)
    return visit.page("peers.html.j2", status, rows=rows, said="", why=reason, may=MAY, proofs=PROOFS, path=_path)


async def _one(visit: Visit, status: int = 200, *, reason: str = "", echoed: Reached | None = None) -> Response:
    row = await _row(visit, _name(visit))
    if row is None:
        return visit.nothing()
    dicom = visit.house.dicom
    hosts = dicom.hosts or (visit.request.url.hostname or "",)
    port = dicom.unsafe_plaintext_port if row["state"] == "unsafe plaintext" else dicom.port
    recipe = {"aet": visit.house.archive.aet, "hosts": hosts, "port": port}
    return visit.page("peer.html.j2", status, row=row, at=_path(_name(visit)), recipe=recipe, said="", why=reason, echoed=echoed)
