"""What is served under a UID, and from where: the looks at the index that settling a conflict takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.uid import Uid
from leadglass.errors import Damaged
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.index import Index
from leadglass.vault.journal import State

_SERVED: Final = (
    "SELECT i.shard, i.blob, s.StudyInstanceUID, e.SeriesInstanceUID,"
    " e.instances = 1 AND NOT EXISTS (SELECT 1 FROM series o WHERE o.study_id = s.id AND o.id != e.id),"
    " s.first_blob = i.blob, e.first_blob = i.blob"
    " FROM instances i JOIN series e ON e.id = i.series_id JOIN studies s ON s.id = e.study_id WHERE i.SOPInstanceUID = ?"
)


@dataclass(frozen=True)
class Served:
    """What is served under a SOP Instance UID, and what else would change if it were not."""

    place: BlobPlace
    study: Uid
    series: Uid
    alone: bool
    """Whether it is all that is served of its study."""
    speaks_for_study: bool
    speaks_for_series: bool


def served_under(index: Index, instance: Uid) -> Served | None:
    """What is served under this SOP Instance UID."""
    for shard, blob, study, series, alone, *speaks in index.rows(_SERVED, instance):
        return Served(BlobPlace(shard, blob), Uid(study), Uid(series), bool(alone), bool(speaks[0]), bool(speaks[1]))
    return None


def conflict_state(index: Index, place: BlobPlace) -> State:
    """Where this conflict stands; Damaged if the table does not know it."""
    for (state,) in index.rows("SELECT state FROM conflicts WHERE blob = ?", place.blob_id):
        return State(state)
    raise Damaged("the index does not know a conflict that it named; run `leadglass index rebuild HOME`")


def instance_at(index: Index, place: BlobPlace) -> Uid | None:
    """The SOP Instance UID of what is served from there."""
    for (instance,) in index.rows("SELECT SOPInstanceUID FROM instances WHERE shard = ? AND blob = ?", *place):
        return Uid(instance)
    return None


def places_of(index: Index, study: Uid, series: Uid | None) -> Iterator[BlobPlace]:
    """Where everything lies that is served of a study, or of one of its series."""
    sql = "SELECT i.shard, i.blob FROM studies s JOIN series e ON e.study_id = s.id JOIN instances i ON i.series_id = e.id"
    rows = index.rows(f"{sql} WHERE s.StudyInstanceUID = ? AND ? IN ('', e.SeriesInstanceUID)", study, series or "")
    return (BlobPlace(*row) for row in rows)
