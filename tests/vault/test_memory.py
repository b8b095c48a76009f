"""A large object goes in and comes out in bounded memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.vault.making import Archive

ROOT_DIR = Path(__file__).parents[2]
STREAMING = """
import struct
import sys
import time
from pathlib import Path

from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Selection
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid
from tests.vault.making import Archive, data_set, header_of

length = int(sys.argv[2])
archive = Archive(Path(sys.argv[1])).open()
head = data_set(b"")[:-4] + struct.pack("<I", length)
chunk = bytes(range(256)) * 512
began = time.perf_counter()
deposit = archive.vault.deposit(header_of(data_set()), EXPLICIT_LITTLE_ENDIAN, EVERY_STUDY, route="test")
deposit.write(head)
for _ in range(length // len(chunk)):
    deposit.write(chunk)
print(deposit.commit(), f"{length / 1e6 / (time.perf_counter() - began):.0f} MB/s in")
began = time.perf_counter()
(row,) = archive.vault.instances(Selection(instances=(Uid("1.2.3.1.1"),)), EVERY_STUDY)
with archive.vault.open_object(row) as stored:
    assert stored.reader.read(len(head)) == head
    while piece := stored.reader.read(len(chunk)):
        assert piece == chunk
print(f"{length / 1e6 / (time.perf_counter() - began):.0f} MB/s out")
archive.close()
# Not ru_maxrss: that begins with what the parent took.
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def stream(home: Path, length: int) -> int:
    """Store and read back an object of this length; the most memory that took, in MiB."""
    Archive(home).create().close()
    done = subprocess.run(
        [sys.executable, "-c", STREAMING, str(home), str(length)], cwd=ROOT_DIR, stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1])


def test_an_object_takes_no_memory_by_its_length(tmp_path: Path) -> None:
    assert stream(tmp_path, 200 << 20) < 120


@pytest.mark.long
def test_two_gigabytes_take_no_more(tmp_path: Path) -> None:
    assert stream(tmp_path, 2 << 30) < 120
