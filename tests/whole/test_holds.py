"""`leadglass hold` and `release`: out within a second at every door, with real peers; and what the command line says of it."""

import asyncio
import json
import os
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pydicom
import pytest
from pynetdicom import AE, build_context, build_role, evt

from leadglass.access.identity import Credentials, LocalUser
from leadglass.archive.archive import Archive, Session
from leadglass.assemble.opening import opened
from leadglass.assemble.serving import limits_of
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.sopclasses import VERIFICATION
from leadglass.home import Home
from leadglass.net.failures import Aborted, AssociationFailed, Failure
from leadglass.net.requestor import connect, tcp
from leadglass.net.workers import Workers
from leadglass.vocabulary import Door
from leadglass.wire.dicomweb.app import create_app
from leadglass.wire.dimse.commitment import Commitments
from leadglass.wire.dimse.door import DimseDoor
from leadglass.wire.dimse.outbound import Outbound
from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass, wait_until
from tests.certificates import Identity
from tests.whole.associating import GET, MOVES, associated
from tests.whole.receiving import receiver
from tests.whole.relay import client_context, relay
from tests.whole.shutting_out import HeldWhileAsking
from tests.whole.stock import FEW, few

CT = pydicom.dcmread(samples.sample("CT_small.dcm"), stop_before_pixels=True)
CLASSES = sorted({str(pydicom.dcmread(samples.sample(name), stop_before_pixels=True).SOPClassUID) for name in FEW})
EVERY = sorted({str(pydicom.dcmread(samples.sample(name), stop_before_pixels=True).StudyInstanceUID) for name in FEW})
ASSOCIATE_RJ, ABORT, UNKNOWN_DESTINATION = 0x03, 0x07, 0xA801
WITHIN = 1.0


@pytest.fixture(scope="module")
def serving(new_archive: Callable[[], ArchiveUnderTest]) -> Iterator[ArchiveUnderTest]:
    archive = new_archive()
    with archive.serving():
        assert archive.take_in(few())["stored"] == len(FEW)
        yield archive


def hold(archive: ArchiveUnderTest, name: str) -> float:
    """Hold somebody; gives when that was acknowledged."""
    leadglass("hold", archive.home, name)
    return time.monotonic()


def release(archive: ArchiveUnderTest, name: str) -> None:
    leadglass("release", archive.home, name)


def query(*studies: str) -> pydicom.Dataset:
    asked = pydicom.Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = list(studies)
    return asked


def refusals(archive: ArchiveUnderTest) -> list[tuple[str, dict[str, Any]]]:
    """Who was denied, and what the trail says about it."""
    return [(entry["who"], entry["detail"]) for entry in archive.trail() if entry["kind"] == "denied"]


# DIMSE


