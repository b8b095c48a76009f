"""What the pages of administration share: asking back before a change, and saying why one was refused."""

from starlette.responses import Response

from leadglass.errors import NotAllowed, NotIdentified, Refused, WrongUsage
from leadglass.wire.pages.visit import Visit

Row = dict[str, object]


def ask_back(visit: Visit, at: str, what: str, means: str, *, alerts: bool) -> Response:
    """The form that was sent, to be sent again by who is sure of it; `alerts` where it may give access to patients."""
    kept = {key: value for key, value in visit.form.items() if key not in {"token", "sure"}}
    return visit.page("sure.html.j2", at=at, what=what, means=means, alerts=alerts, kept=kept)


def why(error: WrongUsage | Refused) -> str:
    """What an operation says of itself, for whoever administers; what tells that he may not is raised again."""
    if isinstance(error, NotAllowed | NotIdentified):
        raise error
    return str(error)
