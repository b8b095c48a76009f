"""Which HTTP server streams sealed bytes through TLS best, inside the one process that also runs our event loop.

    python bench/http_servers.py [NAME...]    measure those variants, or all that are installed
    python bench/http_servers.py serve NAME   one server, as the measurement starts it

Each variant serves the same ASGI application from a process of its own: 131 MB in AES-256-GCM chunks of 16 KiB, decrypted in a worker
thread one piece ahead of what is being sent. In the same event loop runs a plain echo listener, which stands for the DIMSE door: its
round trips show how much a stream holds up everything else. Needs curl; uses loopback alone; figures are medians of RUNS, so that on a
shared machine the seconds of CPU for each GB say more than the rates. granian and hypercorn are not installed with the project:
`pip install granian hypercorn uvloop`.
"""

import asyncio
import contextlib
import datetime
import importlib.util
import ipaddress
import json
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

SIZE = 131 * 1000 * 1000
CHUNK = 16 * 1024
READ = int(os.environ.get("READ_KIB", "1024")) * 1024
RUNS = 5
HEADER_SECONDS = 3.0
VARIANTS = ("uvicorn", "uvicorn+uvloop", "uvicorn+2threads", "uvicorn+uvloop+2threads", "granian", "granian+uvloop", "hypercorn", "threads")

# ruff: noqa: PLC0415, ANN401 # each variant imports its own server; ASGI is typed by each of them differently

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
KEY = b"k" * 32
RUNNING: list[asyncio.Task[Any]] = []
"""Servers that run in the loop: without a reference to it a task may vanish."""


