"""The bounds of the HTTP server, each met by a client that would hold it up."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

import psutil
import pytest
import requests
from starlette.types import Receive, Scope, Send

from leadglass.wire.dicomweb.server import Bounds, WebServer
from tests.dicomweb.conftest import Running, Serve, Tls

QUICK = Bounds(
    head_seconds=1, idle_seconds=1, linger_seconds=1, stall_seconds=1, handshake_seconds=1, max_head_bytes=8192, send_buffer_bytes=65536
)


class Application:
    """Says hello, streams without end, stops in the middle, or reads a body, and remembers how that ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.clients: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.clients.append(scope["client"][0])
        if scope["path"] == "/endless":
            await self.endless(receive, send)
            return
        if scope["path"] == "/unended":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            # As one piece, it goes into the send buffer whole.
            await send({"type": "http.response.body", "body": bytes(64_000_000), "more_body": True})
            return
        if scope["path"] == "/read":
            while (message := await receive()).get("more_body"):
                pass
            self.ended.append(message["type"])
        body = b"hello"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": body})

    async def endless(self, receive: Receive, send: Send) -> None:
        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        waiting = asyncio.create_task(gone())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not waiting.done():
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            await asyncio.sleep(0)
        self.ended.append("gone")


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def server(serve: Serve, app: Application) -> Iterator[Running]:
    with serve(app, QUICK) as running:
        yield running


def closed_after(connection: ssl.SSLSocket) -> tuple[float, bytes]:
    """Seconds until the other side ends the connection, and what it said before."""
    begin = time.monotonic()
    said = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := connection.recv(65536):
            said += data
    return time.monotonic() - begin, said


def test_it_answers_and_keeps_the_connection(server: Running) -> None:
    with requests.Session() as session:
        assert [session.get(server.url, verify=str(server.tls.certificate)).text for _ in range(3)] == ["hello"] * 3


def test_it_names_no_product_and_no_version(server: Running) -> None:
    answer = requests.get(server.url, verify=str(server.tls.certificate), timeout=5)
    assert "server" not in answer.headers


def test_a_forwarded_address_is_not_believed(server: Running, app: Application) -> None:
    fields = {"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=10.1.2.3"}
    requests.get(server.url, verify=str(server.tls.certificate), headers=fields, timeout=5)
    assert app.clients == ["127.0.0.1"]


def test_plain_http_gets_nothing(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            # At most a TLS alert.
            assert len(plain.recv(1000)) < 10


def test_a_client_that_says_nothing_is_cut_off(server: Running) -> None:
    with server.connection() as connection:
        seconds, said = closed_after(connection)
    assert (0.5 < seconds < 4, said) == (True, b"")


def test_a_client_that_never_shakes_hands_is_cut_off(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        begin = time.monotonic()
        assert plain.recv(100) == b""
        assert 0.5 < time.monotonic() - begin < 6


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"], ids=["first", "second"])
def test_a_head_that_trickles_is_cut_off(server: Running, before: bytes) -> None:
    begin = time.monotonic()
    with server.connection() as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(before)
        for byte in b"GET / HTTP/1.1\r\nx: " + b"y" * 200:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
    assert 0.5 < time.monotonic() - begin < 5


def test_an_idle_connection_is_closed(server: Running) -> None:
    with server.connection() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        seconds, said = closed_after(connection)
    assert said.endswith(b"hello")
    assert 0.5 < seconds < 4


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 400_000,
        b"GET / HTTP/1.1\r\nx: " + b"y" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000,
        b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"e" * 400_000,
        b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 100_000,
    ],
    ids=["target", "field", "fields", "chunk extension", "trailers"],
)
def test_a_head_without_end_is_refused(server: Running, request_: bytes) -> None:
    before = psutil.Process().memory_info().rss
    with server.connection() as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(request_)
        _, said = closed_after(connection)
        assert said[:12] in {b"HTTP/1.1 431", b"HTTP/1.1 400", b""}
    assert psutil.Process().memory_info().rss - before < 30_000_000
    assert requests.get(server.url, verify=str(server.tls.certificate), timeout=5).text == "hello"


def test_a_thousand_requests_at_once_are_refused(server: Running, app: Application) -> None:
    with server.connection() as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)
        closed_after(connection)
    assert len(app.clients) < 100


