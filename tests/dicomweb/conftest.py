"""A server of ours, in a thread with an event loop of its own, reached over TLS as any client reaches it."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.types import ASGIApp

from leadglass.wire.dicomweb.server import Bounds, WebServer


@dataclass(frozen=True)
class Tls:
    certificate: Path
    key: Path

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = Tls(folder / "cert.pem", folder / "key.pem")
    paths.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


@dataclass(frozen=True)
class Running:
    port: int
    tls: Tls

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @contextlib.contextmanager
    def connection(self) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
            self.tls.client().wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            yield connection


Serve = Callable[..., contextlib.AbstractContextManager[Running]]


@pytest.fixture
def serve(tls: Tls) -> Serve:
    @contextlib.contextmanager
    def serving(app: ASGIApp, bounds: Bounds | None = None) -> Iterator[Running]:
        started = threading.Event()
        ports: list[int] = []
        loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def main() -> None:
            stop = asyncio.Event()
            server = WebServer(app, tls.server(), bounds or Bounds())
            ports.append(await server.start("127.0.0.1", 0))
            loops.append((asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()
            await server.stop(1.0)

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        assert started.wait(10)
        try:
            yield Running(ports[0], tls)
        finally:
            loop, stop = loops[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join(20)
            assert not thread.is_alive()

    return serving
