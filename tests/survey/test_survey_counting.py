"""What the counts rest on: archives that say a thing twice, not at all, or something else than they were asked."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from leadglass.survey import dicomjson
from leadglass.survey.addresses import System
from leadglass.survey.briefing import Briefing
from leadglass.survey.dialer import HOST_SHARE, ScopedDialer
from leadglass.survey.observations import CountedBy, Dimse, Ending, ExposureLevel, QueryAnswer, RecordCounts
from leadglass.survey.probes.web import qido
from leadglass.survey.probes.web.found import Found, Visit
from leadglass.survey.scope import ExposureLimit, Target
from leadglass.survey.webclient import WebClient
from tests.survey.harness import run_one
from tests.survey.scripted import Answer, Question, Row, Scripted
from tests.survey.servers import Asked, answering, talking


def study(number: int, patient: str = "P", **values: str) -> Row:
    return {"StudyInstanceUID": f"1.2.{number}", "PatientID": patient} | values


def series(study: str, number: int, **values: str) -> Row:
    return {"StudyInstanceUID": study, "SeriesInstanceUID": f"1.1.{number}"} | values


def answers(
    studies: Sequence[Row], below: Callable[[str], Sequence[Row]] = lambda _: [], images: Callable[[str], Sequence[Row]] = lambda _: []
) -> Answer:
    """An archive of these rows; `below` and `images` are asked by the UID of what they are of."""

    def answer(question: Question) -> tuple[Sequence[Row], int]:
        if question.is_for_nobody:
            return [], 0
        if question.level == "STUDY":
            return studies, 0
        if question.level == "SERIES":
            return below(question.keys["StudyInstanceUID"]), 0
        return images(question.keys["SeriesInstanceUID"]), 0

    return answer


def count(folder: Path, answer: Answer, **limits: object) -> tuple[Dimse, Scripted]:
    archive = Scripted(answer)
    with talking(archive) as listener:
        (door,) = run_one(folder, {"dimse_ports": [listener.port]}, **({"level": "count"} | limits)).doors
    assert isinstance(door, Dimse)
    return door, archive


IMAGES = {"NumberOfSeriesRelatedInstances": "5"}


@pytest.mark.parametrize(
    ("answer", "records"),
    [
        # The same study twice, each time without its number of images.
        (answers([study(1), study(1)], lambda uid: [series(uid, 1, **IMAGES)]), RecordCounts(1, 1, 5, exact=True)),
        (answers([study(1)], lambda uid: [series(uid, 1, **IMAGES)] * 3), RecordCounts(1, 1, 5, exact=True)),
        # The series of every study, whichever was asked about.
        (answers([study(1), study(2)], lambda _: [series(f"1.2.{n}", n, **IMAGES) for n in (1, 2)]), RecordCounts(1, 2, 10, exact=True)),
        (answers([study(1), study(2)], lambda _: [{"SeriesInstanceUID": "1.1.1"} | IMAGES]), RecordCounts(1, 2, 5, exact=True)),
        (answers([study(1)], lambda uid: [series(uid, 1)], lambda _: [{"SOPInstanceUID": "1.9"}] * 4), RecordCounts(1, 1, 1, exact=True)),
    ],
    ids=["study", "series", "every series", "every series without its study", "image"],
)
def test_what_an_archive_says_twice_counts_once(tmp_path: Path, answer: Answer, records: RecordCounts) -> None:
    assert count(tmp_path, answer)[0].records == records


@pytest.mark.parametrize(
    ("rows", "records"),
    [
        ([{"PatientID": f"P{n}", "NumberOfStudyRelatedInstances": "5"} for n in range(3)], RecordCounts(1, 1, 5, exact=False)),
        ([study(n, "", NumberOfStudyRelatedInstances="5") for n in range(3)], RecordCounts(1, 3, 15, exact=False)),
        (
            [study(1, NumberOfStudyRelatedInstances="5"), {"StudyInstanceUID": "9" * 65, "PatientID": "P"}],
            RecordCounts(1, 2, 5, exact=False),
        ),
    ],
    ids=["no UIDs", "no Patient IDs", "a UID that is none"],
)
def test_what_cannot_be_told_apart_is_at_least(tmp_path: Path, rows: Sequence[Row], records: RecordCounts) -> None:
    assert count(tmp_path, answers(rows))[0].records == records


def test_uids_that_are_none_are_not_kept_to_be_asked_about(tmp_path: Path) -> None:
    # Of the length that an identifier may have, some thousands of them would fill a memory.
    rows = [{"StudyInstanceUID": f"{number}." + "1" * 50_000, "PatientID": "P"} for number in range(20)]
    door, archive = count(tmp_path, answers(rows))
    assert door.records == RecordCounts(1, 1, 0, exact=False)
    assert not [question for question in archive.questions if question.level == "SERIES"]


def test_cancelled_without_being_asked_to_is_no_answer(tmp_path: Path) -> None:
    door, _ = count(tmp_path, lambda _: ([], 0xFE00), level="query")
    assert (door.level, door.query) == (ExposureLevel.QUERY_OFFERED, QueryAnswer.FAILED)


def test_queries_in_one_association_come_no_faster_than_a_host_may_be_asked(tmp_path: Path) -> None:
    rows = [study(number) for number in range(10)]
    _, archive = count(tmp_path, answers(rows, lambda uid: [series(uid, int(uid[4:]), **IMAGES)]), connections_per_second=200)
    moments = [question.moment for question in archive.questions]
    assert len(moments) > 10
    assert moments[-1] - moments[0] > (len(moments) - 1) / (200 * HOST_SHARE) - 0.15


# DICOMweb


def web_study(number: int, patient: str = "P", issuer: str = "") -> dict[str, object]:
    values = {"0020000D": ("UI", f"1.2.{number}"), "00100020": ("LO", patient), "00100021": ("LO", issuer), "00201208": ("IS", 7)}
    return {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items() if value}


class Service:
    """A QIDO-RS service of these studies, which gives an issuer only to who asks for it, and takes its time for each page."""

    def __init__(self, studies: Sequence[dict[str, object]], seconds: float = 0) -> None:
        self._studies = studies
        self._seconds = seconds

    def __call__(self, asked: Asked) -> None:
        path, _, query = asked.path.partition("?")
        asks = parse_qs(query)
        if path != "/dicom-web/studies":
            asked.answer(b"not found", status=404)
            return
        first = int(asks.get("offset", ["0"])[0])
        rows = [] if "StudyInstanceUID" in asks else self._studies[first : first + min(2, int(asks["limit"][0]))]
        if "00100021" not in asks.get("includefield", []):
            rows = [{tag: value for tag, value in each.items() if tag != "00100021"} for each in rows]
        time.sleep(self._seconds if "offset" in asks else 0)
        asked.answer(json.dumps(rows).encode(), "application/dicom+json")


@pytest.mark.parametrize(
    ("studies", "records"),
    [
        ([web_study(n, "1", issuer) for n, issuer in enumerate(("North", "South"))], RecordCounts(2, 2, 14, exact=True)),
        ([web_study(n, "") for n in range(3)], RecordCounts(1, 3, 21, exact=False)),
        ([{"00100020": {"vr": "LO", "Value": [f"P{n}"]}, "00201208": {"vr": "IS", "Value": [7]}} for n in range(2)], None),
    ],
    ids=["one id of two issuers", "no Patient IDs", "no UIDs"],
)
def test_pages_are_told_apart_by_what_rows_are(tmp_path: Path, studies: Sequence[dict[str, object]], records: RecordCounts | None) -> None:
    with answering(Service(studies)) as listener:
        (door,) = run_one(tmp_path, {"web_ports": [listener.port]}, level="count").doors
    assert door.records == (records or RecordCounts(1, 1, 7, exact=False))


@dataclass(frozen=True, slots=True)
class Hurried(Briefing):
    """As every probe is told, with little time for one archive."""

    @property
    def counting_seconds(self) -> float:
        return 0.4


def test_a_count_by_pages_that_takes_too_long_is_at_least_and_not_none() -> None:
    async def look(port: int) -> Found | None:
        system = System(
            Target(name="a", host="127.0.0.1", web_ports=(port,)), ip_address("127.0.0.1"), ExposureLimit.COUNT, from_range=False
        )
        dialer = ScopedDialer([system], per_second=2000, timeout=5)
        briefing = Hurried(dialer, timeout=5, max_matches=1000, run_id="abcdef", contact="c", key=b"k" * 32)
        async with WebClient(system, port, dialer, tls=None, timeout=5, user_agent="test") as client:
            return await qido.look(Visit(client, briefing, system.level, Ending.TIMEOUT, Ending.TIMEOUT))

    with answering(Service([web_study(n, f"P{n}") for n in range(100)], seconds=0.1)) as listener:
        found = asyncio.run(look(listener.port))
    assert found is not None
    assert found.records is not None
    assert (found.records.exact, found.counted_by) == (False, CountedBy.PAGES)
    assert 2 <= found.records.studies <= 8


def test_pages_that_do_not_come_are_no_count(tmp_path: Path) -> None:
    def answer(asked: Asked) -> None:
        if "offset" in asked.path:
            asked.answer(b"", status=500)
        else:
            Service([])(asked)

    with answering(answer) as listener:
        (door,) = run_one(tmp_path, {"web_ports": [listener.port]}, level="count").doors
    assert (door.level, door.records, door.counted_by) == (ExposureLevel.RECORDS, None, None)


def test_a_name_without_letters_is_not_one_that_is_exposed() -> None:
    assert not dicomjson.has_value({"00100010": {"vr": "PN", "Value": [{"Alphabetic": ""}, None, ""]}}, "00100010")
    assert dicomjson.has_value({"00100010": {"vr": "PN", "Value": [{"Ideographic": "x"}]}}, "00100010")
    assert dicomjson.has_value({"00100010": {"vr": "IS", "Value": [0]}}, "00100010")
