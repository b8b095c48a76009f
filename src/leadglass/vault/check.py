"""Keys, blobs, journal and index against each other: what is damaged, missing, too much, or said differently by two of them."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from leadglass.errors import BadInput, Damaged, KeyUnavailable
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.holdings import Holdings
from leadglass.vault.index import Index
from leadglass.vault.journal import standings
from leadglass.vault.rows import Entry
from leadglass.vault.sql import IMAGE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, columns, row_values
from leadglass.vault.upkeep import look_at

_AT_ONCE: Final = 1024 * 1024
_EVERY: Final = 100


class ProblemKind(StrEnum):
    """Of what kind a problem is."""

    KEY = "key"
    BLOB_DAMAGED = "blob-damaged"
    BLOB_MISSING = "blob-missing"
    BLOB_UNKNOWN = "blob-unknown"
    STRANGER = "stranger"
    JOURNAL = "journal"
    INDEX = "index"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written; `text` names files and places, never a patient."""

    kind: ProblemKind
    text: str


def check(holdings: Holdings, sample: float, read_whole: Callable[[], object]) -> Iterator[Problem]:
    """Every problem there is; the content of `sample` percent of the blobs is read, the rest is compared by name.

    `read_whole` is called once for each blob whose content is looked at.
    """
    for text in holdings.keys.check():
        yield Problem(ProblemKind.KEY, text)
    yield from _check_index_pages(holdings)
    yield from _check_journal(holdings)
    for text in holdings.blobs.strangers():
        yield Problem(ProblemKind.STRANGER, text)
    with suppress(Damaged):
        # A damaged index was named above; what it would say now is worth nothing.
        yield from _check_places(holdings, sample, read_whole)


def _check_index_pages(holdings: Holdings) -> Iterator[Problem]:
    try:
        for text in holdings.index.integrity():
            yield Problem(ProblemKind.INDEX, f"the index contradicts itself: {text}; run `leadglass index rebuild HOME`")
    except Damaged as error:
        yield Problem(ProblemKind.INDEX, str(error))


def _check_journal(holdings: Holdings) -> Iterator[Problem]:
    problems = list(_journal_problems(holdings))
    # An object may have been put aside, or a conflict settled, between the two looks that are compared.
    still_there = set(_journal_problems(holdings)) if problems else set()
    yield from (problem for problem in problems if problem in still_there)


def _journal_problems(holdings: Holdings) -> Iterator[Problem]:
    records = []
    whole = True
    for number in range(len(holdings.journal)):
        try:
            records.append(holdings.journal.read(number))
        except Damaged as error:
            whole = False
            yield Problem(ProblemKind.JOURNAL, str(error))
    with suppress(Damaged):
        journaled = {blob_id: standing.state.value for blob_id, standing in standings(records).items()}
        indexed = dict(holdings.index.rows("SELECT blob, state FROM conflicts"))
        for blob_id in sorted(indexed.keys() - journaled.keys()):
            text = f"blob {blob_id.hex()} was put aside, but the journal does not say so; restore it from its copy"
            yield Problem(ProblemKind.JOURNAL, text)
        for blob_id in sorted(journaled.keys() - indexed.keys()):
            text = f"blob {blob_id.hex()} was put aside, but the index does not say so; run `leadglass index rebuild HOME`"
            yield Problem(ProblemKind.INDEX, text)
        for blob_id in sorted(blob_id for blob_id in journaled.keys() & indexed.keys() if journaled[blob_id] != indexed[blob_id]):
            if whole:
                text = f"blob {blob_id.hex()} is settled otherwise than the index says; run `leadglass index rebuild HOME`"
                yield Problem(ProblemKind.INDEX, text)


def _check_places(holdings: Holdings, sample: float, read_whole: Callable[[], object]) -> Iterator[Problem]:
    """Shard by shard, so that memory does not grow with the archive."""
    index, blobs = holdings.index, holdings.blobs
    for shard in range(max(blobs.shard, index.last_shard()) + 1):
        there = set(blobs.places_in(shard))
        known = index.blobs_in(shard)
        for place in sorted(known - there):
            # A deposit may have been taken back, or a place learnt, between the two looks.
            if place in index.blobs_in(shard) and place not in set(blobs.places_in(shard)):
                yield Problem(ProblemKind.BLOB_MISSING, f"blob {place.blob_id.hex()} of shard {shard} is missing; restore it from its copy")
        for place in sorted(there - known):
            if place not in index.blobs_in(shard):
                yield Problem(ProblemKind.BLOB_UNKNOWN, f"blob {place.blob_id.hex()} of shard {shard} is not in the index")
        for place in sorted(there):
            if random.uniform(0, _EVERY) < sample:  # noqa: S311 - which blobs are looked at is no secret
                read_whole()
                yield from _check_blob(holdings, place, known=place in known)


def _check_blob(holdings: Holdings, place: BlobPlace, *, known: bool) -> Iterator[Problem]:
    name = f"blob {place.blob_id.hex()} of shard {place.shard}"
    try:
        with holdings.open_place(place) as stored:
            while stored.reader.read(_AT_ONCE):
                pass
            descriptor = stored.descriptor
        found = look_at(holdings.keys, holdings.blobs, place)
    except (Damaged, BadInput) as error:
        yield Problem(ProblemKind.BLOB_DAMAGED, f"{name}: {error}")
        return
    except KeyUnavailable:
        # Forgotten on purpose; that it cannot be read is the point.
        return
    if known and (difference := _difference(holdings.index, found.entry)):
        yield Problem(ProblemKind.INDEX, f"{name}: the index differs in {difference}; run `leadglass index rebuild HOME`")
    if descriptor.sop_instance != found.entry.header.instance:
        yield Problem(ProblemKind.BLOB_DAMAGED, f"{name}: descriptor and data set name different objects")


_ROW: Final = (
    "SELECT s.StudyInstanceUID, e.SeriesInstanceUID, i.transfer_syntax, i.size, i.received, i.shard, i.blob, s.PatientID,"
    " s.id, e.id, i.id, s.first_blob, e.first_blob, s.key_id, max(s.first_committed, e.first_committed)"
    " FROM instances i JOIN series e ON e.id = i.series_id JOIN studies s ON s.id = e.study_id WHERE i.SOPInstanceUID = ?"
)


def _difference(index: Index, entry: Entry) -> str:
    """What the index says otherwise than the blob, or nothing."""
    header = entry.header
    if any(place == entry.place for place in index.aside(header.instance)):
        return ""
    rows = list(index.rows(_ROW, header.instance))
    if not rows:
        return "the object's identity"
    *said, study, series, instance, study_speaker, series_speaker, key_id, spoken_for_since = rows[0]
    if said != [header.study, header.series, entry.transfer_syntax, entry.size, entry.received_ns, *entry.place, entry.patient_id]:
        return "where the object belongs"
    if spoken_for_since > entry.committed_ns:
        return "which object was the first of its study and series"
    tables = [("instances", IMAGE_ATTRIBUTES, instance)]
    if series_speaker == entry.place.blob_id:
        tables.append(("series", SERIES_ATTRIBUTES, series))
    if study_speaker == entry.place.blob_id:
        tables.append(("studies", STUDY_ATTRIBUTES, study))
        if key_id != entry.key_id:
            return "the study's key"
    for table, attributes, row_id in tables:
        names = ", ".join(columns(attributes))
        if list(index.rows(f"SELECT {names} FROM {table} WHERE id = ?", row_id)) != [row_values(attributes, header.values)[1]]:  # noqa: S608
            return f"the table {table}"
    return ""
