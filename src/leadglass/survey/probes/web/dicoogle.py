"""Dicoogle: its search answers anyone; it says how many objects match without sending one (`psize=0`)."""

from dataclasses import replace

from leadglass.dicom.uid import Uid
from leadglass.survey import dicomjson, products
from leadglass.survey.observations import CountedBy, Ending, RecordCounts, WebApi, WebProduct
from leadglass.survey.probes.web.found import Found, Visit, json_of
from leadglass.survey.scope import ExposureLimit
from leadglass.survey.synthetic import random_uid

_EVERYTHING = "query=SOPInstanceUID:*&psize=0&field=SOPInstanceUID"


async def look(visit: Visit) -> Found | None:
    """Dicoogle's search, if it is there: recognised by the keys of its answer to a query for nobody."""
    path = f"/search?query=StudyInstanceUID:{Uid(random_uid())}&psize=1&field=StudyInstanceUID"
    page = await visit.client.get(path, accept="application/json")
    answer = json_of(page)
    if not isinstance(answer, dict) or answer.keys() != {"results", "elapsedTime", "numResults"}:
        return None
    found = Found(api=WebApi.DICOOGLE_SEARCH, is_open=True, product=WebProduct.DICOOGLE, path=path)
    page = await visit.client.get("/ext/version", accept="application/json")
    # Restlet serves it as JSON, or as text.
    version = dicomjson.parse(page.body) if not isinstance(page, Ending) and page.status == 200 else None
    if isinstance(version, dict):
        found = replace(found, version=products.version_number(str(version.get("version"))[:40]))
    return await _counted(visit, found) if visit.level.reaches(ExposureLimit.COUNT) else found


async def _counted(visit: Visit, found: Found) -> Found:
    """Patients and objects as it counts them; it does not count studies, of which each patient has one at least."""
    counts: list[int] = []
    for path in (f"/searchDIM?{_EVERYTHING}&depth=none", f"/search?{_EVERYTHING}"):
        page = await visit.client.get(path, accept="application/json", patience=4)
        numbers = dicomjson.whole_numbers(json_of(page), ("numResults",))
        if numbers is None:
            return found
        counts += numbers
    patients, instances = counts
    return replace(found, records=RecordCounts(patients, patients, instances, exact=False), counted_by=CountedBy.COUNT_ENDPOINT)
