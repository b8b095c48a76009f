"""One study: its series, and who has looked at it."""

from typing import Final

from starlette.responses import Response

from leadglass.dicom.attributes import BY_KEYWORD
from leadglass.dicom.uid import Uid
from leadglass.errors import InvalidUid
from leadglass.wire.pages.visit import Visit
from leadglass.wire.pages.worklist import RETURNS

_SERIES: Final = (
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "NumberOfSeriesRelatedInstances",
    "BodyPartExamined",
)
_RETURNS: Final = tuple(
    sorted({*RETURNS, *_SERIES, "NumberOfSeriesRelatedInstances", "ReferringPhysicianName"}, key=lambda keyword: BY_KEYWORD[keyword].tag)
)


async def show(visit: Visit) -> Response:
    """GET /studies/{study}."""
    study, session = _uid(visit), visit.known
    series = await visit.house.workers.run(lambda: session.series_of(study, _RETURNS)) if study else []
    return visit.page("study.html.j2", study=series[0], series=series) if series else visit.nothing()


async def accesses(visit: Visit) -> Response:
    """GET /studies/{study}/accesses."""
    study, session = _uid(visit), visit.known
    found = await visit.house.workers.run(lambda: session.accesses_to(study)) if study else None
    return visit.page("accesses.html.j2", study=study, found=found) if found else visit.nothing()


def _uid(visit: Visit) -> Uid | None:
    try:
        return Uid(visit.study)
    except InvalidUid:
        return None
