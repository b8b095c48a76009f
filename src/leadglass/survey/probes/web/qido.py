"""DICOMweb: is a search answered (QIDO-RS), for how many studies, would an image be handed out (WADO-RS)."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

from leadglass.dicom.uid import Uid
from leadglass.errors import InvalidUid
from leadglass.survey import dicomjson
from leadglass.survey.dicomjson import FIELD_TAGS, INSTANCE, ISSUER, SERIES, STUDY, STUDY_INSTANCES
from leadglass.survey.observations import CountedBy, Ending, RecordCounts, WebApi
from leadglass.survey.probes.web.found import JSON_TYPES, Found, Visit, json_of
from leadglass.survey.scope import ExposureLimit
from leadglass.survey.synthetic import random_uid
from leadglass.survey.tally import Tally
from leadglass.survey.webclient import Page

ROOTS: Sequence[str] = (
    "/dicom-web",
    "/dcm4chee-arc/aets/DCM4CHEE/rs",
    "/dicomweb",
    "/rs",
    "/orthanc/dicom-web",
    "/pacs/dicom-web",
)
"""Where products have their DICOMweb service by default, or manuals put it."""

PAGE = 200
"""Studies in one page: some 300 kB of JSON."""

_IMAGE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_NO_CONTENT = 204


async def look(visit: Visit, roots: Sequence[str] = ROOTS) -> Found | None:
    """The first root that answers a search, else one that asks for a sign-in."""
    guarded: Found | None = None
    for root in roots:
        path = f"{root}/studies?StudyInstanceUID={random_uid()}&limit=1"
        page = await visit.client.get(path, accept=JSON_TYPES)
        if isinstance(page, Ending):
            continue
        if page.asks_sign_in and guarded is None:
            guarded = Found(api=WebApi.QIDO, path=path)
        if _answers(page) and not _answers(visit.nonsense):
            found = Found(api=WebApi.QIDO, is_open=True, path=path, service=root)
            return await _further(visit, root, found)
    return guarded


def _answers(page: Page | Ending) -> bool:
    """Whether this is the answer of a QIDO-RS service, an empty one included (PS3.18 8.3.4.4)."""
    if isinstance(page, Ending):
        return False
    return page.status == _NO_CONTENT or dicomjson.rows(json_of(page)) is not None


async def _further(visit: Visit, root: str, found: Found) -> Found:
    if visit.level.reaches(ExposureLimit.COUNT):
        row = await _one_row(visit, f"{root}/studies", "&".join(f"includefield={tag}" for tag in FIELD_TAGS.values()))
        found = replace(found, fields=dicomjson.fields_of(row))
        if visit.counted is None:
            found = await _counted(visit, root, found)
    if visit.level.reaches(ExposureLimit.RETRIEVE) and (image := await _any_image(visit, root)):
        found = replace(found, metadata=await _hands_out_metadata(visit, image), hands_out_images=await _begins_image(visit, image))
    return found


async def _counted(visit: Visit, root: str, found: Found) -> Found:
    paging = _Paging(visit, root)
    try:
        async with asyncio.timeout(visit.briefing.counting_seconds):
            if records := await _count_by_product(visit, root):
                return replace(found, records=records, counted_by=CountedBy.COUNT_ENDPOINT)
            records = await paging.count()
    except TimeoutError:
        await visit.client.hang_up()
        records = paging.so_far
    return replace(found, records=records, counted_by=CountedBy.PAGES if records else None)


async def _count_by_product(visit: Visit, root: str) -> RecordCounts | None:
    """dcm4chee-arc counts for us, so that not one patient has to be sent."""
    if "/aets/" not in root:
        return None
    counts: list[int] = []
    for kind in ("patients", "studies", "instances"):
        page = await visit.client.get(f"{root}/{kind}/count", accept="application/json", patience=4)
        numbers = dicomjson.whole_numbers(json_of(page), ("count",))
        if numbers is None:
            return None
        counts += numbers
    patients, studies, instances = counts
    return RecordCounts(patients, studies, instances, exact=True)


class _Paging:
    """Counts the studies page by page; a page is dropped before the next is asked for."""

    def __init__(self, visit: Visit, root: str) -> None:
        self._visit = visit
        self._root = root
        self._tally = Tally(visit.briefing.key)
        self._is_sure = True
        self._offset = 0

    @property
    def so_far(self) -> RecordCounts | None:
        """At least so many; None where that is none."""
        return self._tally.counts(exact=False)

    async def count(self) -> RecordCounts | None:
        most = self._visit.briefing.max_matches
        while self._offset < most:
            query = f"includefield={STUDY_INSTANCES}&includefield={ISSUER}&limit={min(PAGE, most - self._offset)}&offset={self._offset}"
            took = self._take(
                await self._visit.client.get(f"{self._root}/studies?{query}", accept=JSON_TYPES, most=dicomjson.MAX_JSON_BYTES, patience=4)
            )
            if took is None:
                return self._tally.counts(exact=self._is_sure)
            if not took:
                # A failure, or a server that does not know `offset` and says the same again.
                return self.so_far
        return self.so_far

    def _take(self, page: Page | Ending) -> int | None:
        """How many studies of a page are new; None where it says that there are no more."""
        ended = isinstance(page, Page) and page.status == _NO_CONTENT
        rows = dicomjson.rows(json_of(page))
        if ended or rows == []:
            return None
        before = self._tally.studies
        self._is_sure = dicomjson.tally_rows(rows or [], self._tally) and self._is_sure
        self._offset += len(rows or [])
        return self._tally.studies - before


async def _any_image(visit: Visit, root: str) -> str:
    """The path of some image; empty where there is none, or a UID on the way is not one to ask with."""
    path = f"{root}/studies"
    for tag, below in ((STUDY, "series"), (SERIES, "instances"), (INSTANCE, "")):
        row = await _one_row(visit, path, "")
        try:
            path = f"{path}/{Uid(dicomjson.text_of(row, tag))}" + (f"/{below}" if below else "")
        except InvalidUid:
            return ""
    return path


async def _hands_out_metadata(visit: Visit, image: str) -> bool:
    """Whether an image's metadata come (PS3.18 10.4.1.1.2); they are dropped here."""
    page = await visit.client.get(f"{image}/metadata", accept=JSON_TYPES, most=dicomjson.MAX_JSON_BYTES, patience=4)
    return bool(dicomjson.rows(json_of(page)))


async def _begins_image(visit: Visit, image: str) -> bool:
    """Whether one image would be handed out: its first bytes are read, then the connection is closed."""
    page = await visit.client.get(image, accept=_IMAGE, most=1024, patience=4)
    await visit.client.hang_up()
    if isinstance(page, Ending) or page.status != 200:
        return False
    kind = page.content_type.split(";")[0].strip().lower()
    if kind == "application/dicom":
        return bool(page.body)
    return kind == "multipart/related" and re.search(rb"\r\n\r\n.", page.body, re.DOTALL) is not None


async def _one_row(visit: Visit, path: str, query: str) -> dict[str, dicomjson.Json]:
    page = await visit.client.get(f"{path}?limit=1" + (f"&{query}" if query else ""), accept=JSON_TYPES, most=dicomjson.MAX_JSON_BYTES)
    rows = dicomjson.rows(json_of(page))
    return dict(rows[0]) if rows else {}
