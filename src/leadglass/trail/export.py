"""A copy of the trail for somebody else: the public half as C2SP tlog-tiles lays it out, the entries in clear beside it."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from leadglass.durable import PRIVATE_FILE, PRIVATE_FOLDER
from leadglass.errors import WrongUsage
from leadglass.trail import layout
from leadglass.trail.log import TrailLog
from leadglass.trail.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Tree, leaf_hash

ENTRIES_FILE = "entries.jsonl"
LINES_AT_ONCE = 256 * 1024


@dataclass(frozen=True)
class Piece:
    """The next bytes of one file of an export, by its path under the export's folder."""

    path: str
    data: bytes


def export(log: TrailLog, target: Path) -> int:
    """Write the acknowledged entries to `target`, which must not exist; gives how many."""
    return write(pieces(log), target)


def pieces(log: TrailLog) -> Iterator[Piece]:
    """All files of an export in pieces, as they are complete.

    `checkpoint`, `key` and `tile/` can be served or verified by any tlog-tiles client; `entries.jsonl` holds who did what, one
    JSON object a line, and belongs in the hands of the auditor alone.
    """
    snapshot = log.snapshot()
    tree = Tree()
    growing: dict[str, bytearray] = {}
    lines = bytearray()
    for number, record, entry in log.records(0, snapshot.size):
        bundle = growing.setdefault(
            _partial(layout.entries_path(number // TILE_WIDTH), snapshot.size, 0, number // TILE_WIDTH), bytearray()
        )
        bundle += layout.encode_entry(record.leaf)
        for level, node in tree.append(leaf_hash(record.leaf)):
            index = number >> (TILE_HEIGHT * (level + 1))
            tile = growing.setdefault(_partial(layout.tile_path(level, index), snapshot.size, level, index), bytearray())
            tile += node
            if len(tile) == TILE_WIDTH * HASH_SIZE:
                yield from _complete(growing, level, index)
        lines += json.dumps({"number": number, **json.loads(entry.encode())}).encode("ascii") + b"\n"
        if len(lines) >= LINES_AT_ONCE:
            yield Piece(ENTRIES_FILE, bytes(lines))
            lines.clear()
    yield Piece(ENTRIES_FILE, bytes(lines))
    for path, data in growing.items():
        yield Piece(path, bytes(data))
    yield Piece(layout.CHECKPOINT, snapshot.note)
    yield Piece(layout.KEY, f"{log.verifier_text}\n".encode())


def write(export_pieces: Iterable[Piece], target: Path) -> int:
    """Write the pieces of an export under `target`, which must not exist; gives how many entries there are."""
    if target.exists():
        raise WrongUsage(f"{target} exists already; name a folder that does not")
    target.mkdir(mode=PRIVATE_FOLDER, parents=True)
    entries = 0
    for piece in export_pieces:
        if piece.path == ENTRIES_FILE:
            entries += piece.data.count(b"\n")
        _put(target / piece.path, piece.data)
    return entries


def _put(path: Path, data: bytes) -> None:
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_FOLDER)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "ab") as file:
        file.write(data)


def _complete(growing: dict[str, bytearray], level: int, index: int) -> Iterator[Piece]:
    """What is complete, so that memory does not grow with the trail."""
    for path in [layout.tile_path(level, index)] + ([layout.entries_path(index)] if level == 0 else []):
        yield Piece(path, bytes(growing.pop(path)))


def _partial(path: str, size: int, level: int, index: int) -> str:
    """The name that tlog-tiles gives the tile at `index` in a tree of `size`: full, or partial with its width."""
    hashes = size >> (TILE_HEIGHT * level)
    width = hashes - index * TILE_WIDTH
    return path if width >= TILE_WIDTH else f"{path}.p/{width}"
