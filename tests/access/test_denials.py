"""What is refused before an operation is counted: each refusal in exactly one entry, and no more entries than there are callers."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from leadglass.access.denials import MINUTE, MOST_KNOWN, Denials
from leadglass.access.registry import Stranger
from leadglass.trail.entries import Entry, Kind
from leadglass.vocabulary import Door, Refusal


def test_somebody_known_is_told_by_name_address_and_why_and_strangers_by_none() -> None:
    denials = Denials()
    denials.count_known(5, Door.DIMSE, "peer:CT1", "10.0.0.1", Refusal.CALLED_TITLE)
    denials.count_known(6, Door.DIMSE, "peer:CT1", "10.0.0.1", Refusal.SERVICE)
    denials.count_known(7, Door.DIMSE, "peer:CT1", "10.0.0.1", Refusal.SERVICE)
    denials.count(8, Door.DIMSE, Stranger.UNKNOWN_PEER)
    assert not denials.due(9)
    known, strangers = denials.due(MINUTE)
    assert (known.kind, known.principal, known.address, known.count) == (Kind.DENIED, "peer:CT1", "10.0.0.1", 3)
    assert known.detail == {"called-title": 1, "service": 2}
    assert (strangers.kind, strangers.principal, strangers.count, strangers.detail) == (Kind.UNIDENTIFIED, "", 1, {"unknown-peer": 1})
    assert not denials.due(5 * MINUTE)


REFUSALS = st.tuples(
    st.sampled_from(["peer:A", "peer:B", "token:1@x"]),
    st.integers(0, 500).map(lambda number: f"10.0.{number // 256}.{number % 256}"),
    st.sampled_from(Refusal),
)


@given(st.lists(REFUSALS, max_size=300), st.integers(0, 3))
def test_each_refusal_is_in_one_entry_however_many_addresses_somebody_has(refusals: list[tuple[str, str, Refusal]], strangers: int) -> None:
    denials = Denials()
    for who, address, reason in refusals:
        denials.count_known(1, Door.DICOMWEB, who, address, reason)
    for _ in range(strangers):
        denials.count(1, Door.DIMSE, Stranger.DEAD_TOKEN)
    told = list(denials.due(MINUTE))
    assert len(told) <= MOST_KNOWN + 3 + 1
    assert all(Entry.decode(each.encode()) == each for each in told)
    counted = Counter({each.principal: 0 for each in told})
    for each in told:
        counted[each.principal] += each.count
    assert counted == Counter(who for who, _, _ in refusals) + Counter({"": strangers})
