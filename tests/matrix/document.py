"""docs/interoperability.md from the matrix: `python -m tests.matrix.document` writes its tables anew."""

import re
from pathlib import Path

from tests.matrix import by_dcmtk, by_orthanc, by_pynetdicom  # noqa: F401 # they enter their rows
from tests.matrix.cells import Cell, Peer, Service, Transport, Way
from tests.matrix.table import REASONS, ROWS

DOCUMENT = Path(__file__).parents[2] / "docs" / "interoperability.md"
_MARKED = re.compile(r"(<!-- from the matrix -->\n).*?(<!-- end -->)", re.DOTALL)
_TITLES = {Peer.DCMTK: "DCMTK 3.6.7", Peer.PYNETDICOM: "pynetdicom 3.0.4", Peer.ORTHANC: "Orthanc 1.10.1"}


def regenerated(text: str) -> str:
    """`text` with the marked block as the matrix is."""
    return _MARKED.sub(lambda match: match[1] + tables() + match[2], text)


def tables() -> str:
    """A table for each peer, and the reasons for what is empty in it under it."""
    return "\n".join(_table_of(peer) for peer in Peer)


def _table_of(peer: Peer) -> str:
    columns = [(way, transport) for way in Way for transport in Transport]
    head = "".join(f" {way}, {transport} |" for way, transport in columns)
    lines = [f"## {_TITLES[peer]}", f"| |{head}", "|" + "---|" * (len(columns) + 1)]
    reasons: list[str] = []
    for service in Service:
        cells = [_told(Cell(peer, service, *column), reasons) for column in columns]
        lines.append(f"| {service} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{number}. {reason}." for number, reason in enumerate(reasons, 1)]
    return "\n".join(lines) + "\n"


def _told(cell: Cell, reasons: list[str]) -> str:
    rows = [row for row in ROWS if row.cell == cell]
    if rows:
        return ", ".join(f"refused ({row.by})" if row.refused else row.by for row in rows)
    if REASONS[cell] not in reasons:
        reasons.append(REASONS[cell])
    return f"no ({reasons.index(REASONS[cell]) + 1})"


if __name__ == "__main__":
    DOCUMENT.write_text(regenerated(DOCUMENT.read_text()))
