"""Compressed objects for receivers that take none: over C-GET and DICOMweb, and what cannot be decoded fails alone, with a reason."""

import contextlib
import io
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID

from leadglass.dicom.part10 import file_meta
from tests import peers, samples
from tests.archives import ArchiveUnderTest, wait_until
from tests.certificates import Identity
from tests.dicomweb.client import Client, parts_of
from tests.pixels.references import EXPLICIT, IMPLICIT, LOSSY, pixels, theirs
from tests.whole.associating import GET, Sent, associated, find
from tests.whole.relay import client_context, relay

STUDY = "1.2.826.0.1.3680043.8.498.4711"
WHOLE = [
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_rle_2frame.dcm",
    "examples_jpeg2k.dcm",
    "693_J2KI.dcm",
]
HALF = f"{STUDY}.1000"
"""A study of two, of which one cannot be decoded."""
DAMAGED, VIDEO = f"{STUDY}.98", f"{STUDY}.99"


def uid(name: str) -> str:
    return f"{STUDY}.{WHOLE.index(name) + 1}"


def in_the_study(name: str, instance: str, folder: Path, frame: bytes | None = None, syntax: str | None = None, study: str = STUDY) -> Path:
    """A bundled image as an object of STUDY."""
    data_set = pydicom.dcmread(samples.sample(name))
    data_set.PatientID, data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "CONVERSION", UID(study), UID(f"{study}.0.1")
    data_set.PatientName = "Conversion^Test"
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    if frame is not None:
        data_set.PixelData = encapsulate([frame])
    data_set.file_meta.TransferSyntaxUID = UID(syntax or data_set.file_meta.TransferSyntaxUID)
    data_set.save_as(folder / f"{instance}.dcm")
    return folder / f"{instance}.dcm"


