"""The pages as an ASGI application: where the request comes from, then who is signed in, then which page it is.

A stranger gets the page to sign in for every path there is or is not.
"""

import email.utils
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from leadglass import errors, logs
from leadglass.access.identity import SessionCookie
from leadglass.archive.archive import Archive, Session
from leadglass.errors import BadInput, LeadglassError, NotAllowed, NotIdentified
from leadglass.net.workers import Workers
from leadglass.vocabulary import Door
from leadglass.wire.pages import entrance, forms, html, peers, people, study, trail, worklist
from leadglass.wire.pages.forms import FromElsewhere
from leadglass.wire.pages.visit import FORM, LANGUAGE, SESSION, DicomDoor, House, Remembered, Visit, elsewhere, new_secret
from leadglass.wire.pages.words import chosen

THREADS: Final = 8

Handler = Callable[[Visit], Awaitable[Response]]
SIGN_OUT: Final = "/sign-out"
"""Its answer is for somebody who has just gone, and shows nothing."""
_STUDY: Final = r"/studies/(?P<study>[^/]{1,64})"
TABLE: Final[tuple[tuple[str, Mapping[str, Handler]], ...]] = (
    ("/", {"GET": worklist.show, "POST": worklist.search}),
    ("/sign-in", {"GET": entrance.show, "POST": entrance.sign_in}),
    (SIGN_OUT, {"POST": entrance.sign_out}),
    ("/language", {"POST": entrance.switch}),
    (_STUDY, {"GET": study.show}),
    (f"{_STUDY}/accesses", {"GET": study.accesses}),
    ("/trail", {"GET": trail.show, "POST": trail.verify}),
    ("/people", {"GET": people.show, "POST": people.add}),
    (r"/people/[A-Za-z0-9][A-Za-z0-9._-]{0,63}", {"GET": people.one, "POST": people.change}),
    ("/peers", {"GET": peers.show, "POST": peers.add}),
    (r"/peers/.{1,16}", {"GET": peers.one, "POST": peers.change}),
    ("/authority.pem", {"GET": peers.authority}),
)
"""Every page by a pattern of its path, and what serves each of its methods; HEAD is served as GET."""
FOR_ANYBODY: Final = frozenset({"/sign-in", "/language"})
_PATTERNS: Final = tuple((re.compile(path), handlers) for path, handlers in TABLE)
_LATER: Final = (errors.TrailUnwritable, errors.KeyUnavailable, errors.TooMuchAtOnce, errors.NoRoom, errors.GivenUp, errors.StorageFailed)


class Pages:
    """The application; `close` it when the last answer is out."""

    def __init__(self, archive: Archive, dicom: DicomDoor) -> None:
        self._house = House(archive, Workers(THREADS), Workers(1), Workers(1), Remembered(), dicom, secrets.token_bytes(32))

    def close(self) -> None:
        """Let the worker threads end."""
        self._house.workers.close()
        self._house.signing_in.close()
        self._house.verifying.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                for name, value in html.SAFE_FIELDS.items():
                    fields.setdefault(name, value)
                fields["Date"] = email.utils.formatdate(usegmt=True)
            await send(message)

        response = _file(request) or await self._page(request)
        await response(scope, receive, send_safely)

    async def _page(self, request: Request) -> Response:
        fields = request.headers
        shown, kept = forms.cookie_of(fields, SESSION), forms.cookie_of(fields, FORM)
        words = chosen(forms.cookie_of(fields, LANGUAGE), fields.get("accept-language", ""))
        visit = Visit(self._house, request, None, words, kept or new_secret(), {}, fresh=kept is None)
        try:
            forms.require_our_own(request.method, fields)
            session = await self._session(request, shown)
            if session is not None and shown is not None:
                visit = Visit(self._house, request, session, words, shown, {})
            response = await self._routed(visit)
        except LeadglassError as error:
            response = _refusal(visit, error)
        except Exception as error:  # noqa: BLE001 # whatever it is, the caller learns nothing of it and the log where it was
            logs.fault("page failed", error)
            response = visit.say(500, visit.words.broken, "")
        if visit.session is not None and request.scope["path"] != SIGN_OUT and not visit.session.is_current():
            # Made for somebody who was shut out meanwhile: a page is work under way as well.
            return elsewhere("/sign-in")
        return response

    async def _session(self, request: Request, shown: str | None) -> Session | None:
        if shown is None:
            return None
        address, archive = request.client.host if request.client else "", self._house.archive
        try:
            return await self._house.workers.run(lambda: archive.enter(Door.PAGES, SessionCookie(shown), address))
        except NotIdentified:
            return None

    async def _routed(self, visit: Visit) -> Response:
        request, path = visit.request, visit.request.scope["path"]
        if visit.session is None and path not in FOR_ANYBODY:
            return elsewhere("/sign-in")
        for pattern, handlers in _PATTERNS:
            if (match := pattern.fullmatch(path)) is None:
                continue
            handler = handlers.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                return Response(status_code=405, headers={"Allow": ", ".join(handlers)})
            form = await self._form(visit) if request.method == "POST" else {}
            return await handler(replace(visit, form=form, study=match.groupdict().get("study", "")))
        return visit.nothing()

    async def _form(self, visit: Visit) -> Mapping[str, str]:
        form = await forms.read_form(visit.request)
        if not hmac.compare_digest(form.get("token", "").encode(), forms.token_for(self._house.key, visit.bound_to).encode()):
            raise FromElsewhere("the form is not of this session")
        return form


def _refusal(visit: Visit, error: LeadglassError) -> Response:
    """What an error is to whoever reads a page; what may not be done is what is not there."""
    match error:
        case NotIdentified():
            return elsewhere("/sign-in")
        case NotAllowed():
            return visit.nothing()
        case FromElsewhere():
            return visit.say(403, visit.words.wrong, visit.words.stale)
        case BadInput():
            return visit.say(400, visit.words.wrong, "")
    logs.fault("page failed", error)
    if isinstance(error, _LATER):
        return visit.say(503, visit.words.later, "")
    return visit.say(500, visit.words.broken, "")


def _file(request: Request) -> Response | None:
    found = html.files().get(request.scope["path"])
    if found is None or request.method not in {"GET", "HEAD"}:
        return None
    content, kind = found
    return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})


def create_pages(archive: Archive, dicom: DicomDoor) -> Pages:
    """The pages of `archive`, which tell of its door for DICOM."""
    return Pages(archive, dicom)
