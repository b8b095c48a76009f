"""Malformed bytes at the doors of a serving archive, over TLS: it lives, stays small, and serves whoever behaves meanwhile."""

import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fuzz import association, dimse, multipart, pdu, qido
from fuzz.run import mutated
from leadglass.dicom import pdu as pdus
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, Context, Offer, negotiate, propose
from leadglass.dicom.dimse import EchoRequest, FindRequest, GetRequest, StoreRequest
from leadglass.dicom.messages import Fragmenter
from leadglass.dicom.sopclasses import STUDY_ROOT_FIND, STUDY_ROOT_GET, VERIFICATION
from leadglass.dicom.uid import Uid
from tests.archives import COMMAND, ArchiveUnderTest, copy_of, leadglass
from tests.never import asking
from tests.never.canary import VISIBLE_UID
from tests.never.house import CT, House, encoded, visible, write_objects
from tests.never.planted import FAULTS
from tests.never.test_kill import data_set_of
from tests.whole.relay import client_context

ROOT = Path(__file__).parents[2]
SERVICES = [VERIFICATION, STUDY_ROOT_FIND, STUDY_ROOT_GET, Uid(CT)]
MOST_BYTES = 300 << 20
PATIENCE = 0.1
THROWERS = 4


def pss_of(process: int) -> int:
    """The memory of a process, what it shares divided among those who share it."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def conversation() -> tuple[bytes, list[bytes]]:
    """What a peer says: the request for an association, and then each message, whole."""
    request = propose("ALL", "LEADGLASS", [(each, [EXPLICIT_LITTLE_ENDIAN]) for each in SERVICES])
    echo, find, get, store = negotiate(request, lambda _: Offer((EXPLICIT_LITTLE_ENDIAN,))).contexts
    fragmenter = Fragmenter(16384)
    query = asking.identifier("STUDY", {"PatientName": "*", "StudyDate": "19000101-20991231", asking.STUDY: ""})
    wanted = asking.identifier("STUDY", {asking.STUDY: f"{VISIBLE_UID}.1"})
    whole = encoded(visible(1, 1, 1))
    messages = [
        fragmenter.message(echo, EchoRequest(1, VERIFICATION), None),
        fragmenter.message(find, FindRequest(2, STUDY_ROOT_FIND), query),
        fragmenter.message(get, GetRequest(3, STUDY_ROOT_GET), wanted),
        fragmenter.message(store, StoreRequest(4, Uid(CT), Uid(f"{VISIBLE_UID}.1.1.1")), data_set_of(whole)),
        pdus.encode(pdus.ReleaseRequest()),
    ]
    return pdus.encode(request), [bytes(message) for message in messages]


def _context_of(service: Uid) -> Context:
    request = propose("ALL", "LEADGLASS", [(each, [EXPLICIT_LITTLE_ENDIAN]) for each in SERVICES])
    return next(each for each in negotiate(request, lambda _: Offer((EXPLICIT_LITTLE_ENDIAN,))).contexts if each.abstract_syntax == service)


def to_dimse(chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Associations that begin well and go on badly, and such as begin badly."""
    opening, messages = conversation()
    no_identifier = Fragmenter(16384).message(_context_of(STUDY_ROOT_FIND), FindRequest(9, STUDY_ROOT_FIND), b"\1\2\3\4")
    badly = mutated([no_identifier, *messages], chance)
    from_the_start = mutated([opening, *association.seeds(), *pdu.seeds(), *dimse.seeds()], chance)
    while True:
        yield opening, next(badly)
        yield opening, chance.choice(messages) + next(badly)
        yield b"", next(from_the_start)