@pytest.fixture(scope="module")
def holding(new_archive: Callable[[], ArchiveUnderTest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveUnderTest]:
    folder = tmp_path_factory.mktemp("made")
    lossless = pydicom.dcmread(samples.sample("MR_small_jpeg_ls_lossless.dcm"))
    cut_off = get_frame(lossless.PixelData, 0, number_of_frames=1)[:1000] + b"\xff\xd9"
    paths = [in_the_study(name, uid(name), folder) for name in WHOLE]
    paths.append(in_the_study("MR_small_jpeg_ls_lossless.dcm", DAMAGED, folder, cut_off))
    paths.append(in_the_study("JPEG2000.dcm", VIDEO, folder, syntax="1.2.840.10008.1.2.4.100"))
    paths.append(in_the_study("MR_small_RLE.dcm", f"{HALF}.1", folder, study=HALF))
    paths.append(in_the_study("MR_small_jpeg_ls_lossless.dcm", f"{HALF}.2", folder, cut_off, study=HALF))
    archive = new_archive()
    with archive.serving():
        taken = archive.take_in(paths)
        assert taken["stored"] == len(paths), taken
        yield archive


def got(archive: ArchiveUnderTest, who: Identity, folder: Path, offer: str) -> tuple[str, dict[str, pydicom.Dataset]]:
    """What getscu says and receives of STUDY."""
    folder.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
    with relay(archive.dimse, client_context(archive.ca, who)) as through:
        done = peers.scu("getscu", through.address, "-d", "-S", "+B", offer, "-od", folder, *keys, calling="CT1")
    return done.stdout, {path.name.split(".", 1)[1]: pydicom.dcmread(path) for path in sorted(folder.iterdir())}


def require_right_pixels(name: str, converted: pydicom.Dataset) -> None:
    lossy = pydicom.dcmread(samples.sample(name)).file_meta.TransferSyntaxUID in LOSSY
    assert np.abs(pixels(converted) - theirs(samples.sample(name))).max() <= (3 if lossy else 0), name


def test_getscu_that_takes_no_compression_gets_every_image_but_those_that_cannot_be_decoded(
    holding: ArchiveUnderTest, peers_of: dict[str, Identity], tmp_path: Path
) -> None:
    said, received = got(holding, peers_of["CT1"], tmp_path / "got", "+x=")
    by_uid = {str(data_set.SOPInstanceUID): data_set for data_set in received.values()}
    assert set(by_uid) == {uid(name) for name in WHOLE}
    for name in WHOLE:
        assert by_uid[uid(name)].file_meta.TransferSyntaxUID == EXPLICIT
        require_right_pixels(name, by_uid[uid(name)])
    counts = re.findall(r"(Completed|Failed|Warning) Suboperations *: (\d+)", said)
    assert dict(counts) == {"Completed": str(len(WHOLE)), "Failed": "2", "Warning": "0"}, said[-3000:]
    assert "Peer Aborted" not in said
    log = holding.log()
    assert "CannotConvert" in log
    assert STUDY not in log


def test_who_takes_implicit_little_endian_alone_gets_that_on_an_association_that_stays(
    holding: ArchiveUnderTest, peers_of: dict[str, Identity]
) -> None:
    classes = {str(pydicom.dcmread(samples.sample(name)).SOPClassUID) for name in (*WHOLE, "JPEG2000.dcm")}
    identifier = pydicom.Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", STUDY
    received: list[Sent] = []
    with associated(holding.dimse, peers_of["CT1"], storage=[(each, IMPLICIT) for each in classes], receiving=received) as association:
        *_, (status, failed) = association.send_c_get(identifier, GET)
        assert association.send_c_echo().Status == 0
    assert status.Status == 0xB000
    assert failed is not None
    assert (status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (len(WHOLE), 2)
    assert set(failed.FailedSOPInstanceUIDList) == {DAMAGED, VIDEO}
    for sent in received:
        assert sent.transfer_syntax == IMPLICIT
        name = WHOLE[int(sent.sop_instance.rpartition(".")[2]) - 1]
        file = file_meta(sent.sop_class, sent.sop_instance, IMPLICIT) + sent.data_set
        require_right_pixels(name, pydicom.dcmread(io.BytesIO(file)))


def test_the_web_gives_explicit_little_endian_by_default_and_a_reason_for_the_rest(holding: ArchiveUnderTest) -> None:
    client = Client(holding, holding.token("clara"))
    where = f"/studies/{STUDY}/series/{STUDY}.0.1"
    for name in WHOLE:
        ((kind, file),) = parts_of(client.get(f"{where}/instances/{uid(name)}"))
        assert kind == f"application/dicom; transfer-syntax={EXPLICIT}"
        require_right_pixels(name, pydicom.dcmread(io.BytesIO(file)))
    damaged = client.get(f"{where}/instances/{DAMAGED}", "application/dicom")
    assert (damaged.status_code, damaged.json()) == (406, {"error": "the compressed pixels are damaged or cut off"})
    frame = client.get(f"{where}/instances/{DAMAGED}/frames/1", "application/octet-stream")
    assert (frame.status_code, frame.json()) == (406, {"error": "the compressed pixels are damaged or cut off"})
    assert client.get(f"{where}/instances/{VIDEO}", "application/dicom").status_code == 406
    # Not the half of it, as long as nothing has left yet.
    half = client.get(f"/studies/{HALF}")
    assert (half.status_code, half.json()) == (406, {"error": "the compressed pixels are damaged or cut off"})
    assert client.get(f"/studies/{STUDY}").status_code == 406


def test_a_decoder_killed_while_serving_is_replaced(holding: ArchiveUnderTest) -> None:
    client = Client(holding, holding.token("carl"))
    instance = f"/studies/{STUDY}/series/{STUDY}.0.1/instances/{uid('MR_small_RLE.dcm')}"
    assert client.get(instance).status_code == 200
    server = next(process for process in psutil.process_iter() if _serves(process, holding))
    workers = [child for child in server.children() if "leadglass.pixels.worker" in child.cmdline()]
    assert workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.2)
    statuses = {client.get(instance, "application/dicom").status_code for _ in range(len(workers) + 2)}
    assert 200 in statuses <= {200, 406}
    assert client.get(instance, "application/dicom").status_code == 200
    held = sum(process.memory_full_info().pss for process in [server, *server.children(recursive=True)])
    assert held < 300_000_000


def many_frames(folder: Path) -> pydicom.Dataset:
    """An object of 12,000 compressed frames, which take far longer than anybody waits."""
    one = pydicom.dcmread(samples.sample("MR_small_RLE.dcm"))
    frame = get_frame(one.PixelData, 0, number_of_frames=1)
    one.PixelData, one.NumberOfFrames = encapsulate([frame] * 12_000, has_bot=False), 12_000
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY}.12000")
    one.save_as(folder / "many.dcm")
    return one


