"""Templates into pages, and the files that pages load; every text is escaped, and nothing runs but our own scripts, by their names."""

import functools
import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Final

import jinja2
from starlette.responses import Response

from leadglass import templates
from leadglass.wire.pages.words import LANGUAGES, Words

_POLICY: Final = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_WITH_SCRIPTS: Final = f"{_POLICY}; script-src 'self'; connect-src 'self'"
SAFE_FIELDS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would say "Origin: null" of our own forms then.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""With every answer: nothing is kept, framed, loaded from elsewhere or run."""

_TYPES: Final = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml", "js": "text/javascript; charset=utf-8"}


@functools.cache
def _paths() -> dict[str, tuple[str, bytes]]:
    """What a page loads, by its name: the path, which has its hash in it, and the content."""
    found = {}
    for part in resources.files("leadglass.wire.pages").joinpath("templates").iterdir():
        stem, _, ending = part.name.partition(".")
        if ending in _TYPES:
            content = part.read_bytes()
            found[part.name] = (f"/files/{stem}-{hashlib.sha256(content).hexdigest()[:16]}.{ending}", content)
    return found


@functools.cache
def files() -> dict[str, tuple[bytes, str]]:
    """What a page loads, by its path: content and type. It is the same for everybody, signed in or not."""
    return {path: (content, _TYPES[path.rpartition(".")[2]]) for path, content in _paths().values()}


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
    environment.globals["style"], environment.globals["icon"] = _paths()["style.css"][0], _paths()["icon.svg"][0]
    return environment


def render(template: str, words: Words, status: int, *, scripts: Sequence[str] = (), **values: object) -> Response:
    """The page of a template that extends `page.html.j2`, with our own scripts of those names: a page without any runs nothing."""
    paths = [_paths()[name][0] for name in scripts]
    text = _environment().get_template(template).render(values, words=words, scripts=paths)
    fields = {"Content-Security-Policy": _WITH_SCRIPTS} if scripts else {}
    return Response(text, status, fields, media_type="text/html; charset=utf-8")