def to_web(house: House, chance: random.Random) -> Iterator[bytes]:
    """Requests with a good token and bad heads, queries and bodies."""
    bearer = f"Authorization: Bearer {house.tokens['tessa']}\r\n".encode()
    reader = f"Authorization: Bearer {house.tokens['anna']}\r\n".encode()
    queries = mutated([seed[1:] for seed in qido.seeds()], chance)
    paths = mutated([path.encode() for path in asking._resources(VISIBLE_UID)], chance)  # noqa: SLF001 - the tests' own
    bodies = mutated([asking.multipart(encoded(visible(1, 1, 1))), *(seed[1:] for seed in multipart.seeds())], chance)
    good = b"GET /dicom-web/studies HTTP/1.1\r\nHost: a\r\n" + reader + b"Accept: */*\r\n\r\n"
    chunked = b"POST /dicom-web/studies HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nffffffffffffffff\r\nx"
    heads = mutated([good, chunked, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], chance)
    head = (
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: a\r\n"
        + bearer
        + b"Content-Type: "
        + asking.STOW.encode()
        + b"\r\nConnection: close\r\n"
    )
    while True:
        query = next(queries).replace(b" ", b"+").replace(b"\r", b"").replace(b"\n", b"")
        yield b"GET /dicom-web/studies?" + query + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + reader + b"\r\n"
        path = next(paths).replace(b" ", b"+")
        yield b"GET /dicom-web" + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + reader + b"\r\n"
        body = next(bodies)
        yield head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        yield next(heads)


def throw(door: tuple[str, int], context: ssl.SSLContext | None, data: bytes, *, opening: bytes = b"", patience: float = PATIENCE) -> bytes:
    """Connect, say `data`, hear what comes until it ends or nothing comes for a while."""
    heard = b""
    with suppress(OSError), socket.create_connection(door, timeout=10) as plain:
        connection = plain if context is None else context.wrap_socket(plain, server_hostname=door[0])
        with connection:
            connection.settimeout(patience)
            if opening:
                # What comes before the acceptance would be refused for that alone.
                connection.sendall(opening)
                heard += connection.recv(1 << 16)
            connection.sendall(data)
            while len(heard) < 1 << 20 and (piece := connection.recv(1 << 16)):
                heard += piece
    return heard


class Behaved(threading.Thread):
    """A clinician who goes on looking at his patient."""

    def __init__(self, house: House, archive: ArchiveUnderTest) -> None:
        super().__init__(daemon=True)
        self._web = asking.Web(archive)
        self._fields: dict[str, str | None] = {"Authorization": f"Bearer {house.tokens['anna']}"}
        self._over = threading.Event()
        self.served = 0
        self.wrong: list[bytes] = []
        self.slowest = 0.0

    def run(self) -> None:
        path = f"/dicom-web/studies/{VISIBLE_UID}.1/series/{VISIBLE_UID}.1.1/instances/{VISIBLE_UID}.1.1.1"
        whole = data_set_of(encoded(visible(1, 1, 1)))
        while not self._over.wait(0.02):
            began = time.monotonic()
            answer = self._web.ask("GET", path, {**self._fields, "Accept": "application/dicom"})
            self.slowest = max(self.slowest, time.monotonic() - began)
            if answer.startswith(b"HTTP/1.1 200") and answer.endswith(whole):
                self.served += 1
            else:
                self.wrong.append(answer[:200])

    def end(self) -> None:
        self._over.set()
        self.join()
        self._web.close()


@dataclass
class Thrower:
    """One who throws at both doors until it is over."""

    house: House
    archive: ArchiveUnderTest
    chance: random.Random
    over: threading.Event
    thrown: int = 0
    broken: list[bytes] = field(default_factory=list)

    def run(self) -> None:
        address = urlsplit(self.archive.web)
        assert address.hostname
        assert address.port
        dimse_door, web_door = (self.archive.dimse.host, self.archive.dimse.port), (address.hostname, address.port)
        peer, browser = client_context(self.archive.ca, self.house.peers["ALL"]), client_context(self.archive.ca)
        dimse_says, web_says = to_dimse(self.chance), to_web(self.house, self.chance)
        while not self.over.is_set():
            begin, go_on = next(dimse_says)
            throw(dimse_door, peer, go_on, opening=begin)
            heard = throw(web_door, browser, next(web_says))
            if heard.startswith(b"HTTP/1.1 500"):
                self.broken.append(heard)
            if self.thrown % 20 == 0:
                throw(dimse_door, None, self.chance.randbytes(300))
                throw(web_door, None, b"\x16\x03\x01\xff\xff" + self.chance.randbytes(300))
            self.thrown += 2


