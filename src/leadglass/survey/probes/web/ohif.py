"""OHIF's `app-config.js`: it names the DICOMweb service behind the viewer, and sometimes the password to it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from leadglass.survey.observations import Viewer
from leadglass.survey.probes.web.found import Visit
from leadglass.survey.probes.web.viewers import Seen
from leadglass.survey.webclient import Page

MAX_CONFIG_BYTES = 64 << 10
MAX_ROOTS = 4
_ROOT = re.compile(r"""(?:qidoRoot|wadoRoot)["']?\s{0,5}:\s{0,5}["'`]([^"'`\s]{1,200})["'`]""")
_CREDENTIALS = re.compile(
    r"""auth["']?\s{0,5}:\s{0,5}["'`][^"'`:\s]{1,100}:[^"'`\s]{1,100}["'`]"""
    r"""|authorization["']?\s{0,5}:\s{0,5}["'`](?:basic|bearer)\s[^"'`$\s]{4,2000}["'`]"""
    r"""|(?:client_?secret|password)["']?\s{0,5}:\s{0,5}["'`][^"'`\s]{1,200}["'`]"""
    r"""|https?://[^/"'`:@\s]{1,100}:[^/"'`@\s]{1,100}@""",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ViewerConfiguration:
    """What a viewer's configuration tells a stranger."""

    roots: tuple[str, ...] = ()
    """Paths on the same server at which it has its DICOMweb service."""
    names_service: bool = False
    holds_credentials: bool = False


async def look(visit: Visit, viewers: Sequence[Seen]) -> ViewerConfiguration:
    """The configuration of the OHIF viewer that was seen, if there is one."""
    for seen in viewers:
        if seen.viewer is Viewer.OHIF:
            page = await visit.client.get(urljoin(seen.path, "app-config.js"), most=MAX_CONFIG_BYTES)
            if isinstance(page, Page) and page.status == 200 and not page.is_html and b"window.config" in page.body:
                return read(page.body)
    return ViewerConfiguration()


def read(raw: bytes) -> ViewerConfiguration:
    """What a configuration says outside its comments; a server elsewhere is named, and not asked."""
    text = _without_comments(raw[:MAX_CONFIG_BYTES].decode("latin-1"))
    named = list(dict.fromkeys(_ROOT.findall(text)))
    return ViewerConfiguration(
        # As it is published it names demonstrations elsewhere first: they are none of those that are asked.
        roots=tuple(root.rstrip("/") for root in named if _is_path(root))[:MAX_ROOTS],
        names_service=bool(named),
        holds_credentials=_CREDENTIALS.search(text) is not None,
    )


def _is_path(root: str) -> bool:
    # Where the same server is named in full, its own path is as good.
    parts = urlsplit(root) if root.startswith("/") and not root.startswith("//") else None
    return parts is not None and re.fullmatch(r"(?:/[A-Za-z0-9._~-]{1,64}){1,8}/?", parts.path) is not None and parts.path == root


def _without_comments(text: str) -> str:
    r"""JavaScript without its comments: OHIF ships with samples in them. One pass over the text, `://` left alone.

    >>> _without_comments("a: 'http://x', // b" + chr(10) + "c /* d */ e")
    "a: 'http://x', \nc  e"
    """
    kept: list[str] = []
    at = 0
    for match in re.finditer(r"/\*|(?<!:)//", text):
        if match.start() < at:
            continue
        kept.append(text[at : match.start()])
        mark = "*/" if match[0] == "/*" else "\n"
        end = text.find(mark, match.end())
        if end < 0:
            return "".join(kept)
        at = end + 2 if mark == "*/" else end
    return "".join([*kept, text[at:]])
