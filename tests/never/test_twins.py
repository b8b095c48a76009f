"""Two archives that differ in one hidden patient answer everything alike: nobody can tell what he may not see from what is not there."""

from pathlib import Path

from tests.never import asking
from tests.never.asking import Exchange
from tests.never.house import House, encoded, visible
from tests.never.oracle import Twins, differences, leaks, twins


def test_the_twins_answer_alike(asked: tuple[list[Exchange], list[Exchange]]) -> None:
    holding, lacking = asked
    assert differences(holding, lacking) == []


def test_the_twins_take_alike_what_clashes_with_the_hidden_patient(pair: Twins) -> None:
    """Last, because the one keeps aside what the other stores: whoever may find it later sees that there was no clash."""
    holding: list[Exchange] = []
    for number in (1, 2):
        holding, lacking = pair.ask(lambda house, archive, number=number: asking.by_handing_in(house, archive, number))  # type: ignore[misc] # the number of this round
        assert differences(holding, lacking) == []
        assert leaks(holding) == []
    assert any(b"\x20\x01\x02" in each.received for each in holding)


def test_twins_that_differ_in_a_visible_object_are_told_apart(house: House, tmp_path: Path) -> None:
    """The comparison itself: one more visible instance in the one is seen in many answers."""
    with twins(house, tmp_path / "twins") as made:
        more = tmp_path / "more.dcm"
        more.write_bytes(encoded(visible(1, 1, 3)))
        made.holding.take_in([more], code=0)
        found = differences(*made.ask(lambda house, archive: asking.by_web(house, archive, briefly=True)))
    assert len(found) > 10
