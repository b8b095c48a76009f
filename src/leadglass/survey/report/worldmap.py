"""The world as a grid of squares, one for each country: drawn from the packaged table, without any outside data."""

import csv
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from leadglass.survey.results import Result, Results, Sums, sums

TILE = 32
"""Units of the drawing from one square to the next; a square leaves 2 of them free."""


class Shade(StrEnum):
    """How a square is filled: the share of the surveyed systems that answers strangers. Each is darker than the one before."""

    UNSEEN = "unseen"
    NONE = "none"
    FEW = "few"
    MANY = "many"
    MOST = "most"


LEGEND: Mapping[Shade, str] = {
    Shade.UNSEEN: "not in this survey",
    Shade.NONE: "no system open",
    Shade.FEW: "up to a quarter of the systems open",
    Shade.MANY: "up to half",
    Shade.MOST: "more than half",
}


@dataclass(frozen=True, slots=True)
class Place:
    """One row of `data/worldmap.csv`."""

    code: str
    name: str
    column: int
    row: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One square, and what was found there; None where the survey has no system."""

    place: Place
    found: Sums | None

    @property
    def x(self) -> int:
        return self.place.column * TILE

    @property
    def y(self) -> int:
        return self.place.row * TILE

    @property
    def shade(self) -> Shade:
        return Shade.UNSEEN if self.found is None else shade_of(self.found)


@dataclass(frozen=True, slots=True)
class WorldMap:
    """The squares, and below them the countries that have none."""

    tiles: Sequence[Tile]
    unplaced: Sequence[tuple[str, Sums]]
    width: int
    height: int

    @property
    def is_blank(self) -> bool:
        return all(tile.found is None for tile in self.tiles)


@functools.cache
def places() -> Sequence[Place]:
    """The packaged table, from north to south, so that it is read in the order in which it is drawn."""
    text = resources.files("leadglass.survey").joinpath("data", "worldmap.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    read = (Place(row["code"], row["name"], int(row["column"]), int(row["row"])) for row in rows)
    return tuple(sorted(read, key=lambda place: (place.row, place.column)))


def world_map(results: Results) -> WorldMap:
    """Every country of the results is in a square or in `unplaced`: a code is compared without its case, and nothing is guessed."""
    squares: dict[str, list[Result]] = {}
    others: dict[str, list[Result]] = {}
    for result in results.targets:
        code = result.country.strip().upper()
        if is_known(code):
            squares.setdefault(code, []).append(result)
        else:
            others.setdefault(result.country, []).append(result)
    return WorldMap(
        tiles=[Tile(place, sums(squares[place.code]) if place.code in squares else None) for place in places()],
        unplaced=[(country, sums(others[country])) for country in sorted(others)],
        width=TILE * (1 + max(place.column for place in places())),
        height=TILE * (1 + max(place.row for place in places())),
    )


def name_of(country: str) -> str:
    """The name of the country with that code; another text as it stands.

    >>> name_of("fr"), name_of("Neverland")
    ('France', 'Neverland')
    """
    return _names().get(country.strip().upper(), country)


def is_known(country: str) -> bool:
    """Whether it is a code that has a square."""
    return country.strip().upper() in _names()


@functools.cache
def _names() -> Mapping[str, str]:
    return {place.code: place.name for place in places()}


def shade_of(found: Sums) -> Shade:
    """The shade of a country.

    >>> [shade_of(Sums(systems=8, open=number)).value for number in (0, 1, 2, 3, 4, 5)]
    ['none', 'few', 'few', 'many', 'many', 'most']
    """
    if not found.open:
        return Shade.NONE
    if 4 * found.open <= found.systems:
        return Shade.FEW
    return Shade.MANY if 2 * found.open <= found.systems else Shade.MOST


def short(number: int) -> str:
    """A number of at most four characters, for a square; its title has the exact one.

    >>> short(999), short(1000), short(12_345), short(2_000_000)
    ('999', '1k', '12k', '2M')
    """
    if number < 1000:
        return str(number)
    return f"{number // 1000}k" if number < 1_000_000 else f"{number // 1_000_000}M"
