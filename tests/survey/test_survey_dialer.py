"""The dialer opens what the scope names, one connection at a time for each host, no faster than it is told."""

import asyncio
import itertools
import socket
import time
from ipaddress import ip_address

import pytest

from leadglass.errors import OutOfScope
from leadglass.survey.addresses import System
from leadglass.survey.dialer import HOST_SHARE, MOST_PATIENCE, NEIGHBOURHOOD_SHARE, NoConnection, Pace, ScopedDialer
from leadglass.survey.observations import Ending
from leadglass.survey.scope import ExposureLimit, Target
from tests import peers
from tests.survey.servers import hang_up, talking


def system(host: str, *ports: int) -> System:
    target = Target(name="a", host=host, dimse_ports=ports)
    return System(target, ip_address(host), ExposureLimit.QUERY, from_range=False)


def dialer(*systems: System, per_second: float = 10_000) -> ScopedDialer:
    return ScopedDialer(systems, per_second=per_second, timeout=0.5)


async def connect(through: ScopedDialer, host: str, port: int) -> socket.socket | NoConnection:
    async with through.connection(ip_address(host), port) as link:
        return link


def test_an_address_or_port_that_no_system_has_is_refused_unsent() -> None:
    with talking(hang_up) as named, talking(hang_up) as other, talking(hang_up, "127.0.0.2") as elsewhere:
        through = dialer(system("127.0.0.1", named.port))
        for host, port in (("127.0.0.1", other.port), ("127.0.0.2", elsewhere.port), ("127.0.0.2", named.port), ("::1", named.port)):
            with pytest.raises(OutOfScope, match="nothing was sent"):
                asyncio.run(connect(through, host, port))
        asyncio.run(connect(through, "127.0.0.1", named.port))
        assert through.opened == 1
        assert (other.connections, elsewhere.connections) == ([], [])


def test_a_connection_that_fails_is_a_value() -> None:
    port = peers.free_port()
    link = asyncio.run(connect(dialer(system("127.0.0.1", port)), "127.0.0.1", port))
    assert link == NoConnection(Ending.REFUSED)


def test_a_host_that_does_not_answer_is_given_up_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port: int = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        link = asyncio.run(connect(dialer(system("127.0.0.1", port)), "127.0.0.1", port))
        for each in waiting:
            each.close()
    assert link == NoConnection(Ending.NO_ANSWER)
    assert 0.4 < time.monotonic() - began < 3


async def most_at_once(through: ScopedDialer, doors: list[tuple[str, int]]) -> int:
    """How many connections were held together, when every door is asked for at once."""
    most = now = 0

    async def hold(host: str, port: int) -> None:
        nonlocal most, now
        async with through.connection(ip_address(host), port):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.2)
            now -= 1

    await asyncio.gather(*(hold(*door) for door in doors))
    return most


def test_one_connection_at_a_time_for_each_host() -> None:
    with talking(lambda link: link.recv(1)) as first, talking(lambda link: link.recv(1)) as second:
        through = dialer(system("127.0.0.1", first.port, second.port))
        doors = [("127.0.0.1", port) for port in (first.port, second.port) * 2]
        assert asyncio.run(most_at_once(through, doors)) == 1


def test_two_hosts_are_spoken_to_at_the_same_time() -> None:
    with talking(lambda link: link.recv(1)) as first, talking(lambda link: link.recv(1), "127.0.1.1") as second:
        through = dialer(system("127.0.0.1", first.port), system("127.0.1.1", second.port))
        assert asyncio.run(most_at_once(through, [("127.0.0.1", first.port), ("127.0.1.1", second.port)])) == 2


def test_a_connection_waits_for_its_turn() -> None:
    async def measure(port: int) -> float:
        through = dialer(system("127.0.0.1", port), per_second=20)
        began = time.monotonic()
        for _ in range(3):
            await connect(through, "127.0.0.1", port)
        return time.monotonic() - began

    with talking(hang_up) as listener:
        assert 2 / (20 * HOST_SHARE) - 0.02 < asyncio.run(measure(listener.port)) < 5


