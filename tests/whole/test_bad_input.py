"""What is malformed or meant to harm: refused clearly at every door, nothing lost, memory bounded, and the process lives."""

import contextlib
import itertools
import os
import resource
import socket
import ssl
import struct
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pydicom
import pytest

from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass
from tests.certificates import Identity
from tests.dicomweb.client import BOUNDARY, Client
from tests.whole import hostile
from tests.whole.associating import FIND, GET, Sent, associated, find, send
from tests.whole.hostile import CT_CLASS, DEFLATED, EXPLICIT, PATH, data_set
from tests.whole.relay import client_context

MIB = 1 << 20
GIB4 = 0xFFFFFFFF
CT = pydicom.dcmread(samples.sample("CT_small.dcm"))
MAX_MEMORY = 300 * MIB
SYNTAXES = (EXPLICIT, DEFLATED, hostile.IMPLICIT)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")


@dataclass(frozen=True)
class Attacked:
    archive: ArchiveUnderTest
    who: Identity
    technologist: Client
    clinician: Client

    def pss(self) -> int:
        """Memory in bytes, shared pages counted in part, of the process and its children."""
        assert self.archive.process is not None
        process = psutil.Process(self.archive.process.pid)
        return sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)])


@pytest.fixture(scope="module")
def attacked(new_archive: Callable[[], ArchiveUnderTest], peers_of: dict[str, Identity]) -> Iterator[Attacked]:
    archive = new_archive()
    config = archive.home / "leadglass.toml"
    text = config.read_text().replace("# max_object_bytes = 8589934592", "max_object_bytes = 33554432")
    config.write_text(text.replace("# default_limit = 100", f"max_request_bytes = {64 * MIB}"))
    _, hard = usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    with archive.serving():
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        technologist = Client(archive, archive.token("tom", "technologist", "store,find"))
        yield Attacked(archive, peers_of["CT1"], technologist, Client(archive, archive.token("clara")))


@pytest.fixture(autouse=True)
def unharmed(attacked: Attacked) -> Iterator[None]:
    """After every attack the process lives within its bounds, and a well-behaved peer stores and finds."""
    yield
    assert attacked.archive.process is not None
    assert attacked.archive.process.poll() is None
    assert attacked.pss() < MAX_MEMORY
    with associated(attacked.archive.dimse, attacked.who, storage={(CT_CLASS, EXPLICIT)}) as association:
        number = int.from_bytes(os.urandom(4), "big")
        assert send(association, Sent(CT_CLASS, hostile.instance_of(number), EXPLICIT, data_set(number))) == 0
        study = f"1.2.826.0.1.3680043.10.998.{number}.1"
        assert len(find(association, "STUDY", StudyInstanceUID=study)) == 1
        assert find(association, "STUDY", StudyInstanceUID="", PatientID="REFUSED*") == []  # nothing of an attack was kept
    names = {part for path in attacked.archive.home.rglob("*") for part in path.relative_to(attacked.archive.home).parts}
    assert not [name for name in names if "passwd" in name or ".." in name or not name.isprintable()]


