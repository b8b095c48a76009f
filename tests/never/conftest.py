"""One founded archive with everyone who comes to its doors, for all tests of what may never happen."""

from collections.abc import Iterator

import pytest

from tests.never import asking
from tests.never.asking import Exchange
from tests.never.browsing import by_pages
from tests.never.house import House, found_house
from tests.never.oracle import Twins, twins


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return found_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="session")
def pair(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with twins(house, tmp_path_factory.mktemp("pair") / "twins") as made:
        yield made


@pytest.fixture(scope="session")
def asked(pair: Twins) -> tuple[list[Exchange], list[Exchange]]:
    """Every question that only asks, and the answers of the one with the canary and of the one without."""
    answered = [pair.ask(ask) for ask in (asking.by_web, by_pages, asking.by_dimse)]
    holding, lacking = ([exchange for pair in answered for exchange in pair[each]] for each in (0, 1))
    return holding, lacking
