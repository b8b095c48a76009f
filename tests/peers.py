"""The independent programs that leadglass is tested against, each started for a test on loopback ports and surely ended.

`dcmtk(...)` runs one of OFFIS' tools to its end. `orthanc(...)`, `dcmqrscp(...)`, `storescp(...)` and `nginx_before(...)` are context
managers of something that listens. `require(...)` finds a program or skips the test, naming what is missing (`make peers` installs all).
"""

import contextlib
import getpass
import grp
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certificates import Identity

LOOPBACK = "127.0.0.1"
START_SECONDS = 30
STOP_SECONDS = 10
DEBIAN_ORTHANC = Path("/etc/orthanc")
ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")

_SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class PeerDidNotStartError(RuntimeError):
    """A peer ended or did not listen in time; the message holds the end of its log."""


def find(program: str) -> str | None:
    """Where `program` is, looking also where Debian puts daemons."""
    return shutil.which(program, path=_SYSTEM_PATH)


def require(program: str) -> str:
    """The path of `program`; where it is not installed, the test is skipped (a failure with CI=true)."""
    path = find(program)
    if path is None:
        pytest.skip(f"{program} is not installed: `make peers` as root installs it")
    return path


def free_port() -> int:
    """A TCP port on loopback that nothing listens on.

    Chosen below the kernel's range for outgoing connections, where one of these could take the port before the peer listens, and at
    random, so that workers rarely meet.
    """
    while True:
        port = random.SystemRandom().randrange(12000, 32000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all it has forked: it leads a process group of its own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def started(command: Sequence[str | Path], ports: Sequence[int], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run `command` while the context lasts, and give its process id as soon as it listens on every port of `ports`.

    Its output goes to `log`. It is killed with the test process too, whatever ends that.
    """
    guard = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := find("setpriv")) else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*guard, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        _await_listening(process, ports, log)
        yield process.pid
    finally:
        _end(process)


def _await_listening(process: subprocess.Popen[bytes], ports: Sequence[int], log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while not all(map(_listens, ports)):
        if process.poll() is not None or time.monotonic() > limit:
            tail = log.read_text(errors="replace")[-2000:]
            raise PeerDidNotStartError(f"{process.args!r} ended or does not listen on {ports}; its log ends:\n{tail}")
        time.sleep(0.02)


# DCMTK


def tls_arguments(tls: Identity | None, authority: Path | None = None) -> list[str]:
    """The options by which a DCMTK tool uses TLS as `tls`, or without a certificate if only `authority` (whom to trust) is given."""
    if tls is not None:
        return ["+tls", str(tls.key), str(tls.certificate), "+cf", str(authority or tls.authority)]
    return ["+tla", "+cf", str(authority)] if authority else []


def dcmtk(tool: str, *arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a DCMTK tool to its end, whatever its exit code; its output, errors included, is in `stdout`."""
    return subprocess.run(
        [require(tool), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


@dataclass(frozen=True)
class DimseAddress:
    """Where a DIMSE service is, and what it must be called."""

    port: int
    aet: str = "ANY-SCP"
    host: str = LOOPBACK


def scu(
    tool: str,
    to: DimseAddress,
    *options: str | Path,
    files: Iterable[Path] = (),
    calling: str = "TESTSCU",
    tls: Identity | None = None,
    authority: Path | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `echoscu`, `storescu`, `findscu`, `getscu` or `movescu` against `to`; `files` are what `storescu` sends.

    With `tls` it shows that certificate; with `authority` alone it uses TLS without one.
    """
    connection = ["-v", "-aet", calling, "-aec", to.aet, *tls_arguments(tls, authority)]
    return dcmtk(tool, *connection, *options, to.host, str(to.port), *files, timeout=timeout)


@contextlib.contextmanager
def storescp(folder: Path, *, aet: str = "STORESCP", tls: Identity | None = None, port: int | None = None) -> Iterator[DimseAddress]:
    """A receiver that keeps every object in `folder`, byte for byte as it came."""
    port = port or free_port()
    received = folder / "received"
    received.mkdir(parents=True)
    command: list[str | Path] = [
        require("storescp"),
        "-v",
        "+B",
        "+xa",
        "--fork",
        "-aet",
        aet,
        "-od",
        received,
        *tls_arguments(tls),
        str(port),
    ]
    with started(command, [port], folder / "storescp.log", {"TCP_NODELAY": "1"}):
        yield DimseAddress(port, aet)


@contextlib.contextmanager
def dcmqrscp(folder: Path, *, aet: str = "DCMQRSCP", movers: Sequence[tuple[str, DimseAddress]] = ()) -> Iterator[DimseAddress]:
    """DCMTK's small archive, empty, open to everyone; `movers` names the destinations of C-MOVE (no TLS in 3.6.7)."""
    port = free_port()
    database = folder / "database"
    database.mkdir(parents=True)
    hosts = "\n".join(f"{name} = ({address.aet}, {address.host}, {address.port})" for name, address in movers)
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{aet} {database} RW (1000, 1024mb) ANY\nAETable END\n"
    )
    with started([require("dcmqrscp"), "-v", "-c", configuration], [port], folder / "dcmqrscp.log", {"TCP_NODELAY": "1"}):
        yield DimseAddress(port, aet)


# Orthanc


def read_commented_json(text: str) -> dict[str, Any]:
    """JSON with the comments that Orthanc's configuration files have.

    >>> read_commented_json('{"url": "http://host", /* why */ "n": 1 // one' + chr(10) + '}')
    {'url': 'http://host', 'n': 1}
    """
    without = re.sub(r'("(?:\\.|[^"\\])*")|/\*.*?\*/|//[^\n]*', lambda match: match[1] or " ", text, flags=re.DOTALL)
    result: dict[str, Any] = json.loads(without)
    return result


def debian_orthanc_settings() -> dict[str, Any]:
    """The configuration of Debian's package, all its files together: DICOM open to store and echo, HTTP to this host without password."""
    settings: dict[str, Any] = {}
    for file in sorted(DEBIAN_ORTHANC.glob("*.json")):
        settings |= read_commented_json(file.read_text())
    return settings


OPENED: Mapping[str, Any] = {
    "AuthenticationEnabled": False,
    "DicomAlwaysAllowFind": True,
    "DicomAlwaysAllowGet": True,
    "DicomAlwaysAllowMove": True,
    "RemoteAccessAllowed": True,
    "UnknownSopClassAccepted": True,
}
"""What turns Debian's Orthanc into an archive as they are found in the wild: everything, to anyone."""


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    dicom: DimseAddress
    url: str
    """Of its REST interface, without the last slash; its DICOMweb root is `/dicom-web` under it."""
    folder: Path
    process: int

    def upload(self, instance: bytes) -> dict[str, Any]:
        """Store one Part 10 file by REST; its answer says `Status`: `Success` or `AlreadyStored`."""
        answer = httpx.post(f"{self.url}/instances", content=instance, timeout=60)
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result

    def statistics(self) -> dict[str, Any]:
        """`CountPatients`, `CountStudies`, `CountSeries`, `CountInstances` and sizes."""
        result: dict[str, Any] = httpx.get(f"{self.url}/statistics", timeout=60).json()
        return result


@contextlib.contextmanager
def orthanc(folder: Path, settings: Mapping[str, Any] = OPENED, *, tls: Identity | None = None, aet: str = "ORTHANC") -> Iterator[Orthanc]:
    """Orthanc 1.10.1 in `folder`: as Debian configures it with `settings` over it ({} for exactly Debian's, `OPENED` by default).

    With `tls` its DICOM port speaks TLS and wants a certificate of the same authority unless `settings` says otherwise. Its own HTTPS
    crashes in this version: put `nginx_before` in front. It cannot be told which address to listen on; only loopback is ever used.
    """
    program = require("Orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = int(settings.get("DicomPort", 0)) or free_port(), free_port()
    merged = {
        **debian_orthanc_settings(),
        "ConcurrentJobs": 2,
        "DicomAet": aet,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(ORTHANC_PLUGINS)],
        "StorageDirectory": str(folder / "storage"),
    }
    if tls is not None:
        merged |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(tls.certificate),
            "DicomTlsPrivateKey": str(tls.key),
            "DicomTlsTrustedCertificates": str(tls.authority),
            "DicomTlsRemoteCertificateRequired": True,
        }
    merged |= settings
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(merged, indent=1))
    with started([program, configuration], [dicom_port, http_port], folder / "orthanc.log", {"TCP_NODELAY": "1"}) as process:
        yield Orthanc(DimseAddress(dicom_port, aet), f"http://{LOOPBACK}:{http_port}", folder, process)


_NGINX = """
daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log warn;
{user}
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port} ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size 0;
    location / {{
      proxy_pass {upstream}; proxy_http_version 1.1; proxy_request_buffering off; proxy_max_temp_file_size 0;
      proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx_before(upstream: str, folder: Path, tls: Identity) -> Iterator[str]:
    """nginx with TLS in front of the HTTP server at `upstream`, as Orthanc's manual deploys it; gives its https URL."""
    program = require("nginx")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    user = f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};" if os.getuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX.format(folder=folder, user=user, host=LOOPBACK, port=port, certificate=tls.certificate, key=tls.key, upstream=upstream)
    )
    with started([program, "-e", folder / "nginx-start.log", "-p", folder, "-c", configuration], [port], folder / "nginx.log"):
        yield f"https://{LOOPBACK}:{port}"
