"""What a survey is like for those who are surveyed: measured where it arrives."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, evt

from leadglass.survey.addresses import System
from leadglass.survey.dialer import HOST_SHARE, NEIGHBOURHOOD_SHARE, ScopedDialer
from leadglass.survey.scope import ExposureLimit, Target
from leadglass.survey.webclient import WebClient
from tests.pynetdicom_server import serving
from tests.survey.harness import run
from tests.survey.recording import Visit, recording
from tests.survey.servers import Asked, answering

JITTER = 0.15
"""Seconds by which a busy machine may blur when something arrived."""


def span(visits: list[Visit]) -> float:
    return visits[-1].opened - visits[0].opened


def targets(hosts: list[str], ports: list[int]) -> list[dict[str, object]]:
    return [{"host": host, "dimse_ports": ports} for host in hosts]


def test_connections_come_no_faster_than_the_scope_says(tmp_path: Path) -> None:
    hosts = [f"127.3.{number}.1" for number in range(60)]
    with recording(hosts) as fleet:
        run(tmp_path, *targets(hosts, list(fleet.ports)), level="connect", connections_per_second=80)
    visits = fleet.of(*hosts)
    assert len(visits) == 60
    assert 59 / 80 - JITTER < span(visits) < 59 / 80 + 5


def test_a_neighbourhood_is_not_crowded_and_holds_up_nobody(tmp_path: Path) -> None:
    crowded = [f"127.3.0.{number}" for number in range(1, 13)]
    others = [f"127.3.{number}.1" for number in range(1, 13)]
    with recording([*crowded, *others]) as fleet:
        run(tmp_path, *targets([*crowded, *others], list(fleet.ports)), level="connect", connections_per_second=60)
    near, far = fleet.of(*crowded), fleet.of(*others)
    assert (len(near), len(far)) == (12, 12)
    assert span(near) > 11 / (60 * NEIGHBOURHOOD_SHARE) - JITTER
    assert span(far) < span(near)


def test_a_host_is_visited_by_one_at_a_time_and_not_in_haste(tmp_path: Path) -> None:
    with recording(["127.3.0.1"], ports=8, delay=lambda _: 0.05) as fleet:
        # Its ports are in several targets.
        each = [{"host": "127.3.0.1", "dimse_ports": [port]} for port in fleet.ports]
        run(tmp_path, *each, level="connect", connections_per_second=100)
    visits = fleet.of("127.3.0.1")
    assert len(visits) == 8
    for earlier, later in itertools.pairwise(visits):
        assert later.opened > earlier.closed - 0.02
    assert span(visits) > 7 / (100 * HOST_SHARE) - JITTER


def test_questions_over_one_connection_come_no_faster_either(tmp_path: Path) -> None:
    moments: list[float] = []

    def answer(asked: Asked) -> None:
        moments.append(time.monotonic())
        asked.answer(b"", status=404)

    with answering(answer) as listener:
        run(tmp_path, {"web_ports": [listener.port]}, level="query", connections_per_second=200)
    assert len(moments) > 10
    assert moments[-1] - moments[0] > (len(moments) - 1) / (200 * HOST_SHARE) - JITTER


def test_where_answers_get_slower_questions_get_rarer() -> None:
    waits: list[float] = []
    answered = [time.monotonic()]

    def answer(asked: Asked) -> None:
        waits.append(time.monotonic() - answered[0])
        time.sleep(0.4 if len(waits) in {4, 5, 6} else 0)
        asked.answer(b"")
        answered[0] = time.monotonic()

    async def ask(port: int) -> None:
        target = Target(name="a", host="127.0.0.1", web_ports=(port,))
        system = System(target, ip_address("127.0.0.1"), ExposureLimit.QUERY, from_range=False)
        dialer = ScopedDialer([system], per_second=400, timeout=5)
        async with WebClient(system, port, dialer, tls=None, timeout=5, user_agent="test") as client:
            for number in range(7):
                await client.get(f"/studies?offset={number}")

    with answering(answer) as listener:
        asyncio.run(ask(listener.port))
    # An answer of 0.4 s is longer than the host's interval: without a rest after it the next question would follow at once.
    assert len(waits) == 7
    assert waits[6] > 0.03


# How a conversation ends


@dataclass
class Endings:
    """How each association ended, and who had asked for it."""

    released: int = 0
    aborted: int = 0
    lost: int = 0
    callers: list[str] = field(default_factory=list)


@contextmanager
def archive(matches: int) -> Iterator[tuple[int, Endings]]:
    """An archive of pynetdicom's that answers queries and gives images."""
    endings = Endings()

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(0 if str(event.identifier.get("StudyInstanceUID", "")).startswith("2.25.") else matches):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, _image(number)

    def get(_: evt.Event) -> Iterator[object]:
        yield 1
        image = _image(0)
        image.PixelData = bytes(1 << 20)
        image["PixelData"].VR = "OW"
        yield 0xFF00, image

    def count(name: str) -> None:
        setattr(endings, name, getattr(endings, name) + 1)

    handlers = [
        (evt.EVT_C_FIND, find),
        (evt.EVT_C_GET, get),
        (evt.EVT_REQUESTED, lambda event: endings.callers.append(vars(event.assoc.requestor.primitive)["_calling_ae_title"].strip())),
        (evt.EVT_RELEASED, lambda _: count("released")),
        (evt.EVT_ABORTED, lambda _: count("aborted")),
    ]
    ae = AE()
    for sop_class in ("1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"):
        ae.add_supported_context(sop_class)
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.7", scu_role=True, scp_role=True)
    with serving(ae, handlers) as port:
        yield port, endings


def _image(number: int) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    image.StudyInstanceUID = f"1.2.3.{number}"
    image.SeriesInstanceUID = f"1.2.3.{number}.1"
    image.SOPInstanceUID = f"1.2.3.{number}.1.1"
    image.PatientID = f"P{number}"
    image.NumberOfStudyRelatedInstances = 1
    return image


@pytest.mark.parametrize(("level", "aborted"), [("connect", 0), ("query", 0), ("count", 0), ("retrieve", 1)])
def test_every_association_is_released_but_the_one_that_began_an_image(tmp_path: Path, level: str, aborted: int) -> None:
    with archive(3) as (port, endings):
        results = run(tmp_path, {"dimse_ports": [port]}, level=level)
    assert endings.aborted == aborted
    assert endings.released == len(endings.callers) - aborted > 0
    assert set(endings.callers) == {f"LGSURVEY-{results.run_id}"}
    (result,) = results.targets
    assert str(result.level) == {"connect": "query-offered", "retrieve": "images"}.get(level, "records")


def test_a_count_that_is_stopped_is_cancelled_and_released(tmp_path: Path) -> None:
    with archive(2000) as (port, endings):
        (result,) = run(tmp_path, {"dimse_ports": [port]}, level="count", max_matches=20).targets
    assert result.records is not None
    assert (result.records.studies, result.records.exact) == (20, False)
    assert endings.aborted == 0
    assert endings.released == len(endings.callers)
