"""A web server's own lists of a folder: the front page, and where images are put for people to fetch; the first bytes of one file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from leadglass.survey.observations import Ending
from leadglass.survey.probes.web.found import Visit
from leadglass.survey.scope import ExposureLimit
from leadglass.survey.webclient import Page

FOLDERS: Sequence[str] = ("/dicom/", "/images/", "/pacs/")
"""Beside `/`."""

MAX_LINKS = 5000
_LINK = re.compile(rb"""href=["']([^"'<>\s]{1,300}\.(?:dcm|dicom|ima))["']""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listings:
    """What the lists came to."""

    found: bool = False
    images: int = 0
    hands_out_images: bool = False


def is_listing(page: Page) -> bool:
    """Whether the page is a web server's own list of a folder (Apache, nginx, lighttpd, Python)."""
    head = page.body[:2000].lower()
    marks = (b"<title>index of /", b"<title>directory listing for /", b"<h1>index of /")
    return page.status == 200 and page.is_html and any(mark in head for mark in marks)


def image_links(page: Page) -> list[str]:
    """The links of a list that end like a DICOM file's name; each is asked for, or counted, and dropped."""
    links = (match[1].decode("latin-1") for _, match in zip(range(MAX_LINKS), _LINK.finditer(page.body), strict=False))
    return [link for link in links if link.isascii() and link.isprintable()]


async def look(visit: Visit, front: Page) -> Listings:
    """The lists of a few folders, how many images they name, and whether one is handed out."""
    pages = [("/", front)]
    if not visit.answers_everything:
        asked = [(folder, await visit.client.get(folder, accept="text/html")) for folder in FOLDERS]
        pages += [(folder, page) for folder, page in asked if isinstance(page, Page) and not visit.is_catch_all(page)]
    lists = [(path, page) for path, page in pages if is_listing(page)]
    links = [urljoin(path, link) for path, page in lists for link in image_links(page)]
    # A list that points out of its own server is not followed.
    here = [link for link in links if link.startswith("/") and not link.startswith("//")]
    begun = bool(here) and visit.level.reaches(ExposureLimit.RETRIEVE) and await _begins_image(visit, here[0])
    return Listings(bool(lists), len(links), begun)


async def _begins_image(visit: Visit, path: str) -> bool:
    page = await visit.client.get(path, most=256, patience=4)
    await visit.client.hang_up()
    return not isinstance(page, Ending) and page.status == 200 and page.body[128:132] == b"DICM"