def test_a_reader_that_stalls_is_cut_off_and_the_answer_ended(server: Running, app: Application) -> None:
    with server.connection() as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.recv(100)
        deadline = time.monotonic() + 8
        while not app.ended and time.monotonic() < deadline:
            time.sleep(0.05)
    assert app.ended == ["gone"]


def test_a_client_that_leaves_ends_the_answer(server: Running, app: Application) -> None:
    with server.connection() as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.recv(100)
    deadline = time.monotonic() + 8
    while not app.ended and time.monotonic() < deadline:
        time.sleep(0.05)
    assert app.ended == ["gone"]


def test_an_answer_before_the_body_is_read_and_the_rest_thrown_away(server: Running) -> None:
    with server.connection() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            connection.sendall(bytes(900_000))
        begin = time.monotonic()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while time.monotonic() - begin < 10:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - begin < 5


def test_an_answer_before_the_body_was_read_is_the_last_of_its_connection(server: Running, app: Application) -> None:
    with server.connection() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert b"\r\nconnection: close\r\n" in connection.recv(1000).lower()
        # Parsed, this would be the body's end and another request.
        connection.sendall(b"2\r\nxx\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n")
        seconds, said = closed_after(connection)
    assert (b"HTTP" in said, len(app.clients)) == (False, 1)
    assert 0.5 < seconds < 4


def test_what_follows_an_answer_before_the_body_was_read_is_not_taken_without_end(server: Running) -> None:
    sent = 0
    with server.connection() as connection, contextlib.suppress(OSError):
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        while sent < 200_000_000:
            sent += connection.send(b"10000\r\n" + bytes(65536) + b"\r\n")
    # What the kernels on both sides hold, and 256 KiB.
    assert sent < 50_000_000


def test_a_body_in_tiny_chunks_is_refused(server: Running, app: Application) -> None:
    with server.connection() as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.sendall(b"2\r\nxx\r\n" * 4000 + b"0\r\n\r\n")
        _, said = closed_after(connection)
        assert said[:12] in {b"HTTP/1.1 400", b""}
    deadline = time.monotonic() + 8
    while not app.ended and time.monotonic() < deadline:
        time.sleep(0.05)
    assert app.ended == ["http.disconnect"]


def test_a_body_whose_chunks_are_mostly_framing_is_refused(server: Running, app: Application) -> None:
    chunk = b"400;" + b"e" * 4096 + b"\r\n" + bytes(1024) + b"\r\n"
    with server.connection() as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(1000):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        closed_after(connection)
    deadline = time.monotonic() + 8
    while not app.ended and time.monotonic() < deadline:
        time.sleep(0.05)
    assert app.ended == ["http.disconnect"]


def test_a_long_body_in_chunks_of_a_usual_size_is_read_to_its_end(server: Running, app: Application) -> None:
    pieces = (bytes(512) for _ in range(40_000))
    answer = requests.post(f"{server.url}/read", data=pieces, verify=str(server.tls.certificate), timeout=60)
    assert (answer.text, app.ended) == ("hello", ["http.request"])


def test_an_answer_that_is_not_whole_is_broken_off_with_what_waits_to_be_sent(server: Running) -> None:
    received = 0
    with server.connection() as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(b"GET /unended HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.5)
        while data := connection.recv(65536):
            received += len(data)
    assert received < 40_000_000


def test_connections_are_bounded_for_each_address(serve: Serve, app: Application) -> None:
    bounds = Bounds(max_connections_per_address=3)
    with serve(app, bounds) as running, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(running.connection())
        with pytest.raises((ConnectionError, ssl.SSLError)), running.connection():
            pass
    with serve(app, bounds) as running:
        for _ in range(10):
            with running.connection():
                pass


def test_it_stops_although_clients_hold_on(serve: Serve, app: Application) -> None:
    with contextlib.ExitStack() as stack, serve(app) as running:
        stack.enter_context(running.connection())
        busy = stack.enter_context(running.connection())
        busy.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        busy.recv(100)
        # Left here only when the server's thread has ended.
    assert app.ended in (["gone"], [])


def test_it_listens_on_ipv6(tls: Tls, app: Application) -> None:
    async def main() -> None:
        server = WebServer(app, tls.server())
        port = await server.start("::1", 0)
        reader, writer = await asyncio.open_connection("::1", port, ssl=tls.client(), server_hostname="localhost")
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        await server.stop()

    asyncio.run(main())