def chunks(path: Path) -> Iterator[bytes]:
    """Read, decrypt and join READ bytes at a time."""
    aead = AESGCM(KEY)
    sealed = CHUNK + 16
    with path.open("rb", buffering=0) as file:
        number = 0
        while data := file.read(sealed * (READ // CHUNK)):
            opened = []
            for start in range(0, len(data), sealed):
                opened.append(aead.decrypt(number.to_bytes(12, "big"), data[start : start + sealed], None))
                number += 1
            yield b"".join(opened)


def write_sealed(path: Path) -> None:
    """Make the file that is streamed."""
    aead = AESGCM(KEY)
    plain = os.urandom(CHUNK)
    with path.open("wb") as file:
        for number in range(SIZE // CHUNK):
            file.write(aead.encrypt(number.to_bytes(12, "big"), plain, None))


def make_app(path: Path) -> App:
    """GET /stream, GET /small and PUT."""
    pool = ThreadPoolExecutor(2)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "PUT":
            total = 0
            while (message := await receive()).get("more_body"):
                total += len(message["body"])
            total += len(message.get("body", b""))
            body = str(total).encode()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})
            return
        if scope["path"] == "/small":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/octet-stream")]})
        loop = asyncio.get_running_loop()
        source = chunks(path)
        ahead = loop.run_in_executor(pool, next, source, None)
        while (chunk := await ahead) is not None:
            ahead = loop.run_in_executor(pool, next, source, None)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def echo_door(port: int) -> None:
    """Stand for the DIMSE door."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)  # type: ignore[attr-defined]

    await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS as `ssl` does it by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.set_alpn_protocols(["http/1.1"])
    return context


async def serve_uvicorn(folder: Path, port: int, app: App) -> None:
    """Serve with uvicorn's protocol on our own listener."""
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState

    class Bounded(HttpToolsProtocol):
        """What uvicorn lacks: a time limit and a size limit on a request's head."""

        head_timer: asyncio.TimerHandle | None = None
        head_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.head_timer = self.loop.call_later(HEADER_SECONDS, transport.abort)

        def data_received(self, data: bytes) -> None:
            if self.head_timer is not None:
                self.head_bytes += len(data)
            super().data_received(data)
            if self.head_timer is not None and self.head_bytes > 65536:
                self.transport.abort()

        def on_headers_complete(self) -> None:
            if self.head_timer is not None:
                self.head_timer.cancel()
                self.head_timer = None
            super().on_headers_complete()

    config = Config(app, lifespan="off", log_config=None, access_log=False, ws="none", server_header=False, date_header=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    await loop.create_server(
        lambda: Bounded(config, state, {}), "127.0.0.1", port, ssl=server_context(folder), ssl_handshake_timeout=HEADER_SECONDS
    )


async def serve_granian(folder: Path, port: int, app: App) -> None:
    """Serve with granian's embedded server: TLS in Rust, in threads of its own."""
    from granian.http import HTTP1Settings
    from granian.server.common import HTTPModes, Interfaces, SSLProtocols
    from granian.server.embed import Server

    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        ssl_cert=folder / "cert.pem",
        ssl_key=folder / "key8.pem",
        ssl_protocol_min=SSLProtocols.tls12,
        http1_settings=HTTP1Settings(header_read_timeout=int(HEADER_SECONDS * 1000), max_buffer_size=65536),
    )
    RUNNING.append(asyncio.get_running_loop().create_task(server.serve()))


async def serve_hypercorn(folder: Path, port: int, app: App) -> None:
    """Serve with hypercorn."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile = str(folder / "cert.pem")
    config.keyfile = str(folder / "key.pem")
    config.alpn_protocols = ["http/1.1"]
    config.keep_alive_timeout = HEADER_SECONDS
    config.read_timeout = None
    config.errorlog = None
    RUNNING.append(asyncio.get_running_loop().create_task(serve(app, config, shutdown_trigger=asyncio.Event().wait)))


def answer_blocking(sock: socket.socket, context: ssl.SSLContext, folder: Path) -> None:
    """Answer the few requests of the measurement, without any HTTP library."""
    with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                data = tls.recv(65536)
                head += data
                if not data or len(head) > 65536:
                    return
            if head.startswith(b"PUT"):
                take_upload(tls, head)
            if not head.startswith(b"GET /stream"):
                tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                continue
            tls.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for chunk in chunks(folder / "sealed"):
                tls.sendall(b"%x\r\n" % len(chunk))
                tls.sendall(chunk)
                tls.sendall(b"\r\n")
            tls.sendall(b"0\r\n\r\n")


def take_upload(tls: ssl.SSLSocket, head: bytes) -> None:
    """Read the body that follows `head`."""
    head, _, rest = head.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]) - len(rest)
    if b"100-continue" in head:
        tls.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    buffer = bytearray(READ)
    while length > 0:
        length -= tls.recv_into(buffer)


def serve_threads(folder: Path, port: int) -> None:
    """The floor: blocking sockets, OpenSSL writing straight to the socket, one thread a connection; no HTTP library at all."""
    context = server_context(folder)
    listener = socket.create_server(("127.0.0.1", port), backlog=64)

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer_blocking, args=(sock, context, folder), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve(name: str, folder: Path, port: int, echo_port: int) -> None:
    """Run one variant for ever."""
    app = make_app(folder / "sealed")

    async def door() -> None:
        if name.startswith("uvicorn"):
            await serve_uvicorn(folder, port, app)
        elif name.startswith("granian"):
            await serve_granian(folder, port, app)
        elif name == "hypercorn":
            await serve_hypercorn(folder, port, app)
        else:
            serve_threads(folder, port)

    async def here() -> None:
        await echo_door(echo_port)
        await door()
        await asyncio.Event().wait()

    async def elsewhere() -> None:
        await door()
        await asyncio.Event().wait()

    def runner(main: Callable[[], Any]) -> None:
        if "uvloop" in name:
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
                loop.run(main())
        else:
            asyncio.run(main())

    if "2threads" in name:

        async def only_echo() -> None:
            await echo_door(echo_port)
            await asyncio.Event().wait()

        threading.Thread(target=runner, args=(elsewhere,), daemon=True).start()
        asyncio.run(only_echo())
    else:
        runner(here)


# The measuring side


def free_port() -> int:
    """Give a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def prepare(folder: Path) -> None:
    """Make certificate, key and files."""
    key = rsa.generate_private_key(65537, 3072)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    for file, form in (("key.pem", serialization.PrivateFormat.TraditionalOpenSSL), ("key8.pem", serialization.PrivateFormat.PKCS8)):
        (folder / file).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    write_sealed(folder / "sealed")
    (folder / "upload").write_bytes(os.urandom(SIZE))


def curl(folder: Path, *arguments: str) -> float:
    """Run curl; gives the seconds it took."""
    command = ["curl", "-sS", "--fail", "--cacert", str(folder / "cert.pem"), "-o", "/dev/null", "-w", "%{time_total}", *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Echo:
    """Round trips through the event loop while something else goes on."""

    def __init__(self, port: int) -> None:
        self.times: list[float] = []
        self.port = port
        self.stop = threading.Event()

    def run(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.stop.is_set():
                begin = time.perf_counter()
                sock.sendall(b"x" * 100)
                sock.recv(200)
                self.times.append(time.perf_counter() - begin)
                time.sleep(0.002)

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def rss(pid: int) -> int:
    """Give the largest resident size so far, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """Give user and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def small_latency(folder: Path, port: int) -> list[float]:
    """Time small requests on one connection."""
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    times = []
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(500):
            begin = time.perf_counter()
            tls.sendall(b"GET /small HTTP/1.1\r\nhost: localhost\r\n\r\n")
            data = b""
            while not data.endswith(b"ok"):
                data += tls.recv(4096)
            times.append(time.perf_counter() - begin)
    return times


def slow_head(folder: Path, port: int) -> float | None:
    """Seconds until a client that sends one byte of its head each half second is cut off; None: not within 12 seconds."""
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    begin = time.perf_counter()
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.settimeout(0.5)
        for byte in b"GET /small HTTP/1.1\r\nx-padding: " + b"a" * 1000:
            tls.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if not tls.recv(1000):
                    break
                break
            if time.perf_counter() - begin > 12:
                return None
    return round(time.perf_counter() - begin, 1)


def large_head(folder: Path, port: int) -> str:
    """What becomes of a head of 64 MB."""
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    sent = 0
    try:
        with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
            tls.settimeout(10)
            tls.sendall(b"GET /small HTTP/1.1\r\nhost: localhost\r\n")
            for _ in range(64_000):
                tls.sendall(b"x-padding: " + b"a" * 987 + b"\r\n")
                sent += 1000
            tls.sendall(b"\r\n")
            return "answered " + tls.recv(100).split(b"\r\n")[0].decode()
    except OSError as error:
        return f"cut after {sent // 1000} kB ({type(error).__name__})"


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Start one variant and measure it."""
    port, echo_port = free_port(), free_port()
    process = subprocess.Popen([sys.executable, __file__, "serve", name, str(folder), str(port), str(echo_port)], stderr=subprocess.DEVNULL)
    try:
        base = f"https://localhost:{port}"
        for _ in range(100):
            with contextlib.suppress(subprocess.CalledProcessError):
                curl(folder, f"{base}/small")
                break
            time.sleep(0.1)
        small = small_latency(folder, port)
        curl(folder, f"{base}/stream")
        before = cpu_seconds(process.pid)
        down = [SIZE / curl(folder, f"{base}/stream") / 1e9 for _ in range(RUNS)]
        cpu_down = (cpu_seconds(process.pid) - before) / RUNS
        up = [SIZE / curl(folder, "-T", str(folder / "upload"), f"{base}/up") / 1e9 for _ in range(RUNS)]
        with Echo(echo_port) as echo:
            for _ in range(RUNS):
                curl(folder, f"{base}/stream")
        memory = rss(process.pid)
        slow = subprocess.Popen(["curl", "-s", "-k", "--limit-rate", "1M", "-o", "/dev/null", f"{base}/stream"])
        time.sleep(4)
        slow_memory = rss(process.pid)
        slow.kill()
        slow.wait()
        echo_times = sorted(echo.times)
        result = {
            "down_GB_s": round(statistics.median(down), 2),
            "cpu_s_per_GB": round(cpu_down / (SIZE / 1e9), 2),
            "up_GB_s": round(statistics.median(up), 2),
            "small_us": round(statistics.median(small) * 1e6),
            "echo_ms_p50": round(statistics.median(echo_times) * 1e3, 2),
            "echo_ms_p99": round(echo_times[int(len(echo_times) * 0.99)] * 1e3, 2),
            "rss_MB": memory,
            "rss_slow_reader_MB": slow_memory,
            "slow_head_s": slow_head(folder, port),
            "large_head": large_head(folder, port),
            "rss_after_MB": rss(process.pid),
        }
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return result


def installed(name: str) -> bool:
    """Say whether a variant can run here."""
    parts = name.split("+")
    return all(part in {"threads", "2threads"} or importlib.util.find_spec(part) is not None for part in parts)


def main(names: list[str]) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        for name in names or VARIANTS:
            if not installed(name):
                print(f"{name}: not installed")
                continue
            print(name, json.dumps(measure(name, folder)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        main(sys.argv[1:])