def assert_understood(house: House, archive: ArchiveUnderTest) -> None:
    """The conversation that is mutated is a good one."""
    opening, messages = conversation()
    context = client_context(archive.ca, house.peers["ALL"])
    spoken = b"".join([*messages[:2], *messages[3:]])
    assert len(throw((archive.dimse.host, archive.dimse.port), context, spoken, opening=opening, patience=5)) > 700


def largest_until(process: subprocess.Popen[bytes], end: float) -> int:
    """The most memory that the process had."""
    largest = 0
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            largest = max(largest, pss_of(process.pid))
        time.sleep(0.2)
    return largest


def throw_for(house: House, folder: Path, seconds: float, seed: int, fault: str = "") -> tuple[int, Behaved]:
    """Throw for a while at an archive, into which `fault` was planted, and judge it."""
    archive = copy_of(house.archive, folder / "archive")
    everything, _ = write_objects(folder / "objects")
    program: tuple[str | Path, ...] = (sys.executable, "-m", "tests.never.planted") if fault else (COMMAND,)
    (folder / "planted").write_text(fault)
    archive.start(program=program, environment={"PLANTED": str(folder / "planted"), "PYTHONPATH": str(ROOT)})
    with served(archive) as process:
        archive.take_in(everything)
        assert_understood(house, archive)
        behaved, over = Behaved(house, archive), threading.Event()
        throwers = [Thrower(house, archive, random.Random(seed * 100 + number), over) for number in range(THROWERS)]
        behaved.start()
        with ThreadPoolExecutor(THROWERS) as pool:
            running = [pool.submit(each.run) for each in throwers]
            largest = largest_until(process, time.monotonic() + seconds)
            over.set()
            for each in running:
                each.result()
        behaved.end()
        assert process.poll() is None, archive.log()[-2000:]
        assert largest < MOST_BYTES
        assert [answer for each in throwers for answer in each.broken] == []
        assert behaved.wrong == []
        assert behaved.slowest < 10
        # What is refused or broken off is named by its kind; anything else would be a fault of ours.
        faults = set(re.findall(r"error=(\w+)", archive.log()))
        assert faults <= {"BadPdu", "BadMessage", "BadDataSet", "BadQuery", "AssociationFailed", "BadRequest"}, archive.log()[-3000:]
        assert not re.search(r"^\S+ error ", archive.log(), re.MULTILINE), archive.log()[-3000:]
        assert leadglass("check", archive.home).returncode == 0
    return sum(each.thrown for each in throwers), behaved


@contextmanager
def served(archive: ArchiveUnderTest) -> Iterator[subprocess.Popen[bytes]]:
    """The process; whatever became of it, nothing of it is left."""
    assert archive.process is not None
    try:
        yield archive.process
    finally:
        if archive.process is not None:
            archive.stop(signal.SIGKILL)


@pytest.mark.parametrize("fault", [each if each == "the process ends" else pytest.param(each, marks=pytest.mark.long) for each in FAULTS])
def test_what_malformed_bytes_must_not_do_is_seen(house: House, tmp_path: Path, fault: str) -> None:
    with pytest.raises(AssertionError):
        throw_for(house, tmp_path, 6, 1, fault)


def test_malformed_bytes_end_nothing(house: House, tmp_path: Path) -> None:
    thrown, behaved = throw_for(house, tmp_path, 5, time.time_ns())
    assert thrown > 5
    assert behaved.served > 2


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_malformed_bytes_end_nothing_for_long(house: House, tmp_path: Path, seed: int) -> None:
    thrown, behaved = throw_for(house, tmp_path, 120, seed)
    assert thrown > 500
    assert behaved.served > 100
