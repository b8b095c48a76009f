"""One request of somebody identified, with what a transaction needs to answer it."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request

from leadglass.archive.archive import Session
from leadglass.config import WebSection
from leadglass.dicom.uid import Uid
from leadglass.net.workers import Workers
from leadglass.wire.dicomweb.accept import MediaType, parse_accept

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9\-._~]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_ANYTHING: Final = "*/*"


@dataclass(frozen=True)
class Call:
    """The request, who makes it, and the threads in which the archive is asked."""

    request: Request
    session: Session
    workers: Workers
    conversions: Workers
    """Threads of their own: what is converted keeps none of the others waiting."""
    settings: WebSection

    def uid(self, name: str) -> Uid | None:
        """The UID of that name in the path; raises `InvalidUid`."""
        text = self.request.path_params.get(name)
        return None if text is None else Uid(text)

    @property
    def base(self) -> str:
        """The root of our URLs as this client reaches it; without a usable Host field, the address it connected to."""
        host = self.request.headers.get("host", "")
        if not _AUTHORITY.fullmatch(host):
            address, port = self.request.scope["server"]
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return f"{self.request.url.scheme}://{host}/dicom-web"

    def accepted(self) -> tuple[MediaType, ...]:
        """What the client accepts; the query parameter `accept` stands for the field (PS3.18 8.3.3.1). Raises `BadRequest`."""
        # Not as forms are decoded: there a plus sign is a space, and application/dicom+json no media type.
        pairs = (pair.partition("=") for pair in self.request.url.query.split("&"))
        asked = [unquote(value) for name, _, value in pairs if name == "accept"]
        return parse_accept(", ".join(asked or self.request.headers.getlist("accept")) or _ANYTHING)
