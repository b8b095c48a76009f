"""The demo's story, step by step; every step is the real thing."""

import asyncio
import json
import secrets
import select
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from leadglass.assemble.founding import Founding, found
from leadglass.assemble.operator import operator
from leadglass.assemble.verifying import verify_trail
from leadglass.config import Address, parse_address
from leadglass.demo.exposed import unsafe_exposed_archive
from leadglass.demo.images import Image, files, from_the_scanner, images
from leadglass.demo.modality import Destination, send
from leadglass.demo.web import WebClient
from leadglass.demo.wild import HOST, WildArchive, find_orthanc, orthanc
from leadglass.errors import PeerFailed
from leadglass.home import Home
from leadglass.net import tls
from leadglass.survey.report import text
from leadglass.survey.results import Results
from leadglass.survey.run import survey
from leadglass.vocabulary import Action, Role
from leadglass.wire.files.importing import Imported, import_files

MODALITY = "CT1"
CLINICIAN = "anna"
OURS = "leadglass"
SHOWN = "CT_small.dcm"
_READY_SECONDS = 60.0
_OUTCOME_SECONDS = 10.0


class Show(Protocol):
    """How the demo tells its story; the command line prints it."""

    def heading(self, text: str) -> None: ...

    def line(self, text: str) -> None: ...

    def progress(self, text: str, total: int) -> AbstractContextManager[Callable[[], None]]: ...

    def imported(self, imported: Imported) -> None: ...


@dataclass(frozen=True)
class Serving:
    """The archive of the demo, served by a process of its own."""

    home: Home
    dimse: Address
    web: str


def run(show: Show, *, once: bool) -> None:
    """Tell the whole story in a temporary folder that is gone at the end; unless `once`, stay up until Ctrl-C."""
    started = time.monotonic()
    # Whoever ends the demo by SIGTERM gets what Ctrl-C gives: nothing is left running, nothing left lying.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="leadglass-demo-") as name:
        folder = Path(name)
        show.heading("An archive that is closed by default")
        home = _found(folder, show)
        with _served(home, folder) as serving:
            show.line(f"serving: DICOM over TLS at {serving.dimse}, HTTPS at {serving.web}")
            everything = files()
            valid = list(images(everything))
            _fill(serving, folder, everything, valid, show)
            with _wild(folder, valid, show) as wild:
                _survey(serving, wild, folder, show)
            token = _work(serving, folder, next(image for image in valid if image.path.name == SHOWN), show)
            show.heading("Still there" if not once else "Done")
            show.line(f"DICOMweb  {serving.web}/dicom-web")
            if not once:
                show.line(f"token     {token}")
                ca = folder / "peer" / "ca.pem"
                show.line(f"try       curl --cacert {ca} -H 'Authorization: Bearer {token}' {serving.web}/dicom-web/studies")
                show.line("Ctrl-C ends it and removes the folder")
                _wait()
            else:
                show.line(f"the whole path took {time.monotonic() - started:.1f} s")


def _wait() -> None:
    with suppress(KeyboardInterrupt):
        signal.pause()


def _found(folder: Path, show: Show) -> Home:
    home = Home(folder / "archive")
    found(Founding(home=home, password=secrets.token_urlsafe(16), root_key=folder / "root.key"))
    # The demo's disk may be small, and what it stores is 3 MB.
    settings = home.config.read_text().replace("# reserve_bytes = 1073741824", "reserve_bytes = 16777216")
    home.config.write_text(settings)
    show.line(f"init: keys, a CA, certificates and a policy in {home.path}; the root key lies outside it")
    return home


@contextmanager
def _served(home: Home, folder: Path) -> Iterator[Serving]:
    command = [sys.executable, "-m", "leadglass", "serve", str(home.path), "--dimse", f"{HOST}:0", "--web", f"{HOST}:0"]
    with (folder / "serve.log").open("wb") as log:
        # Its own session: Ctrl-C is for the demo, which then ends the archive in order.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - ourselves
    try:
        line = _first_line(process)
        words = dict(word.split("=", 1) for word in line.split()[1:])
        if not line.startswith("ready "):
            raise PeerFailed(f"the archive did not start: {(folder / 'serve.log').read_text()[-400:]}")
        yield Serving(home, parse_address(words["dimse"]), words["web"])
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(process: "subprocess.Popen[bytes]") -> str:
    """What it prints when it is ready; nothing where it ended, or was not ready in time."""
    if process.stdout is None or not select.select([process.stdout], [], [], _READY_SECONDS)[0]:
        return ""
    return process.stdout.readline().decode()


