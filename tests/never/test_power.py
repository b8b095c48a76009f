"""Acknowledged means kept when the power fails: the writes and syncs of a serving archive, cut at any point with the unsynced in doubt."""

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from leadglass.access.identity import BearerToken, LocalUser
from leadglass.archive.archive import Session
from leadglass.assemble.opening import opened
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.query import Selection
from leadglass.dicom.uid import Uid
from leadglass.home import Home
from leadglass.net.failures import AssociationFailed
from leadglass.net.requestor import ClientAssociation, connect, tcp
from leadglass.vocabulary import Door
from tests import peers
from tests.archives import ArchiveUnderTest, copy_of, leadglass
from tests.never.asking import STOW, Web, multipart
from tests.never.house import CT, House, data_set, encoded
from tests.never.recording import KNOWN, Call, Recorded
from tests.never.test_kill import data_set_of
from tests.vault.powerloss import Disk
from tests.whole.relay import client_context

PREFIX = "1.2.276.0.4712"


def numbered(number: int) -> bytes:
    """An object in a study of its own, or in one of two that grow."""
    study = f"{PREFIX}.{number if number % 3 else number % 2}"
    pixels = random.Random(number).randbytes(4096 * (1 + number % 4 * 8))
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.{number}"}
    frames = str(len(pixels) // 4096)
    return encoded(data_set(PatientName="Power^Cut", PatientID=study[-4:], NumberOfFrames=frames, PixelData=pixels, **uids))


def instance_of(number: int) -> str:
    return f"{PREFIX}.{number if number % 3 else number % 2}.1.{number}"


async def associated(house: House, archive: ArchiveUnderTest, talk: Callable[[ClientAssociation], Awaitable[None]]) -> None:
    door = archive.dimse
    request = propose("STORER", "LEADGLASS", [(Uid(CT), [EXPLICIT_LITTLE_ENDIAN])])
    async with connect(tcp(door.host, door.port, tls=client_context(archive.ca, house.peers["STORER"])), request) as association:
        await talk(association)


def send(house: House, recorded: Recorded, count: int) -> None:
    """Store `count` objects by both doors in turn, with searches between them; every answer is a promise."""
    archive = recorded.archive
    web = Web(archive)
    tessa: dict[str, str | None] = {"Authorization": f"Bearer {house.tokens['tessa']}", "Content-Type": STOW}
    anna: dict[str, str | None] = {"Authorization": f"Bearer {house.tokens['anna']}"}

    async def talk(association: ClientAssociation) -> None:
        for number in range(count):
            if number % 2:
                answer = await association.store(association.context(CT), Uid(instance_of(number)), data_set_of(numbered(number)))
                assert answer.status == 0
            else:
                assert web.ask("POST", "/dicom-web/studies", tessa, multipart(numbered(number))).startswith(b"HTTP/1.1 200")
            recorded.promise(f"object {number}")
            if number % 5 == 0:
                assert web.ask("GET", "/dicom-web/studies?limit=1", anna).startswith(b"HTTP/1.1 200")
                recorded.promise(f"search {number // 5 + 1}")

    asyncio.run(associated(house, archive, talk))
    web.close()


def check_promises(house: House, home: Path, promises: list[str]) -> None:
    """Every acknowledged object is served whole, every acknowledged entry is in a trail that verifies, nothing is wrong with anything."""
    with opened(Home(home)) as archive:
        anna = archive.archive.enter(Door.DICOMWEB, BearerToken(house.tokens["anna"]), "127.0.0.1")
        operator = archive.archive.enter(Door.CONTROL, LocalUser(os.geteuid()), "test")
        entries = list(entries_of(operator))
        for promise in promises:
            what, number = promise.split()
            if what == "object":
                assert whole(anna, int(number)), promise
        stored = [entry for entry in entries if entry["action"] == "store" and entry["outcome"] == "done"]
        found = [entry for entry in entries if entry["action"] == "find" and not entry["outcome"]]
        assert len(stored) >= sum(promise.startswith("object") for promise in promises)
        assert len(found) >= sum(promise.startswith("search") for promise in promises)


def whole(session: Session, number: int) -> bool:
    with session.fetch(Selection(instances=(Uid(instance_of(number)),))) as fetched:
        for stored in fetched:
            fetched.delivered()
            return stored.reader.read(-1) == data_set_of(numbered(number))
    return False


def entries_of(session: Session) -> list[dict[str, object]]:
    from leadglass.wire.control import verbs  # noqa: PLC0415 - as the command line asks

    return list(verbs.run(session, "trail-show", {"last": 100000, "who": None, "study": None}))


def record(house: House, folder: Path, count: int) -> tuple[Recorded, Disk, list[Call]]:
    """Serve under strace while `count` objects come in; the disk as it was before, and what was done to it."""
    archive = copy_of(house.archive, folder / "archive")
    disk = Disk(archive.home)
    recorded = Recorded(archive, folder / "trace")
    recorded.start()
    send(house, recorded, count)
    return recorded, disk, recorded.stop(signal.SIGKILL)


def cut_and_look(house: House, folder: Path, *, count: int, cuts: int, chance: random.Random) -> int:
    """Cut the power at `cuts` points; the number of promises looked at."""
    recorded, disk, done = record(house, folder, count)
    promised = dict(recorded.promised_at(done))
    assert len(promised) == len(recorded.acknowledged)
    home = str(recorded.archive.home)
    unknown = {call.name for call in done if call.name not in KNOWN and _hex(home) in call.text and " = -1 " not in call.text}
    assert unknown == set(), "the replay does not know these calls"
    marks = sorted(chance.sample(range(min(promised), len(done)), cuts))
    promises: list[str] = []
    looked_at = 0
    for number, call in enumerate(done):
        disk.play(call.text)
        if number in promised:
            promises.append(promised[number])
        for _ in range(marks.count(number)):
            target = folder / "after"
            disk.cut(target, chance)
            target.chmod(0o700)
            check_promises(house, target, promises)
            looked_at += len(promises)
            shutil.rmtree(target)
    assert_replayed(disk, recorded.archive.home, folder / "replayed")
    return looked_at


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


class _Everything(random.Random):
    """A power cut that takes nothing: every doubtful write and name is there."""

    def randint(self, _low: int, high: int) -> int:
        return high

    def choice(self, options: object) -> float:  # type: ignore[override] # of the four probabilities, the last
        assert options
        return 1.0


def assert_replayed(disk: Disk, home: Path, target: Path) -> None:
    """The replay took everything in: played to its end, it is what lies on the disk."""
    disk.cut(target, _Everything(1))
    for path in home.rglob("*"):
        if path.is_file() and not path.name.endswith("-shm"):
            assert (target / path.relative_to(home)).read_bytes() == path.read_bytes(), path


def test_what_was_acknowledged_survives_a_power_cut(house: House, tmp_path: Path) -> None:
    # Each cut has a promise before it; how many more is chance.
    assert cut_and_look(house, tmp_path, count=15, cuts=12, chance=random.Random(time.time_ns())) >= 12


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_what_was_acknowledged_survives_a_power_cut_anywhere(house: House, tmp_path: Path, seed: int) -> None:
    assert cut_and_look(house, tmp_path, count=40, cuts=400, chance=random.Random(seed)) > 2000


def test_an_archive_that_does_not_sync_is_caught(house: House, tmp_path: Path) -> None:
    """The replay itself: with the syncs taken out of the record, promises are broken."""
    recorded, disk, done = record(house, tmp_path, 5)
    for call in done:
        if "sync" not in call.name:
            disk.play(call.text)
    broken = 0
    for seed in range(3):
        target = tmp_path / "after"
        disk.cut(target, random.Random(seed))
        target.chmod(0o700)
        try:
            check_promises(house, target, list(recorded.acknowledged))
        except Exception:  # noqa: BLE001 - it may break anywhere
            broken += 1
        shutil.rmtree(target)
    assert broken == 3


# A small object alone has no name to be synced: fsync is failed together with what it waits for.
@pytest.mark.parametrize("calls", ["fdatasync", "fdatasync,fsync"])
def test_what_could_not_be_synced_is_not_acknowledged(house: House, tmp_path: Path, calls: str) -> None:
    """The disk fails while it serves: no object is acknowledged from then on, and what was before is there."""
    archive = copy_of(house.archive, tmp_path / "archive")
    archive.start()
    send(house, Recorded(archive, tmp_path / "none"), 4)
    assert archive.process is not None
    log = (tmp_path / "strace.log").open("wb")
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"]
    tracer = subprocess.Popen([peers.require("strace"), "-f", *inject, "-p", str(archive.process.pid)], stderr=log, stdout=log)
    end = time.monotonic() + 20
    while b"attached" not in (tmp_path / "strace.log").read_bytes() and time.monotonic() < end:
        time.sleep(0.05)
    answers: list[object] = []

    async def talk(association: ClientAssociation) -> None:
        for number in (11, 13):
            try:
                answer = await association.store(association.context(CT), Uid(instance_of(number)), data_set_of(numbered(number)))
                answers.append(answer.status)
            except AssociationFailed:
                answers.append("broken off")

    try:
        web = Web(archive)
        tessa: dict[str, str | None] = {"Authorization": f"Bearer {house.tokens['tessa']}", "Content-Type": STOW}
        answers.append(web.ask("POST", "/dicom-web/studies", tessa, multipart(numbered(12))).split(b"\r\n")[0])
        web.close()
        asyncio.run(associated(house, archive, talk))
    except AssociationFailed:
        answers.append("broken off")
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        log.close()
    assert re.search(rb"EIO.*INJECTED", (tmp_path / "strace.log").read_bytes())
    assert len(answers) >= 2
    assert not [answer for answer in answers if answer == 0 or (isinstance(answer, bytes) and b" 200 " in answer)], answers
    archive.stop(signal.SIGKILL)
    check_promises(house, archive.home, [f"object {number}" for number in range(4)])
    leadglass("check", archive.home)
    leadglass("trail", "verify", archive.home)
