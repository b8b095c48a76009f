"""The file under key table and journal: numbers, torn tails, disks that refuse."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from leadglass.errors import Damaged, NoRoom, StorageFailed
from leadglass.vault.records import RecordFile

HEADER = b"header".ljust(32, b"\0")


def opened(path: Path) -> RecordFile:
    return RecordFile(path, HEADER, damaged=Damaged)


def filled(path: Path, count: int) -> RecordFile:
    RecordFile.replace(path, HEADER, (bytes([65 + number % 26]) * 32 for number in range(count)))
    return opened(path)


def test_records_come_back_by_number_and_in_order(tmp_path: Path) -> None:
    records = filled(tmp_path / "table", 2)
    assert records.append(lambda number: bytes([97 + number]) * 32) == 2
    assert len(records) == 3
    assert [records.read(number)[:1] for number in range(-1, 4)] == [b"", b"A", b"B", b"c", b""]
    assert records.read_from(1) == [b"B" * 32, b"c" * 32]
    assert records.read_from(3) == []
    records.close()
    assert len(opened(tmp_path / "table")) == 3


def test_many_records_are_read_in_batches(tmp_path: Path) -> None:
    records = filled(tmp_path / "table", 2500)
    assert [len(records.read_from(at)) for at in (0, 1024, 2048, 2500)] == [1024, 1024, 452, 0]


@pytest.mark.parametrize("tail", [b"x", b"x" * 31, bytes(32), bytes(64), bytes(40)])
def test_what_a_power_cut_leaves_is_trimmed(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "table"
    filled(path, 2).close()
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    records = opened(path)
    assert len(records) == 2
    assert path.read_bytes() == whole
    assert records.append(lambda _: b"n" * 32) == 2


@pytest.mark.parametrize("place", range(0, 32, 5))
def test_a_changed_header_is_found(tmp_path: Path, place: int) -> None:
    path = tmp_path / "table"
    filled(path, 1).close()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="does not begin"):
        opened(path)


def test_a_missing_file_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="missing"):
        opened(tmp_path / "table")
    assert list(tmp_path.iterdir()) == []


def test_a_replacement_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "table"
    filled(path, 1).close()

    def broken_off() -> "list[bytes]":
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RecordFile.replace(path, HEADER, (record for record in [b"n" * 32, *broken_off()]))
    assert opened(path).read(0) == b"A" * 32


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for it: the kernel takes a part of the record, then refuses with EFBIG."""
    path = tmp_path / "table"
    records = filled(path, 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(NoRoom):
            records.append(lambda _: b"n" * 32)
        assert path.stat().st_size == 3 * 32
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert records.append(lambda _: b"m" * 32) == 2
    assert records.read(2) == b"m" * 32


FAILING = """
import sys
from pathlib import Path
from leadglass.errors import Damaged, StorageFailed
from leadglass.vault.records import RecordFile

records = RecordFile(Path(sys.argv[1]), b"header".ljust(32, b"\\0"), damaged=Damaged)
for _ in range(2):
    try:
        records.append(lambda _: b"n" * 32)
        print("taken")
    except StorageFailed:
        print("refused", len(records))
"""


def test_after_a_failed_sync_nothing_more_is_taken(tmp_path: Path) -> None:
    """The first fdatasync fails with EIO; the second would succeed, and would be a lie (fsync(2))."""
    path = tmp_path / "table"
    filled(path, 2).close()
    inject = "inject=fsync,fdatasync:error=EIO:when=1"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", tmp_path / "trace", "-e", "trace=fsync,fdatasync", "-e", inject, sys.executable, "-c", FAILING, path],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["refused 2", "refused 2"]
    assert StorageFailed.exit_code == 3