def _fill(serving: Serving, folder: Path, everything: list[Path], valid: list[Image], show: Show) -> None:
    """C-STORE over TLS from a modality with a certificate; the rest by import."""
    show.heading("Real images come in")
    with operator(serving.home) as owner:
        issued = owner.one("peer-add", peer={"ae_title": MODALITY, "addresses": [f"{HOST}/32"], "may": [Action.STORE], "issue": True})
    credentials = folder / "peer"
    credentials.mkdir(mode=0o700)
    for name, field in ((f"{MODALITY}.key.pem", "key"), (f"{MODALITY}.cert.pem", "certificate"), ("ca.pem", "authority")):
        path = credentials / name
        path.touch(mode=0o600)
        path.write_text(str(issued[field]))
    context = tls.client_context(
        trusted_servers=str(issued["authority"]),
        identity=tls.Identity(credentials / f"{MODALITY}.cert.pem", credentials / f"{MODALITY}.key.pem"),
        check_hostname=False,
    )
    scanned = [image for image in valid if from_the_scanner(image)]
    with show.progress(f"C-STORE over TLS from {MODALITY}", len(scanned)) as step:
        to = Destination(serving.dimse.host, serving.dimse.port, "LEADGLASS", context)
        accepted = asyncio.run(send(scanned, MODALITY, to, step))
    show.line(f"{MODALITY}, a modality with an issued certificate, sent {len(scanned)} images by C-STORE over TLS: {accepted} accepted")
    sent = {image.path for image in scanned}
    rest = [path for path in everything if path not in sent]
    with operator(serving.home) as owner, show.progress("import", len(rest)) as step:
        imported = import_files(rest, owner.deposit, lambda _done, _total: step())
    show.imported(imported)


@contextmanager
def _wild(folder: Path, valid: list[Image], show: Show) -> Iterator[WildArchive]:
    """The open archive with the same images."""
    show.heading("Beside it, an archive as they are found in the wild")
    program = find_orthanc()
    made = orthanc(program, folder / "wild") if program is not None else unsafe_exposed_archive(valid)
    with made as wild:
        with show.progress(f"the same images into {wild.name}", len(valid)) as step:
            accepted = asyncio.run(send(valid, "ANYBODY", Destination(HOST, wild.dimse_port, wild.aet), step)) if program else len(valid)
        show.line(f"{wild.name}: {accepted} of the same {len(valid)} images, sent by a stranger who was not asked who he is")
        yield wild


def _survey(serving: Serving, wild: WildArchive, folder: Path, show: Show) -> Results:
    """Both archives, as a stranger sees them."""
    show.heading("Both surveyed, as a stranger would (level retrieve)")
    web_port = serving.web.rsplit(":", 1)[1]
    wild_web = f"web_ports = [{wild.web_port}]" if wild.web_port is not None else "web_ports = []"
    scope = folder / "scope.toml"
    scope.write_text(f"""
[authority]
owner = "leadglass demo"
authorised_by = "whoever started the demo"
contact = "root@localhost"
valid_until = 2099-12-31
[limits]
level = "retrieve"
[[target]]
name = {json.dumps(OURS)}
host = "{HOST}"
dimse_ports = [{serving.dimse.port}]
web_ports = [{web_port}]
[[target]]
name = {json.dumps(wild.name)}
host = "{HOST}"
dimse_ports = [{wild.dimse_port}]
{wild_web}
""")
    results = survey(scope, folder / "survey")
    show.line(text.side_by_side(results, [OURS, wild.name]))
    show.line(f"report: {folder / 'survey' / 'report.html'}")
    return results


def _work(serving: Serving, folder: Path, looked_for: Image, show: Show) -> str:
    """An authorised clinician finds a study and fetches an image; the trail says so."""
    show.heading("The same archive for somebody who may")
    with operator(serving.home) as owner:
        owner.one("user-add", name=CLINICIAN, role=Role.CLINICIAN, password=secrets.token_urlsafe(16))
        token = str(owner.one("token-create", user=CLINICIAN, may=[Action.FIND, Action.GET], days=1, where=[])["token"])
    context = ssl.create_default_context(cafile=str(folder / "peer" / "ca.pem"))
    root = f"{serving.web}/dicom-web"
    stranger = WebClient(root, context, None).get("/studies")
    show.line(f"QIDO-RS without a token: {stranger.status}, {len(stranger.body)} bytes")
    clinician = WebClient(root, context, token)
    studies = clinician.get("/studies", ModalitiesInStudy="CT").rows()
    instances = clinician.get("/instances", SOPInstanceUID=looked_for.sop_instance).rows()
    study, series = instances[0]["0020000D"]["Value"][0], instances[0]["0020000E"]["Value"][0]
    show.line(f"QIDO-RS as {CLINICIAN}: {len(studies)} CT studies, among them {study}")
    instance = looked_for.sop_instance
    image = clinician.get(
        f"/studies/{study}/series/{series}/instances/{instance}", 'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    show.line(f"WADO-RS as {CLINICIAN}: {image.status}, {len(image.body):,} bytes of {image.media_type.split(';')[0]}")
    show.heading("What the trail has of it")
    for row in _accesses(serving):
        count = f" count={row['count']}" if row["count"] else ""
        show.line(
            f"#{row['sequence']} {row['time']} {row['who']} {row['door']} {row['action']} {row['kind']} {row['outcome'] or ''}{count}"
        )
    for sentence in verify_trail(serving.home.path, checkpoint=None, key=None).sentences():
        show.line(sentence)
    return token


def _accesses(serving: Serving) -> list[dict[str, Any]]:
    """Return the clinician's last accesses; what became of the last one is entered only after its last byte has left, so wait for that."""
    until = time.monotonic() + _OUTCOME_SECONDS
    while True:
        with operator(serving.home) as owner:
            rows = list(owner.rows("trail-show", last=6, who=CLINICIAN, study=None))
        if (rows and rows[-1]["kind"] == "outcome") or time.monotonic() > until:
            return rows
        time.sleep(0.05)
