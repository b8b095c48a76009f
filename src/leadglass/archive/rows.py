"""Rows that are shown: values for people and for programs, keyed by name."""

from datetime import UTC, datetime

from leadglass.trail.entries import Entry

Row = dict[str, object]
NANOSECONDS = 1_000_000_000
"""Of one second."""


def time_text(nanoseconds: int) -> str:
    """A time since 1970 UTC, as people read it."""
    return datetime.fromtimestamp(nanoseconds / NANOSECONDS, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def entry_row(sequence: int, entry: Entry) -> Row:
    """One entry of the trail."""
    return {
        "sequence": sequence,
        "time": time_text(entry.time),
        "who": entry.principal,
        "door": entry.door,
        "address": entry.address,
        "action": entry.action,
        "kind": entry.kind.word,
        "outcome": entry.outcome,
        "count": entry.count,
        "studies": list(entry.studies),
        "refers_to": entry.refers_to,
        "detail": dict(entry.detail),
    }


def is_wanted(row: Row, who: str | None, study: str | None) -> bool:
    """Whether the row is of this principal, or of a token of that user, by a peer or not, and about this study."""
    studies = row["studies"]
    principal = str(row["who"])
    person, _, peer = principal.partition("+") if principal.startswith("token:") else (principal, "", "")
    by_user = who is not None and person.startswith("token:") and person.partition("@")[2] == who.removeprefix("user:")
    by_whom = who is None or who in {principal, person, peer} or by_user
    return by_whom and (study is None or (isinstance(studies, list) and study in studies))
