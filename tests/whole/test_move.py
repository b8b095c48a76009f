"""C-MOVE with independent peers on both sides: who may, to whom, what arrives, and what a destination can do wrong."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass, wait_until
from tests.certificates import Identity
from tests.whole.associating import associated
from tests.whole.conftest import Founded
from tests.whole.receiving import IMPLICIT, Receiver, receiver, silent
from tests.whole.relay import client_context, relay
from tests.whole.stock import FEW, few

STUDY_MOVE, PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.1.2"
CT = pydicom.dcmread(samples.sample("CT_small.dcm"))
EVERY = sorted({str(pydicom.dcmread(samples.sample(name), stop_before_pixels=True).StudyInstanceUID) for name in FEW})
SUCCESS, WARNING, UNKNOWN, FAILED, CANCELLED, PENDING = 0x0000, 0xB000, 0xA801, 0xA702, 0xFE00, 0xFF00
PLAIN_PORT, SECOND_PORT = peers.free_port(), peers.free_port()


@pytest.fixture(scope="module")
def serving(new_archive: Callable[[], ArchiveUnderTest]) -> Iterator[ArchiveUnderTest]:
    """Serves `few()`, and knows destinations; each test lets one of them listen."""
    archive = new_archive()
    with archive.serving():
        assert archive.take_in(few())["stored"] == len(FEW)
        archive.plaintext_peer("PLAIN", PLAIN_PORT)
        yield archive


def add_destination(archive: ArchiveUnderTest, aet: str) -> tuple[Identity, int]:
    port = peers.free_port()
    return archive.peer(aet, "store", port=port), port


def request(level: str, **keys: object) -> pydicom.Dataset:
    query = pydicom.Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def move(association: Association, destination: str, query: pydicom.Dataset, model: str = STUDY_MOVE) -> list[Any]:
    """Every response: the status, and the identifier of the last."""
    return list(association.send_c_move(query, destination, model, msg_id=77))


def counts(status: Dataset) -> tuple[int | None, int, int, int]:
    return (
        status.get("NumberOfRemainingSuboperations"),
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


@pytest.fixture
def mover(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> Iterator[Association]:
    with associated(serving.dimse, peers_of["MOVER"], "MOVER") as association:
        yield association


# What arrives


@pytest.mark.parametrize("how", ["plaintext", "TLS"])
def test_movescu_moves_a_study_to_storescp(how: str, serving: ArchiveUnderTest, peers_of: dict[str, Identity], tmp_path: Path) -> None:
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={CT.StudyInstanceUID}"]
    aet, port, identity = f"SCP{how}", peers.free_port(), None
    if how == "TLS":
        identity = serving.peer(aet, "store", port=port)
    else:
        serving.plaintext_peer(aet, port)
    # DCMTK 3.6.7's movescu speaks no TLS.
    with (
        peers.storescp(tmp_path / "scp", aet=aet, tls=identity, port=port),
        relay(serving.dimse, client_context(serving.ca, peers_of["MOVER"])) as through,
    ):
        done = peers.scu("movescu", through.address, "-S", "-aem", aet, *keys, calling="MOVER")
    assert done.returncode == 0, done.stdout
    assert "Received Final Move Response (Success)" in done.stdout
    (file,) = (tmp_path / "scp" / "received").iterdir()
    assert pydicom.dcmread(file, force=True).PixelData == CT.PixelData


LEVELS: dict[str, tuple[str, pydicom.Dataset]] = {
    "study": (STUDY_MOVE, request("STUDY", StudyInstanceUID=CT.StudyInstanceUID)),
    "series": (STUDY_MOVE, request("SERIES", StudyInstanceUID=CT.StudyInstanceUID, SeriesInstanceUID=CT.SeriesInstanceUID)),
    "image": (
        STUDY_MOVE,
        request("IMAGE", StudyInstanceUID=CT.StudyInstanceUID, SeriesInstanceUID=CT.SeriesInstanceUID, SOPInstanceUID=CT.SOPInstanceUID),
    ),
    "patient": (PATIENT_MOVE, request("PATIENT", PatientID=CT.PatientID)),
    "study of a patient": (PATIENT_MOVE, request("STUDY", PatientID=CT.PatientID, StudyInstanceUID=CT.StudyInstanceUID)),
    "image of a patient": (
        PATIENT_MOVE,
        request(
            "IMAGE",
            PatientID=CT.PatientID,
            StudyInstanceUID=CT.StudyInstanceUID,
            SeriesInstanceUID=CT.SeriesInstanceUID,
            SOPInstanceUID=CT.SOPInstanceUID,
        ),
    ),
}


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_both_roots(level: str, mover: Association) -> None:
    model, query = LEVELS[level]
    with receiver("PLAIN", port=PLAIN_PORT) as there:
        *_, (status, identifier) = move(mover, "PLAIN", query, model)
    assert status.Status == SUCCESS
    assert counts(status) == (None, 1, 0, 0)
    assert identifier is None
    (sent,) = there.received
    assert sent.sop_instance == CT.SOPInstanceUID
    assert there.originators == [("MOVER", 77)]
    assert there.callers == [("LEADGLASS", "PLAIN")]


def test_every_stored_transfer_syntax_arrives_as_it_is_and_the_counts_are_right(serving: ArchiveUnderTest, mover: Association) -> None:
    identity, port = add_destination(serving, "EVERYTHING")
    with receiver("EVERYTHING", tls=identity, port=port) as there:
        responses = move(mover, "EVERYTHING", request("STUDY", StudyInstanceUID=EVERY))
    said = [counts(status) for status, _ in responses]
    total = len(FEW)
    assert said == [*((total - done, done, 0, 0) for done in range(1, total)), (None, total, 0, 0)]
    assert [status.Status for status, _ in responses] == [PENDING] * (total - 1) + [SUCCESS]
    originals = {str(each.SOPInstanceUID): each for each in map(pydicom.dcmread, few())}
    assert {(sent.sop_instance, sent.transfer_syntax) for sent in there.received} == {
        (uid, each.file_meta.TransferSyntaxUID) for uid, each in originals.items()
    }
    assert there.associations == 1


def test_nothing_of_what_is_not_there_is_moved(mover: Association) -> None:
    with receiver("PLAIN", port=PLAIN_PORT) as there:
        ((status, _),) = move(mover, "PLAIN", request("STUDY", StudyInstanceUID="1.2.3.4"))
    assert (status.Status, counts(status)) == (SUCCESS, (None, 0, 0, 0))
    assert there.associations == 0


# Whom, and who


def test_an_unknown_destination_is_answered_as_one_that_is_no_destination(
    serving: ArchiveUnderTest, mover: Association, peers_of: dict[str, Identity]
) -> None:
    add_destination(serving, "GONE")
    leadglass("peer", "revoke", serving.home, "GONE")
    answers = set()
    # Nobody; our own title; a peer without an address; one that was revoked; a title with an address in it.
    for aet in ("NOBODY", "LEADGLASS", "CT1", "GONE", "PLAIN@127.0.0.1", "127.0.0.1:104"):
        ((status, identifier),) = move(mover, aet, request("STUDY", StudyInstanceUID=CT.StudyInstanceUID))
        assert status.Status == UNKNOWN
        answers.add(str(status))
        assert not identifier
    assert len(answers) == 1


def test_who_may_not_move_is_not_offered_it(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    with associated(serving.dimse, peers_of["CT1"], "CT1") as association:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
    assert not accepted & {STUDY_MOVE, PATIENT_MOVE}


def test_a_destination_with_another_key_gets_nothing(serving: ArchiveUnderTest, mover: Association, peers_of: dict[str, Identity]) -> None:
    _, port = add_destination(serving, "IMPOSTOR")
    # Of the same authority, but another peer's.
    with receiver("IMPOSTOR", tls=peers_of["CT1"], port=port) as there:
        *_, (status, identifier) = move(mover, "IMPOSTOR", request("STUDY", StudyInstanceUID=CT.StudyInstanceUID))
    assert (status.Status, counts(status)) == (FAILED, (None, 0, 1, 0))
    assert identifier.FailedSOPInstanceUIDList == CT.SOPInstanceUID
    assert there.associations == 0


def test_a_destination_over_tls_is_never_called_in_plaintext(serving: ArchiveUnderTest, mover: Association) -> None:
    _, port = add_destination(serving, "STRIPPED")
    with receiver("STRIPPED", port=port) as there:
        *_, (status, _) = move(mover, "STRIPPED", request("STUDY", StudyInstanceUID=CT.StudyInstanceUID))
    assert status.Status == FAILED
    assert there.associations == 0


def test_the_trail_says_who_moved_which_studies_to_whom(archive: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    archive.plaintext_peer("PLAIN", PLAIN_PORT)
    with archive.serving():
        archive.take_in(few())
        with associated(archive.dimse, peers_of["MOVER"], "MOVER") as association:
            with receiver("PLAIN", port=PLAIN_PORT):
                move(association, "PLAIN", request("PATIENT", PatientID=CT.PatientID), PATIENT_MOVE)
            move(association, "PLAIN", request("STUDY", StudyInstanceUID=CT.StudyInstanceUID))
            move(association, "NOBODY", request("STUDY", StudyInstanceUID=CT.StudyInstanceUID))
    entries = [entry for entry in archive.trail() if entry.get("action") == "move"]
    said = [(entry["kind"], entry["who"], entry.get("outcome"), entry["studies"], entry["count"]) for entry in entries]
    study = [str(CT.StudyInstanceUID)]
    assert said == [
        ("intent", "peer:MOVER", None, [], 0),
        ("continued", "peer:MOVER", None, study, 0),
        ("outcome", "peer:MOVER", "done", study, 1),
        ("intent", "peer:MOVER", None, [], 0),
        ("continued", "peer:MOVER", None, study, 0),
        ("outcome", "peer:MOVER", "partial", study, 0),
        ("intent", "peer:MOVER", None, [], 0),
        ("outcome", "peer:MOVER", "refused", [], 0),
    ]
    assert [entry["detail"]["destination"] for entry in entries if entry["kind"] == "intent"] == ["PLAIN", "PLAIN", "unknown"]


# What destinations do wrong


def test_an_object_that_is_refused_is_listed_and_the_others_go_on(serving: ArchiveUnderTest, mover: Association) -> None:
    def refuse_ct(_: Receiver, event: evt.Event) -> int:
        asked: Any = event.request
        return 0xA700 if asked.AffectedSOPInstanceUID == CT.SOPInstanceUID else 0xB000

    identity, port = add_destination(serving, "PICKY")
    with receiver("PICKY", tls=identity, port=port, answer=refuse_ct) as there:
        *_, (status, identifier) = move(mover, "PICKY", request("STUDY", StudyInstanceUID=EVERY))
    assert status.Status == WARNING
    assert counts(status) == (None, 0, 1, len(FEW) - 1)
    assert identifier.FailedSOPInstanceUIDList == CT.SOPInstanceUID
    assert status.ErrorComment == "1 of 1 failed: the receiver answered 0xA700"
    assert there.associations == 1


def test_a_destination_that_takes_implicit_alone_gets_what_can_be_converted(serving: ArchiveUnderTest, mover: Association) -> None:
    identity, port = add_destination(serving, "IMPLICIT")
    with receiver("IMPLICIT", tls=identity, port=port, syntaxes=[IMPLICIT]) as there:
        *_, (status, _) = move(mover, "IMPLICIT", request("STUDY", StudyInstanceUID=EVERY))
    assert {sent.transfer_syntax for sent in there.received} == {IMPLICIT}
    assert status.NumberOfCompletedSuboperations == len(there.received) > 0
    assert there.associations == 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_broken_association_is_made_again_once(times: int, serving: ArchiveUnderTest, mover: Association) -> None:
    broken: list[int] = []

    def break_off(there: Receiver, event: evt.Event) -> int:
        if len(there.received) >= 2 and len(broken) < times:
            broken.append(len(there.received))
            event.assoc.abort()
        return 0x0000 if not event.assoc.is_aborted else 0x0110

    identity, port = add_destination(serving, f"BREAKS{times}")
    with receiver(f"BREAKS{times}", tls=identity, port=port, answer=break_off) as there:
        responses = move(mover, f"BREAKS{times}", request("STUDY", StudyInstanceUID=EVERY))
    status, identifier = responses[-1]
    assert there.associations == 2
    if times == 1:
        assert (status.Status, counts(status)) == (SUCCESS, (None, len(FEW), 0, 0))
        assert len({sent.sop_instance for sent in there.received}) == len(FEW)
    else:
        assert status.Status == WARNING
        assert counts(status) == (None, 2, len(FEW) - 2, 0)
        assert set(identifier.FailedSOPInstanceUIDList) == {str(each.SOPInstanceUID) for each in map(pydicom.dcmread, few())} - {
            sent.sop_instance for sent in there.received
        }
        assert status.ErrorComment.startswith(f"{len(FEW) - 2} of {len(FEW) - 2} failed: no association")


def test_a_destination_that_rejects_or_is_not_there_fails_it_all(serving: ArchiveUnderTest, mover: Association) -> None:
    identity, port = add_destination(serving, "OTHERNAME")
    for listening in (False, True):
        if listening:
            with receiver("QUITEANOTHER", tls=identity, port=port) as there:
                *_, (status, _) = move(mover, "OTHERNAME", request("STUDY", StudyInstanceUID=CT.StudyInstanceUID))
            assert there.received == []
        else:
            *_, (status, _) = move(mover, "OTHERNAME", request("STUDY", StudyInstanceUID=CT.StudyInstanceUID))
        assert (status.Status, counts(status)) == (FAILED, (None, 0, 1, 0))


def test_cancelled_between_objects(serving: ArchiveUnderTest, mover: Association) -> None:
    def slow(_: Receiver, __: evt.Event) -> int:
        time.sleep(0.3)
        return 0x0000

    identity, port = add_destination(serving, "SLOW")
    with receiver("SLOW", tls=identity, port=port, answer=slow) as there:
        statuses = []
        for status, _ in mover.send_c_move(request("STUDY", StudyInstanceUID=EVERY), "SLOW", STUDY_MOVE, msg_id=9):
            statuses.append(status)
            if len(statuses) == 1:
                mover.send_c_cancel(9, query_model=STUDY_MOVE)
    assert statuses[-1].Status == CANCELLED
    remaining, completed, failed, _ = counts(statuses[-1])
    assert remaining is not None
    assert remaining > 0
    assert completed == len(there.received) < len(FEW)
    assert remaining + completed + failed == len(FEW)


@pytest.mark.parametrize("where", ["TLS", "plaintext"])
def test_cancelled_while_a_destination_keeps_silent(where: str, serving: ArchiveUnderTest, mover: Association) -> None:
    aet = f"SILENT{where}"
    port = peers.free_port()
    if where == "TLS":
        serving.peer(aet, "store", port=port)
    else:
        serving.plaintext_peer(aet, port)
    with silent(port) as connected:
        cancelled = threading.Timer(0.5, lambda: mover.send_c_cancel(9, query_model=STUDY_MOVE))
        cancelled.start()
        began = time.monotonic()
        ((status, _),) = list(mover.send_c_move(request("STUDY", StudyInstanceUID=EVERY), aet, STUDY_MOVE, msg_id=9))
        assert connected.is_set()
    assert status.Status == CANCELLED
    assert counts(status) == (len(FEW), 0, 0, 0)
    assert time.monotonic() - began < 9


def test_a_silent_destination_does_not_hold_up_others(serving: ArchiveUnderTest, mover: Association, peers_of: dict[str, Identity]) -> None:
    port = peers.free_port()
    serving.plaintext_peer("MUTE", port)
    with silent(port) as connected, associated(serving.dimse, peers_of["MOVER"], "MOVER") as waiting:
        query = request("STUDY", StudyInstanceUID=CT.StudyInstanceUID)
        thread = threading.Thread(target=lambda: list(waiting.send_c_move(query, "MUTE", STUDY_MOVE, msg_id=1)))
        thread.start()
        wait_until(connected.is_set)
        began = time.monotonic()
        with receiver("PLAIN", port=PLAIN_PORT) as there:
            *_, (status, _) = move(mover, "PLAIN", query)
        assert (status.Status, len(there.received)) == (SUCCESS, 1)
        assert time.monotonic() - began < 5
        # Its caller is gone: nobody waits for the destination any more.
        waiting.abort()
        thread.join(10)
    wait_until(lambda: _last_of("MOVER", serving) == "failed", 15)


def _last_of(who: str, archive: ArchiveUnderTest) -> str | None:
    rows = [entry for entry in archive.trail() if entry["kind"] == "outcome" and entry["who"] == f"peer:{who}"]
    return str(rows[-1]["outcome"])


# Orthanc


def test_orthanc_is_destination_and_caller(founded: Founded, archive: ArchiveUnderTest, tmp_path: Path) -> None:
    identity = archive.peer("ORTHANC", "find,get,move", port=(port := peers.free_port()))
    with archive.serving():
        archive.take_in(few())
        ours = {"AET": "LEADGLASS", "Host": "127.0.0.1", "Port": archive.dimse.port, "UseDicomTls": True}
        settings = {**peers.OPENED, "DicomModalities": {"ours": ours}, "DicomPort": port}
        with peers.orthanc(tmp_path / "orthanc", settings, tls=identity) as orthanc:
            asked = {"Level": "Study", "Resources": [{"StudyInstanceUID": CT.StudyInstanceUID}], "TargetAet": "ORTHANC", "Timeout": 30}
            answer = httpx.post(f"{orthanc.url}/modalities/ours/move", json=asked, timeout=60)
            assert answer.status_code == 200, answer.text
            assert orthanc.statistics()["CountInstances"] == 1
            (instance,) = httpx.get(f"{orthanc.url}/instances").json()
            tags = httpx.get(f"{orthanc.url}/instances/{instance}/simplified-tags").json()
            assert tags["SOPInstanceUID"] == CT.SOPInstanceUID


@pytest.mark.parametrize("breaks", [False, True], ids=["goes on", "breaks off"])
def test_a_destination_that_is_revoked_meanwhile_gets_nothing_more(tmp_path: Path, *, breaks: bool) -> None:
    archive = ArchiveUnderTest.found(tmp_path / "archive")
    received, revoked, late = threading.Event(), threading.Event(), list[int]()

    def answer(there: Receiver, event: evt.Event) -> int:
        received.set()
        if revoked.is_set():
            late.append(len(there.received))
        elif there.received:
            revoked.wait(30)
            if breaks:
                event.assoc.abort()
        return 0

    with archive.serving():
        archive.take_in(few())
        mover = archive.peer("MOVER", "move")
        port = peers.free_port()
        there = archive.peer("DEST", "store", port=port)
        with (
            receiver("DEST", tls=there, port=port, answer=answer),
            associated(archive.dimse, mover, "MOVER") as association,
            ThreadPoolExecutor(1) as pool,
        ):
            moving = pool.submit(move, association, "DEST", request("STUDY", StudyInstanceUID=EVERY))
            assert received.wait(30)
            leadglass("peer", "revoke", archive.home, "DEST")
            revoked.set()
            *_, last = moving.result(60)
    assert not late
    assert last[0].Status == WARNING
    assert last[0].NumberOfFailedSuboperations >= len(FEW) - 2


def test_a_destination_that_is_revoked_meanwhile_is_left_at_once(serving: ArchiveUnderTest, mover: Association) -> None:
    stalled, over = threading.Event(), threading.Event()

    def stall(_: Receiver, __: evt.Event) -> int:
        stalled.set()
        over.wait(30)
        return 0

    identity, port = add_destination(serving, "LEFT")
    with receiver("LEFT", tls=identity, port=port, answer=stall), ThreadPoolExecutor(1) as pool:
        moving = pool.submit(move, mover, "LEFT", request("STUDY", StudyInstanceUID=EVERY))
        assert stalled.wait(30)
        leadglass("peer", "revoke", serving.home, "LEFT")
        # The object under way is not answered, and is not waited for.
        *_, (status, _) = moving.result(3)
        over.set()
    assert (status.Status, counts(status)) == (FAILED, (None, 0, len(FEW), 0))
