"""What one interface on a web port came to; the probe puts these together."""

import secrets
from dataclasses import dataclass

from leadglass.survey import dicomjson
from leadglass.survey.briefing import Briefing
from leadglass.survey.observations import CountedBy, Ending, Field, RecordCounts, VersionNumber, WebApi, WebProduct
from leadglass.survey.scope import ExposureLimit
from leadglass.survey.webclient import Page, WebClient

JSON_TYPES = "application/dicom+json"


@dataclass(frozen=True, slots=True)
class Found:
    """An interface that is there: open to a stranger, or asking for a sign-in."""

    api: WebApi | None = None
    is_open: bool = False
    product: WebProduct | None = None
    version: VersionNumber | None = None
    path: str = ""
    """Where it answered: asked once more with a foreign origin."""
    service: str = ""
    """The root of the DICOMweb service, where it is an open one."""
    records: RecordCounts | None = None
    counted_by: CountedBy | None = None
    fields: tuple[Field, ...] = ()
    metadata: bool = False
    hands_out_images: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """One port as it is being looked at."""

    client: WebClient
    briefing: Briefing
    level: ExposureLimit
    nonsense: "Page | Ending"
    """The answer to a path that no product has: an API that answers like it is a catch-all page."""
    nonsense_page: "Page | Ending"
    """The same, asked for as a browser asks for a page: some servers catch only those."""
    counted: RecordCounts | None = None
    """By the product's own count, if one of its interfaces has given it: then nothing is counted row by row."""

    @property
    def everything_is_guarded(self) -> bool:
        return isinstance(self.nonsense, Page) and self.nonsense.asks_sign_in

    @property
    def answers_everything(self) -> bool:
        return isinstance(self.nonsense, Page) and 200 <= self.nonsense.status < 300

    def is_catch_all(self, page: "Page | Ending") -> bool:
        """Whether `page` is what a browser gets for any path."""
        nonsense = self.nonsense_page
        if isinstance(page, Ending) or isinstance(nonsense, Ending):
            return False
        return 200 <= nonsense.status < 300 and nonsense.body == page.body


def nonsense_path() -> str:
    """A path that no product has, of the shape of an API's."""
    return f"/{secrets.token_hex(6)}/studies?limit=1"


def json_of(page: "Page | Ending") -> dicomjson.Json:
    """The JSON of a whole, successful answer that says it is JSON; None for any other."""
    if isinstance(page, Ending) or page.status != 200 or not page.is_json or not page.whole:
        return None
    return dicomjson.parse(page.body)
