"""Templates into pages, and the two files that every page loads; every text is escaped, and nothing runs."""

import functools
import hashlib
import re
from importlib import resources
from typing import Final

import jinja2
from starlette.responses import Response

from leadglass import templates
from leadglass.wire.pages.words import LANGUAGES, Words

SAFE_FIELDS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would say "Origin: null" of our own forms then.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""With every answer: nothing is kept, framed, loaded from elsewhere or run."""

_TYPES: Final = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}


@functools.cache
def files() -> dict[str, tuple[bytes, str]]:
    """What a page loads, by its path, which has its hash in it: content and type. It is the same for everybody, signed in or not."""
    found = {}
    for name in ("style.css", "icon.svg"):
        content = resources.files("leadglass.wire.pages").joinpath("templates", name).read_bytes()
        stem, ending = name.split(".")
        found[f"/files/{stem}-{hashlib.sha256(content).hexdigest()[:16]}.{ending}"] = (content, _TYPES[ending])
    return found


def person(name: str) -> str:
    """A person name (PS3.5 6.2.1) as people read it: the first group that says anything, family name first.

    >>> person("Doe^John^^Dr"), person("=山田^太郎"), person("")
    ('Doe, John Dr', '山田, 太郎', '')
    """
    group = next((each for each in name.split("=") if each.strip("^ ")), "")
    family, _, rest = group.partition("^")
    given = " ".join(part for part in rest.split("^") if part.strip())
    return ", ".join(part for part in (family.strip(), given) if part)


def day(date: str) -> str:
    """A date (PS3.5 6.2, DA) as people read it; what is none is shown as it is.

    >>> day("20040119"), day("2004")
    ('2004-01-19', '2004')
    """
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if re.fullmatch(r"[0-9]{8}", date) else date


@functools.cache
def _environment() -> jinja2.Environment:
    environment = templates.environment("leadglass.wire.pages")
    environment.filters |= {"person": person, "day": day}
    environment.globals["languages"] = list(LANGUAGES.values())
    environment.globals["style"], environment.globals["icon"] = files()
    return environment


def render(template: str, words: Words, status: int, **values: object) -> Response:
    """The page of a template that extends `page.html.j2`."""
    text = _environment().get_template(template).render(values, words=words)
    return Response(text, status, media_type="text/html; charset=utf-8")