def test_a_held_peer_is_out_within_a_second_of_a_get_and_comes_back(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    first, over = threading.Event(), threading.Event()
    received: list[str] = []
    aborted: list[float] = []

    def take(event: evt.Event) -> int:
        request: Any = event.request
        received.append(str(request.AffectedSOPInstanceUID))
        first.set()
        over.wait(20)
        return 0

    def heard(event: evt.Event) -> None:
        if event.pdu.pdu_type == ABORT:
            aborted.append(time.monotonic())

    entity = AE(ae_title="GETTER")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    association = entity.associate(
        serving.dimse.host,
        serving.dimse.port,
        [build_context(each) for each in (GET, *CLASSES)],
        "LEADGLASS",
        ext_neg=[build_role(each, scp_role=True) for each in CLASSES],
        tls_args=(client_context(serving.ca, peers_of["GETTER"]), "localhost"),
        evt_handlers=[(evt.EVT_C_STORE, take), (evt.EVT_PDU_RECV, heard)],
    )
    with (
        associated(serving.dimse, peers_of["FINDER"], "FINDER") as other,
        relay(serving.dimse, client_context(serving.ca, peers_of["GETTER"])) as through,
        ThreadPoolExecutor(1) as pool,
    ):
        getting = pool.submit(lambda: _quietly(lambda: list(association.send_c_get(query(*EVERY), GET))))
        assert first.wait(20)
        began = hold(serving, "GETTER")
        wait_until(lambda: aborted)
        assert aborted[0] - began < WITHIN
        over.set()
        getting.result(30)
        association.join(20)
        assert len(received) == 1
        assert other.send_c_echo().Status == 0
        # Held or never there: the same bytes.
        for title in ("GETTER", "NOBODY"):
            peers.scu("echoscu", through.address, calling=title)
        held, unknown = (bytes(stream) for stream in through.answered)
        assert held == unknown
        assert held[0] == ASSOCIATE_RJ
    release(serving, "GETTER")
    with associated(serving.dimse, peers_of["GETTER"], "GETTER") as back:
        assert back.send_c_echo().Status == 0


class LetInMeanwhile(Archive):
    """Holds whoever enters after he was identified, and has the others cut before his association is served."""

    def __init__(self, archive: Archive) -> None:
        vars(self).update(vars(archive))
        self.cut: Callable[[], object] = int

    def enter(self, door: Door, credentials: Credentials, address: str) -> Session:
        session = super().enter(door, credentials, address)
        operator = super().enter(Door.CONTROL, LocalUser(os.geteuid()), "")
        operator.administration.hold(session.principal.name)
        self.cut()
        return session


def test_who_is_held_while_he_is_let_in_is_cut(archive: ArchiveUnderTest) -> None:
    archive.plaintext_peer("OLD1")
    with opened(Home(archive.home)) as there:
        entered = LetInMeanwhile(there.archive)

        async def talk() -> Failure | None:
            loop, threads = asyncio.get_running_loop(), Workers(2)
            limits = limits_of(there.settings)
            outbound = Outbound(ssl.create_default_context(), limits, entered.destination)
            door = DimseDoor(entered, threads, threads, outbound, Commitments(entered, threads, outbound), tls=None, limits=limits)
            entered.cut = lambda: asyncio.run_coroutine_threadsafe(door.cut_outdated(), loop).result(10)
            host, port = await door.open("127.0.0.1", 0)
            try:
                proposal = propose("OLD1", entered.aet, [(VERIFICATION, [IMPLICIT_LITTLE_ENDIAN])])
                async with connect(tcp(host, port), proposal, limits=limits) as association:
                    await asyncio.wait_for(association.closed(), WITHIN)
                    return association.failure
            except AssociationFailed as failed:
                return failed.failure
            finally:
                await door.close()
                threads.close()

        assert isinstance(asyncio.run(talk()), Aborted)


def _quietly(work: Callable[[], list[Any]]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a long UID list is more than pydicom likes in one value
        return work()


def test_a_held_destination_is_answered_as_one_that_nobody_knows(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    port, before = peers.free_port(), len(serving.trail())
    identity = serving.peer("DEST", "store", port=port)
    hold(serving, "DEST")
    with (
        receiver("DEST", tls=identity, port=port) as there,
        associated(serving.dimse, peers_of["MOVER"], "MOVER") as association,
    ):
        answers = {aet: list(association.send_c_move(query(CT.StudyInstanceUID), aet, MOVES[0], msg_id=7)) for aet in ("DEST", "NOBODY")}
        assert str(answers["DEST"]) == str(answers["NOBODY"])
        assert [status.Status for status, _ in answers["DEST"]] == [UNKNOWN_DESTINATION]
        assert there.associations == 0
        release(serving, "DEST")
        *_, (status, _) = association.send_c_move(query(CT.StudyInstanceUID), "DEST", MOVES[0])
        assert status.Status == 0
    moves = [entry for entry in serving.trail()[before:] if entry["action"] == "move"]
    assert [entry["detail"] for entry in moves if entry["kind"] == "intent"] == [
        {"destination": "DEST"},
        {"destination": "unknown"},
        {"destination": "DEST"},
    ]
    assert [(entry["outcome"], entry["detail"]) for entry in moves if entry["kind"] == "outcome"] == [
        ("refused", {"reason": "held-peer"}),
        ("refused", {}),
        ("done", {}),
    ]


def test_a_destination_that_is_held_meanwhile_is_left_within_a_second(serving: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    stalled, over = threading.Event(), threading.Event()

    def stall(*_: object) -> int:
        stalled.set()
        over.wait(20)
        return 0

    port = peers.free_port()
    with (
        receiver("SLOW", tls=serving.peer("SLOW", "store", port=port), port=port, answer=stall),
        associated(serving.dimse, peers_of["MOVER"], "MOVER") as association,
        ThreadPoolExecutor(1) as pool,
    ):
        moving = pool.submit(lambda: _quietly(lambda: list(association.send_c_move(query(*EVERY), "SLOW", MOVES[0]))))
        assert stalled.wait(20)
        began = hold(serving, "SLOW")
        *_, (status, _) = moving.result(20)
        assert time.monotonic() - began < WITHIN
        over.set()
    assert status.NumberOfFailedSuboperations == len(FEW)


# DICOMweb


@pytest.mark.parametrize("whom", ["person", "token"])
def test_a_held_person_or_token_is_out_of_a_download_within_a_second(archive: ArchiveUnderTest, whom: str) -> None:
    large = pydicom.dcmread(samples.sample("CT_small.dcm"))
    large.Rows, large.Columns, large.NumberOfFrames = 4096, 4096, 1
    large.PixelData = bytes(2 * 4096 * 4096)
    file = archive.home.with_name("large.dcm")
    large.save_as(file)
    with archive.serving():
        assert archive.take_in([file])["stored"] == 1
        bearer = {"Authorization": f"Bearer {archive.token('anna')}", "Accept": 'multipart/related; type="application/dicom"'}
        (token,) = json.loads(leadglass("token", "list", archive.home, "--json").stdout)
        name = "anna" if whom == "person" else token["id"]
        with httpx.Client(verify=archive.tls_context(), headers=bearer, timeout=30) as client:
            with client.stream("GET", f"{archive.web}/studies/{large.StudyInstanceUID}") as answer:
                assert answer.status_code == 200
                pieces = answer.iter_raw()
                got = len(next(pieces))
                hold(archive, name)
                # Nothing is read meanwhile: who stalls is out as well.
                wait_until(lambda: _cancelled(archive), WITHIN)
                with pytest.raises(httpx.RemoteProtocolError):
                    got += sum(map(len, pieces))
            assert got < len(large.PixelData)
            (ended,) = _cancelled(archive)
            held, wrong = (
                client.get(f"{archive.web}/studies", headers=headers) for headers in ({}, {"Authorization": f"Bearer {'x' * 52}"})
            )
            assert (held.status_code, held.content, _fields(held)) == (wrong.status_code, wrong.content, _fields(wrong))
            assert held.status_code == 401
            release(archive, name)
            assert client.get(f"{archive.web}/studies", headers={"Accept": "application/dicom+json"}).status_code == 200
    assert ended["who"] == f"token:{token['id']}@anna"
    assert (ended["who"], {f"held-{'user' if whom == 'person' else 'token'}": 1}) in refusals(archive)


def test_what_was_found_before_the_hold_does_not_leave_after_it(archive: ArchiveUnderTest) -> None:
    bearer = {"Authorization": f"Bearer {archive.token('anna')}"}
    with opened(Home(archive.home)) as there:

        async def search(entered: Archive) -> int:
            app = create_app(entered, there.settings.web)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://here", headers=bearer) as client:
                try:
                    return (await client.get("/dicom-web/studies")).status_code
                finally:
                    app.close()

        assert asyncio.run(search(there.archive)) == 204
        assert asyncio.run(search(HeldWhileAsking(there.archive))) == 401


def _cancelled(archive: ArchiveUnderTest) -> list[dict[str, Any]]:
    return [entry for entry in archive.trail() if (entry["action"], entry["outcome"]) == ("get", "cancelled")]


def _fields(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.multi_items() if name != "date"]


# The command line


def rows(archive: ArchiveUnderTest, *words: str) -> list[dict[str, Any]]:
    return list(json.loads(leadglass(*words, archive.home, "--json").stdout))


def test_who_is_held_while_it_is_stopped_is_so_when_it_serves_and_every_list_says_since_when(archive: ArchiveUnderTest) -> None:
    archive.token("anna")
    token = rows(archive, "token", "list")[0]["id"]
    for name in ("CT1", "anna", token):
        assert " is held since 20" in leadglass("hold", archive.home, name).stdout
    with archive.serving():
        _every_list_says(archive, token)
        for name in ("CT1", "anna", token):
            assert " is released" in leadglass("release", archive.home, name).stdout
            assert "not held" in leadglass("release", archive.home, name, code=2).stderr
        assert "held" not in leadglass("user", "list", archive.home).stdout
        assert any(row["allowed"] for row in json.loads(leadglass("policy", "explain", archive.home, "CT1", "--json").stdout))
        told = [(e["who"], next(iter(e["detail"].items()))) for e in archive.trail() if {"held", "released"} & e["detail"].keys()]
    whom = ("peer:CT1", "user:anna", f"token:{token}")
    assert [what for _, what in told] == [("held", each) for each in whom] + [("released", each) for each in whom]
    assert all(who.startswith("local:") for who, _ in told)


def _every_list_says(archive: ArchiveUnderTest, token: str) -> None:
    for words, key, name in (("peer", "ae_title", "CT1"), ("user", "name", "anna"), ("token", "id", token)):
        listed = {row[key]: row for row in rows(archive, words, "list")}
        assert listed[name]["state"] == "held"
        assert listed[name]["held_by"].startswith("local:")
        assert f"held since {listed[name]['held_since']}" in leadglass(words, "list", archive.home).stdout
        assert all(row["held_since"] is None and row["state"] != "held" for each, row in listed.items() if each != name)
    for name, who in (("CT1", "peer:CT1"), ("anna", "user:anna")):
        said = leadglass("policy", "explain", archive.home, name).stdout
        assert f"{who} is held since 20" in said
        explained = json.loads(leadglass("policy", "explain", archive.home, name, "--json").stdout)
        assert {row["allowed"] for row in explained} == {False}
        assert all(row["held_since"] for row in explained)


def test_an_ambiguous_name_and_the_last_administrator_are_refused_in_a_sentence(archive: ArchiveUnderTest) -> None:
    password = archive.home.with_name("password")
    leadglass("user", "add", archive.home, "CT1", "--role", "clinician", "--password-file", password)
    said = leadglass("hold", archive.home, "CT1", code=2).stderr
    assert said == "leadglass: CT1 is the name of a peer and of a user; say peer:CT1 or user:CT1\n"
    assert "there is no peer, no user and no token NOBODY" in leadglass("hold", archive.home, "NOBODY", code=2).stderr
    leadglass("hold", archive.home, "user:CT1")
    assert {row["ae_title"] for row in rows(archive, "peer", "list") if row["state"] == "held"} == set()
    for words in (("hold",), ("user", "disable")):
        assert "admin is the last administrator" in leadglass(*words, archive.home, "admin", code=1).stderr
    leadglass("user", "add", archive.home, "eve", "--role", "administrator", "--password-file", password)
    leadglass("hold", archive.home, "admin")
    assert "eve is the last administrator" in leadglass("user", "disable", archive.home, "eve", code=1).stderr
