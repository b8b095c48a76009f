"""Signing in and out, and the switch of the language."""

import re
from typing import Final

from starlette.responses import Response

from leadglass.access.identity import PasswordAndCode
from leadglass.access.secret import Secret
from leadglass.errors import NotIdentified, TooMuchAtOnce, TooOften
from leadglass.vocabulary import Door
from leadglass.wire.pages import forms
from leadglass.wire.pages.visit import FORM, LANGUAGE, SESSION, Visit, elsewhere
from leadglass.wire.pages.words import LANGUAGES

_OURS: Final = re.compile(
    r"/(?:sign-in|trail|people(?:/[A-Za-z0-9._-]{1,64})?|peers(?:/[A-Za-z0-9._%+-]{1,48})?|studies/[0-9.]{1,64}(?:/accesses)?)?", re.ASCII
)


async def show(visit: Visit) -> Response:
    """GET /sign-in."""
    return elsewhere("/") if visit.session else visit.page("sign_in.html.j2", entrance=True, said="")


async def sign_in(visit: Visit) -> Response:
    """POST /sign-in: one answer to whatever is wrong."""
    if visit.session:
        return elsewhere("/")
    form, archive = visit.form, visit.house.archive
    shown = PasswordAndCode(form.get("user", ""), Secret(form.get("password", "")), Secret(form.get("code", "")))
    try:
        _, cookie = await visit.house.signing_in.run(lambda: archive.sign_in(Door.PAGES, shown, visit.address))
    except TooOften as error:
        refusal = visit.page("sign_in.html.j2", 429, entrance=True, said=visit.words.too_often.format(seconds=error.seconds))
        refusal.headers["Retry-After"] = str(error.seconds)
        return refusal
    except TooMuchAtOnce:
        return visit.page("sign_in.html.j2", 503, entrance=True, said=visit.words.later)
    except NotIdentified:
        # Not 401, which would have to name a scheme (RFC 9110 15.5.2) that this is not.
        return visit.page("sign_in.html.j2", 403, entrance=True, said=visit.words.not_identified)
    response = elsewhere("/")
    response.headers.append("Set-Cookie", forms.cookie(SESSION, cookie.reveal()))
    response.headers.append("Set-Cookie", forms.cookie(FORM, ""))
    return response


async def sign_out(visit: Visit) -> Response:
    """POST /sign-out: the session is over before it is answered."""
    session = visit.known
    visit.house.remembered.forget(session.principal.credential)
    await visit.house.workers.run(session.sign_out)
    response = elsewhere("/sign-in")
    response.headers.append("Set-Cookie", forms.cookie(SESSION, ""))
    return response


async def switch(visit: Visit) -> Response:
    """POST /language."""
    response = elsewhere(back_to(visit.form.get("here", "/")))
    if (language := visit.form.get("language", "")) in LANGUAGES:
        response.headers.append("Set-Cookie", forms.cookie(LANGUAGE, language, lasting=True))
    return response


def back_to(here: str) -> str:
    """The page of ours that a form names to go back to; the first page for anything else.

    >>> back_to("/studies/1.2.3/accesses"), back_to("//elsewhere.example"), back_to("/trail?who=x")
    ('/studies/1.2.3/accesses', '/', '/')
    """
    return here if _OURS.fullmatch(here) else "/"
