"""One request of a browser, with who is signed in there, in which language, and what pages are answered with."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.archive import Archive, Destination, Reached, Session
from leadglass.net.workers import Workers
from leadglass.vocabulary import Action
from leadglass.wire.pages import forms, html
from leadglass.wire.pages.words import Words

SESSION: Final = "session"
FORM: Final = "form"
LANGUAGE: Final = "language"
MOST_REMEMBERED: Final = 1024


class Remembered:
    """What each session last searched for, so that no address that a browser keeps holds a patient's name; in memory, and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Mapping[str, str]] = OrderedDict()

    def get(self, session: str) -> Mapping[str, str]:
        with self._lock:
            return self._kept.get(session, {})

    def put(self, session: str, fields: Mapping[str, str]) -> None:
        with self._lock:
            self._kept[session] = dict(fields)
            self._kept.move_to_end(session)
            while len(self._kept) > MOST_REMEMBERED:
                self._kept.popitem(last=False)

    def forget(self, session: str) -> None:
        with self._lock:
            self._kept.pop(session, None)


@dataclass(frozen=True)
class DicomDoor:
    """What the pages tell of the door for DICOM, and have it do: they do not know it."""

    hosts: tuple[str, ...]
    """By which peers may call us."""
    port: int
    unsafe_plaintext_port: int | None
    echo: Callable[[Destination], Awaitable[Reached]]


@dataclass(frozen=True)
class House:
    """What every visit needs of the archive."""

    archive: Archive
    workers: Workers
    signing_in: Workers
    """A thread of its own: each guess at a password costs a tenth of a second, and no page waits for one."""
    verifying: Workers
    """One at a time: a trail of a million entries takes a while, and no page waits for it."""
    remembered: Remembered
    dicom: DicomDoor
    key: bytes
    """Binds forms to sessions; new at every start."""


@dataclass(frozen=True)
class Visit:
    """One request; `session` is None for whoever has not signed in."""

    house: House
    request: Request
    session: Session | None
    words: Words
    bound_to: str
    """The secret in the browser to which its forms are bound: of its session, or of itself."""
    form: Mapping[str, str]
    study: str = ""
    """The study that the path names."""
    found: bool = True
    fresh: bool = False
    """Whether the browser does not hold `bound_to` yet."""

    @property
    def address(self) -> str:
        client = self.request.client
        return client.host if client else ""

    @property
    def here(self) -> str:
        """Where a switch of the language leads back to: a page that was found, so that nothing else is repeated to whoever asked."""
        return self.request.url.path if self.found and self.session else "/sign-in"

    @property
    def known(self) -> Session:
        """The session; only for pages that nobody else reaches."""
        if self.session is None:
            raise LookupError("this page is for whoever has signed in")
        return self.session

    def page(self, template: str, status: int = 200, *, entrance: bool = False, scripts: Sequence[str] = (), **values: object) -> Response:
        """A page of ours; before signing in the entrance alone has forms, so that all else is the same bytes for every stranger."""
        session = self.session
        response = html.render(
            template,
            self.words,
            status,
            scripts=scripts,
            token=forms.token_for(self.house.key, self.bound_to) if session or entrance else "",
            here=self.here,
            user=session.principal.name if session else "",
            may_find=session is not None and session.may(Action.FIND),
            may_read_trail=session is not None and session.may(Action.READ_TRAIL),
            may_administer=session is not None and session.may(Action.ADMINISTER),
            **values,
        )
        if entrance and self.fresh:
            response.headers.append("Set-Cookie", forms.cookie(FORM, self.bound_to))
        return response

    def say(self, status: int, title: str, sentence: str) -> Response:
        """A page of one sentence."""
        return replace(self, found=False).page("said.html.j2", status, title=title, sentence=sentence)

    def nothing(self) -> Response:
        """What is not there and what may not be seen are this."""
        return self.say(404, self.words.not_found, self.words.not_found_help)


def elsewhere(path: str) -> Response:
    """Go and ask for `path` (RFC 9110 15.4.4)."""
    return Response(status_code=303, headers={"Location": path})


def new_secret() -> str:
    """What a browser that is not signed in is bound to."""
    return secrets.token_urlsafe(24)
