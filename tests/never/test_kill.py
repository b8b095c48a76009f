"""Acknowledged means kept: `serve` is killed at random moments while objects come in, and nothing that it promised is missing."""

import asyncio
import io
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.uid import Uid
from leadglass.net.failures import AssociationFailed
from leadglass.net.requestor import connect, tcp
from tests.archives import COMMAND, ArchiveUnderTest, copy_of, leadglass
from tests.never.asking import STOW, Web, multipart
from tests.never.house import CT, House, data_set, encoded
from tests.whole.relay import client_context

# CPython 3.11 leaves the socket that it was making open when the server reset before the handshake (ssl.py, SSLSocket._create). The filter
# holds for every thread of a test; `warnings.catch_warnings` in one of them would not.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")

PREFIX = "1.2.276.0.4711"


def count_blobs(shard: Path) -> int:
    """How many blobs lie in a shard: files of their own, and records of its pack."""
    return sum(path.read_bytes().count(b"leadglass blob v1\n") for path in shard.iterdir())


def numbered(number: int) -> bytes:
    """An object of its own, of 5 to 500 kB; every tenth belongs to the same study."""
    pixels = random.Random(number).randbytes(64 * 64 * (1 + number % 17 * 7))
    study = f"{PREFIX}.{number % 10}"
    made = data_set(
        PatientName="Kill^Nine",
        PatientID=f"K{number % 10}",
        InstitutionName="OFFENES HAUS",
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.{number}",
        NumberOfFrames=str(len(pixels) // 4096),
        PixelData=pixels,
    )
    return encoded(made)


def data_set_of(whole: bytes) -> bytes:
    length = pydicom.dcmread(io.BytesIO(whole), stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
    return whole[128 + 4 + 12 + int(length) :]


def uids_of(number: int) -> tuple[str, str, str]:
    study = f"{PREFIX}.{number % 10}"
    return study, f"{study}.1", f"{study}.1.{number}"


@dataclass
class Senders:
    """Objects sent by DIMSE and STOW at the same time, until the archive is gone; what was acknowledged, and what was begun."""

    house: House
    archive: ArchiveUnderTest
    first: int
    begun: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> tuple[int, bytes]:
        with self._lock:
            number = self.first + len(self.begun)
            self.begun.add(number)
        return number, numbered(number)

    def by_dimse(self) -> None:
        asyncio.run(self._by_dimse())

    async def _by_dimse(self) -> None:
        identity = self.house.peers["STORER"]
        door = self.archive.dimse
        request = propose("STORER", "LEADGLASS", [(Uid(CT), [EXPLICIT_LITTLE_ENDIAN])])
        try:
            async with connect(tcp(door.host, door.port, tls=client_context(self.archive.ca, identity)), request) as association:
                context = association.context(CT)
                while True:
                    number, whole = self.next()
                    answer = await association.store(context, Uid(uids_of(number)[2]), data_set_of(whole))
                    assert answer.status == 0
                    self.acknowledged.add(number)
        except AssociationFailed:
            return

    def by_stow(self) -> None:
        web = Web(self.archive)
        fields: dict[str, str | None] = {"Authorization": f"Bearer {self.house.tokens['tessa']}", "Content-Type": STOW}
        while True:
            number, whole = self.next()
            try:
                answer = web.ask("POST", "/dicom-web/studies", fields, multipart(whole))
            except OSError:
                return
            if not answer.startswith(b"HTTP/1.1 200"):
                assert answer == b"closed without an answer" or answer.startswith(b"HTTP/1.1 503"), answer
                return
            self.acknowledged.add(number)


def held(archive: ArchiveUnderTest, house: House, numbers: set[int]) -> set[int]:
    """Which of the objects are there; fails for one that is not whole."""
    web = Web(archive)
    found = set()
    for number in sorted(numbers):
        study, series, instance = uids_of(number)
        path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        fields: dict[str, str | None] = {"Authorization": f"Bearer {house.tokens['anna']}", "Accept": "application/dicom"}
        answer = web.ask("GET", path, fields)
        if answer.startswith(b"HTTP/1.1 200"):
            assert answer.endswith(data_set_of(numbered(number))), f"{number} was altered"
            found.add(number)
        else:
            assert answer.startswith(b"HTTP/1.1 404"), answer[:100]
    web.close()
    return found


# every object of a round is looked at after its kill, this many of the rounds before, and all of them at the end:
# all of them after every kill would be a look per object and round, an hour for what takes minutes
LOOKED_AT_AGAIN = 100


def kill_and_look(house: House, folder: Path, times: int, chance: random.Random) -> int:
    """Send, kill, start again, look, and so on with the same archive; the number of objects that were promised."""
    archive = copy_of(house.archive, folder / "archive")
    first, promised = 0, set[int]()
    archive.start()
    for _ in range(times):
        senders = Senders(house, archive, first)
        with ThreadPoolExecutor(4) as pool:
            sending = [pool.submit(each) for each in (senders.by_dimse, senders.by_stow, senders.by_dimse)]
            began = time.monotonic()
            while not senders.acknowledged and time.monotonic() < began + 20:
                time.sleep(0.01)
            time.sleep(chance.random() * 0.4)
            archive.stop(signal.SIGKILL)
            for each in sending:
                each.result(60)
        archive.start()
        assert senders.acknowledged
        earlier = set(chance.sample(sorted(promised), min(len(promised), LOOKED_AT_AGAIN)))
        assert senders.acknowledged | earlier <= held(archive, house, senders.begun | earlier)
        promised |= senders.acknowledged
        first += len(senders.begun)
    assert promised <= held(archive, house, promised)
    assert leadglass("check", archive.home).returncode == 0
    assert leadglass("trail", "verify", archive.home).returncode == 0
    stored = {
        uid for entry in archive.trail() if entry.get("action") == "store" and entry.get("outcome") == "done" for uid in entry["studies"]
    }
    assert {uids_of(number)[0] for number in promised} <= stored
    archive.stop()
    return len(promised)


def test_what_was_acknowledged_survives_kill_9(house: House, tmp_path: Path) -> None:
    assert kill_and_look(house, tmp_path, 3, random.Random(time.time_ns())) >= 3


@pytest.mark.long
def test_what_was_acknowledged_survives_kill_9_many_times(house: House, tmp_path: Path) -> None:
    assert kill_and_look(house, tmp_path, 200, random.Random(time.time_ns())) > 400


def kill_imports(house: House, folder: Path, times: int, chance: random.Random) -> int:
    """The same for imports, by the owner of HOME and by a command that owns HOME itself; both die."""
    archive = copy_of(house.archive, folder / "archive")
    everything = folder / "objects"
    everything.mkdir()
    for number in range(120):
        (everything / f"{number:03}.dcm").write_bytes(numbered(number))
    reached = 0
    for round_number in range(times):
        child = subprocess.Popen([COMMAND, "import", archive.home, everything], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        shards = archive.home / "blobs" / "000" / "000"
        while not (shards.exists() and count_blobs(shards) > reached) and child.poll() is None and time.monotonic() < began + 20:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.15)
        child.kill()
        child.wait()
        archive.start()
        there = held(archive, house, set(range(120)))
        archive.stop()
        # What is indexed stays: each round goes on from the last.
        assert len(there) >= reached, round_number
        reached = len(there)
    assert leadglass("check", archive.home).returncode == 0
    assert leadglass("trail", "verify", archive.home).returncode == 0
    return reached


def test_an_import_that_is_killed_leaves_whole_objects(house: House, tmp_path: Path) -> None:
    assert kill_imports(house, tmp_path, 3, random.Random(time.time_ns())) > 0


@pytest.mark.long
def test_an_import_that_is_killed_leaves_whole_objects_many_times(house: House, tmp_path: Path) -> None:
    assert kill_imports(house, tmp_path, 40, random.Random(time.time_ns())) > 0