def test_the_service_takes_as_many_descriptors_as_it_may(attacked: Attacked) -> None:
    """It was started with the usual soft limit."""
    assert attacked.archive.process is not None
    soft, hard = psutil.Process(attacked.archive.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard > 1024


# Objects, by every route


def refused(number: int, *, instance: str | None = None, study: str | None = None, series: str | None = None, tail: bytes = b"") -> bytes:
    """An object of a patient who must never be found."""
    return data_set(number, instance=instance, study=study, series=series, tail=tail).replace(b"HOSTILE", b"REFUSED")


def _pixels(length: int, value: bytes = b"\0\0") -> bytes:
    return hostile.element(0x7FE0, 0x0010, "OW", value, length)


OBJECTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", EXPLICIT),
    "no UIDs": (hostile.element(0x0010, 0x0020, "LO", b"REFUSED"), EXPLICIT),
    "random bytes": (os.urandom(4096), EXPLICIT),
    "cut in an element's header": (refused(1, tail=b"\xe0\x7f\x10"), EXPLICIT),
    "cut in an element's value": (refused(2, tail=_pixels(1000)), EXPLICIT),
    "a length of 4 GiB": (refused(3, tail=_pixels(GIB4 - 1)), EXPLICIT),
    "a UID of 4 GiB": (struct.pack("<HHI", 8, 0x18, GIB4 - 1) + b"1.2", hostile.IMPLICIT),
    "nested 100,000 deep": (refused(4, tail=hostile.nested(100_000, closed=True)), EXPLICIT),
    "nested and never closed": (refused(5, tail=hostile.nested(100_000, closed=False)), EXPLICIT),
    "nested before the UIDs": (hostile.nested(100_000, closed=True) + refused(6), EXPLICIT),
    "the study is a path": (refused(7, study=PATH), EXPLICIT),
    "the series is a path": (refused(8, series=PATH), EXPLICIT),
    "the instance is a path": (refused(9, instance=PATH), EXPLICIT),
    "the study is empty": (refused(10, study=""), EXPLICIT),
    "the study is 1,000 digits": (refused(11, study="1." + "2" * 1000), EXPLICIT),
    "the study is two": (refused(12, study="1.2.3\\1.2.4"), EXPLICIT),
    "the study has control bytes": (refused(13, study="1.2\x1b[31m"), EXPLICIT),
    "a deflate bomb": (hostile.bomb(14, 1024), DEFLATED),
    "deflated nonsense": (os.urandom(2048), DEFLATED),
    "deflated and cut": (hostile.deflated(refused(15))[:100], DEFLATED),
    "too large": (refused(16, tail=_pixels(33 * MIB, bytes(33 * MIB))), EXPLICIT),
}


@pytest.mark.parametrize("kind", list(OBJECTS))
def test_a_bad_object_is_refused_by_c_store(kind: str, attacked: Attacked) -> None:
    data, syntax = OBJECTS[kind]
    with associated(attacked.archive.dimse, attacked.who, storage={(CT_CLASS, each) for each in SYNTAXES}) as association:
        status = send(association, Sent(CT_CLASS, "1.2.3", syntax, data)) if data else 0xC000
    assert status & 0xF000 in {0xA000, 0xC000} or status == 0x0106, hex(status)


@pytest.mark.parametrize("kind", list(OBJECTS))
def test_a_bad_object_is_refused_by_stow_rs(kind: str, attacked: Attacked) -> None:
    data, syntax = OBJECTS[kind]
    answer = attacked.technologist.store(hostile.file_of(data, syntax))
    assert answer.status_code in {400, 409, 413}, answer.text
    assert "REFUSED" not in answer.text
    assert "passwd" not in answer.text


def test_bad_objects_are_refused_by_import(attacked: Attacked, tmp_path: Path) -> None:
    for kind, (data, syntax) in OBJECTS.items():
        (tmp_path / kind.replace(",", "")).write_bytes(hostile.file_of(data, syntax))
    (tmp_path / "transfer syntax is a path").write_bytes(hostile.file_of(refused(20), PATH))
    (tmp_path / "meta of 4 GiB").write_bytes(bytes(128) + b"DICM" + hostile.element(2, 0, "UL", struct.pack("<I", GIB4)) + refused(21))
    (tmp_path / "meta without end").write_bytes(bytes(128) + b"DICM" + hostile.element(2, 0x0102, "OB", bytes(100), GIB4 - 1))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("bomb", bytes(256 * MIB))
    with zipfile.ZipFile(tmp_path / "paths.zip", "w") as made:
        made.writestr("../../../etc/passwd", b"root::0:0")
    (tmp_path / "link").symlink_to("/etc/passwd")
    count = len(list(tmp_path.iterdir()))
    summary = attacked.archive.take_in([tmp_path], code=1)
    assert (summary["stored"], summary["already_there"], summary["conflicts"]) == (0, 0, [])
    assert len(summary["refused"]) == count
    for row in summary["refused"]:
        assert len(row["why"]) > 10
        assert "REFUSED" not in row["why"]
        assert "our fault" not in row["why"]


# DIMSE: the upper layer


@contextlib.contextmanager
def connected(attacked: Attacked) -> Iterator[ssl.SSLSocket]:
    address = attacked.archive.dimse
    plain = socket.create_connection((address.host, address.port), timeout=30)
    with client_context(attacked.archive.ca, attacked.who).wrap_socket(plain, server_hostname=address.host) as connection:
        yield connection


