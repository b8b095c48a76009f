"""Settling a conflict: the record in the journal first, durable; then the index, in one transaction, made good at the next start.

Nothing stored is changed or removed: a verdict only says which of the objects kept is served.
"""

import time

from leadglass import logs
from leadglass.errors import BadInput, Damaged, KeyUnavailable, NotAllowed
from leadglass.vault.asides import ConflictRow
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.holdings import Holdings
from leadglass.vault.journal import Settlement, State, Verdict
from leadglass.vault.rows import Entry, Exchange
from leadglass.vault.served import Served, conflict_state, instance_at, places_of, served_under
from leadglass.vault.upkeep import look_at

_AT_ONCE = 1024 * 1024


def reject(holdings: Holdings, row: ConflictRow, intent: int, *, again: bool) -> None:
    """Leave the object aside and close the conflict, durably. NotAllowed where that has no meaning; NoRoom, StorageFailed."""
    with holdings.settlements:
        _require_open(holdings, row, Verdict.REJECTED, again=again)
        _record(holdings, Settlement(Verdict.REJECTED, row.place, None, time.time_ns(), intent))


def accept(holdings: Holdings, row: ConflictRow, intent: int, *, again: bool) -> None:
    """Serve the object from now on, in the place of what is served under its SOP Instance UID, if anything is; durably.

    NotAllowed where that has no safe meaning; Damaged if it does not open to its last byte; KeyUnavailable, NoRoom, StorageFailed.
    """
    _read_whole(holdings, row.place)
    entry = look_at(holdings.keys, holdings.blobs, row.place).entry
    instance, study = entry.header.instance, entry.header.study
    with holdings.settlements:
        _require_open(holdings, row, Verdict.ACCEPTED, again=again)
        # Nobody but a settlement takes away what is served, so only something may come that was not there: then look again.
        served = served_under(holdings.index, instance)
        while True:
            with holdings.settling(instance, {study} if served is None else {study, served.study}):
                if (now := served_under(holdings.index, instance)) == served:
                    _require_one_patient(holdings, entry, served)
                    replaced = None if served is None else served.place
                    _record(holdings, Settlement(Verdict.ACCEPTED, row.place, replaced, time.time_ns(), intent))
                    return
            served = now


def _require_open(holdings: Holdings, row: ConflictRow, verdict: Verdict, *, again: bool) -> None:
    state = conflict_state(holdings.index, row.place)
    if state is State.ACCEPTED:
        advice = "accept another version of it to serve that one" if verdict is Verdict.REJECTED else "there is nothing left to do"
        raise NotAllowed(f"this object was accepted before and is served: {advice}")
    if state is not State.OPEN and not again:
        raise NotAllowed(f"this conflict is settled already ({state}); `--again` settles it anew")
    if state.value == verdict.value:
        raise NotAllowed(f"this conflict is settled already ({state}): there is nothing left to do")


def _require_one_patient(holdings: Holdings, entry: Entry, served: Served | None) -> None:
    study = holdings.index.study(entry.header.study)
    leaves_none = served is not None and served.study == entry.header.study and served.alone
    if study is not None and study.patient_id != entry.patient_id and not leaves_none:
        raise NotAllowed(
            "its study is there under another Patient ID, and two patients are never merged into one study: reject it, and have the"
            " object sent again with the right Patient ID, or with a Study Instance UID of its own"
        )


def _read_whole(holdings: Holdings, place: BlobPlace) -> None:
    with holdings.open_place(place) as stored:
        while stored.reader.read(_AT_ONCE):
            pass


def _record(holdings: Holdings, settlement: Settlement) -> None:
    holdings.journal.append(settlement)
    catch_up(holdings)


def catch_up(holdings: Holdings) -> int:
    """Make the index say what the journal says about verdicts; returns how many there were to be made good."""
    index, journal = holdings.index, holdings.journal
    first, end, count = index.state("journal"), len(journal), 0
    if end < first:
        raise Damaged(f"blobs/journal holds {end} records and held {first}: verdicts are lost; restore HOME/blobs/journal from its copy")
    for number in range(first, end):
        record = journal.read(number)
        if isinstance(record, Settlement):
            index.settle(number, record, _exchange(holdings, record))
            count += 1
    if first < end:
        index.set_state("journal", end)
    return count


def _exchange(holdings: Holdings, settlement: Settlement) -> Exchange:
    if settlement.verdict is Verdict.REJECTED:
        return Exchange()
    coming = _look(holdings, settlement.place)
    if settlement.replaced is None:
        return Exchange(coming=coming)
    return Exchange(*_heirs(holdings, settlement.replaced), coming)


def _heirs(holdings: Holdings, leaving: BlobPlace) -> tuple[Entry | None, Entry | None]:
    """Who speaks for the study and for the series that `leaving` speaks for: of all others, the one that was committed first."""
    index = holdings.index
    instance = instance_at(index, leaving)
    served = None if instance is None else served_under(index, instance)
    if served is None or not (served.speaks_for_study or served.speaks_for_series):
        return None, None
    study_heir: Entry | None = None
    series_heir: Entry | None = None
    for place in places_of(index, served.study, None if served.speaks_for_study else served.series):
        entry = None if place == leaving else _look(holdings, place)
        if entry is None:
            continue
        if served.speaks_for_study and (study_heir is None or entry.precedence < study_heir.precedence):
            study_heir = entry
        if entry.header.series == served.series and (series_heir is None or entry.precedence < series_heir.precedence):
            series_heir = entry
    return study_heir, series_heir


def _look(holdings: Holdings, place: BlobPlace) -> Entry | None:
    try:
        return look_at(holdings.keys, holdings.blobs, place).entry
    except (Damaged, KeyUnavailable, BadInput) as error:
        # As in a rebuild: it is left out, for `check` to name.
        logs.fault("a blob does not open and is not indexed; `leadglass check` names it", error)
        return None
