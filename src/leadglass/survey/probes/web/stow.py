"""STOW-RS (PS3.18 10.5) of the one synthetic object; only where `write_probe` asks for it, at an open service, until one is taken."""

import secrets
from dataclasses import dataclass

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, Context
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.uid import Uid
from leadglass.survey import dicomjson
from leadglass.survey.observations import UNREACHED, Ending, Write
from leadglass.survey.probes.web.found import JSON_TYPES, Visit
from leadglass.survey.synthetic import synthetic_object
from leadglass.survey.webclient import Page

SECONDARY_CAPTURE = Uid("1.2.840.10008.5.1.4.1.1.7")

_STORED, _STORED_OF = "00081199", "00081155"
"""Referenced SOP Sequence, Referenced SOP Instance UID."""

_SUCCESS = frozenset({200, 202})


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the object: `status` of HTTP, None where no answer came; its `number`, if it is or may be there now."""

    write: Write
    status: int | None
    number: int | None


async def look(visit: Visit, root: str) -> Stored:
    """Whether the service under `root` stores what a stranger sends; the object stays there."""
    offered = synthetic_object(Context(1, SECONDARY_CAPTURE, EXPLICIT_LITTLE_ENDIAN), visit.briefing.run_id)
    boundary = secrets.token_hex(16)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    instance = file_meta(SECONDARY_CAPTURE, offered.uid, EXPLICIT_LITTLE_ENDIAN) + offered.data
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = head + instance + f"\r\n--{boundary}--\r\n".encode()
    # A kept connection may end at any time, and what changes something is not asked twice.
    await visit.client.hang_up()
    page = await visit.client.post(f"{root}/studies", body, kind=kind, accept=JSON_TYPES, patience=4)
    if isinstance(page, Ending):
        return Stored(Write.NOT_TRIED, None, None if page in UNREACHED else offered.number)
    if page.status not in _SUCCESS:
        return Stored(Write.REFUSED, page.status, None)
    told = _stored(page)
    if told is None:
        return Stored(Write.NOT_TRIED, page.status, offered.number)
    is_stored = offered.uid in told
    return Stored(Write.ACCEPTED if is_stored else Write.REFUSED, page.status, offered.number if is_stored else None)


def _stored(page: Page) -> list[str] | None:
    """The UIDs that an answer tells as stored (PS3.18 table 10.5.3-2); None where it is none of STOW-RS."""
    answer = dicomjson.parse(page.body) if page.is_json and page.whole else None
    rows = dicomjson.rows(answer if isinstance(answer, list) else [answer])
    if not rows:
        return None
    stored = rows[0].get(_STORED)
    values = stored.get("Value") if isinstance(stored, dict) else None
    return [dicomjson.text_of(each, _STORED_OF) for each in dicomjson.rows(values) or ()]
