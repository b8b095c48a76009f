"""The matrix: every peer, service, way and transport is a cell; a cell holds rows that are run, or the reason why there is none.

A row is a function marked `@row(...)`; it asserts all that it has to say. Where a peer cannot do something, `cannot(...)` says why.
`test_matrix.py` fails for a cell that has neither.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.matrix.bench import Bench
from tests.matrix.cells import Cell, Peer, Service, Transport, Way

Run = Callable[[Bench], None]


@dataclass(frozen=True)
class Row:
    """One check of a cell."""

    cell: Cell
    by: str
    """The program, or part of it, that does it."""

    run: Run
    stocked: bool
    """Over an archive that holds the images already, which is shared; else over an empty one of its own."""

    refused: bool
    """What is asked for has to be refused."""

    def __str__(self) -> str:
        return f"{self.cell} ({self.by}{', refused' * self.refused})"


ROWS: list[Row] = []
REASONS: dict[Cell, str] = {}
"""Why a cell has no row."""


def row(
    peer: Peer,
    services: Service | tuple[Service, ...],
    way: Way,
    *transports: Transport,
    by: str,
    stocked: bool = True,
    refused: bool = False,
) -> Callable[[Run], Run]:
    """Enter a function as a row of these services over `transports`; over both where none is named."""

    def enter(run: Run) -> Run:
        for service in services if isinstance(services, tuple) else (services,):
            ROWS.extend(Row(Cell(peer, service, way, each), by, run, stocked, refused) for each in transports or Transport)
        return run

    return enter


NOBODY_ASKED = "leadglass asks nobody for that: it is an archive, which answers"
SURVEY_ASKS = "the archive asks nobody; `leadglass survey` does, of these and other products in tests/survey"


def cannot(peer: Peer, services: Service | tuple[Service, ...], way: Way, reason: str, *transports: Transport) -> None:
    """Say why there is no row of these services over `transports`; over either where none is named."""
    for service in services if isinstance(services, tuple) else (services,):
        REASONS.update({Cell(peer, service, way, each): reason for each in transports or Transport})
