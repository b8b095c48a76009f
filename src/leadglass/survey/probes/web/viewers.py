"""Pages for people: viewers and explorers that are served without sign-in, and listings of a folder."""

from collections.abc import Sequence
from dataclasses import dataclass

from leadglass.survey.observations import Viewer, WebProduct
from leadglass.survey.probes.web.found import Visit
from leadglass.survey.webclient import Page


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a viewer is, and what its page holds, in lower case."""

    viewer: Viewer
    path: str
    text: bytes


MARKS: Sequence[Mark] = (
    Mark(Viewer.ORTHANC_EXPLORER, "/app/explorer.html", b"<title>orthanc explorer"),
    Mark(Viewer.ORTHANC_EXPLORER_2, "/ui/app/", b"orthanc explorer 2"),
    Mark(Viewer.STONE, "/stone-webviewer/index.html", b"stone web viewer"),
    Mark(Viewer.DCM4CHEE_UI, "/dcm4chee-arc/ui2/", b"dcm4che"),
    Mark(Viewer.OHIF, "/ohif/", b"ohif"),
    Mark(Viewer.OHIF, "/viewer/", b"ohif"),
)

_PRODUCTS_BY_MARK = (
    (b"dicoogle", WebProduct.DICOOGLE),
    (b"js/md.main.min.", WebProduct.MEDDREAM),
    (b"<title>ohif", WebProduct.OHIF),
)


async def look(visit: Visit) -> tuple[Viewer, ...]:
    """The viewers whose page a stranger gets, each once; none where the server gives any path the same page."""
    if visit.answers_everything:
        return ()
    found: list[Viewer] = []
    for mark in MARKS:
        if mark.viewer in found:
            continue
        page = await visit.client.get(mark.path, accept="text/html")
        if isinstance(page, Page) and page.status == 200 and page.is_html and mark.text in page.body.lower():
            found.append(mark.viewer)
    return tuple(found)


def is_directory_listing(page: Page) -> bool:
    """Whether the page is a web server's own list of a folder."""
    head = page.body[:2000].lower()
    return page.status == 200 and page.is_html and (b"<title>index of /" in head or b"<title>directory listing for /" in head)


def product_of(page: Page) -> WebProduct | None:
    """What the front page says it is."""
    if "orthanc" in page.challenge.lower():
        return WebProduct.ORTHANC
    body = page.body.lower()
    return next((product for mark, product in _PRODUCTS_BY_MARK if mark in body), None)
