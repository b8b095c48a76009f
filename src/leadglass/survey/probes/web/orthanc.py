"""Orthanc's own interface: recognised by its status page, open where its list of studies is answered beyond its end, without a sign-in."""

import re
from dataclasses import replace

from leadglass.survey import dicomjson, products
from leadglass.survey.observations import CountedBy, Ending, Field, RecordCounts, WebApi, WebProduct
from leadglass.survey.probes.web.found import Found, Visit, json_of
from leadglass.survey.scope import ExposureLimit

ROOTS = ("", "/orthanc")
"""By itself, and behind a proxy as its manual sets it up."""

_NOBODY = "studies?since=4000000000&limit=1"
"""The list after more studies than an archive has: empty. That a study is not there says nothing, a proxy that shows the status page alone
does too."""
_COUNTS = ("CountPatients", "CountStudies", "CountInstances")


async def look(visit: Visit) -> Found | None:
    """Orthanc's REST interface, if it is there."""
    for root in ROOTS:
        if found := await _look_under(visit, root):
            return found
    return None


async def _look_under(visit: Visit, root: str) -> Found | None:
    page = await visit.client.get(f"{root}/system", accept="application/json")
    if isinstance(page, Ending):
        return None
    found = Found(api=WebApi.ORTHANC_REST, product=WebProduct.ORTHANC, path=f"{root}/system")
    if page.asks_sign_in:
        return found if "orthanc" in page.challenge.lower() else None
    system = json_of(page)
    if not isinstance(system, dict) or not {"ApiVersion", "Version", "DicomAet"} <= system.keys():
        return None
    found = replace(found, version=products.version_number(str(system["Version"])[:40]))
    nobody = json_of(await visit.client.get(f"{root}/{_NOBODY}", accept="application/json"))
    if not isinstance(nobody, list):
        return found
    return await _further(visit, root, replace(found, is_open=True))


async def _further(visit: Visit, root: str, found: Found) -> Found:
    if visit.level.reaches(ExposureLimit.COUNT):
        page = await visit.client.get(f"{root}/statistics", accept="application/json", patience=4)
        if numbers := dicomjson.whole_numbers(json_of(page), _COUNTS):
            patients, studies, instances = numbers
            found = replace(found, records=RecordCounts(patients, studies, instances, exact=True), counted_by=CountedBy.COUNT_ENDPOINT)
        page = await visit.client.get(f"{root}/studies?expand&since=0&limit=1", accept="application/json", patience=4)
        found = replace(found, fields=_fields(json_of(page)))
    if visit.level.reaches(ExposureLimit.RETRIEVE):
        found = replace(found, hands_out_images=await _begins_image(visit, root))
    return found


def _fields(studies: dicomjson.Json) -> tuple[Field, ...]:
    """Which attributes the first study has a value for; the values are dropped here."""
    study = studies[0] if isinstance(studies, list) and studies else None
    tables = [study.get(name) for name in ("MainDicomTags", "PatientMainDicomTags")] if isinstance(study, dict) else []
    return tuple(each for each in Field if any(isinstance(table, dict) and table.get(each) for table in tables))


async def _begins_image(visit: Visit, root: str) -> bool:
    ids = json_of(await visit.client.get(f"{root}/instances?since=0&limit=1", accept="application/json"))
    if not isinstance(ids, list) or not ids or not re.fullmatch(r"[0-9a-f-]{44}", str(ids[0])):
        return False
    page = await visit.client.get(f"{root}/instances/{ids[0]}/file", most=256, patience=4)
    await visit.client.hang_up()
    return not isinstance(page, Ending) and page.status == 200 and page.body[128:132] == b"DICM"
