"""A trail written in November 2026 opens, reads and verifies for ever (format 1)."""

import shutil
from pathlib import Path

from leadglass.trail import layout
from leadglass.trail.verify import verify
from leadglass.vocabulary import Action, Outcome
from tests.trail.trails import reopen, snapshot

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "trail" / "v1"
KEY = "leadglass/test+d48049fb+AQu8NGpXZnw4ASC9nH/X5R0sX9/qN80vW/QFssa/by14"


def test_the_first_format_is_read_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "trail"
    shutil.copytree(VECTORS, folder)
    (folder / layout.RESERVE).write_bytes(bytes(layout.RESERVE_BYTES))
    assert verify(folder, key=KEY).problems == ()
    before = snapshot(folder)
    log = reopen(folder)
    told = [one for _, one in log.read()]
    assert len(told) == 258
    assert [(one.principal, one.action) for one in told] == [("peer:CT1", Action.GET)] * 258
    assert told[257].outcome is Outcome.DONE
    assert told[257].refers_to == 256
    log.flush(log.append(told[0]))
    log.close()
    assert verify(folder, key=KEY, kept_checkpoint=before[layout.CHECKPOINT]).problems == ()
