"""What a web server sends to the survey, by a socket pair; and what its pages are taken for."""

import asyncio
from ipaddress import ip_address

from fuzz._canned import Canned
from leadglass.survey.addresses import System
from leadglass.survey.probes.web import listings, ohif, viewers
from leadglass.survey.scope import ExposureLimit, Target
from leadglass.survey.webclient import Page, WebClient

_SYSTEM = System(Target(name="a", host="127.0.0.1", web_ports=(80,)), ip_address("127.0.0.1"), ExposureLimit.QUERY, from_range=False)


def target(data: bytes) -> None:
    """Take `data` for the answer to a GET."""
    asyncio.run(_ask(data[:32_768]))


async def _ask(data: bytes) -> None:
    async with WebClient(_SYSTEM, 80, Canned(data), tls=None, timeout=2, user_agent="fuzz") as client:
        page = await client.get("/", most=4096)
    if isinstance(page, Page):
        assert len(page.body) <= 4096
        listings.is_listing(page)
        assert len(listings.image_links(page)) <= 4096
        ohif.read(page.body)
        viewers.product_of(page)


def seeds() -> list[bytes]:
    """A page, a chunked one, a redirect, and nothing of the kind."""
    return [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/x\r\nContent-Length: 0\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ]
