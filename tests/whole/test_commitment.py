"""Storage commitment with pynetdicom and Orthanc as the modality: on the same association, on a new one, and after a restart."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association

from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass, wait_until
from tests.certificates import Identity
from tests.whole.associating import Sent, send
from tests.whole.relay import client_context, server_context

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
CT_FILE, MR_FILE = samples.sample("CT_small.dcm"), samples.sample("MR_small.dcm")
CT, MR = pydicom.dcmread(CT_FILE), pydicom.dcmread(MR_FILE)
EXPLICIT = "1.2.840.10008.1.2.1"
PROCESSING, NOT_THERE, CONFLICT = 0x0110, 0x0112, 0x0119


@dataclass
class Told:
    """What a modality was told: the event type, and the report."""

    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    refusals: int = 0
    """How many reports are refused before one is taken."""

    def take(self, event: evt.Event) -> tuple[int, None]:
        request: Any = event.request
        if self.refusals:
            self.refusals -= 1
            return 0x0110, None
        self.reports.append((request.EventTypeID, event.event_information))
        self.arrived.set()
        return 0x0000, None

    @property
    def report(self) -> tuple[int, Dataset]:
        assert self.arrived.wait(30)
        (only,) = self.reports
        return only


def objects(dataset: Dataset, keyword: str) -> list[tuple[str, int | None]]:
    return [(str(item.ReferencedSOPInstanceUID), item.get("FailureReason")) for item in dataset.get(keyword) or []]


@contextlib.contextmanager
def modality(archive: ArchiveUnderTest, who: Identity, calling: str, told: Told) -> Iterator[Association]:
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    contexts = [build_context(COMMITMENT, EXPLICIT), *(build_context(each.SOPClassUID, EXPLICIT) for each in (CT, MR))]
    association = entity.associate(
        archive.dimse.host,
        archive.dimse.port,
        contexts,
        archive.dimse.aet,
        tls_args=(client_context(who.authority, who), archive.dimse.host),
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, told.take)],
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.join(20)


@contextlib.contextmanager
def listening(told: Told, port: int, who: Identity) -> Iterator[None]:
    """The modality's own port, where reports on new associations arrive."""
    entity = AE(ae_title="ANY")
    entity.add_supported_context(COMMITMENT, EXPLICIT, scu_role=False, scp_role=True)

    def note(event: evt.Event) -> None:
        asked: Any = event.assoc.requestor.primitive
        told.callers.append(asked.calling_ae_title)

    handlers: Any = [(evt.EVT_N_EVENT_REPORT, told.take), (evt.EVT_REQUESTED, note)]
    server = entity.start_server(("127.0.0.1", port), block=False, ssl_context=server_context(who), evt_handlers=handlers)
    try:
        yield
    finally:
        assert server is not None
        server.shutdown()


def asked_for(*references: tuple[str, str]) -> Dataset:
    made = Dataset()
    made.TransactionUID = generate_uid()
    items = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        items.append(item)
    made.ReferencedSOPSequence = items
    return made


def ask(association: Association, request: Dataset, instance: str = INSTANCE, action: int = 1) -> int:
    status, _ = association.send_n_action(request, action, COMMITMENT, instance)
    return int(status.Status)


def sent(path: Path) -> Sent:
    dataset = pydicom.dcmread(path)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    return Sent(dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID, whole[start:])


CT_PAIR, MR_PAIR = (str(CT.SOPClassUID), str(CT.SOPInstanceUID)), (str(MR.SOPClassUID), str(MR.SOPInstanceUID))


@pytest.fixture(scope="module")
def serving(new_archive: Callable[[], ArchiveUnderTest]) -> Iterator[ArchiveUnderTest]:
    archive = new_archive()
    with archive.serving():
        yield archive


