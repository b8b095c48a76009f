"""What the counts rest on: archives that say a thing twice, not at all, or something else than they were asked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from leadglass.survey.dialer import HOST_SHARE
from leadglass.survey.observations import Dimse, ExposureLevel, QueryAnswer, RecordCounts
from tests.survey.harness import run_one
from tests.survey.scripted import Answer, Question, Row, Scripted
from tests.survey.servers import talking


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
