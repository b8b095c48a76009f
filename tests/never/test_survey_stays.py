"""The survey speaks to what its scope names and to nobody else, keeps no patient's value, and stores nothing, by the kernel's account."""

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests import peers
from tests.archives import COMMAND
from tests.never.canary import CANARY, CANARY_UID, VISIBLE, found_in, found_under
from tests.never.house import write_objects
from tests.survey.harness import scope_text
from tests.survey.servers import Asked, answering, talking

_CALLS = "connect,sendto,sendmsg,sendmmsg,write,writev,openat,rename,renameat"
_CONNECTED = re.compile(r"connect\(\d+, \{sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?inet_(?:addr|pton)\((?:AF_INET6, )?\"([^\"]+)\"")
_ADDRESSED = re.compile(r"(?:sendto|sendmsg|sendmmsg)\(\d+, .*sa_family=AF_INET")
_OPENED = re.compile(r'openat\(AT_FDCWD, "([^"]+)", [^)]*O_(?:WRONLY|RDWR)')
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
STORE = re.compile(rb"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x00")
"""(0000,0100) Command Field = 0001H, a C-STORE request, in implicit little endian."""


def surveyed(folder: Path, scope: str) -> tuple[str, str]:
    """`leadglass survey` of the scope; what it did in words, and every byte it wrote or sent in hexadecimal."""
    (folder / "scope.toml").write_text(scope)
    (folder / "tmp").mkdir()
    command = [COMMAND, "survey", folder / "scope.toml", "--out", folder / "out", "--level", "retrieve"]
    said = []
    for name, more in (("words", ["-s", "300"]), ("bytes", ["-xx", "-s", "1000000"])):
        trace = folder / f"trace-{name}"
        tracing = [peers.require("strace"), "-f", "-qq", "-o", str(trace), "-e", f"trace={_CALLS}", *more]
        environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder / "tmp"), "HOME": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([*tracing, *map(str, command)], env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1, done.stderr
        assert found_in((done.stdout + done.stderr).encode(), [CANARY, VISIBLE]) == set()
        said.append(trace.read_text(errors="replace"))
    return said[0], said[1]


def elsewhere(url: str) -> Callable[[Asked], None]:
    """A DICOMweb server that says of everything that it lies at `url`."""
    row = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Quastenflosser^Xaverine"}]},
        "00100020": {"vr": "LO", "Value": ["QX-7313-ZK"]},
        "0020000D": {"vr": "UI", "Value": [f"{CANARY_UID}.1"]},
        "0020000E": {"vr": "UI", "Value": [f"{CANARY_UID}.1.1"]},
        "00080018": {"vr": "UI", "Value": [f"{CANARY_UID}.1.1.1"]},
        "00081190": {"vr": "UR", "Value": [f"{url}/studies/1"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": f"{url}/bulk"},
    }

    def answer(asked: Asked) -> None:
        path = asked.path.partition("?")[0]
        if path.endswith(("/studies", "/series", "/instances")):
            asked.answer(
                json.dumps([row]).encode(), "application/dicom+json", headers={"Link": f"<{url}>; rel=next", "Content-Location": url}
            )
        else:
            asked.answer(b"", status=307, headers={"Location": url})

    return answer


def test_the_survey_stays_where_it_may_and_keeps_nothing(tmp_path: Path) -> None:
    everything, _ = write_objects(tmp_path / "objects")
    with ExitStack() as undo:
        orthanc = undo.enter_context(peers.orthanc(tmp_path / "orthanc"))
        for path in everything:
            orthanc.upload(path.read_bytes())
        small = undo.enter_context(peers.dcmqrscp(tmp_path / "dcmqrscp"))
        sent = peers.scu("storescu", small, files=everything)
        assert sent.returncode == 0, sent.stdout
        trap = undo.enter_context(talking(lambda _: None, "127.0.0.99"))
        other = undo.enter_context(talking(lambda _: None, "127.0.0.99"))
        tempting = undo.enter_context(answering(elsewhere(f"http://127.0.0.99:{trap.port}")))
        orthanc_web = int(orthanc.url.rpartition(":")[2])
        targets: list[dict[str, object]] = [
            {"name": "orthanc", "host": "127.0.0.1", "dimse_ports": [orthanc.dicom.port], "web_ports": [orthanc_web]},
            {"name": "dcmqrscp", "host": "127.0.0.1", "dimse_ports": [small.port], "called_aet": small.aet},
            {"name": "tempting", "host": "127.0.0.1", "web_ports": [tempting.port]},
            # A name that leads to where the scope does not go.
            {"name": "out", "host": "localhost.localdomain", "dimse_ports": [other.port], "web_ports": [trap.port]},
            {"name": "opted out", "host": "127.0.0.99", "dimse_ports": [other.port], "web_ports": [trap.port]},
        ]
        before = orthanc.statistics()["CountInstances"]
        words, data = surveyed(tmp_path, scope_text(targets, limits={"opt_out": ["127.0.0.99/32", "::1/128"]}))
        assert orthanc.statistics()["CountInstances"] == before
        assert trap.connections == other.connections == []
        assert any("studies" in path for path in tempting.paths)
    connected = {(address, int(port)) for port, address in _CONNECTED.findall(words)}
    reached = {orthanc.dicom.port, orthanc_web, small.port, tempting.port}
    # The resolver's own questions go to the name server, not to a target; here /etc/hosts answers or nobody does.
    assert {each for each in connected if each[1] != 53} == {("127.0.0.1", port) for port in reached}
    assert not [line for line in words.splitlines() if _ADDRESSED.search(line) and "htons(53)" not in line]
    written = {Path(name) for name in _OPENED.findall(words)} - {Path("/dev/null"), Path("/dev/tty")}
    assert {path for path in written if path.parent != tmp_path / "out"} == set()
    assert list((tmp_path / "tmp").iterdir()) == []
    # It was there to be had, and was had: images were retrieved from both.
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    levels = {target["name"]: target["level"] for target in results["targets"]}
    assert levels["orthanc"] == levels["dcmqrscp"] == "images", levels
    assert found_under(tmp_path / "out") == {}
    went_out = b"".join(bytes.fromhex(text.replace("\\x", "")) for line in data.splitlines() for text in _STRING.findall(line))
    assert len(went_out) > 5000
    assert STORE.search(went_out) is None
    # The pixels stay where they are; of texts, the UIDs of what is asked for must go back to where they came from.
    assert found_in(went_out, [CANARY]) <= {CANARY_UID}


def test_a_c_store_would_have_been_seen(tmp_path: Path) -> None:
    """The search for C-STORE requests finds dcmtk's."""
    (path, *_), _ = write_objects(tmp_path / "objects")
    with peers.dcmqrscp(tmp_path / "dcmqrscp") as small:
        trace = tmp_path / "trace"
        tracing = [peers.require("strace"), "-f", "-qq", "-xx", "-s", "1000000", "-o", str(trace), "-e", f"trace={_CALLS}"]
        command = [peers.require("storescu"), "-aec", small.aet, small.host, str(small.port), str(path)]
        subprocess.run([*tracing, *command], check=True)
    sent = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(trace.read_text()))
    assert STORE.search(sent)
