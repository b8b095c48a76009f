"""Probing in processes of its own: the same results, whole neighbourhoods, an end however the survey ends, nothing lost with one."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey.addresses import RefusedTarget, System
from leadglass.survey.dialer import neighbourhood
from leadglass.survey.observations import Dimse, ExposureLevel, Web
from leadglass.survey.probing import SEEN, Orders, Seen, probe_here
from leadglass.survey.scope import ExposureLimit, Target
from leadglass.survey.workers import ATTEMPTS, ERRAND, probe_in_workers, shares
from tests.survey.servers import Listener, hang_up, talking

ORDERS = Orders(per_second=500, timeout=2, max_matches=10, run_id="abcdef", contact="security@example.org")


def system(host: str, port: int) -> System:
    return System(Target(name=host, host=host, dimse_ports=(port,)), ip_address(host), ExposureLimit.QUERY, from_range=False)


def asked(systems: list[System]) -> dict[int, Seen]:
    found: dict[int, Seen] = {}
    asyncio.run(probe_in_workers(systems, ORDERS, found.__setitem__))
    return found


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@given(
    st.tuples(
        st.integers(0, 1 << 40), st.lists(st.from_type(Dimse) | st.from_type(Web), max_size=3).map(tuple) | st.from_type(RefusedTarget)
    )
)
def test_what_a_worker_says_is_what_is_heard(said: tuple[int, Seen]) -> None:
    assert SEEN.validate_json(SEEN.dump_json(said)) == said


@given(st.lists(st.ip_addresses(network="10.1.0.0/20"), min_size=1, max_size=60), st.integers(1, 5))
def test_no_neighbourhood_is_split_and_nothing_is_left_out(addresses: list[object], workers: int) -> None:
    systems = [system(str(address), 104) for address in addresses]
    parts = shares(systems, workers)
    assert {index: each for part in parts for index, each in part.items()} == dict(enumerate(systems))
    assert sum(map(len, parts)) == len(systems)
    assert len(parts) <= workers
    homes = [{neighbourhood(each.address) for each in part.values()} for part in parts]
    assert max(Counter(near for home in homes for near in home).values()) == 1


def test_what_a_worker_is_told_is_what_was_meant() -> None:
    systems = (
        system("10.0.0.1", 104),
        System(Target(name="b", host="fd00::/126", web_ports=(80,)), ip_address("fd00::1"), ExposureLimit.COUNT, from_range=True),
    )
    assert ERRAND.validate_json(ERRAND.dump_json((ORDERS, systems))) == (ORDERS, systems)


def test_workers_see_what_is_seen_here() -> None:
    with talking(hang_up, "127.0.0.2") as one, talking(hang_up, "127.0.1.2") as two:
        systems = [system(each.host, each.port) for each in (one, two)] + [system("127.0.2.2", one.port)]
        here: dict[int, Seen] = {}
        asyncio.run(probe_here(systems, ORDERS, here.__setitem__))
        assert asked(systems) == here
    assert [seen[0].level for seen in here.values() if isinstance(seen, tuple)].count(ExposureLevel.OPEN_PORT) == 2


@contextlib.contextmanager
def killing(host: str) -> Iterator[Listener]:
    """An archive at which whoever asks it ends."""

    def kill(_: object) -> None:
        time.sleep(0.3)
        for pid in children():
            if b"leadglass.survey.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    with talking(kill, host) as listener:
        yield listener


def test_an_archive_at_which_workers_end_costs_no_other_result() -> None:
    with talking(hang_up, "127.0.0.2") as good, killing("127.0.0.3") as deadly:
        found = asked([system(deadly.host, deadly.port), system(good.host, good.port)])
    assert isinstance(found[0], RefusedTarget)
    assert "ended before it had an answer" in found[0].why
    assert len(deadly.connections) == ATTEMPTS
    assert isinstance(found[1], tuple)


def test_workers_end_with_a_survey_that_is_broken_off() -> None:
    before = children()

    async def break_off() -> None:
        with talking(lambda link: link.recv(1 << 20) and link.recv(1), "127.0.0.2") as silent:
            survey = asyncio.create_task(probe_in_workers([system(silent.host, silent.port)], ORDERS, lambda *_: None))
            while not silent.connections:  # noqa: ASYNC110 - it comes in a thread
                await asyncio.sleep(0.01)
            assert children() - before
            survey.cancel()
            with pytest.raises(asyncio.CancelledError):
                await survey

    asyncio.run(break_off())
    assert children() <= before