def converse(attacked: Attacked, *messages: bytes) -> list[int]:
    """Send each message after the answer to the one before; gives the kind of each PDU that came back, to the end."""
    kinds: list[int] = []
    with connected(attacked) as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        stream = connection.makefile("rb")
        for number, message in enumerate(messages):
            connection.sendall(message)
            while len(kinds) <= number or number == len(messages) - 1:
                header = stream.read(6)
                if len(header) < 6:
                    return kinds
                kinds.append(header[0])
                stream.read(int.from_bytes(header[2:], "big"))
                if header[0] in {REJECT, RELEASED, ABORT}:  # it is over: the door waits for the peer to close
                    return kinds
    return kinds


ACCEPT, REJECT, DATA, RELEASED, ABORT = 2, 3, 4, 6, 7

FIRST_PDUS: dict[str, bytes] = {
    "an association of 4 GiB": hostile.pdu(1, b"\0\1\0\0", GIB4),
    "data of 4 GiB before any association": hostile.pdu(4, bytes(100), GIB4),
    "an unknown PDU of 4 GiB": hostile.pdu(0xEE, bytes(100), GIB4),
    "a release of 4 GiB": hostile.pdu(5, bytes(4), GIB4),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10,
    "random bytes": os.urandom(4096),
    "zeros": bytes(4096),
    "a calling title with control bytes": hostile.associate(calling=b"CT1\x1b[31m\r\n"),
    "a called title with control bytes": hostile.associate(called=b"LEAD\0GLASS\n"),
    "a blank calling title": hostile.associate(calling=b""),
    "a calling title that is a path": hostile.associate(calling=b"../../etc/passwd"),
    "an application context that is a path": hostile.associate(application=PATH.encode()),
    "an item longer than its PDU": hostile.associate(extra=hostile.item(0x55, b"x", 0xFFFF)),
    "an abstract syntax without end": hostile.associate(abstract=b"1.2." + b"3" * 60_000),
}


@pytest.mark.parametrize("kind", list(FIRST_PDUS))
def test_a_bad_first_pdu_gets_no_association(kind: str, attacked: Attacked) -> None:
    assert converse(attacked, FIRST_PDUS[kind]) in ([], [ABORT], [REJECT])


SECOND_PDUS: dict[str, bytes] = {
    "data of 4 GiB": hostile.pdu(4, bytes(100), GIB4),
    "a value of 4 GiB in its PDU": hostile.transfer(hostile.echo(), length=GIB4),
    "a value of no bytes": hostile.transfer(b"", length=0),
    "a value in no context": hostile.transfer(hostile.echo(), context=99),
    "a second association": hostile.associate(),
    "a command that says 4 GiB": hostile.transfer(struct.pack("<HHII", 0, 0, 4, GIB4) + struct.pack("<HHI", 0, 2, GIB4)),
    "random bytes as a command": hostile.transfer(os.urandom(1000)),
    "a data set before its command": hostile.transfer(os.urandom(1000), header=2),
    "an unknown PDU": hostile.pdu(0x77, bytes(4)),
}


@pytest.mark.parametrize("kind", list(SECOND_PDUS))
def test_a_bad_pdu_ends_the_association(kind: str, attacked: Attacked) -> None:
    answered = converse(attacked, hostile.associate(), SECOND_PDUS[kind])
    assert answered[0] == ACCEPT
    assert set(answered[1:]) <= {ABORT}


def _asked(field: int, sop_class: str, *fields: tuple[int, bytes]) -> bytes:
    """A request with a data set (PS3.7 9.3)."""
    uid = sop_class.encode() + b"\0" * (len(sop_class) % 2)
    numbers = [(0x0100, field), (0x0110, 1), (0x0700, 0), (0x0800, 1)]
    return hostile.command([(0x0002, uid), *((number, struct.pack("<H", value)) for number, value in numbers), *fields])


