"""What a survey does to the world, by the kernel's account: whom it connects to, and which files it writes."""

import re
import subprocess
import sys
from pathlib import Path

import pydicom

from tests import peers, samples
from tests.survey.harness import scope_text
from tests.survey.servers import answering

_CONNECT = re.compile(r"connect\(\d+, \{sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?inet_(?:addr|pton)\((?:AF_INET6, )?\"([^\"]+)\"")
_SENT = re.compile(r"(?:sendto|sendmsg)\(\d+, .*sa_family=AF_INET")
_OPENED = re.compile(r"openat\(AT_FDCWD, \"([^\"]+)\", [^)]*O_(?:WRONLY|RDWR)")


def traced_survey(folder: Path) -> str:
    """Run the survey of folder/scope.toml in a process of its own; the trace of its system calls."""
    program = "import pathlib, sys; from leadglass.survey.run import survey; survey(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    trace = folder / "trace"
    (folder / "tmp").mkdir()
    command = [
        peers.require("strace"),
        "-f",
        "-e",
        "trace=connect,sendto,sendmsg,openat,rename,renameat",
        "-s",
        "300",
        "-o",
        str(trace),
    ]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder / "tmp")}
    environment["PYTHONPATH"] = ":".join(path for path in sys.path if path)
    done = [*command, sys.executable, "-c", program, str(folder / "scope.toml"), str(folder / "out")]
    subprocess.run(done, env=environment, check=True, timeout=120)
    return trace.read_text(errors="replace")


def test_a_survey_connects_to_what_the_scope_names_and_writes_only_its_results(tmp_path: Path) -> None:
    image = pydicom.dcmread(samples.sample("CT_small.dcm"))
    image.PatientName = "Planted^Zebedee"
    image.save_as(tmp_path / "planted.dcm")
    with (
        peers.orthanc(tmp_path / "orthanc") as archive,
        answering(lambda asked: asked.answer(b"", status=302, headers={"Location": "http://127.0.0.99:1/"})) as tempting,
    ):
        archive.upload((tmp_path / "planted.dcm").read_bytes())
        ports = {archive.dicom.port, int(archive.url.rpartition(":")[2]), tempting.port}
        target = {"name": "a", "host": "127.0.0.1", "dimse_ports": [archive.dicom.port], "web_ports": sorted(ports - {archive.dicom.port})}
        opted_out = {"name": "b", "host": "127.0.0.50", "dimse_ports": [archive.dicom.port]}
        (tmp_path / "scope.toml").write_text(scope_text([target, opted_out], limits={"opt_out": ["127.0.0.50/32"]}))
        trace = traced_survey(tmp_path)
        assert archive.statistics()["CountInstances"] == 1
    connected = {(address, int(port)) for port, address in _CONNECT.findall(trace)}
    assert connected == {("127.0.0.1", port) for port in ports}
    assert not _SENT.search(trace)
    written = {Path(name) for name in _OPENED.findall(trace)} - {Path("/dev/null"), Path("/dev/tty")}
    assert written
    assert all(path.parent == tmp_path / "out" for path in written)
    assert not list((tmp_path / "tmp").iterdir())
    assert not any(b"Zebedee" in path.read_bytes() for path in (tmp_path / "out").iterdir())