@pytest.fixture
def with_many_frames(new_archive: Callable[[], ArchiveUnderTest], tmp_path: Path) -> Iterator[tuple[ArchiveUnderTest, pydicom.Dataset]]:
    large, archive = many_frames(tmp_path), new_archive()
    with archive.serving():
        assert archive.take_in([tmp_path / "many.dcm"])["stored"] == 1
        yield archive, large


def test_a_find_and_a_cancel_and_the_end_wait_for_no_conversion(
    with_many_frames: tuple[ArchiveUnderTest, pydicom.Dataset], peers_of: dict[str, Identity]
) -> None:
    archive, large = with_many_frames
    identifier = pydicom.Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", large.StudyInstanceUID
    wanted = [(str(large.SOPClassUID), IMPLICIT)]
    with contextlib.ExitStack() as leaving:
        pool = leaving.enter_context(ThreadPoolExecutor(10))
        # As many as there are threads, and more.
        takers = [leaving.enter_context(associated(archive.dimse, peers_of["CT1"], storage=wanted, receiving=[])) for _ in range(10)]
        first = pool.submit(list, takers[0].send_c_get(identifier, GET, msg_id=5))
        time.sleep(0.2)
        for each in takers[1:]:
            pool.submit(list, each.send_c_get(identifier, GET, msg_id=5))
        time.sleep(0.3)
        begun = time.monotonic()
        with associated(archive.dimse, peers_of["FINDER"], "FINDER") as finder:
            assert len(find(finder, "STUDY", PatientID="*")) == 1
        takers[0].send_c_cancel(5, query_model=GET)
        *_, (status, _) = first.result(5)
        assert (status.Status, status.NumberOfRemainingSuboperations) == (0xFE00, 1)
        archive.stop()
        assert time.monotonic() - begun < 6


@pytest.mark.long
def test_a_search_and_the_end_wait_for_no_conversion_of_a_download(with_many_frames: tuple[ArchiveUnderTest, pydicom.Dataset]) -> None:
    archive, large = with_many_frames
    client = Client(archive, archive.token("clara"))
    path = f"/studies/{large.StudyInstanceUID}/series/{large.SeriesInstanceUID}/instances/{large.SOPInstanceUID}"
    with client.archive_connection() as leaver:
        head = f"GET /dicom-web{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.token}\r\naccept: application/dicom\r\n\r\n"
        leaver.sendall(head.encode())
        time.sleep(0.5)
    wait_until(lambda: any(_ended(entry) for entry in archive.trail()), 5)
    with ThreadPoolExecutor(18) as pool:
        downloads = [pool.submit(client.get, path, "application/dicom") for _ in range(18)]
        time.sleep(1)
        begun = time.monotonic()
        assert client.get("/studies").status_code == 200
        assert time.monotonic() - begun < 3
        begun = time.monotonic()
        archive.stop()
        # Answers that are under way have five seconds to end.
        assert time.monotonic() - begun < 9
        assert all(each.exception(10) is not None for each in downloads)


def _ended(entry: dict[str, object]) -> bool:
    return (entry["action"], entry["kind"], entry["outcome"]) == ("get", "outcome", "cancelled")


def _serves(process: psutil.Process, archive: ArchiveUnderTest) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return "serve" in words and str(archive.home) in words


def _errors(file: Path) -> set[str]:
    done = subprocess.run([peers.require("dciodvfy"), file], capture_output=True, text=True, check=False, errors="replace")
    return {line for line in done.stderr.splitlines() if line.startswith("Error")}


@pytest.mark.parametrize("name", WHOLE)
def test_dciodvfy_finds_no_error_that_was_not_there(name: str, holding: ArchiveUnderTest, tmp_path: Path) -> None:
    client = Client(holding, holding.token(f"vera{WHOLE.index(name)}"))
    where = f"/studies/{STUDY}/series/{STUDY}.0.1/instances/{uid(name)}"
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    before.write_bytes(client.get(where, "application/dicom; transfer-syntax=*").content)
    after.write_bytes(client.get(where, "application/dicom").content)
    assert _errors(after) - _errors(before) == set()
