"""dcm4chee-arc: recognised by its list of application entities, each of which has a DICOMweb root."""

import re
from dataclasses import replace

from leadglass.survey.observations import Ending, WebProduct
from leadglass.survey.probes.web import qido
from leadglass.survey.probes.web.found import Found, Visit, json_of

MAX_ENTITIES = 4


async def look(visit: Visit) -> Found | None:
    """dcm4chee-arc, if it is there, and the first of its application entities that answers a search."""
    page = await visit.client.get("/dcm4chee-arc/aets", accept="application/json")
    if isinstance(page, Ending):
        return None
    if page.asks_sign_in and not visit.everything_is_guarded:
        return Found(product=WebProduct.DCM4CHEE)
    entities = json_of(page)
    if not isinstance(entities, list):
        return None
    titles = [str(each.get("dicomAETitle", "")) for each in entities if isinstance(each, dict)]
    roots = [f"/dcm4chee-arc/aets/{title}/rs" for title in titles if re.fullmatch(r"[A-Za-z0-9_-]{1,16}", title)]
    if not roots:
        return None
    found = await qido.look(visit, roots[:MAX_ENTITIES])
    return replace(found or Found(), product=WebProduct.DCM4CHEE)
