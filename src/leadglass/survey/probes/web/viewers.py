"""Pages for people: viewers and explorers that are served without sign-in."""

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
    Mark(Viewer.OVIYAM, "/oviyam2/", b"oviyam"),
    Mark(Viewer.WEASIS, "/weasis-pacs-connector/", b"weasis"),
)

_PRODUCTS_BY_MARK = (
    (b"dicoogle", WebProduct.DICOOGLE),
    (b"js/md.main.min.", WebProduct.MEDDREAM),
    (b"<title>ohif", WebProduct.OHIF),
    (b"<title>oviyam", WebProduct.OVIYAM),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A viewer, and the path of its page."""

    viewer: Viewer
    path: str


async def look(visit: Visit, front: Page) -> tuple[Seen, ...]:
    """The viewers whose page a stranger gets, each once.

    A page that the server gives for any path is a viewer's only if it says so on the front page, as OHIF's own does.
    """
    found: list[Seen] = []
    if front.status == 200 and front.is_html and product_of(front) is WebProduct.OHIF:
        found.append(Seen(Viewer.OHIF, "/"))
    if visit.answers_everything:
        return tuple(found)
    for mark in MARKS:
        if any(mark.viewer is each.viewer for each in found):
            continue
        page = await visit.client.get(mark.path, accept="text/html")
        is_page = isinstance(page, Page) and page.status == 200 and page.is_html and not visit.is_catch_all(page)
        if is_page and isinstance(page, Page) and mark.text in page.body.lower():
            found.append(Seen(mark.viewer, mark.path))
    return tuple(found)


def product_of(page: Page) -> WebProduct | None:
    """What the front page says it is."""
    if "orthanc" in page.challenge.lower():
        return WebProduct.ORTHANC
    body = page.body.lower()
    return next((product for mark, product in _PRODUCTS_BY_MARK if mark in body), None)
