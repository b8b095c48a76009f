"""The record of accesses, for whoever may read it."""

from typing import Final

from starlette.responses import Response

from leadglass.wire.pages.forms import read_pairs
from leadglass.wire.pages.visit import Visit

SHOWN: Final = 100
_MOST_LETTERS: Final = 128


async def show(visit: Visit) -> Response:
    """GET /trail: what it asks for are our own names and UIDs, so that they may stand in an address."""
    asked = read_pairs(visit.request.url.query)
    who, study = (asked.get(name, "").strip()[:_MOST_LETTERS] for name in ("who", "study"))
    administration, alerts = visit.known.administration, asked.get("alerts") == "1"
    rows = await visit.house.workers.run(
        lambda: list(administration.trail_entries(last=SHOWN, who=who or None, study=study or None, alerts=alerts)),
    )
    return visit.page("trail.html.j2", rows=rows[::-1], asked={"who": who, "study": study, "alerts": alerts}, most=SHOWN)


async def verify(visit: Visit) -> Response:
    """POST /trail: whether every entry is as it was written, in words; while it is looked at, the archive goes on."""
    administration = visit.known.administration
    report = await visit.house.verifying.run(lambda: administration.verify_trail(None, None))
    return visit.page("verified.html.j2", size=report["size"], problems=report["problems"], notes=report["notes"])
