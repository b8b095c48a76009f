"""Attacks that worked on other archives (docs/attacks.md), on a serving one, where no other test has them."""

import ast
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import leadglass
from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.dicomweb.client import AS_STORED, Client, parts_of
from tests.whole import hostile
from tests.whole.associating import Sent, associated, send
from tests.whole.hostile import CT_CLASS, EXPLICIT, data_set, element, file_of
from tests.whole.relay import client_context

PROGRAM = b"MZ\x90\0" + b"This program cannot be run in DOS mode." + bytes(85)
SCRIPT = "<script>alert(1)</script>"


@dataclass(frozen=True)
class Attacked:
    archive: ArchiveUnderTest
    who: Identity
    technologist: Client
    clinician: Client


@pytest.fixture(scope="module")
def attacked(new_archive: Callable[[], ArchiveUnderTest], peers_of: dict[str, Identity]) -> Iterator[Attacked]:
    archive = new_archive()
    with archive.serving():
        technologist = Client(archive, archive.token("tom", "technologist", "store,find"))
        yield Attacked(archive, peers_of["CT1"], technologist, Client(archive, archive.token("clara")))


@pytest.mark.parametrize("route", ["import", "STOW-RS"])
def test_a_program_in_the_preamble_does_not_come_out_again(attacked: Attacked, tmp_path: Path, route: str) -> None:
    number = {"import": 501, "STOW-RS": 502}[route]
    polyglot = PROGRAM + file_of(data_set(number), instance=hostile.instance_of(number))[128:]
    assert len(PROGRAM) == 128
    if route == "import":
        (tmp_path / "polyglot.dcm").write_bytes(polyglot)
        assert attacked.archive.take_in([tmp_path])["stored"] == 1
    else:
        assert attacked.technologist.store(polyglot).status_code == 200
    answer = attacked.clinician.get(f"/studies/1.2.826.0.1.3680043.10.998.{number}.1", AS_STORED)
    ((kind, given),) = parts_of(answer)
    assert kind.startswith("application/dicom")
    assert given[:132] == bytes(128) + b"DICM"
    assert given.endswith(data_set(number))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_a_dicomdir_names_is_not_opened(attacked: Attacked, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "SECRET"
    secret.parent.mkdir()
    secret.write_bytes(file_of(data_set(510), instance=hostile.instance_of(510)))
    medium = tmp_path / "medium"
    medium.mkdir()
    directory = b"".join(
        (
            element(0x0004, 0x1130, "CS", b"EVIL"),
            element(0x0004, 0x1220, "SQ", b"", 0xFFFFFFFF),
            b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
            element(0x0004, 0x1500, "CS", b"..\\elsewhere\\SECRET"),
            b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0",
        )
    )
    (medium / "DICOMDIR").write_bytes(file_of(directory, sop_class="1.2.840.10008.1.3.10"))
    taken = attacked.archive.take_in([medium])
    assert taken["stored"] == 0, taken
    assert attacked.clinician.get("/studies/1.2.826.0.1.3680043.10.998.510.1", AS_STORED).status_code == 404
    # The named file itself would have been taken.
    assert attacked.archive.take_in([secret])["stored"] == 1


def shells_in(source: str) -> list[str]:
    """Calls that hand a text to a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            shell = any(
                each.arg == "shell" and not (isinstance(each.value, ast.Constant) and not each.value.value) for each in node.keywords
            )
            if shell or name.rpartition(".")[2] in {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"}:
                found.append(name)
    return found


def test_nothing_is_ever_run_by_a_shell() -> None:
    for path in Path(leadglass.__file__).parent.rglob("*.py"):
        assert shells_in(path.read_text()) == [], path
    assert shells_in("import os\nos.system('x')\nrun(a, shell=True)\nrun(a, shell=False)") == ["os.system", "run"]


def test_pixels_that_are_none_are_kept_as_they_came(attacked: Attacked) -> None:
    """A decoder would choke on them; none is asked where an object is taken in."""
    jpeg2000 = "1.2.840.10008.1.2.4.90"
    broken = b"\xff\x4f\xff\x51" + b"\xff" * 2044
    fragments = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0" + len(broken).to_bytes(4, "little") + broken + b"\xfe\xff\xdd\xe0\0\0\0\0"
    rows = element(0x0028, 0x0010, "US", b"\xff\xff") + element(0x0028, 0x0011, "US", b"\xff\xff")
    data = data_set(520, tail=rows + element(0x7FE0, 0x0010, "OB", fragments, 0xFFFFFFFF))
    with associated(attacked.archive.dimse, attacked.who, storage={(CT_CLASS, jpeg2000)}) as association:
        assert send(association, Sent(CT_CLASS, hostile.instance_of(520), jpeg2000, data)) == 0
    ((_, given),) = parts_of(attacked.clinician.get("/studies/1.2.826.0.1.3680043.10.998.520.1", AS_STORED))
    assert given.endswith(data)


def test_a_script_in_a_name_is_json_and_nothing_else(attacked: Attacked) -> None:
    data = data_set(530).replace(element(0x0010, 0x0010, "PN", b"Hostile^Object"), element(0x0010, 0x0010, "PN", SCRIPT.encode()))
    assert attacked.technologist.store(file_of(data, instance=hostile.instance_of(530))).status_code == 200
    study = "1.2.826.0.1.3680043.10.998.530.1"
    for path in (f"/studies?StudyInstanceUID={study}", f"/studies/{study}/metadata"):
        answer = attacked.clinician.get(path)
        assert answer.headers["Content-Type"].startswith("application/dicom+json")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert json.loads(answer.content)[0]["00100010"]["Value"][0]["Alphabetic"] == SCRIPT
    for path in (f"/studies/{SCRIPT}", f"/studies?PatientName={SCRIPT}&limit={SCRIPT}", f"/{SCRIPT}"):
        answer = attacked.clinician.get(path)
        assert answer.status_code in {400, 404}
        assert b"<script" not in answer.content


def pss(archive: ArchiveUnderTest) -> int:
    assert archive.process is not None
    return int(psutil.Process(archive.process.pid).memory_full_info().pss)


@pytest.mark.long
def test_associations_good_and_bad_leave_no_memory_behind(archive: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    who = peers_of["CT1"]
    with archive.serving():
        door, context = archive.dimse, client_context(archive.ca, who)

        def round_of(count: int) -> None:
            for number in range(count):
                with suppress(OSError), socket.create_connection((door.host, door.port), timeout=10) as plain:
                    match number % 4:
                        case 0:
                            plain.sendall(hostile.associate())
                        case 1:
                            pass
                        case _:
                            with context.wrap_socket(plain, server_hostname=door.host) as connection:
                                connection.sendall(hostile.associate() if number % 4 == 2 else b"\xff" * 100)
                                connection.recv(1 << 16)
            for _ in range(count // 20):
                with associated(door, who, storage={(CT_CLASS, EXPLICIT)}) as association:
                    assert send(association, Sent(CT_CLASS, hostile.instance_of(600), EXPLICIT, data_set(600))) == 0
            time.sleep(6)

        round_of(400)
        assert archive.process is not None
        process = psutil.Process(archive.process.pid)
        before, descriptors = pss(archive), process.num_fds()
        round_of(2000)
        assert process.num_fds() <= descriptors + 5
        # What is lost at each would be 2 kB or more: 2,000 of them would show.
        assert pss(archive) - before < 4 << 20
