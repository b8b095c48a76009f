"""Nothing of a patient lies anywhere unsealed: not in a file while the archive works, is killed or stops, nor in anything it ever wrote."""

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadglass.dicom.matching import name_groups, parse_match
from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.uid import Uid
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Level
from tests.vault.making import Archive, data_set, header_of
from tests.vault.powerloss import strace_command

ROOT_DIR = Path(__file__).parents[2]
NAME, PATIENT_ID, DESCRIPTION = "XYLOPHON^QUIRIN", "ZZ-4711-QX", "KNIE LINKS ZUGEKLAPPT"
UID = "1.2.276.0.987654321"
PIXELS = bytes(range(1, 200)) * 3000
OBJECT = {"PatientName": NAME, "PatientID": PATIENT_ID, "StudyDescription": DESCRIPTION}


def planted(number: int) -> bytes:
    uids = {"StudyInstanceUID": UID, "SeriesInstanceUID": f"{UID}.1", "SOPInstanceUID": f"{UID}.1.{number}"}
    return data_set(PIXELS[number:], **OBJECT, **uids)


def forms(text: bytes) -> Iterator[bytes]:
    """How bytes may hide: as they are, in UTF-16, in hexadecimal, in base64 at each of its three alignments."""
    yield text
    for encoding in ("utf-16-le", "utf-16-be"):
        yield text.decode("latin-1").encode(encoding)
    yield text.hex().encode()
    yield text.hex().upper().encode()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + text)
        # The characters at either end also encode what stands beside the text.
        yield encoded[4 if shift else 0 : -4]


NEEDLES = [form for text in (NAME, NAME.lower(), name_groups(NAME)[0], PATIENT_ID, DESCRIPTION, UID) for form in forms(text.encode())] + [
    form for at in range(4) for form in forms(PIXELS[at : at + 24])
]


def found_in(data: bytes) -> list[bytes]:
    return [needle for needle in NEEDLES if needle in data]


def leaks(*folders: Path) -> dict[str, list[bytes]]:
    """Every file, and every file's name, in which something planted is found."""
    out = {}
    for folder in folders:
        for path in folder.rglob("*"):
            data = os.fsencode(path.name) + (path.read_bytes() if path.is_file() else b"")
            if hits := found_in(data):
                out[str(path)] = hits
    return out


@pytest.mark.parametrize("form", list(forms(NAME.encode())), ids=range(8))
def test_the_search_finds_what_is_planted(tmp_path: Path, form: bytes) -> None:
    (tmp_path / "file").write_bytes(b"\0" * 5000 + form + b"\0")
    assert leaks(tmp_path)
    (tmp_path / "file").write_bytes(b"\0" * 5000)
    assert leaks(tmp_path) == {}
    (tmp_path / (PATIENT_ID + ".dcm")).touch()
    assert leaks(tmp_path)


def work_on(archive: Archive) -> None:
    """Everything a vault does: store, repeat, conflict, break off, search, sort, read, check."""
    for number in range(4):
        archive.store(planted(number), piece=100_000)
    archive.store(planted(1))
    archive.store(planted(1)[:-2] + b"!!")
    broken_off = archive.vault.deposit(header_of(planted(9)), Uid("1.2.840.10008.1.2.1"), EVERY_STUDY, route="test")
    broken_off.write(planted(9)[:500_000])
    wanted = Query(
        Level.IMAGE, {"PatientName": parse_match("PatientName", "xylo*")}, ("PatientName", "StudyDescription", "ModalitiesInStudy")
    )
    assert len(list(archive.vault.find(wanted, EVERY_STUDY))) == 4
    for row in archive.vault.instances(Selection(studies=(Uid(UID),)), EVERY_STUDY):
        with archive.vault.open_object(row) as stored:
            assert found_in(stored.reader.read())
    assert list(archive.vault.check()) == []


def test_no_file_holds_a_patient_while_open_or_closed(tmp_path: Path) -> None:
    archive = Archive(tmp_path).create()
    work_on(archive)
    assert leaks(tmp_path) == {}
    archive.keys.rotate()
    assert leaks(archive.again().home) == {}
    archive.close()
    assert leaks(tmp_path) == {}
    keys = archive.open_keys()
    Vault.remake_index(archive.home, keys)
    keys.close()
    assert leaks(tmp_path) == {}


WORKING = """
import sys, time
from pathlib import Path
from tests.vault.making import Archive
from tests.vault.test_at_rest import work_on

archive = Archive(Path(sys.argv[1])).open()
work_on(archive)
print("done", flush=True)
if len(sys.argv) > 2:
    time.sleep(60)
archive.close()
"""


def test_no_file_holds_a_patient_after_kill_9(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    Archive(home).create().close()
    places = {"TMPDIR": str(temporary), "SQLITE_TMPDIR": str(temporary)}
    command = [sys.executable, "-c", WORKING, str(home), "stay"]
    child = subprocess.Popen(command, cwd=ROOT_DIR, env=os.environ | places, stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"done\n"
    assert leaks(home, temporary) == {}
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert leaks(home, temporary) == {}
    assert list(temporary.iterdir()) == []


WRITING = ["write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "rename", "openat", "mkdir", "symlink", "link"]


def test_nothing_of_a_patient_was_ever_written_anywhere(tmp_path: Path) -> None:
    """Every byte that went through a writing system call, wherever to, and every name that was used."""
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    Archive(home).create().close()
    command = strace_command(trace, ",".join(WRITING))
    subprocess.run([*command, sys.executable, "-c", WORKING, str(home)], cwd=ROOT_DIR, stdout=subprocess.DEVNULL, check=True)
    lines = trace.read_text().splitlines()
    written = b"".join(bytes.fromhex("".join(re.findall(r'"((?:\\x[0-9a-f]{2})*)"', line)).replace("\\x", "")) for line in lines)
    assert len(written) > 4 * len(PIXELS)
    assert found_in(written) == []
