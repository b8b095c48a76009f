"""The numbers that Greenbone Networks published in September 2019 as a fleet: 2,300 systems, 590 of them open, in 52 countries.

`tests/survey/data/greenbone_countries.csv` holds what is known of the two reports, each row with the pages it was taken from. The complete
table is not public in a form that could be read; what is missing is filled in so that the published totals come out, and told apart
(`Row.synthetic`). Countries of which nothing was published bear codes that ISO 3166 gives to nobody (AA, QM-QZ, XA-XZ, ZZ).
"""

import csv
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fleet import Archive, Behaviour, Orthanc
from tests.fleet.lists import PORT, addresses

PUBLISHED = Path(__file__).parents[1] / "survey" / "data" / "greenbone_countries.csv"
WAVE = "2019-09"
SYSTEMS = 2300
COUNTRIES = 52
WEB_PORT = 8042
_CODES = {
    "United States": "US",
    "Turkey": "TR",
    "India": "IN",
    "Brazil": "BR",
    "South Africa": "ZA",
    "France": "FR",
    "Germany": "DE",
    "Italy": "IT",
    "Switzerland": "CH",
    "Australia": "AU",
    "Slovakia": "SK",
}
# XK is in use for Kosovo.
_NOBODYS = ["AA", *(f"Q{sign}" for sign in "MNOPQRSTUVWXYZ"), *(f"X{sign}" for sign in "ABCDEFGHIJLMNOPQRSTUVWXYZ"), "ZZ"]
_COLUMNS = {
    "open": "open_systems",
    "studies": "studies_or_records",
    "instances": "images_linked",
    "instances_accessible": "images_accessible",
    "open_viewers": "http_viewer_open",
}
_THIRD = 106_000_000
"""South Africa's images: published is only that they are the third most, and India, with 105 million, is not."""
_SHUT = (Behaviour.CLOSED, Behaviour.OPEN_PORT, Behaviour.REJECTING, Behaviour.ASSOCIATING, Behaviour.QUERY_OFFERED)
_STREAMED = 3
"""Studies that the DIMSE door of an open archive answers: what it holds is asked of its count endpoint."""


@dataclass(frozen=True)
class Row:
    """A country, or the world, in Greenbone's columns."""

    country: str
    systems: int
    open: int
    studies: int
    instances: int
    instances_accessible: int
    open_viewers: int
    synthetic: frozenset[str] = frozenset()
    """The columns that were not published."""


def number(cell: str) -> int | None:
    """What a cell of the published table says: of a range or an "at least" the lower end; None where it says nothing.

    >>> number("24300000-24500000"), number("~half of 31.1M"), number(">100000"), number("127... (row truncated in the stored page)")
    (24300000, 15550000, 100000, None)
    """
    if half := re.fullmatch(r"~half of ([\d.]+)M", cell):
        return round(float(half[1]) * 1_000_000 / 2)
    plain = re.fullmatch(r"[>~]?(\d+)(?:-\d+)?", cell)
    return int(plain[1]) if plain else None


def published() -> Mapping[str, Mapping[str, int | None]]:
    """The published cells of the first wave, by country code and column; `WORLD` has the totals."""
    with PUBLISHED.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["wave"] == WAVE]
    return {_CODES.get(row["country"], row["country"]): {ours: number(row[theirs]) for ours, theirs in _COLUMNS.items()} for row in rows}


def rows() -> list[Row]:
    """The whole table: 52 countries whose sums are the published totals."""
    known = dict(published())
    world = known.pop("WORLD")
    cells: dict[str, dict[str, int | None]] = {code: dict(found) for code, found in known.items()}
    for code in _NOBODYS[: COUNTRIES - len(cells)]:
        cells[code] = dict.fromkeys(_COLUMNS)
    missing = {code: frozenset(column for column, value in row.items() if value is None) for code, row in cells.items()}
    _fill(cells, "open", world["open"], lambda _: 1)
    _fill(cells, "studies", world["studies"], lambda row: row["open"] or 0)
    cells["ZA"]["instances"] = _THIRD
    for row in cells.values():
        # What can be fetched is linked.
        if row["instances"] is None and row["instances_accessible"] is not None:
            row["instances"] = row["instances_accessible"] * 21 // 20
    _fill(cells, "instances", world["instances"], lambda row: row["open"] or 0)
    # Of one archive all images can be fetched, or none.
    cells["SK"]["instances_accessible"] = cells["SK"]["instances"]
    _fill(cells, "instances_accessible", world["instances_accessible"], lambda row: row["instances"] or 0)
    _fill(cells, "open_viewers", world["open_viewers"], lambda row: row["open"] or 0)
    systems: dict[str, dict[str, int | None]] = {code: {"shut": None, "open": row["open"]} for code, row in cells.items()}
    _fill(systems, "shut", SYSTEMS - (world["open"] or 0), lambda row: row["open"] or 0)
    return [
        Row(
            country=code,
            systems=(systems[code]["shut"] or 0) + (row["open"] or 0),
            synthetic=missing[code] | {"systems"},
            **{column: row[column] or 0 for column in _COLUMNS},
        )
        for code, row in cells.items()
    ]


Cells = Mapping[str, dict[str, int | None]]


def _fill(cells: Cells, column: str, total: int | None, weight: Callable[[Mapping[str, int | None]], int]) -> None:
    """Divide what the published cells leave of the total among those that are not published."""
    left = (total or 0) - sum(row[column] or 0 for row in cells.values())
    empty = [row for row in cells.values() if row[column] is None]
    assert left >= 0
    for row, part in zip(empty, divided(left, [weight(row) for row in empty]), strict=True):
        row[column] = part


def divided(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts that are as the weights.

    >>> divided(10, [1, 1, 2])
    [2, 3, 5]
    """
    parts, before, seen = [], 0, 0
    for weight in weights:
        seen += weight
        upto = total * seen // sum(weights)
        parts.append(upto - before)
        before = upto
    return parts


def archives(table: Sequence[Row]) -> list[Archive]:
    """The fleet of a table: each country's systems, its open ones with a count endpoint whose counts make up the row."""
    where = iter(addresses(sum(row.systems for row in table)))
    found: list[Archive] = []
    for row in table:
        found += [_placed(archive, next(where)) for archive in _of_country(row)]
    return found


def _placed(archive: Archive, address: str) -> Archive:
    return dataclasses.replace(archive, address=address)


def _of_country(row: Row) -> Iterator[Archive]:
    weights = [1 + place % 5 for place in range(row.open)]
    handing = _handing_out(row)
    images = divided(row.instances_accessible, weights[:handing]) + divided(row.instances - row.instances_accessible, weights[handing:])
    for place, (studies, instances) in enumerate(zip(divided(row.studies, weights), images, strict=True)):
        orthanc = Orthanc(
            port=WEB_PORT,
            patients=(studies + 1) // 2,
            studies=studies,
            instances=instances,
            hands_out_images=place < handing,
            viewer=place < row.open_viewers,
        )
        kind = Behaviour.IMAGES if place < handing else Behaviour.RECORDS
        yield Archive(f"{row.country} open {place}", "", PORT, kind, min(studies, _STREAMED), country=row.country, web=orthanc)
    for place in range(row.systems - row.open):
        yield Archive(f"{row.country} shut {place}", "", PORT, _SHUT[place % len(_SHUT)], country=row.country)


def _handing_out(row: Row) -> int:
    """How many of a country's open archives hand out their images."""
    if row.instances_accessible in {0, row.instances}:
        return row.open if row.instances_accessible else 0
    return max(1, min(row.open - 1, round(row.open * row.instances_accessible / row.instances)))
