"""What is proposed to a destination, and how sub-operations are counted."""

import io

import pydicom
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from leadglass.archive.archive import InstanceRow
from leadglass.dicom import dimse
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.pdu import MAX_CONTEXTS
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.vault.blobs import BlobPlace
from leadglass.wire.dimse.move import batches
from leadglass.wire.dimse.suboperations import Tally, failed_list

SYNTAXES = [Uid(EXPLICIT_LITTLE_ENDIAN), Uid(IMPLICIT_LITTLE_ENDIAN), *(Uid(f"1.2.840.10008.1.2.4.{number}") for number in (50, 70, 90))]


def row(number: int, sop_class: int, syntax: int) -> InstanceRow:
    uids = Uid("1.1"), Uid("1.2"), Uid(f"1.3.{number}"), Uid(f"1.4.{sop_class}"), SYNTAXES[syntax]
    return InstanceRow(*uids, 100, 0, BlobPlace(0, bytes(16)))


kinds = st.lists(st.tuples(st.integers(0, 200), st.integers(0, len(SYNTAXES) - 1)), max_size=400)


@given(kinds)
def test_every_object_is_in_one_association_that_proposes_its_transfer_syntax_alone_in_a_context(wanted: list[tuple[int, int]]) -> None:
    rows = [row(number, *kind) for number, kind in enumerate(wanted)]
    made = batches(rows)
    assert sorted(each.sop_instance for _, some in made for each in some) == sorted(each.sop_instance for each in rows)
    for proposals, some in made:
        assert len(proposals) <= MAX_CONTEXTS
        assert some == [each for each in rows if each in some]
        for each in some:
            assert (each.sop_class, (each.transfer_syntax,)) in proposals
        for sop_class in {sop_class for sop_class, _ in proposals}:
            # PS3.5 10.1: what is proposed always includes implicit little endian.
            proposed = {syntax for other, syntaxes in proposals if other == sop_class for syntax in syntaxes}
            assert {EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN} <= proposed


def test_few_classes_need_one_association_and_many_need_more() -> None:
    assert len(batches([row(number, number % 3, number % 5) for number in range(100)])) == 1
    assert len(batches([row(number, number, 0) for number in range(200)])) == 4
    assert batches([]) == []


def test_more_sub_operations_than_a_response_can_count() -> None:
    tally = Tally(remaining=70_000, completed=65_536)
    response = dimse.MoveResponse(1, Status.PENDING, None, *tally.counts(with_remaining=True))
    decoded = dimse.decode(dimse.encode(response, has_data=False)).command
    assert isinstance(decoded, dimse.MoveResponse)
    assert (decoded.remaining, decoded.completed) == (65_535, 65_535)


def test_the_final_status_says_what_became_of_it() -> None:
    assert Tally(0).final(cancelled=False) == Status.SUCCESS
    assert Tally(0, completed=2).final(cancelled=False) == Status.SUCCESS
    assert Tally(0, completed=2, warning=1).final(cancelled=False) == Status.SUBOPERATIONS_FAILED
    assert Tally(0, failed=[Uid("1.2")]).final(cancelled=False) == Status.CANNOT_PERFORM_SUBOPERATIONS
    assert Tally(0, completed=1, failed=[Uid("1.2")]).final(cancelled=False) == Status.SUBOPERATIONS_FAILED
    assert Tally(1, completed=1).final(cancelled=True) == Status.CANCELLED


def test_the_commonest_reason_is_told() -> None:
    assert Tally(3).comment is None
    tally = Tally(3)
    for reason in ("one", "a reason that is far too long to be told in the few characters of an LO", "one"):
        tally.fail(Uid("1.2"), reason)
    assert tally.comment == "2 of 3 failed: one"
    assert tally.remaining == 0


def test_the_list_of_what_failed() -> None:
    assert failed_list([], IMPLICIT_LITTLE_ENDIAN) is None
    uids = [Uid(f"1.2.{number}") for number in range(10_000)]
    implicit = failed_list(uids, IMPLICIT_LITTLE_ENDIAN)
    explicit = failed_list(uids, EXPLICIT_LITTLE_ENDIAN)
    assert implicit is not None
    assert explicit is not None
    assert _listed(implicit, implicit_vr=True) == uids
    # A 16-bit length holds no more.
    told = _listed(explicit, implicit_vr=False)
    assert told == uids[: len(told)]
    assert len(explicit) > 65_000


def _listed(data: bytes, *, implicit_vr: bool) -> list[str]:
    read: pydicom.Dataset = read_dataset(io.BytesIO(data), is_implicit_VR=implicit_vr, is_little_endian=True)
    return [str(uid) for uid in read.FailedSOPInstanceUIDList]
