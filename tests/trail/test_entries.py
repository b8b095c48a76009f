import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import BadInput, TrailDamaged
from leadglass.trail.entries import LEAF, MAX_STUDIES, Entry, Kind, Leaf
from leadglass.vocabulary import Action, Door, Outcome
from tests.trail.trails import entry

_WORDS = st.text("abcXYZ019-:@. ", max_size=40)
ENTRIES = st.builds(
    Entry,
    time=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(Kind),
    principal=_WORDS,
    door=st.none() | st.sampled_from(Door),
    address=_WORDS,
    action=st.none() | st.sampled_from(Action),
    studies=st.lists(st.from_regex(r"[0-9.]{1,64}", fullmatch=True), max_size=5).map(tuple),
    count=st.integers(0, 2**60),
    outcome=st.none() | st.sampled_from(Outcome),
    refers_to=st.none() | st.integers(0, 2**60),
    detail=st.dictionaries(_WORDS, st.integers(0, 2**60) | _WORDS, max_size=4),
)


@given(ENTRIES)
def test_an_entry_reads_as_it_was_written(one: Entry) -> None:
    assert Entry.decode(one.encode()) == one


@given(st.binary(max_size=200))
def test_what_is_no_entry_is_damage(data: bytes) -> None:
    with pytest.raises(TrailDamaged):
        Entry.decode(data)


@pytest.mark.parametrize(
    "data",
    [b'{"v":1,"time":1,"kind":"intent","more":1}', b'{"v":1, "time":1,"kind":"intent"}', b'{"v":2,"time":1,"kind":"intent"}', b"[]", b"{}"],
)
def test_another_spelling_or_version_is_damage(data: bytes) -> None:
    with pytest.raises(TrailDamaged):
        Entry.decode(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"principal": "DOE^JOHN"},
        {"address": "M\u00fcller"},
        {"detail": {"name": "DOE^JOHN"}},
        {"detail": {"DOE^JOHN": 1}},
        {"detail": {str(number): number for number in range(33)}},
        {"studies": ("DOE",)},
        {"studies": ("1.2",) * (MAX_STUDIES + 1)},
        {"principal": "x" * 257},
    ],
)
def test_a_patients_name_does_not_fit_into_an_entry(fields: dict[str, object]) -> None:
    with pytest.raises(BadInput) as caught:
        Entry(1, Kind.INTENT, **fields)  # type: ignore[arg-type] # the fields vary
    assert "DOE" not in str(caught.value)


def test_the_largest_entry_fits_a_record() -> None:
    details: dict[str, str | int] = {f"{number:02}".ljust(256, "x"): "y" * 256 for number in range(32)}
    largest = Entry(
        2**64 - 1,
        Kind.OUTCOME,
        "p" * 256,
        Door.DIMSE_PLAINTEXT,
        "a" * 256,
        Action.READ_TRAIL,
        ("1" * 64,) * MAX_STUDIES,
        2**63,
        Outcome.CANCELLED,
        2**63,
        details,
    )
    assert len(largest.encode()) < 0xFFFF - 100


def test_a_leaf_names_nobody() -> None:
    one = entry()
    leaf = Leaf.of(one, b"sealed").encode()
    assert len(leaf) == LEAF.size == 42
    assert b"CT1" not in leaf
    assert Leaf.decode(leaf) == Leaf.of(one, b"sealed")
