"""A trail is the earlier one gone on, or is said not to be."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from leadglass.errors import TrailDamaged
from leadglass.trail.entries import Entry, Kind
from leadglass.trail.log import TrailLog
from leadglass.trail.note import Checkpoint
from leadglass.trail.verify import verify
from tests.trail.trails import create, entry, reopen

ENTRIES = 600
CHANGED = (3, 255, 256, 599)


def _entry(number: int) -> Entry:
    return replace(entry(number), kind=Kind.CHANGED if number in CHANGED else Kind.INTENT)


def _grow(log: TrailLog, entries: int) -> list[Checkpoint]:
    """Append one by one; gives the checkpoint of every size."""
    heads = [log.head()]
    while log.size < entries:
        log.flush(log.append(_entry(log.size)))
        heads.append(log.head())
    return heads


def test_every_earlier_state_is_found_in_what_it_became(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    heads = _grow(log, ENTRIES)
    for then in heads:
        assert log.since(then, {Kind.CHANGED}) == [number for number in CHANGED if number >= then.size]
        with pytest.raises(TrailDamaged):
            log.since(replace(then, root=bytes([then.root[0] ^ 1]) + then.root[1:]), {Kind.CHANGED})
    log.close()
    for then in heads[:: ENTRIES // 6]:
        report = verify(tmp_path / "trail", vouched=then)
        assert (report.ok, report.changes) == (True, sum(number >= then.size for number in CHANGED))
        assert not verify(tmp_path / "trail", vouched=replace(then, root=bytes(32))).ok


@pytest.mark.parametrize("kept", [0, 4, 256, 300])
def test_an_older_copy_is_not_what_it_became_nor_is_another_branch(tmp_path: Path, kept: int) -> None:
    log = create(tmp_path / "trail")
    _grow(log, kept)
    log.close()
    shutil.copytree(tmp_path / "trail", tmp_path / "old")
    log = reopen(tmp_path / "trail")
    newest = _grow(log, 310)[-1]
    log.close()
    old = reopen(tmp_path / "old")
    with pytest.raises(TrailDamaged, match=f"{kept} entries, where there were 310"):
        old.since(newest, {Kind.CHANGED})
    while old.size < 400:
        old.flush(old.append(entry(7)))
    with pytest.raises(TrailDamaged, match="its first 310 entries are others"):
        old.since(newest, {Kind.CHANGED})
    old.close()
    assert any("last vouched for" in problem for problem in verify(tmp_path / "old", vouched=newest).problems)
