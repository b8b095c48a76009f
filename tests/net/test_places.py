"""Places are given in turn: whoever asks for many holds up nobody but itself."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.net.limits import Limits
from leadglass.net.places import Callers, Patience, Shares, Turns, neighbourhood
from tests.net.doors import run


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_whose_share_an_address_takes(one: str, other: str, *, same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(other)) is same


@given(
    st.lists(st.tuples(st.sampled_from(["greedy", "modest"]), st.floats(0, 0.2)), max_size=400),
)
def test_who_breaks_off_waits_and_nobody_else(steps: list[tuple[str, float]]) -> None:
    now = 1000.0
    patience, owed = Patience(lambda: now), {"greedy": 0.0, "modest": 0.0}
    for whose, pause in steps:
        now += pause
        owed = {each: max(0.0, many - pause * Patience.A_SECOND) for each, many in owed.items()}
        patience.broke_off(whose)
        owed[whose] = min(owed[whose] + 1, Patience.FREE + Patience.LONGEST * Patience.A_SECOND)
        for each, many in owed.items():
            assert patience.wait(each) == pytest.approx(max(0.0, many - Patience.FREE) / Patience.A_SECOND, abs=1e-6)
    assert patience.wait("who has done nothing") == 0


def test_patience_remembers_a_bounded_number_of_addresses() -> None:
    now = 0.0
    patience = Patience(lambda: now)
    for number in range(10_000):
        patience.broke_off(f"2001:db8:{number}::/64")
    assert len(patience) == Patience.MOST_ADDRESSES
    now = 3600.0
    patience.broke_off("192.0.2.1")
    assert len(patience) == 1


def test_a_thousand_in_the_row_are_one_turn_for_everybody_else() -> None:
    served: list[str] = []

    async def test() -> None:
        turns = Turns(2)

        async def once(whose: str) -> None:
            async with turns.turn(whose):
                served.append(whose)
                await asyncio.sleep(0)

        greedy = [asyncio.create_task(once("greedy")) for _ in range(1000)]
        await asyncio.sleep(0)
        modest = [asyncio.create_task(once(f"modest {number}")) for number in range(5)]
        await asyncio.gather(*modest)
        assert len(served) < 25
        await asyncio.gather(*greedy)

    run(test)
    assert Counter(each.split()[0] for each in served) == {"greedy": 1000, "modest": 5}


@pytest.mark.parametrize("seed", range(5))
def test_who_gives_up_takes_no_place_with_him(seed: int) -> None:
    async def test() -> None:
        turns = Turns(2)
        inside = 0

        async def once(whose: int) -> None:
            nonlocal inside
            async with turns.turn(str(whose % 3)):
                inside += 1
                assert inside <= 2
                try:
                    await asyncio.sleep(0.001)
                finally:
                    inside -= 1

        tasks = [asyncio.create_task(once(number)) for number in range(60)]
        for step in range(20):
            await asyncio.sleep(0.001)
            tasks[(step * 7 + seed) % 60].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(1), turns.turn("a"), turns.turn("b"):
            pass

    run(test)


def test_a_newcomer_gets_the_oldest_place_of_whoever_has_the_most() -> None:
    callers = Callers(Limits(max_connections=6, max_connections_per_address=5))
    sent_away: list[str] = []
    for number in range(5):
        assert callers.admit("greedy", partial(sent_away.append, f"greedy {number}"))
    assert callers.admit("greedy", lambda: None) is None
    leave = callers.admit("modest", lambda: sent_away.append("modest"))
    assert leave
    assert callers.admit("third", lambda: sent_away.append("third"))
    assert callers.admit("modest", lambda: sent_away.append("modest 2"))
    assert sent_away == ["greedy 0", "greedy 1"]
    assert len(callers) == 6
    leave()
    leave()
    assert len(callers) == 5


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=200))
def test_no_more_places_than_there_are_whoever_comes_and_goes(steps: list[tuple[str, bool]]) -> None:
    limits = Limits(max_connections=7, max_connections_per_address=4)
    callers = Callers(limits)
    here: dict[int, str] = {}
    leaving: dict[int, Callable[[], None]] = {}
    for number, (whose, comes) in enumerate(steps):
        if comes:
            leave = callers.admit(whose, partial(here.pop, number))
            own = sum(each == whose for each in here.values())
            if leave is None:
                assert own == 4 or len(here) == 7
            else:
                here[number], leaving[number] = whose, leave
        elif mine := [each for each, owner in here.items() if owner == whose]:
            del here[mine[0]]
            leaving[mine[0]]()
        assert len(callers) == len(here) <= 7
        assert max(Counter(here.values()).values(), default=0) <= 4


def test_an_association_takes_a_share_of_its_address_and_of_its_peer() -> None:
    shares = Shares(Limits(max_associations=5, max_associations_per_address=3, max_associations_per_peer=2))
    shares.take("a", "CT")
    shares.take("b", "CT")
    assert not shares.has_room("c", "CT")
    assert shares.has_room("a", "MR")
    shares.take("a", "MR")
    shares.take("a", "US")
    assert not shares.has_room("a", "XA")
    shares.take("c", "XA")
    assert not shares.has_room("d")
    shares.give_back("b", "CT")
    assert shares.has_room("d", "CT")
