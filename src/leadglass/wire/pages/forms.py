"""What a browser sends: cookies, forms, and where they came from. Nothing is done for another site's page, whatever cookies come too."""

import hmac
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import Request

from leadglass.errors import BadInput

MAX_FORM_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 32
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


class FromElsewhere(BadInput):
    """A request that another site's page made, or a form that is not of this session."""


def cookie(name: str, value: str, *, lasting: bool = False) -> str:
    """The Set-Cookie field of a cookie that only this host, over TLS, and no script is given (RFC 6265bis 4.1.3.2); empty ends it."""
    age = "; Max-Age=0" if not value else f"; Max-Age={365 * 24 * 3600}" if lasting else ""
    return f"__Host-{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict{age}"


def cookie_of(fields: Headers, name: str) -> str | None:
    """The one cookie of that name; None for none, for several and for what none of ours looks like."""
    pairs = (part.strip().partition("=") for field in fields.getlist("cookie") for part in field.split(";"))
    found = [value for key, _, value in pairs if key == f"__Host-{name}"]
    return found[0] if len(found) == 1 and _COOKIE.fullmatch(found[0]) else None


def require_our_own(method: str, fields: Headers) -> None:
    """Raise `FromElsewhere` for what another site's page asks (Fetch Metadata; else the Origin): of us it may only open a page.

    A change must say where it comes from: every browser since 2020 sends Origin with a POST.
    """
    site, origin = fields.get("sec-fetch-site"), fields.get("origin")
    if method in {"GET", "HEAD"}:
        opening = fields.get("sec-fetch-mode") == "navigate" and fields.get("sec-fetch-dest") == "document"
        if site in {None, "same-origin", "none"} or opening:
            return
        raise FromElsewhere("a page of another site may only open ours")
    if site not in {None, "same-origin"} or origin not in {None, f"https://{fields.get('host', '')}"} or (site is None and origin is None):
        raise FromElsewhere("only our own pages may change anything")


def token_for(key: bytes, bound_to: str) -> str:
    """What a form must carry: it goes with one session, or with one browser that is not signed in."""
    return hmac.digest(key, bound_to.encode(), "sha256").hex()


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form; raises `BadInput` for anything but a small one with each field once."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BadInput("a form is sent as application/x-www-form-urlencoded")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM_BYTES:
            raise BadInput(f"a form has {MAX_FORM_BYTES} bytes at most")
    return read_pairs(body.decode("ascii", "replace"))


def read_pairs(text: str) -> Mapping[str, str]:
    """The fields in a query or a form, each once; raises `BadInput`."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise BadInput(f"a form is percent-encoded UTF-8 with {MAX_FIELDS} fields at most") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput("each field of a form is given once")
    return found
