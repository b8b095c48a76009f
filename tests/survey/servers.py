"""Small servers for one test: they answer as archives do, as they should not, or as an attacker would."""

import contextlib
import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Talk = Callable[[socket.socket], object]
Answer = Callable[["Asked"], object]


@dataclass
class Listener:
    """Where a small server listens, and what it has seen."""

    host: str
    port: int
    connections: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)


def hang_up(_: socket.socket) -> None:
    """Say nothing and close."""


@contextlib.contextmanager
def talking(talk: Talk, host: str = "127.0.0.1") -> Iterator[Listener]:
    """A TCP server that gives every connection to `talk`; whatever `talk` raises when the other side has gone is its end."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            listener.connections.append(self.client_address[0])
            with contextlib.suppress(OSError):
                talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server((host, 0), Handler) as server:
        listener = Listener(host, server.server_address[1])
        with _serving(server, listener):
            yield listener


class Asked(http.server.BaseHTTPRequestHandler):
    """One request, to be answered by `answer` or by hand."""

    protocol_version = "HTTP/1.1"

    def answer(self, body: bytes, kind: str = "text/html", status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def answering(answer: Answer, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    """A web server that gives every request to `answer`."""

    class Handler(Asked):
        def do_GET(self) -> None:
            listener.paths.append(self.path)
            listener.agents.add(self.headers.get("User-Agent", ""))
            with contextlib.suppress(OSError):
                answer(self)

        def do_POST(self) -> None:
            self.do_GET()

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A client that leaves is none."""

    with Server((host, 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        listener = Listener(host, server.server_address[1])
        with _serving(server, listener):
            yield listener


@contextlib.contextmanager
def _serving(server: socketserver.TCPServer, listener: Listener) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        listener.stopping.set()
        server.shutdown()
        thread.join()
