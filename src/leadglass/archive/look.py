"""One study as a person looks at it, and who has looked at it before; the trail names the study once it is known that it may be seen."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from leadglass.access.grant import FindGrant
from leadglass.archive.find import Record
from leadglass.archive.rows import Row, entry_row
from leadglass.dicom.matching import Single
from leadglass.dicom.query import Query
from leadglass.dicom.uid import Uid
from leadglass.trail.entries import Entry, Kind
from leadglass.trail.log import TrailLog
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Action, Level, Outcome

MOST_SERIES: Final = 1000
LOOKED_BACK: Final = 20_000
"""Entries that are read for one study: the trail has no index, and this is a second."""
_STEP: Final = 1024
_LOOKING: Final = frozenset({Action.FIND, Action.GET, Action.MOVE, Action.SETTLE})


@dataclass(frozen=True)
class Accesses:
    """Who has looked at a study, newest first; so many of the newest entries were searched, which may be all."""

    rows: list[Row]
    searched: int
    complete: bool


def series_of(grant: FindGrant, vault: Vault, study: Uid, returns: tuple[str, ...]) -> list[Record]:
    """The series of a study with what `returns` names, also of the study; empty if it is not there or may not be seen."""
    with grant:
        query = Query(Level.SERIES, {"StudyInstanceUID": Single(str(study))}, returns, limit=MOST_SERIES)
        found = _found(grant, vault, query)
        grant.settle(Outcome.DONE, studies=[str(study)] if found else [], count=len(found))
        return found


def accesses_to(grant: FindGrant, vault: Vault, trail: TrailLog, study: Uid) -> Accesses | None:
    """Who has looked at a study of late; None if it is not there or may not be seen."""
    with grant:
        query = Query(Level.STUDY, {"StudyInstanceUID": Single(str(study))}, ("StudyInstanceUID",), limit=1)
        if not _found(grant, vault, query):
            grant.settle(Outcome.DONE)
            return None
        size = trail.size
        oldest = max(0, size - LOOKED_BACK)
        rows = list(_looks(trail, str(study), oldest, size))
        grant.settle(Outcome.DONE, studies=[str(study)], count=len(rows))
        return Accesses(rows, size - oldest, complete=oldest == 0)


def _found(grant: FindGrant, vault: Vault, query: Query) -> list[Record]:
    with closing(vault.find(query, grant.visible, lambda: False)) as records:
        return list(records)


def _looks(trail: TrailLog, study: str, oldest: int, end: int) -> Iterator[Row]:
    """Each access once, though its intent, its studies and its end are entries of their own."""
    told: set[int] = set()
    while end > oldest:
        start = max(oldest, end - _STEP)
        for sequence, entry in reversed(list(trail.read(start, end))):
            request = sequence if entry.refers_to is None else entry.refers_to
            if _is_look(entry, study) and request not in told:
                told.add(request)
                yield entry_row(sequence, entry)
        end = start


def _is_look(entry: Entry, study: str) -> bool:
    return entry.kind is not Kind.DENIED and entry.action in _LOOKING and study in entry.studies
