"""Servers that want to stop, fill or fool the survey: bounded, reported, never a crash."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from leadglass.survey.observations import Dimse, Ending, ExposureLevel, Field, QueryAnswer, RecordCounts, RejectionMeaning, Web, WebApi
from tests.pynetdicom_server import serving
from tests.survey.harness import finding_ids, run, run_one
from tests.survey.hostile import (
    answers_after_the_release,
    answers_another_question,
    babbles,
    deep,
    drips_matches,
    endless_body,
    endless_headers,
    is_silent_to_an_echo,
    never_stops,
    pdu,
    reject,
    slow_body,
    trickle,
    wide,
)
from tests.survey.servers import Answer, Asked, Talk, answering, talking

NEVER = threading.Event()


def dimse(folder: Path, talk: Talk, **limits: object) -> Dimse:
    with talking(talk) as listener:
        (door,) = run_one(folder, {"dimse_ports": [listener.port]}, timeout_seconds=0.5, **limits).doors
    assert isinstance(door, Dimse)
    return door


def web(folder: Path, answer: Answer, **limits: object) -> Web:
    with answering(answer) as listener:
        (door,) = run_one(folder, {"web_ports": [listener.port]}, timeout_seconds=0.5, **limits).doors
    assert isinstance(door, Web)
    return door


@pytest.mark.parametrize(
    ("talk", "ending"),
    [
        pytest.param(lambda link: link.sendall(b"\x02\x00\xff\xff\xff\xff"), Ending.NOT_THIS_PROTOCOL, id="a PDU of 4 GiB"),
        pytest.param(lambda link: link.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), Ending.NOT_THIS_PROTOCOL, id="SSH"),
        pytest.param(lambda link: link.sendall(b"\x02" + bytes(100)), Ending.NOT_THIS_PROTOCOL, id="an empty acceptance"),
        pytest.param(lambda link: (link.recv(1), link.close()), Ending.CLOSED_BY_PEER, id="hangs up"),
        pytest.param(lambda _: NEVER.wait(3), Ending.TIMEOUT, id="silence"),
        pytest.param(trickle, Ending.TIMEOUT, id="a byte now and then"),
    ],
)
def test_what_is_not_dicom_is_an_open_port(tmp_path: Path, talk: Talk, ending: Ending) -> None:
    began = time.monotonic()
    door = dimse(tmp_path, talk)
    assert (door.level, door.ending, door.rejection) == (ExposureLevel.OPEN_PORT, ending, None)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ((1, 1, 1), RejectionMeaning.NO_REASON),
        ((1, 1, 2), RejectionMeaning.CONTEXT_NAME),
        ((1, 1, 3), RejectionMeaning.CALLING_AE),
        ((1, 1, 7), RejectionMeaning.CALLED_AE),
        ((1, 2, 2), RejectionMeaning.PROTOCOL_VERSION),
        ((2, 3, 1), RejectionMeaning.CONGESTION),
        ((2, 3, 2), RejectionMeaning.LOCAL_LIMIT),
    ],
)
def test_the_bytes_of_a_rejection_are_told_apart(tmp_path: Path, reason: tuple[int, int, int], meaning: RejectionMeaning) -> None:
    def talk(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(reject(*reason))
        link.recv(1)

    door = dimse(tmp_path, talk)
    assert door.rejection is not None
    assert (door.rejection.result, door.rejection.source, door.rejection.reason) == reason
    assert door.rejection.meaning is meaning
    assert door.level is ExposureLevel.DICOM


def test_an_abort_is_dicom(tmp_path: Path) -> None:
    def talk(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(pdu(7, bytes([0, 0, 2, 0])))
        link.recv(1)

    assert dimse(tmp_path, talk).level is ExposureLevel.DICOM


def test_http_never_reaches_a_dicom_port(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def talk(link: socket.socket) -> None:
        link.settimeout(1)
        heard.append(link.recv(4096))

    dimse(tmp_path, talk)
    assert heard[0][:1] == b"\x01"
    assert not any(b"GET" in each or b"HTTP" in each for each in heard)


@pytest.mark.parametrize(
    ("talk", "level", "query"),
    [
        (babbles, ExposureLevel.QUERY_OFFERED, QueryAnswer.TIMEOUT),
        (is_silent_to_an_echo, ExposureLevel.RECORDS, QueryAnswer.ANSWERED),
        (never_stops, ExposureLevel.RECORDS, QueryAnswer.ANSWERED),
        (answers_after_the_release, ExposureLevel.RECORDS, QueryAnswer.ANSWERED),
        (answers_another_question, ExposureLevel.QUERY_OFFERED, QueryAnswer.NONSENSE),
    ],
)
def test_a_query_that_is_answered_badly_comes_to_an_end(tmp_path: Path, talk: Talk, level: ExposureLevel, query: QueryAnswer) -> None:
    began = time.monotonic()
    before = psutil.Process().memory_info().rss
    door = dimse(tmp_path, talk, level="query")
    assert (door.level, door.query) == (level, query)
    assert time.monotonic() - began < 20
    assert psutil.Process().memory_info().rss - before < 100 << 20


def test_what_comes_after_a_cancel_is_not_waited_for_match_by_match(tmp_path: Path) -> None:
    began = time.monotonic()
    door = dimse(tmp_path, drips_matches, level="query")
    assert (door.level, door.query) == (ExposureLevel.RECORDS, QueryAnswer.ANSWERED)
    assert time.monotonic() - began < 6


@contextmanager
def find_scp(matches: Iterator[Dataset]) -> Iterator[int]:
    """A query service of pynetdicom that answers every query with `matches`; gives its port."""

    def answer(_: evt.Event) -> Iterator[tuple[int, Dataset]]:
        for match in matches:
            yield 0xFF00, match

    ae = AE()
    ae.add_supported_context("1.2.840.10008.5.1.4.1.2.2.1")
    with serving(ae, [(evt.EVT_C_FIND, answer)]) as port:
        yield port


def endless(padding: int = 0) -> Iterator[Dataset]:
    number = 0
    while True:
        number += 1
        match = Dataset()
        match.QueryRetrieveLevel = "STUDY"
        match.StudyInstanceUID = f"1.2.3.{number}"
        match.PatientID = f"P{number}"
        match.NumberOfStudyRelatedInstances = 2
        match.StudyDescription = "x" * padding
        yield match


def test_an_endless_answer_is_cut_off_and_counted_as_at_least(tmp_path: Path) -> None:
    with find_scp(endless()) as port:
        (door,) = run_one(tmp_path, {"dimse_ports": [port]}, level="count", max_matches=50).doors
    assert isinstance(door, Dimse)
    assert (door.level, door.query) == (ExposureLevel.RECORDS, QueryAnswer.ANSWERED)
    # It ignores keys and C-CANCEL alike: every question takes an association of its own.
    assert door.records == RecordCounts(50, 50, 100, exact=False)
    assert Field.PATIENT_ID in door.fields


def test_a_match_of_megabytes_ends_the_conversation(tmp_path: Path) -> None:
    with find_scp(endless(padding=3 << 20)) as port:
        (door,) = run_one(tmp_path, {"dimse_ports": [port]}, level="count").doors
    assert isinstance(door, Dimse)
    assert door.records is None


# The web


def test_a_page_for_every_path_is_no_interface(tmp_path: Path) -> None:
    door = web(tmp_path, lambda asked: asked.answer(b"<html><title>App</title>orthanc explorer 2 ohif dcm4che</html>"))
    assert (door.level, door.catch_all, door.open_apis, door.viewers) == (ExposureLevel.OPEN_PORT, True, (), ())


def test_json_for_every_path_is_no_interface(tmp_path: Path) -> None:
    door = web(tmp_path, lambda asked: asked.answer(b"[]", "application/json"))
    assert (door.level, door.open_apis) == (ExposureLevel.OPEN_PORT, ())


def test_html_under_the_path_of_an_interface_is_none(tmp_path: Path) -> None:
    def answer(asked: Asked) -> None:
        asked.answer(
            b"[]" if asked.path.startswith("/dicom-web") else b"", "text/html", 200 if asked.path.startswith("/dicom-web") else 404
        )

    assert web(tmp_path, answer).level is ExposureLevel.OPEN_PORT


def test_a_redirect_out_of_the_scope_is_not_followed(tmp_path: Path) -> None:
    with answering(lambda asked: asked.answer(b"[]"), "127.0.0.77") as elsewhere:
        where = f"http://127.0.0.77:{elsewhere.port}/"
        door = web(tmp_path, lambda asked: asked.answer(b"", status=302, headers={"Location": where + asked.path}))
        assert (door.redirect_refused, elsewhere.paths, elsewhere.connections) == (True, [], [])


def test_a_redirect_in_a_circle_ends(tmp_path: Path) -> None:
    door = web(tmp_path, lambda asked: asked.answer(b"", status=302, headers={"Location": asked.path + "x"}))
    assert door.level is ExposureLevel.OPEN_PORT


def test_a_body_is_read_no_further_than_its_bound(tmp_path: Path) -> None:
    began = time.monotonic()
    with answering(endless_body) as listener:
        run_one(tmp_path, {"web_ports": [listener.port]}, timeout_seconds=20)
    # Every page is cut at its bound; one that was read on would take the whole timeout.
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("answer", [endless_body, slow_body, endless_headers, deep, wide])
def test_no_answer_stops_or_fills_the_survey(tmp_path: Path, answer: Answer) -> None:
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    door = web(tmp_path, answer, level="count")
    assert door.level is ExposureLevel.OPEN_PORT
    assert time.monotonic() - began < 40
    assert psutil.Process().memory_info().rss - before < 100 << 20


def study(number: int) -> dict[str, object]:
    return {
        "0020000D": {"vr": "UI", "Value": [f"1.2.3.{number}"]},
        "00100020": {"vr": "LO", "Value": [f"P{number // 3}"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Planted^Name"}]},
        "00201208": {"vr": "IS", "Value": [7]},
    }


class Service:
    """A QIDO-RS service over `size` studies that gives at most `largest` at a time."""

    def __init__(self, size: int, largest: int = 100, *, knows_offset: bool = True) -> None:
        self._size = size
        self._largest = largest
        self._knows_offset = knows_offset

    def __call__(self, asked: Asked) -> None:
        path, _, query = asked.path.partition("?")
        if path != "/dicom-web/studies":
            asked.answer(b"not found", status=404)
            return
        asks = dict(each.split("=") for each in query.split("&"))
        if "StudyInstanceUID" in asks:
            asked.answer(b"[]", "application/dicom+json")
            return
        offset = int(asks.get("offset", 0)) if self._knows_offset else 0
        last = min(self._size, offset + min(int(asks["limit"]), self._largest))
        rows = [study(number) for number in range(offset, last)]
        asked.answer(json.dumps(rows).encode(), "application/dicom+json; charset=utf-8")


@pytest.mark.parametrize("size", [0, 1, 100, 450])
def test_pages_are_counted_to_the_end(tmp_path: Path, size: int) -> None:
    door = web(tmp_path, Service(size), level="count")
    assert door.level is ExposureLevel.RECORDS
    assert door.records is not None
    assert (door.records.patients, door.records.studies, door.records.instances) == ((size + 2) // 3, size, 7 * size)
    assert door.records.exact
    assert b"Planted" not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_pages_beyond_the_bound_are_at_least(tmp_path: Path) -> None:
    door = web(tmp_path, Service(450), level="count", max_matches=250)
    assert door.records is not None
    assert (door.records.studies, door.records.exact) == (250, False)


def test_a_service_that_says_the_same_page_for_ever_is_not_exact(tmp_path: Path) -> None:
    door = web(tmp_path, Service(450, knows_offset=False), level="count")
    assert door.records is not None
    assert (door.records.studies, door.records.exact) == (100, False)


@pytest.mark.parametrize("guarded", ["/dicom-web", "/"])
def test_a_service_that_asks_for_a_sign_in_is_an_open_port(tmp_path: Path, guarded: str) -> None:
    def answer(asked: Asked) -> None:
        asked.answer(b"", status=401 if asked.path.startswith(guarded) else 404, headers={"WWW-Authenticate": "Bearer"})

    result_door = web(tmp_path, answer)
    assert (result_door.level, result_door.open_apis, result_door.guarded_apis) == (ExposureLevel.OPEN_PORT, (), (WebApi.QIDO,))


def test_a_listing_of_a_folder_is_found(tmp_path: Path) -> None:
    with answering(lambda asked: asked.answer(b"<html><head><title>Index of /</title>")) as listener:
        result = run_one(tmp_path, {"web_ports": [listener.port]})
    assert "directory-listing" in finding_ids(result)


def test_the_survey_says_who_it_is(tmp_path: Path) -> None:
    with answering(lambda asked: asked.answer(b"", status=404)) as listener:
        results = run(tmp_path, {"web_ports": [listener.port]})
    (agent,) = listener.agents
    assert results.run_id in agent
    assert "security@example.org" in agent
