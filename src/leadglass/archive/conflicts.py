"""Conflicts: told, shown side by side, settled; each call asks the gate for itself.

To `settle` shows which objects are in conflict, by their UIDs, and in which elements they differ. The values of these elements are shown
to those alone who may `get` both sides. What the caller may not settle is answered exactly as what does not exist.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace

from leadglass.access.gate import Gate
from leadglass.access.grant import GetGrant, SettleGrant
from leadglass.access.identity import Principal
from leadglass.archive.commitment import Receipts
from leadglass.archive.rows import Row, time_text
from leadglass.dicom.differences import Difference, Differences
from leadglass.dicom.pixeldifferences import PixelComparison
from leadglass.dicom.uid import Uid
from leadglass.errors import WrongUsage
from leadglass.vault.asides import Wanted
from leadglass.vault.contenders import Contender
from leadglass.vault.journal import ConflictKind, State, Verdict
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Action, Door, Outcome

ID_DIGITS = 12
"""Of a blob's id in hexadecimal: of a million conflicts, two share theirs once in 500 archives."""
MAX_DIFFERENCES = 1000
"""Differences that are told one by one; the others are counted."""
_ID_CHARACTERS = frozenset("0123456789abcdef")


class Conflicts:
    """What one caller may ask about conflicts."""

    def __init__(self, gate: Gate, vault: Vault, receipts: Receipts, principal: Principal, door: Door, address: str) -> None:
        self._gate = gate
        self._vault = vault
        self._receipts = receipts
        self._who = (principal, door, address)

    def list(self, *, kind: ConflictKind | None, study: Uid | None, settled: bool) -> Iterator[Row]:
        """Those that are open, or all that there ever were."""
        with self._gate.admit_settle(*self._who, detail={"verb": "conflicts-list"}) as grant:
            studies: set[str] = set()
            count = 0
            for found in self._vault.in_conflict(Wanted(kind, study, settled), grant.visible):
                studies.add(found.row.study)
                count += 1
                yield _row(found)
            grant.settle(Outcome.DONE, studies=sorted(studies), count=count)

    def show(self, conflict: str) -> Iterator[Row]:
        """Both sides, then each difference, then the pixels and how much there was.

        Rows by what they hold under `what`: `conflict`, `side`, `difference`, `pixels`, `end`.
        """
        with ExitStack() as undo:
            grant = undo.enter_context(self._gate.admit_settle(*self._who, detail={"verb": "conflicts-show", "conflict": _spelt(conflict)}))
            found = self._one(grant, conflict)
            studies = _studies(found)
            sight = self._sight(found)
            if sight is not None:
                undo.enter_context(sight)
            first = self._vault.counterpart(found, grant.visible)
            yield {"what": "conflict", **_row(found), "values": sight is not None}
            count = 0
            if first is None:
                yield {"what": "end", "compared": False, "differences": 0, "untold": 0, "complete": True}
            else:
                for row in self._compared(first, found, values=sight is not None):
                    count += row["what"] == "difference"
                    yield row
            grant.settle(Outcome.DONE, studies=studies, count=count)
            if sight is not None:
                sight.settle(Outcome.DONE, studies=studies, count=1 if first is None else 2)

    def accept(self, conflict: str, *, again: bool) -> Row:
        """Serve what was put aside, in the place of what is served under its SOP Instance UID."""
        return self._settle(conflict, Verdict.ACCEPTED, again=again)

    def reject(self, conflict: str, *, again: bool) -> Row:
        """Close the conflict and leave aside what was put aside."""
        return self._settle(conflict, Verdict.REJECTED, again=again)

    def _settle(self, conflict: str, verdict: Verdict, *, again: bool) -> Row:
        # Two requests in the trail: only the second can name the study in its intent, which is durable before anything is changed.
        with self._gate.admit_settle(*self._who, detail={"verb": "conflicts-look", "conflict": _spelt(conflict)}) as looking:
            found = self._one(looking, conflict)
            looking.settle(Outcome.DONE, studies=_studies(found), count=1)
        verb = "conflicts-accept" if verdict is Verdict.ACCEPTED else "conflicts-reject"
        with self._gate.admit_settle(*self._who, studies=_studies(found), detail={"verb": verb, "conflict": _id(found)}) as grant:
            # The policy may be another one meanwhile, and what is served another object.
            found = self._one(grant, found.row.place.blob_id.hex())
            settle = self._vault.accept if verdict is Verdict.ACCEPTED else self._vault.reject
            settle(found.row, grant.intent, again=again)
            self._receipts.forget()
            grant.settle(Outcome.DONE, studies=_studies(found), count=1, detail={"result": verdict.value})
            return {**_row(found), "state": verdict.value, "replaced": found.served is not None and verdict is Verdict.ACCEPTED}

    def _one(self, grant: SettleGrant, conflict: str) -> Contender:
        """The conflict with this id; WrongUsage, the same whether there is none or the caller may not settle it."""
        prefix = _spelt(conflict)
        found = [] if not prefix else list(self._vault.in_conflict(Wanted(settled=True, prefix=prefix), grant.visible))
        if len(found) != 1:
            several = (
                f"several conflicts begin with {prefix}: give more digits" if found else f"there is no conflict {prefix or 'of that id'}"
            )
            raise WrongUsage(f"{several}; `leadglass conflicts list HOME` shows their ids")
        return found[0]

    def _sight(self, found: Contender) -> GetGrant | None:
        """The right to be shown values, if the caller has it for both sides."""
        if not self._gate.may(self._who[0], self._who[1], Action.GET, self._who[2]):
            return None
        grant = self._gate.admit_get(*self._who, studies=_studies(found), detail={"verb": "conflicts-show", "conflict": _id(found)})
        if self._vault.may_know(found, grant.visible):
            return grant
        grant.settle(Outcome.DONE)
        return None

    def _compared(self, first: Contender, other: Contender, *, values: bool) -> Iterator[Row]:
        with self._vault.open_side(first.row.place) as one, self._vault.open_side(other.row.place) as another:
            for side, contender, opened in (("first", first, one), ("other", other, another)):
                yield {"what": "side", "side": side, **_side(replace(contender, descriptor=opened.descriptor, size=opened.size))}
            syntaxes = one.descriptor.transfer_syntax, another.descriptor.transfer_syntax
            differences = Differences(one.reader, syntaxes[0], another.reader, syntaxes[1])
            count = 0
            for difference in differences:
                count += 1
                if count <= MAX_DIFFERENCES:
                    yield _difference(difference, values=values)
            if differences.result.pixels is not None:
                yield _pixels(differences.result.pixels, values=values)
            untold = max(0, count - MAX_DIFFERENCES)
            yield {"what": "end", "compared": True, "differences": count, "untold": untold, "complete": differences.result.complete}