def seconds_for(pace: Pace, hosts: list[str]) -> float:
    async def measure() -> float:
        began = time.monotonic()
        await asyncio.gather(*(pace.turn(ip_address(host)) for host in hosts))
        return time.monotonic() - began

    return asyncio.run(measure())


def test_the_rate_holds_over_all_neighbourhoods() -> None:
    hosts = [f"127.0.{number}.1" for number in range(41)]
    assert 0.38 < seconds_for(Pace(100), hosts) < 5


def test_one_neighbourhood_gets_a_part_of_the_rate() -> None:
    hosts = [f"127.0.0.{number}" for number in range(1, 12)]
    assert 10 / (100 * NEIGHBOURHOOD_SHARE) - 0.02 < seconds_for(Pace(100), hosts) < 5


def test_a_neighbourhood_that_waited_for_the_others_does_not_catch_up() -> None:
    """A queue for the overall rate must not let two of one neighbourhood out closer than they may follow each other."""
    began: list[float] = []

    async def neighbour(pace: Pace, host: str) -> None:
        await pace.turn(ip_address(host))
        began.append(time.monotonic())

    async def crowd() -> None:
        pace = Pace(200)
        await asyncio.gather(
            *(pace.turn(ip_address(f"127.1.{number}.1")) for number in range(40)),
            *(neighbour(pace, f"127.0.0.{number}") for number in range(1, 4)),
            *(pace.turn(ip_address(f"127.2.{number}.1")) for number in range(40)),
        )

    asyncio.run(crowd())
    gaps = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert len(gaps) == 2
    assert min(gaps) > 1 / (200 * NEIGHBOURHOOD_SHARE) - 0.002


def one_after_another(pace: Pace, host: str, count: int) -> float:
    async def measure() -> float:
        began = time.monotonic()
        for _ in range(count):
            await pace.turn(ip_address(host))
        return time.monotonic() - began

    return asyncio.run(measure())


def test_one_host_gets_a_smaller_part() -> None:
    assert 10 / (200 * HOST_SHARE) - 0.02 < one_after_another(Pace(200), "127.0.0.1", 11) < 5


def test_where_answers_get_slower_connections_get_rarer_and_where_they_recover_usual() -> None:
    pace = Pace(3000)
    usual = 10 / (3000 * HOST_SHARE)
    address = ip_address("127.0.0.1")
    for _ in range(20):
        pace.observe(address, 1000.0)
    # Invariant: never rarer than by MOST_PATIENCE, or a slow host would stop the survey.
    assert usual * MOST_PATIENCE * 0.9 < one_after_another(pace, "127.0.0.1", 11) < usual * MOST_PATIENCE + 2
    for _ in range(20):
        pace.observe(address, 1.0)
    one_after_another(pace, "127.0.0.1", 1)
    assert one_after_another(pace, "127.0.0.1", 10) < usual * 3


def test_a_slow_host_slows_its_neighbours_and_nobody_else() -> None:
    pace = Pace(1000)
    for _ in range(20):
        pace.observe(ip_address("127.0.0.1"), 5.0)
    slow = seconds_for(pace, [f"127.0.0.{number}" for number in range(2, 13)])
    assert 10 * 4.5 / (1000 * NEIGHBOURHOOD_SHARE) < slow < 5
    assert seconds_for(pace, [f"127.0.1.{number}" for number in range(2, 13)]) < slow / 2


def test_silence_of_an_address_that_never_answered_slows_nobody() -> None:
    async def measure(through: ScopedDialer, port: int) -> float:
        # TEST-NET-1 of RFC 5737 would do; the tests stay on loopback, so a listener with a full queue plays dead.
        await connect(through, "127.0.0.5", port)
        began = time.monotonic()
        for host in ("127.0.0.6", "127.0.0.7", "127.0.0.8"):
            await connect(through, host, port)
        return time.monotonic() - began

    with socket.socket() as full:
        full.bind(("127.0.0.5", 0))
        full.listen(0)
        port: int = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.5", port))
        through = ScopedDialer([system(f"127.0.0.{number}", port) for number in range(5, 9)], per_second=100, timeout=0.1)
        took = asyncio.run(measure(through, port))
        for each in waiting:
            each.close()
    assert took < 2 / (100 * NEIGHBOURHOOD_SHARE) + 0.2