def _tiny(data: bytes, header: int) -> bytes:
    """A PDU full of fragments so small that each costs us far more than its bytes."""
    fragment = struct.pack(">IBB", len(data) + 2, 1, header) + data
    return hostile.pdu(4, fragment * (128_000 // len(fragment)))


STORING = hostile.associate(abstract=CT_CLASS.encode(), transfer=EXPLICIT.encode())
GETTING = hostile.associate(abstract=GET.encode(), transfer=EXPLICIT.encode())
_STORE = hostile.transfer(_asked(1, CT_CLASS, (0x1000, hostile.instance_of(41).encode())))
_GET = hostile.transfer(_asked(0x10, GET))
FRAGMENTS: dict[str, tuple[bytes, bytes, bytes]] = {
    "an identifier": (GETTING, _GET, _tiny(b"ab", 0)),
    "an identifier in PDUs as small": (GETTING, _GET, hostile.transfer(b"ab", header=0) * 9000),
    "an object": (STORING, _STORE, _tiny(b"ab", 0)),
    "an object in nothing at all": (STORING, _STORE, _tiny(b"", 0)),
    "a command set in nothing at all": (STORING, b"", _tiny(b"", 1)),
}


@pytest.mark.parametrize("kind", list(FRAGMENTS))
def test_tiny_fragments_end_the_association(kind: str, attacked: Attacked) -> None:
    association, asked, fragments = FRAGMENTS[kind]
    assert converse(attacked, association, asked + fragments) in ([ACCEPT, ABORT], [ACCEPT])


def test_tiny_fragments_from_many_cost_little_and_keep_nobody_else_waiting(attacked: Attacked) -> None:
    def attack(kind: str) -> None:
        association, asked, fragments = FRAGMENTS[kind]
        with contextlib.suppress(OSError), connected(attacked) as connection:
            connection.sendall(association)
            connection.recv(4096)
            connection.sendall(asked)
            for _ in range(30):
                connection.sendall(fragments)

    # One less than an address may have: the place of the well-behaved peer.
    attackers = [threading.Thread(target=attack, args=(kind,), daemon=True) for kind in list(FRAGMENTS) * 3]
    before = attacked.pss()
    for each in attackers:
        each.start()
    highest, waited = 0, 0.0
    while any(each.is_alive() for each in attackers):
        started = time.monotonic()
        with associated(attacked.archive.dimse, attacked.who) as association:
            assert association.send_c_echo().Status == 0
        assert attacked.clinician.get("/studies?limit=1").status_code in {200, 204}
        waited, highest = max(waited, time.monotonic() - started), max(highest, attacked.pss())
        assert waited < 15
    assert highest - before < 64 * MIB


def test_commands_without_end_end_the_association(attacked: Attacked) -> None:
    fragments = hostile.transfer(bytes(16_000), header=1) * 2000
    assert set(converse(attacked, hostile.associate(), fragments)[1:]) <= {ABORT}


@pytest.mark.parametrize("place", ["abstract", "transfer", "implementation"])
def test_a_path_for_a_uid_in_an_association_request_gets_no_service(place: str, attacked: Attacked) -> None:
    answered = converse(attacked, hostile.associate(**{place: PATH.encode()}), hostile.transfer(hostile.echo()), hostile.pdu(5, bytes(4)))
    if place == "implementation":  # whose program it is may be any text: it decides nothing
        assert answered in ([ABORT], [ACCEPT, DATA, RELEASED])
    else:
        assert answered in ([ABORT], [REJECT], [ACCEPT, ABORT])


def test_a_path_for_the_sop_class_of_a_command_is_refused(attacked: Attacked) -> None:
    with associated(attacked.archive.dimse, attacked.who) as association:
        assert association.send_c_echo().Status == 0
    answered = converse(attacked, hostile.associate(), hostile.transfer(hostile.echo(PATH.encode())), hostile.pdu(5, bytes(4)))
    assert answered[:2] in ([ACCEPT, DATA], [ACCEPT, ABORT])


def test_a_path_for_the_instance_of_a_command_is_refused(attacked: Attacked) -> None:
    with associated(attacked.archive.dimse, attacked.who, storage={(CT_CLASS, EXPLICIT)}) as association:
        assert send(association, Sent(CT_CLASS, PATH, EXPLICIT, refused(30))) != 0
        # Another object than the one that was announced.
        assert send(association, Sent(CT_CLASS, "1.2.3.4", EXPLICIT, refused(31))) & 0xF000 in {0xA000, 0xC000}


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE", PATH])
@pytest.mark.parametrize("model", [FIND, GET])
def test_a_path_for_a_uid_of_an_identifier_finds_nothing(model: str, level: str, attacked: Attacked) -> None:
    query = pydicom.Dataset()
    query.QueryRetrieveLevel = level
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(query, keyword, PATH)
    with associated(attacked.archive.dimse, attacked.who) as association:
        ask = association.send_c_find if model == FIND else association.send_c_get
        answers = [(status.get("Status"), found) for status, found in ask(query, model)]
    ((status, found),) = answers
    assert found is None or not found.get("PatientID")
    assert status == 0x0000 or status & 0xF000 in {0xA000, 0xC000}


def test_peers_that_hang_up_in_the_middle_leave_nothing(attacked: Attacked) -> None:
    storing = hostile.associate(abstract=CT_CLASS.encode(), transfer=EXPLICIT.encode())
    asked = hostile.command(
        [
            (0x0002, CT_CLASS.encode() + b"\0"),
            (0x0100, struct.pack("<H", 1)),
            (0x0110, struct.pack("<H", 1)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 1)),
            (0x1000, hostile.instance_of(40).encode()),
        ]
    )
    data = refused(40, tail=_pixels(4 * MIB))
    for cut in range(0, len(data), 37):
        with connected(attacked) as connection:
            connection.sendall(storing)
            assert connection.recv(4096)[0] == ACCEPT
            connection.sendall(hostile.transfer(asked) + hostile.transfer(data[:cut], header=0) + struct.pack(">BxI", 4, 50_000)[: cut % 7])
    incoming = attacked.archive.home / "blobs" / "incoming"
    with associated(attacked.archive.dimse, attacked.who) as association:
        assert association.send_c_echo().Status == 0
    assert not incoming.exists() or list(incoming.iterdir()) == []


# DICOMweb


def post(attacked: Attacked, head: bytes, pieces: Iterator[bytes], content_type: str) -> bytes:
    """POST /studies with a chunked body that may never end; gives what came back."""
    host, port = attacked.archive.words["web"].removeprefix("https://").rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), timeout=60)
    with attacked.archive.tls_context().wrap_socket(plain, server_hostname=host) as connection:
        fields = [
            "POST /dicom-web/studies HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {attacked.technologist.token}",
            f"Content-Type: {content_type}",
            "Transfer-Encoding: chunked",
        ]
        with contextlib.suppress(OSError):
            connection.sendall("\r\n".join(fields).encode() + b"\r\n\r\n")
            for piece in filter(None, itertools.chain([head], pieces)):
                connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := connection.recv(65536):
                answer += data
                if b"\r\n\r\n" in answer:
                    break
        return answer


MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
_PART = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()

ENDLESS: dict[str, tuple[bytes, bytes, str]] = {
    "a preamble": (b"", bytes(MIB), MULTIPART),
    "a part's header fields": (f"\r\n--{BOUNDARY}\r\n".encode(), b"X-Field: " + b"x" * 1000 + b"\r\n", MULTIPART),
    "one header field": (f"\r\n--{BOUNDARY}\r\nX-Field: ".encode(), b"x" * MIB, MULTIPART),
    "parts": (b"", _PART * 1000, MULTIPART),
    "a part's nonsense": (_PART, os.urandom(MIB), MULTIPART),
    "a part's pixels": (_PART + hostile.file_of(refused(50, tail=_pixels(GIB4 - 1, b""))), bytes(MIB), MULTIPART),
    "an object": (hostile.file_of(refused(51, tail=_pixels(GIB4 - 1, b""))), bytes(MIB), "application/dicom"),
    "nesting": (_PART + hostile.file_of(refused(52)), hostile.nested(10_000, closed=False), MULTIPART),
}


BRIEFLY = frozenset({"parts", "a part's pixels", "nesting"})


@pytest.mark.parametrize("kind", [kind if kind in BRIEFLY else pytest.param(kind, marks=pytest.mark.long) for kind in ENDLESS])
def test_a_stow_request_without_end_is_refused(kind: str, attacked: Attacked) -> None:
    head, piece, content_type = ENDLESS[kind]
    highest = attacked.pss()

    def pieces() -> Iterator[bytes]:
        nonlocal highest
        for number in range(200 * MIB // len(piece)):
            if number % 50 == 0:
                highest = max(highest, attacked.pss())
            yield piece

    answer = post(attacked, head, pieces(), content_type)
    assert answer[9:12] in {b"400", b"409", b"413", b""}, answer[:200]
    assert highest < MAX_MEMORY


@pytest.mark.parametrize(
    "path",
    [
        f"/studies/{PATH}",
        f"/studies/{PATH.replace('/', '%2f')}",
        f"/studies/1.2.3/series/{PATH.replace('/', '%2f')}",
        f"/studies/1.2.3/series/1.2.4/instances/{PATH.replace('/', '%2f')}",
        f"/studies/1.2.3/series/1.2.4/instances/{PATH.replace('/', '%2f')}/frames/1",
        "/studies/1.2.3/series/1.2.4/instances/1.2.5/frames/../../../../../../etc/passwd",
        f"/studies?StudyInstanceUID={PATH}",
        f"/studies?StudyInstanceUID={PATH.replace('/', '%2f')}",
        f"/studies/{PATH.replace('/', '%2f')}/metadata",
        f"/instances?SOPInstanceUID={PATH}",
        "/studies/1.2.3%00/metadata",
        "/studies/1.2.3%0d%0aX-Injected:%201",
        "/studies/" + "1." * 40_000,
        "/studies?" + "&".join(["PatientID=1"] * 20_000),
    ],
    ids=lambda path: path[:60],
)
def test_a_path_for_a_uid_in_a_url_is_refused(path: str, attacked: Attacked, tmp_path: Path) -> None:
    words = [peers.require("curl"), "-s", "-i", "-g", "--path-as-is", "--max-time", "20", "--cacert", str(attacked.archive.ca)]
    url = tmp_path / "url"
    url.write_text(f'url = "{attacked.archive.web}{path}"\nheader = "Authorization: Bearer {attacked.clinician.token}"\n')
    told = subprocess.run([*words, "-K", url], capture_output=True, check=False, timeout=30).stdout
    assert told.split(b" ", 2)[1:2] in ([b"400"], [b"404"], [b"414"], [b"431"], []), told[:300]
    assert b"root:" not in told
    assert b"X-Injected" not in told


def test_a_path_for_the_study_of_a_stow_request_is_refused(attacked: Attacked) -> None:
    for study in (PATH, PATH.replace("/", "%2f"), "1.2.3"):
        answer = attacked.technologist.store(hostile.file_of(refused(60)), study=study)
        # 403: a path that leads out of /dicom-web is one of the pages, which take nothing from elsewhere.
        assert answer.status_code in {400, 403, 404, 405, 409}


# The command line


@pytest.mark.parametrize("title", ["CT\x1b[31m", "CT\n1", "../../etc/passwd", "A" * 17, " ", "", "CT\\1", "Ürsula"])
def test_a_bad_ae_title_is_no_peer(title: str, attacked: Attacked, tmp_path: Path) -> None:
    folder = tmp_path / "issued"
    add: list[str | Path] = [
        "peer",
        "add",
        attacked.archive.home,
        "--address",
        "127.0.0.1/32",
        "--may",
        "store",
        "--issue",
        folder,
        "--",
        title,
    ]
    said = leadglass(*add, code=None)
    if title == "../../etc/passwd":  # sixteen printable characters: an AE title by PS3.5, and never a path
        assert said.returncode == 0
        assert sorted(each.name for each in folder.iterdir()) == [".._.._etc_passwd.cert.pem", ".._.._etc_passwd.key.pem", "ca.pem"]
        return
    assert said.returncode == 2
    assert "\x1b" not in said.stderr
    assert not folder.exists()


@pytest.mark.parametrize("name", ["an\x1b[31mna", "../../etc/passwd", "A" * 65, "", "Ürsula"])
def test_a_bad_user_name_is_nobody(name: str, attacked: Attacked) -> None:
    home = attacked.archive.home
    for words in (("add", home, "--role", "clinician"), ("disable", home)):
        said = leadglass("user", *words, "--", name, code=2)
        assert "\x1b" not in said.stderr
        assert "name" in said.stderr or "no user" in said.stderr


# After it all


def test_nothing_was_lost_and_nothing_was_said(attacked: Attacked) -> None:
    assert "0 problems" in leadglass("check", attacked.archive.home).stdout
    log = attacked.archive.log()
    for word in ("REFUSED", "HOSTILE", "Hostile", "passwd", "\x1b", "Traceback"):
        assert word not in log
    entries = attacked.archive.trail()
    assert not [entry for entry in entries if "passwd" in str(entry) and entry["action"] != "administer"]
