"""An archive as they are found in the wild: Orthanc opened to anyone where it is installed, else a small exposed server of ours."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leadglass.errors import PeerFailed

HOST = "127.0.0.1"
_PLUGINS = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_SECONDS = 20.0


@dataclass(frozen=True)
class WildArchive:
    """Where the open archive listens, and what it is; no web port where it has no web door."""

    name: str
    dimse_port: int
    web_port: int | None
    aet: str


def find_orthanc() -> str | None:
    """The path of Orthanc's program, which Debian puts where only root's PATH looks."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def orthanc(program: str, folder: Path) -> Iterator[WildArchive]:
    """Orthanc with nothing in the way: any calling AE title, every service, no sign-in."""
    dimse_port, web_port = free_port(), free_port()
    settings = {
        "Name": "open archive",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": "ORTHANC",
        "DicomPort": dimse_port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "HttpPort": web_port,
        # Open to this machine alone: the demo shows an open archive, it does not put one on your network.
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(_PLUGINS)] if _PLUGINS.exists() else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    folder.mkdir(parents=True)
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        # Without TCP_NODELAY each of its answers waits 40 ms for a delayed acknowledgement.
        environment = {**os.environ, "TCP_NODELAY": "1"}
        process = subprocess.Popen([program, str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)  # noqa: S603 - looked up
    try:
        for port in (dimse_port, web_port):
            _wait_for(port, process)
        yield WildArchive("Orthanc, open", dimse_port, web_port, "ORTHANC")
    finally:
        # Its folder goes with it: there is nothing to put in order, which takes it three seconds.
        process.kill()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if process.poll() is not None:
                raise PeerFailed(f"Orthanc ended at once (exit code {process.returncode}); its log says why") from None
            time.sleep(0.05)
        else:
            return
    raise PeerFailed(f"Orthanc did not listen within {_START_SECONDS:.0f} s; its log says why")
