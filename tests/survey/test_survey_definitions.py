"""The studies' definitions of open over the same answers, and what a survey that went less far says of what it did not ask."""

import re
from collections.abc import Sequence

import pytest

from leadglass.survey.observations import (
    ExposureLevel,
    Observation,
    Protocol,
    QueryAnswer,
    RecordCounts,
    Rejection,
    Transport,
    Viewer,
    WebApi,
    WebProduct,
    Write,
)
from leadglass.survey.report import definitions, html
from leadglass.survey.results import Results, judge
from tests.survey.invented import dimse, scope, system, web, world

COUNTS = RecordCounts(7, 10, 300, exact=True)

ORTHANC_AS_SHIPPED = (dimse(ExposureLevel.QUERY_OFFERED, write=Write.OFFERED, query=QueryAnswer.FAILED, query_status=0xC000),)
WIDE_OPEN = (dimse(ExposureLevel.IMAGES, write=Write.OFFERED, records=COUNTS),)
KNOWS_ITS_TITLE = (dimse(ExposureLevel.RECORDS, port=11112, named_called_ae=True, records=COUNTS),)
TURNS_AWAY = (dimse(ExposureLevel.DICOM, rejection=Rejection(1, 1, 7)),)
OVER_TLS = (dimse(ExposureLevel.ASSOCIATION, port=2762, protocol=Protocol.DIMSE_TLS, transport=Transport.TLS),)
MUTUAL = (dimse(ExposureLevel.OPEN_PORT, port=2762, protocol=Protocol.DIMSE_TLS, transport=Transport.MUTUAL_TLS),)
WEB_ALONE = (
    web(ExposureLevel.RECORDS, product=WebProduct.ORTHANC, open_apis=(WebApi.QIDO,), viewers=(Viewer.ORTHANC_EXPLORER,), records=COUNTS),
)
DEAD = (dimse(ExposureLevel.CLOSED, transport=None),)

FLEET = (ORTHANC_AS_SHIPPED, WIDE_OPEN, KNOWS_ITS_TITLE, TURNS_AWAY, OVER_TLS, MUTUAL, WEB_ALONE, DEAD)


def survey(fleet: Sequence[Sequence[Observation]], level: str = "retrieve") -> Results:
    targets = tuple(judge(system(number, "FR", "Lille"), doors) for number, doors in enumerate(fleet))
    return world(systems=1, opened=0, countries=1, targets=targets, scope=scope(level=level))


@pytest.mark.parametrize(
    ("study", "count", "among"),
    [
        ("Greenbone, 2019", 3, 8),
        ("Greenbone, 2019: images accessible", 1, 8),
        ("Greenbone, 2019: viewers", 1, 8),
        ("Stites and Pianykh, 2016", 4, 5),
        ("CybelAngel, 2020", 2, 3),
        ("Aplite, 2023: leaking", 3, 6),
        ("Aplite, 2023: open to tampering", 2, 6),
        ("Censys, 2024", 6, 8),
        ("TrendAI, 2025: titles", 3, 5),
        ("TrendAI, 2025: encryption", 2, 6),
    ],
)
def test_each_study_would_have_counted(study: str, count: int, among: int) -> None:
    (measured,) = [each for each in definitions.measure(survey(FLEET)) if each.definition.study == study]
    assert (measured.count, measured.among) == (count, among)


def test_every_definition_is_tried_above() -> None:
    assert len(definitions.DEFINITIONS) == 10


def test_an_association_alone_is_open_to_some_and_not_to_greenbone() -> None:
    assert definitions.associates_without_records(survey(FLEET)) == 2
    assert "2 systems let a stranger associate and answer no query" in html.render(survey(FLEET)).decode()


def test_what_was_not_asked_is_not_none() -> None:
    shown = html.render(survey(FLEET, level="connect")).decode()
    told = {each.definition.study: each.count for each in definitions.measure(survey(FLEET, level="connect"))}
    assert told["Greenbone, 2019"] is None
    assert told["Stites and Pianykh, 2016"] == 4
    assert shown.count("not asked at level connect") == sum(count is None for count in told.values()) == 4
    assert "no system can show itself open" in shown


def headline(level: str) -> list[str]:
    """The six numbers at the head, as they are read."""
    head = html.render(survey(FLEET, level=level)).decode().partition('<ul class="headline">')[2].partition("</ul>")[0]
    return [re.sub("<[^>]+>", "", number) for number in re.findall(r"<b[^>]*>(.*?)</b>", head)]


def test_a_headline_that_was_not_asked_for_is_not_a_number() -> None:
    assert headline("retrieve") == ["3 of 8", "21", "30", "900", "300", "1"]
    assert headline("count") == ["3 of 8", "21", "30", "900", "n/a", "1"]
    assert headline("query") == ["3 of 8", "n/a", "n/a", "n/a", "n/a", "1"]


def test_open_systems_that_gave_no_count_are_told() -> None:
    assert "gave no count" not in html.render(survey(FLEET)).decode()
    uncounted = (dimse(ExposureLevel.RECORDS),)
    assert "1 open system gave no count: every sum is without them" in html.render(survey((*FLEET, uncounted))).decode()
