"""The DICOMweb door as an ASGI application: who asks is settled first, then the path decides which transaction it is (PS3.18 10.2)."""

import email.utils
import re
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from leadglass import logs
from leadglass.access.identity import BearerToken
from leadglass.archive.archive import Archive, Session
from leadglass.config import WebSection
from leadglass.errors import BadInput, LeadglassError, NotIdentified
from leadglass.net.workers import Workers
from leadglass.vocabulary import Door, Refusal
from leadglass.wire.dicomweb import qido, stow, wado
from leadglass.wire.dicomweb.call import Call
from leadglass.wire.dicomweb.problems import NOT_FOUND, SAFE_FIELDS, Answer, BadRequest, answer_to, refusal, response_to

ROOT: Final = "/dicom-web"
THREADS: Final = 16
CONVERSIONS: Final = 8
"""Threads that wait for pixels to be decoded: no other request waits for one of them."""

Handler = Callable[[Call], Awaitable[Response]]
_BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*) *", re.IGNORECASE | re.ASCII)
"""RFC 6750 2.1."""


class _Resource:
    """What lies at one form of path; an ASGI application of its own, so that it is asked about every method."""

    def __init__(self, handlers: dict[str, Handler], workers: Workers, conversions: Workers, settings: WebSection) -> None:
        self._handlers = handlers
        self._threads = workers, conversions
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session: Session = scope["leadglass.session"]
        try:
            response = await self._answer(Request(scope, receive), session)
            # A body that is made while it is sent fails before its first byte, or tells nobody.
            await response(scope, receive, send)
        except LeadglassError as error:
            if answer_to(error).status >= 500:
                logs.fault("dicomweb request failed", error)
            elif isinstance(error, BadInput):
                session.refused(Refusal.NOT_UNDERSTOOD)
            await response_to(error)(scope, receive, send)

    async def _answer(self, request: Request, session: Session) -> Response:
        handler = self._handlers.get(request.method)
        if handler is None:
            raise BadRequest(405, "this resource does not know that method", {"Allow": ", ".join(self._handlers)})
        try:
            return await handler(Call(request, session, *self._threads, self._settings))
        except LeadglassError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the caller learns nothing of it and the log where it was
            logs.fault("dicomweb request failed", error)
            return refusal(_BROKEN)


class DicomWeb:
    """The application; `close` it when the last answer is out."""

    def __init__(self, archive: Archive, settings: WebSection) -> None:
        self._archive = archive
        self._settings = settings
        self._workers = Workers(THREADS)
        self._conversions = Workers(CONVERSIONS)
        self._router = Router(self._routes(), redirect_slashes=False, default=_not_found)

    def close(self) -> None:
        """Let the worker threads end."""
        self._workers.close()
        self._conversions.close()

    @staticmethod
    def table() -> list[tuple[str, dict[str, Handler]]]:
        """Every resource by its path under `ROOT`, and what serves each of its methods."""
        study, series, instance = (
            "/studies/{study}",
            "/studies/{study}/series/{series}",
            "/studies/{study}/series/{series}/instances/{instance}",
        )
        return [
            ("/studies", {"GET": qido.search_studies, "POST": stow.store}),
            ("/series", {"GET": qido.search_series}),
            ("/instances", {"GET": qido.search_instances}),
            (study, {"GET": wado.retrieve, "POST": stow.store}),
            (f"{study}/metadata", {"GET": wado.metadata}),
            (f"{study}/series", {"GET": qido.search_series}),
            (f"{study}/instances", {"GET": qido.search_instances}),
            (series, {"GET": wado.retrieve}),
            (f"{series}/metadata", {"GET": wado.metadata}),
            (f"{series}/instances", {"GET": qido.search_instances}),
            (instance, {"GET": wado.retrieve}),
            (f"{instance}/metadata", {"GET": wado.metadata}),
            (f"{instance}/frames/{{frames}}", {"GET": wado.frames}),
            (f"{instance}/bulkdata/{{path:path}}", {"GET": wado.bulk_data}),
        ]

    def _routes(self) -> list[Route]:
        return [
            Route(ROOT + path, _Resource(handlers, self._workers, self._conversions, self._settings)) for path, handlers in self.table()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the caller before anything else is looked at; to a stranger every path and method is the same 401."""
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                for name, value in SAFE_FIELDS.items():
                    fields.setdefault(name, value)
                fields["Date"] = email.utils.formatdate(usegmt=True)
            await send(message)

        try:
            token = _bearer_token(Headers(scope=scope))
            address = scope["client"][0] if scope.get("client") else ""
            session = await self._workers.run(lambda: self._archive.enter(Door.DICOMWEB, BearerToken(token), address))
        except LeadglassError as error:
            await response_to(error)(scope, receive, send_safely)
            return
        await self._router({**scope, "leadglass.session": session}, receive, send_safely)


_BROKEN: Final = Answer(500, answer_to(LeadglassError()).text)


def create_app(archive: Archive, settings: WebSection) -> DicomWeb:
    """The door to `archive`."""
    return DicomWeb(archive, settings)


def _bearer_token(fields: Headers) -> str:
    given = fields.getlist("authorization")
    match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        raise NotIdentified("no bearer token")
    return match[1]


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await refusal(NOT_FOUND)(scope, receive, send)
