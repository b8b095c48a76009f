"""The demo's clinician: a program with a token that looks a study up and fetches an image, by HTTPS and nothing else."""

import http.client
import json
import ssl
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from leadglass.errors import PeerFailed

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    media_type: str
    body: bytes

    def rows(self) -> list[dict[str, dict[str, list[str]]]]:
        """The DICOM JSON records in it (PS3.18 F)."""
        if self.status not in {200, 204}:
            raise PeerFailed(f"the archive answered {self.status} to a query that should be allowed")
        parsed = json.loads(self.body or b"[]")
        return parsed if isinstance(parsed, list) else []


@dataclass(frozen=True)
class WebClient:
    """Asks one DICOMweb root."""

    root: str
    context: ssl.SSLContext
    token: str | None

    def get(self, path: str, accept: str = "application/dicom+json", **query: str) -> Answer:
        """GET one resource under the root."""
        address = urlsplit(self.root)
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=_TIMEOUT_SECONDS, context=self.context)
        fields = {"Accept": accept}
        if self.token is not None:
            fields["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request("GET", f"{address.path}{path}" + (f"?{urlencode(query)}" if query else ""), headers=fields)
            response = connection.getresponse()
            return Answer(response.status, response.getheader("Content-Type", ""), response.read())
        finally:
            connection.close()
