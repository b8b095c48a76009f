"""A copy of the trail for somebody else: the public half as C2SP tlog-tiles lays it out, the entries in clear beside it."""

import json
import os
from pathlib import Path

from leadglass.durable import PRIVATE_FILE, PRIVATE_FOLDER
from leadglass.errors import WrongUsage
from leadglass.trail import layout
from leadglass.trail.log import TrailLog
from leadglass.trail.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Tree, leaf_hash

ENTRIES_FILE = "entries.jsonl"


def export(log: TrailLog, target: Path) -> int:
    """Write the acknowledged entries to `target`, which must not exist; gives how many.

    `checkpoint`, `key` and `tile/` can be served or verified by any tlog-tiles client; `entries.jsonl` holds who did what, one
    JSON object a line, and belongs in the hands of the auditor alone.
    """
    if target.exists():
        raise WrongUsage(f"{target} exists already; name a folder that does not")
    target.mkdir(mode=PRIVATE_FOLDER, parents=True)
    snapshot = log.snapshot()
    tree = Tree()
    tiles: dict[str, bytearray] = {}
    with os.fdopen(_private(target / ENTRIES_FILE), "w", encoding="ascii") as lines:
        for number, record, entry in log.records(0, snapshot.size):
            bundle = tiles.setdefault(
                _partial(layout.entries_path(number // TILE_WIDTH), snapshot.size, 0, number // TILE_WIDTH), bytearray()
            )
            bundle += layout.encode_entry(record.leaf)
            for level, node in tree.append(leaf_hash(record.leaf)):
                index = number >> (TILE_HEIGHT * (level + 1))
                tile = tiles.setdefault(_partial(layout.tile_path(level, index), snapshot.size, level, index), bytearray())
                tile += node
                if len(tile) == TILE_WIDTH * HASH_SIZE:
                    _flush_full(target, tiles, level, index)
            lines.write(json.dumps({"number": number, **json.loads(entry.encode())}) + "\n")
    for path, data in tiles.items():
        _put(target / path, bytes(data))
    _put(target / layout.CHECKPOINT, snapshot.note)
    _put(target / layout.KEY, f"{log.verifier_text}\n".encode())
    return snapshot.size


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)


def _put(path: Path, data: bytes) -> None:
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_FOLDER)
    with os.fdopen(_private(path), "wb") as file:
        file.write(data)


def _flush_full(target: Path, tiles: dict[str, bytearray], level: int, index: int) -> None:
    """Write what is complete, so that memory does not grow with the trail."""
    for path in [layout.tile_path(level, index)] + ([layout.entries_path(index)] if level == 0 else []):
        _put(target / path, bytes(tiles.pop(path)))


def _partial(path: str, size: int, level: int, index: int) -> str:
    """The name that tlog-tiles gives the tile at `index` in a tree of `size`: full, or partial with its width."""
    hashes = size >> (TILE_HEIGHT * level)
    width = hashes - index * TILE_WIDTH
    return path if width >= TILE_WIDTH else f"{path}.p/{width}"