def test_what_a_modality_sent_is_committed_on_the_same_association(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    told = Told()
    with modality(serving, peers_of["STORER"], "STORER", told) as association:
        assert send(association, sent(CT_FILE)) == 0
        request = asked_for(CT_PAIR)
        assert ask(association, request) == 0
        event_type, report = told.report
    assert event_type == 1
    assert report.TransactionUID == request.TransactionUID
    assert objects(report, "ReferencedSOPSequence") == [(CT.SOPInstanceUID, None)]
    assert "FailedSOPSequence" not in report
    rows = [entry for entry in serving.trail() if entry["detail"].get("transaction") == request.TransactionUID]
    said = [(row["kind"], row["action"], row["who"], row["detail"]["verb"]) for row in rows]
    # Before it was answered, and before it was judged.
    assert said == [("intent", "store", "peer:STORER", verb) for verb in ("storage-commitment-request", "storage-commitment")]
    outcomes = {row["refers_to"]: row["outcome"] for row in serving.trail() if row["kind"] == "outcome"}
    assert [outcomes[row["sequence"]] for row in rows] == ["done", "done"]
    # The promise is let go once the modality has answered the report.
    wait_until(lambda: not list((serving.home / "commitments").iterdir()))


def test_what_is_not_there_or_is_another_s_is_not_committed(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    serving.take_in([MR_FILE])
    told = Told()
    with modality(serving, peers_of["STORER"], "STORER", told) as association:
        assert send(association, sent(CT_FILE)) == 0
        wrong_class = (MR_PAIR[0], CT_PAIR[1])
        assert ask(association, asked_for(CT_PAIR, MR_PAIR, (CT_PAIR[0], "1.2.3.4"), wrong_class)) == 0
        event_type, report = told.report
    assert event_type == 2
    assert objects(report, "ReferencedSOPSequence") == [(CT.SOPInstanceUID, None)]
    assert objects(report, "FailedSOPSequence") == [
        (MR.SOPInstanceUID, NOT_THERE),
        ("1.2.3.4", NOT_THERE),
        (CT.SOPInstanceUID, CONFLICT),
    ]


def test_who_may_see_a_study_gets_commitment_for_it(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    serving.take_in([MR_FILE])
    told = Told()
    with modality(serving, peers_of["CT1"], "CT1", told) as association:
        assert ask(association, asked_for(MR_PAIR)) == 0
        assert told.report[0] == 1


def test_who_sent_an_equal_object_again_gets_commitment_for_it(archive: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    with archive.serving():
        archive.take_in([CT_FILE])
        for expected in (2, 1):
            told = Told()
            with modality(archive, peers_of["STORER"], "STORER", told) as association:
                if expected == 1:
                    assert send(association, sent(CT_FILE)) == 0
                assert ask(association, asked_for(CT_PAIR)) == 0
                assert told.report[0] == expected


def test_what_clashed_is_not_committed(archive: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    other = sent(CT_FILE)
    middle = len(other.data_set) // 2
    pixels = other.data_set[:middle] + bytes([other.data_set[middle] ^ 1]) + other.data_set[middle + 1 :]
    changed = Sent(other.sop_class, other.sop_instance, other.transfer_syntax, pixels)
    told = Told()
    with archive.serving(), modality(archive, peers_of["STORER"], "STORER", told) as association:
        assert [send(association, each) for each in (other, changed)] == [0, 0]
        assert ask(association, asked_for(CT_PAIR)) == 0
        assert objects(told.report[1], "FailedSOPSequence") == [(CT.SOPInstanceUID, PROCESSING)]


def test_what_was_damaged_on_the_disk_is_not_committed(archive: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    told = Told()
    with archive.serving(), modality(archive, peers_of["STORER"], "STORER", told) as association:
        assert [send(association, sent(path)) for path in (CT_FILE, MR_FILE)] == [0, 0]
        with (archive.home / "blobs" / "000" / "000" / "pack").open("r+b") as file:
            # In the middle of the first of the two.
            file.seek(10_000)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))
        assert ask(association, asked_for(CT_PAIR, MR_PAIR)) == 0
        event_type, report = told.report
    assert event_type == 2
    (failed,) = objects(report, "FailedSOPSequence")
    # A small object opens whole or not at all: whose it was, nobody can say any more, and STORER may not search for it.
    assert failed[1] == 0x0112
    assert len(objects(report, "ReferencedSOPSequence")) == 1


def test_requests_that_are_none_are_refused(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    with modality(serving, peers_of["STORER"], "STORER", Told()) as association:
        assert ask(association, asked_for(CT_PAIR), instance="1.2.3") == 0x0112
        assert ask(association, asked_for(CT_PAIR), action=2) == 0x0123
        assert ask(association, asked_for()) == 0xC000
        assert ask(association, asked_for(CT_PAIR)) == 0


def test_who_may_not_store_is_not_offered_it(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    with pytest.raises(AssertionError), modality(serving, peers_of["FINDER"], "FINDER", Told()):
        pass


def test_who_left_is_told_on_a_new_association_also_after_a_restart(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    port = peers.free_port()
    me = archive.peer("MODALITY", "store", port=port)
    told = Told(refusals=1)
    requests = [asked_for(CT_PAIR), asked_for(CT_PAIR, (CT_PAIR[0], "1.2.3"))]
    with archive.serving():
        for request in requests:
            with modality(archive, me, "MODALITY", Told(refusals=99)) as association:
                assert send(association, sent(CT_FILE)) == 0
                assert ask(association, request) == 0
                association.abort()
        wait_until(lambda: len(list((archive.home / "commitments").iterdir())) == len(requests))
        assert archive.stop(9) < 0
    held = b"".join(path.read_bytes() for path in (archive.home / "commitments").iterdir())
    assert CT_PAIR[1].encode() not in held
    with listening(told, port, me), archive.serving():
        wait_until(lambda: len(told.reports) == len(requests), 30)
        wait_until(lambda: not list((archive.home / "commitments").iterdir()))
    assert {(kind, report.TransactionUID) for kind, report in told.reports} == {
        (kind, request.TransactionUID) for kind, request in zip((1, 2), requests, strict=True)
    }
    assert set(told.callers) == {"LEADGLASS"}


def test_who_was_revoked_meanwhile_is_told_nothing(archive: ArchiveUnderTest) -> None:
    port = peers.free_port()
    me = archive.peer("MODALITY", "store", port=port)
    with archive.serving():
        with modality(archive, me, "MODALITY", Told(refusals=99)) as association:
            assert send(association, sent(CT_FILE)) == 0
            assert ask(association, asked_for(CT_PAIR)) == 0
            association.abort()
        wait_until(lambda: list((archive.home / "commitments").iterdir()))
        archive.stop(9)
    leadglass("peer", "revoke", archive.home, "MODALITY")
    told = Told()
    with listening(told, port, me), archive.serving():
        wait_until(lambda: not list((archive.home / "commitments").iterdir()))
    assert told.reports == []


def test_who_is_held_is_told_nothing_until_it_is_released(archive: ArchiveUnderTest) -> None:
    port = peers.free_port()
    me = archive.peer("MODALITY", "store", port=port)
    told = Told()

    def refusals() -> list[object]:
        return [entry["detail"].get("reason") for entry in archive.trail("--who", "peer:MODALITY") if entry["kind"] == "denied"]

    with archive.serving():
        with modality(archive, me, "MODALITY", Told(refusals=99)) as association:
            assert send(association, sent(CT_FILE)) == 0
            assert ask(association, asked_for(CT_PAIR)) == 0
            association.abort()
        wait_until(lambda: list((archive.home / "commitments").iterdir()))
        archive.stop(9)
    leadglass("hold", archive.home, "MODALITY")
    with listening(told, port, me), archive.serving():
        wait_until(lambda: "held-peer" in refusals())
        assert told.callers == []
        assert list((archive.home / "commitments").iterdir())
        leadglass("release", archive.home, "MODALITY")
        wait_until(lambda: told.reports, 30)
        wait_until(lambda: not list((archive.home / "commitments").iterdir()))


def test_orthanc_asks_for_commitment(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    identity = archive.peer("ORTHANC", "store", port=(port := peers.free_port()))
    with archive.serving():
        ours = {"AET": "LEADGLASS", "Host": "127.0.0.1", "Port": archive.dimse.port, "UseDicomTls": True}
        settings = {**peers.OPENED, "DicomModalities": {"ours": ours}, "DicomPort": port}
        with peers.orthanc(tmp_path / "orthanc", settings, tls=identity) as orthanc:
            instance = orthanc.upload(CT_FILE.read_bytes())["ID"]
            job = {"Resources": [instance], "StorageCommitment": True, "Timeout": 30}
            stored = httpx.post(f"{orthanc.url}/modalities/ours/store", json=job, timeout=60).json()
            transaction = stored["StorageCommitmentTransactionUID"]

            def status() -> dict[str, Any]:
                return dict(httpx.get(f"{orthanc.url}/storage-commitment/{transaction}").json())

            wait_until(lambda: status()["Status"] != "Pending", 30)
            assert status()["Status"] == "Success"
            assert [each["SOPInstanceUID"] for each in status()["Success"]] == [CT.SOPInstanceUID]