def _spelt(conflict: str) -> str:
    """An id as it was typed, or nothing where it can be none: what was typed may be anything, and this goes into the trail."""
    text = conflict.strip().lower()
    return text if 6 <= len(text) <= 32 and _ID_CHARACTERS.issuperset(text) else ""


def _id(found: Contender) -> str:
    return found.row.place.blob_id.hex()[:ID_DIGITS]


def _studies(found: Contender) -> list[str]:
    return sorted({found.row.study, *([found.served_study] if found.served_study else [])})


def _row(found: Contender) -> Row:
    row = found.row
    return {
        "id": _id(found),
        "kind": row.conflict.kind.value,
        "state": row.state.value,
        "since": time_text(row.conflict.since_ns),
        "settled": time_text(row.settled_ns) if row.settled_ns else None,
        "study": row.study,
        "series": None if found.header is None else found.header.series,
        "instance": row.instance,
        "replaces": found.served is not None and row.state is not State.ACCEPTED,
        **_side(found),
    }


def _side(found: Contender) -> Row:
    """What is known of an object without a value of its patient."""
    said = found.descriptor
    if said is None:
        return {"opens": False}
    return {
        "opens": True,
        "from": said.sender.get("principal"),
        "door": said.route,
        "implementation": said.sender.get("implementation_version"),
        "received": time_text(said.received_ns),
        "sop_class": said.sop_class,
        "transfer_syntax": said.transfer_syntax,
        "bytes": found.size,
    }


def _difference(difference: Difference, *, values: bool) -> Row:
    first, other = difference.first, difference.other
    row: Row = {"what": "difference", "path": difference.path, "keywords": difference.keywords}
    row["differs"] = "only in the first" if other is None else "only in the other" if first is None else "value"
    return {**row, "first": first, "other": other} if values else row


def _pixels(pixels: PixelComparison, *, values: bool) -> Row:
    row: Row = {"what": "pixels", "equal": pixels.equal, "differing_frames": pixels.differing_frames}
    if values:
        row["first"] = None if pixels.first is None else asdict(pixels.first)
        row["other"] = None if pixels.other is None else asdict(pixels.other)
    return row
