"""Conflicts as they are shown: the object put aside, what it stands against, and whether somebody may know of both."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from leadglass.dicom.header import Header
from leadglass.dicom.predicate import StudyPredicate
from leadglass.dicom.uid import Uid
from leadglass.errors import BadInput, Damaged, KeyUnavailable
from leadglass.vault.asides import ConflictRow, Wanted
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.holdings import Holdings
from leadglass.vault.journal import State
from leadglass.vault.sealedblob import Descriptor
from leadglass.vault.served import places_of, served_under
from leadglass.vault.upkeep import read_header


@dataclass(frozen=True)
class Contender:
    """One object that was ever in conflict."""

    row: ConflictRow
    descriptor: Descriptor | None
    """None where the blob does not open: `leadglass check` names it."""
    header: Header | None
    size: int
    """Bytes of its data set."""
    served: BlobPlace | None
    """What is served under its SOP Instance UID."""
    served_study: Uid | None


def contenders(holdings: Holdings, wanted: Wanted, predicate: StudyPredicate) -> Iterator[Contender]:
    """Those of which `predicate` admits both sides.

    That is: the object by itself, the study that it names as it is served, and the study of what it would replace.
    What does not open is shown to those alone who may see every study.
    """
    if predicate.nothing:
        return
    for row in holdings.index.conflicts(wanted):
        contender = _look(holdings, row)
        if admits(holdings, contender, predicate):
            yield contender


def admits(holdings: Holdings, contender: Contender, predicate: StudyPredicate) -> bool:
    """Whether `predicate` admits both sides."""
    if predicate.everything:
        return True
    if contender.header is None or not predicate.admits(contender.header.values):
        return False
    studies = {contender.row.study, contender.served_study} - {None}
    return all(holdings.index.study(study) is None or holdings.index.admits(study, predicate) for study in studies if study is not None)


def counterpart(holdings: Holdings, contender: Contender, predicate: StudyPredicate) -> Contender | None:
    """What an object in conflict is compared with; None where there is no such thing, or `predicate` does not admit it.

    It is what is served under its SOP Instance UID; of one that is served itself, what it was in conflict with;
    else the object that speaks for the study that is served.
    """
    row = contender.row
    first = row.conflict.first_blob_id
    if row.state is State.ACCEPTED:
        return next(contenders(holdings, Wanted(settled=True, prefix=first.hex()), predicate), None)
    place = contender.served
    if place is None:
        study = holdings.index.study(row.study)
        place = (
            None
            if study is None
            else next((at for at in places_of(holdings.index, row.study, None) if at.blob_id == study.first_blob_id), None)
        )
    return None if place is None else replace(contender, row=replace(row, place=place), descriptor=None, header=None)


def _look(holdings: Holdings, row: ConflictRow) -> Contender:
    served = served_under(holdings.index, row.instance)
    sides = (None, None) if served is None else (served.place, served.study)
    try:
        with holdings.open_place(row.place) as stored:
            header = read_header(stored.reader, stored.descriptor.transfer_syntax)
            return Contender(row, stored.descriptor, header, stored.size, *sides)
    except (Damaged, KeyUnavailable, BadInput):
        return Contender(row, None, None, 0, *sides)
