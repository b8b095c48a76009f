"""HTTP as a polite stranger: h11 over the dialer's sockets, everything bounded, no redirect out of the scope.

GET alone; one form where the scope asks about default accounts, and one object where it asks whether strangers may store.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import urlencode, urljoin, urlsplit

import h11

from leadglass.survey.addresses import System
from leadglass.survey.dialer import Dialer, NoConnection, Slowness
from leadglass.survey.observations import Ending

MAX_HEADER_BYTES = 32 << 10
MAX_REDIRECTS = 3
MAX_REQUESTS = 4000
"""For one port; counting page by page needs the most."""
SMALL_BODY = 256 << 10
PLAIN_TO_TLS = frozenset({400, 497})
"""What web servers answer to plain HTTP on a TLS port."""


Headers: TypeAlias = Sequence[tuple[str, str]]
Link: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter, h11.Connection]


@dataclass(frozen=True, slots=True)
class Page:
    """An answer; lives only until it has been judged."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    whole: bool
    """False where the body went over the bound, or was not asked for beyond it."""
    server: str = field(default="", repr=False)
    challenge: str = field(default="", repr=False)
    location: str = field(default="", repr=False)
    allow_origin: str = field(default="", repr=False)
    allow_credentials: bool = False

    @property
    def asks_sign_in(self) -> bool:
        return self.status in {401, 403, 407}

    @property
    def is_json(self) -> bool:
        return self.content_type.split(";")[0].strip().lower() in {"application/dicom+json", "application/json"}

    @property
    def is_html(self) -> bool:
        return self.content_type.split(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}


@dataclass(frozen=True, slots=True)
class Question:
    """One request; a GET unless it has a body."""

    path: str
    headers: Headers = ()
    body: bytes | None = None


class WebClient:
    """GETs to one port, over one connection at a time, kept alive where the server allows it."""

    def __init__(self, system: System, port: int, dialer: Dialer, *, tls: ssl.SSLContext | None, timeout: float, user_agent: str) -> None:
        self._system = system
        self._port = port
        self._dialer = dialer
        self._tls = tls
        self._timeout = timeout
        self._user_agent = user_agent
        self._stack = contextlib.AsyncExitStack()
        self._link: Link | None = None
        self._requests = 0
        self._slowness = Slowness()
        self.redirect_refused = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.hang_up()

    async def get(
        self, path: str, *, accept: str = "*/*", most: int = SMALL_BODY, patience: float = 1.0, headers: Headers = ()
    ) -> Page | Ending:
        """The answer to one GET, redirects within the same port followed.

        `most`: bytes of body that are read; the connection is cut beyond them. `patience`: how many timeouts the whole answer may take.
        `headers`: beside the usual ones.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._once(Question(path, (("Accept", accept), *headers)), most, patience)
            if isinstance(answer, Ending) or not answer.location:
                return answer
            followed = self._followed(path, answer.location)
            if followed is None:
                return answer
            path = followed
        return Ending.OVER_A_BOUND

    async def send_form(self, path: str, fields: Mapping[str, str]) -> Page | Ending:
        """The answer to one POST of a form; asked once, redirects not followed."""
        return await self.post(path, urlencode(fields).encode("ascii"), kind="application/x-www-form-urlencoded")

    async def post(self, path: str, body: bytes, *, kind: str, accept: str = "*/*", patience: float = 1.0) -> Page | Ending:
        """The answer to one POST; asked once, redirects not followed."""
        return await self._exchange(Question(path, (("Accept", accept), ("Content-Type", kind)), body), SMALL_BODY, patience)

    async def get_here(self, path: str, *, accept: str = "*/*", most: int = SMALL_BODY) -> Page | Ending:
        """The answer to one GET; a redirect is an answer."""
        return await self._once(Question(path, (("Accept", accept),)), most, 1.0)

    async def hang_up(self) -> None:
        """Close the connection, if there is one."""
        self._link = None
        await self._stack.aclose()

    def _followed(self, path: str, location: str) -> str | None:
        base = f"{'https' if self._tls else 'http'}://{_bracketed(self._system.server_name)}:{self._port}"
        try:
            target = urlsplit(urljoin(base + path, location))
            port = target.port or (443 if target.scheme == "https" else 80)
        except ValueError:
            self.redirect_refused = True
            return None
        ours = {self._system.server_name.lower(), str(self._system.address)}
        if (target.hostname or "").lower() not in ours or port not in self._system.target.web_ports:
            self.redirect_refused = True
            return None
        if port != self._port or target.scheme != urlsplit(base).scheme:
            # In scope, and spoken to for itself.
            return None
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        # What is not a URI's characters (RFC 3986) is not asked for.
        return path if path.isascii() and path.isprintable() and " " not in path else None

    async def _once(self, question: Question, most: int, patience: float) -> Page | Ending:
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            return Ending.OVER_A_BOUND
        kept_alive = self._link is not None
        answer = await self._exchange(question, most, patience)
        if answer is Ending.CLOSED_BY_PEER and kept_alive:
            # A server may close a kept connection at any time (RFC 9112 9.5): a GET is simply asked again.
            answer = await self._exchange(question, most, patience)
        return answer

    async def _exchange(self, question: Question, most: int, patience: float) -> Page | Ending:
        # Waiting for our turn is not the server's time.
        if self._link is not None:
            await self._dialer.pause(self._system.address)
        link = self._link or await self._connect()
        if isinstance(link, Ending):
            await self.hang_up()
            return link
        self._link = link
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout * patience):
                answer = await self._ask(link, question, most)
        except TimeoutError:
            answer = Ending.TIMEOUT
        self._dialer.observe(self._system.address, self._slowness.of(question.path.partition("?")[0][:200], time.monotonic() - began))
        if isinstance(answer, Ending) or not answer.whole:
            await self.hang_up()
        return answer

    async def _ask(self, link: Link, question: Question, most: int) -> Page | Ending:
        reader, writer, conversation = link
        try:
            writer.write(conversation.send(self._request(question)) or b"")
            if question.body is not None:
                writer.write(conversation.send(h11.Data(question.body)) or b"")
            conversation.send(h11.EndOfMessage())
            await writer.drain()
            return await self._answer(reader, conversation, most)
        except (h11.RemoteProtocolError, h11.LocalProtocolError):
            return Ending.NOT_THIS_PROTOCOL
        except ssl.SSLError:
            return Ending.TLS_FAILED
        except (OSError, EOFError):
            return Ending.CLOSED_BY_PEER

    async def _connect(self) -> Link | Ending:
        link = await self._stack.enter_async_context(self._dialer.connection(self._system.address, self._port))
        if isinstance(link, NoConnection):
            return link.ending
        name = self._system.server_name if self._tls else None
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(sock=link, ssl=self._tls, server_hostname=name, limit=64 << 10)
        except TimeoutError:
            return Ending.TIMEOUT
        except (OSError, EOFError):
            return Ending.TLS_FAILED if self._tls else Ending.CLOSED_BY_PEER
        self._stack.push_async_callback(_end, writer)
        return reader, writer, h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)

    def _request(self, question: Question) -> h11.Request:
        usual = 443 if self._tls else 80
        host = _bracketed(self._system.server_name) + ("" if self._port == usual else f":{self._port}")
        headers = [("Host", host), ("User-Agent", self._user_agent), ("Accept-Encoding", "identity"), *question.headers]
        if question.body is None:
            return h11.Request(method="GET", target=question.path, headers=headers)
        return h11.Request(method="POST", target=question.path, headers=[*headers, ("Content-Length", str(len(question.body)))])

    async def _answer(self, reader: asyncio.StreamReader, conversation: h11.Connection, most: int) -> Page | Ending:
        head: h11.Response | None = None
        body = bytearray()
        while True:
            event = conversation.next_event()
            if event is h11.NEED_DATA:
                conversation.receive_data(await reader.read(64 << 10))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if head is not None and len(body) >= most:
                    return _page(head, bytes(body[:most]), whole=False)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                if conversation.our_state is h11.DONE and conversation.their_state is h11.DONE:
                    conversation.start_next_cycle()
                else:
                    await self.hang_up()
                return _page(head, bytes(body), whole=True)
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return Ending.CLOSED_BY_PEER


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError, EOFError):
        await writer.wait_closed()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _page(head: h11.Response, body: bytes, *, whole: bool) -> Page:
    headers: dict[str, str] = {}
    for name, value in head.headers:
        headers.setdefault(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")[:1000])
    encoded = headers.get("content-encoding", "identity") != "identity"
    return Page(
        status=head.status_code,
        content_type=headers.get("content-type", ""),
        body=b"" if encoded else body,
        whole=whole and not encoded,
        server=headers.get("server", ""),
        challenge=headers.get("www-authenticate", ""),
        location=headers.get("location", "") if 300 <= head.status_code < 400 else "",
        allow_origin=headers.get("access-control-allow-origin", ""),
        allow_credentials=headers.get("access-control-allow-credentials", "") == "true",
    )
