"""Extended negotiation: what is asked, what we can, what is agreed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom import pdu
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Negotiated, Offer, negotiate
from leadglass.dicom.extended import OFFERED_QUERY, OFFERED_RETRIEVE, QueryOptions, RetrieveOptions, StorageOptions, answer
from leadglass.dicom.pdu import AssociateRequest, ProposedContext
from leadglass.dicom.sopclasses import PATIENT_ROOT_MOVE, STUDY_ROOT_FIND, STUDY_ROOT_GET, VERIFICATION
from leadglass.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Uid
from leadglass.dicom.user_information import AsyncWindow, CommonExtendedNegotiation, ExtendedNegotiation, UserInformation
from leadglass.errors import BadPdu

CT = Uid("1.2.840.10008.5.1.4.1.1.2")


def asking(*information: tuple[Uid, bytes], window: AsyncWindow | None = None, refuse: Uid | None = None) -> Negotiated:
    classes = (CT, STUDY_ROOT_FIND, STUDY_ROOT_GET, PATIENT_ROOT_MOVE, VERIFICATION)
    user = UserInformation(extended=tuple(ExtendedNegotiation(*each) for each in information), async_window=window)
    contexts = tuple(ProposedContext(2 * number + 1, each, (IMPLICIT_LITTLE_ENDIAN,)) for number, each in enumerate(classes))
    offer = Offer((IMPLICIT_LITTLE_ENDIAN,))
    return negotiate(
        AssociateRequest("A", "B", contexts, user),
        lambda uid: None if uid == refuse else Offer(offer.transfer_syntaxes, stores=True) if uid == CT else offer,
    )


def test_a_query_is_agreed_to_what_both_can() -> None:
    negotiated = asking((STUDY_ROOT_FIND, b"\1\1\1\1\1"), (STUDY_ROOT_GET, b"\1"))
    assert negotiated.query_options(STUDY_ROOT_FIND) == OFFERED_QUERY
    assert negotiated.retrieve_options(STUDY_ROOT_GET).relational == OFFERED_RETRIEVE.relational
    assert {each.sop_class: len(each.information) for each in negotiated.extended} == {STUDY_ROOT_FIND: 5, STUDY_ROOT_GET: 1}
    silent = asking((STUDY_ROOT_FIND, b"\0\0\0"))
    assert silent.query_options(STUDY_ROOT_FIND) == QueryOptions()
    assert silent.information(STUDY_ROOT_FIND) == b"\0\0\0"
    assert asking().query_options(STUDY_ROOT_FIND) == QueryOptions()
    assert asking().extended == ()


def test_storage_is_full_bit_preserving_and_coerces_nothing() -> None:
    (answered,) = asking((CT, b"\3\0\0\0\2\0")).extended
    assert answered == ExtendedNegotiation(CT, b"\2\0\3\0\1\0")
    assert StorageOptions.decode(answered.information) == StorageOptions(level=2, signature=3, coercion=1)


def test_what_was_not_accepted_or_has_nothing_to_negotiate_is_not_answered() -> None:
    assert asking((CT, b"\3\0\0\0\2\0"), refuse=CT).extended == ()
    assert asking((Uid("1.2.3"), b"\1"), (VERIFICATION, b"\1")).extended == ()
    assert len(asking((STUDY_ROOT_FIND, b"\1"), (STUDY_ROOT_FIND, b"\0")).extended) == 1


def test_one_operation_is_outstanding_when_it_is_asked() -> None:
    for window in (AsyncWindow(0, 0), AsyncWindow(1, 1), AsyncWindow(16, 4)):
        assert asking(window=window).async_window == AsyncWindow(1, 1)
    assert asking().async_window is None


def test_we_have_a_name_of_our_own() -> None:
    assert len(Uid(IMPLEMENTATION_CLASS_UID)) <= 64
    assert IMPLEMENTATION_CLASS_UID.startswith("2.25.")
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16


@given(st.binary(max_size=20), st.sampled_from([QueryOptions, RetrieveOptions]))
def test_options_of_any_length_are_read(raw: bytes, kind: type[QueryOptions | RetrieveOptions]) -> None:
    options = kind.decode(raw)
    assert kind.decode(options.encode()) == options
    assert options & kind() == kind()  # type: ignore[operator] # of the same kind
    assert options.relational == (raw[:1] == b"\1")


@given(st.binary(max_size=20), st.booleans(), st.sampled_from([STUDY_ROOT_FIND, PATIENT_ROOT_MOVE, CT, VERIFICATION]))
def test_an_answer_never_says_more_than_was_asked(raw: bytes, stores: bool, sop_class: Uid) -> None:
    answered = answer(ExtendedNegotiation(sop_class, raw), stores=stores and sop_class == CT)
    if answered is None:
        assert sop_class in {CT, VERIFICATION}
    elif sop_class == CT:
        assert StorageOptions.decode(answered.information).encode() == answered.information
    else:
        assert len(answered.information) <= max(1, len(raw))
        assert all(ours <= (theirs == 1) for ours, theirs in zip(answered.information, raw or b"\0", strict=False))


def test_a_common_extended_negotiation_says_what_a_class_is_a_case_of() -> None:
    said = CommonExtendedNegotiation(Uid("1.2.3"), Uid("1.2.840.10008.4.2"), (CT, Uid("1.2.4")))
    encoded = UserInformation(common=(said,)).encode()
    assert encoded[0] == 0x57
    assert UserInformation.decode(memoryview(encoded)).common == (said,)
    later = encoded[:2] + (len(encoded) - 4 + 3).to_bytes(2, "big") + encoded[4:] + b"new"
    assert UserInformation.decode(memoryview(later)).common == (said,)


@pytest.mark.parametrize("cut", range(4, 40, 3))
def test_one_that_is_cut_short_is_refused(cut: int) -> None:
    whole = UserInformation(common=(CommonExtendedNegotiation(Uid("1.2.3.4.5.6.7.8"), Uid("1.2.840.10008.4.2"), (CT,)),)).encode()[4:]
    short = whole[: len(whole) - cut]
    with pytest.raises(BadPdu):
        UserInformation.decode(memoryview(b"\x57\0" + len(short).to_bytes(2, "big") + short))


def test_one_that_names_too_many_is_refused() -> None:
    many = CommonExtendedNegotiation(Uid("1.2"), Uid("1.3"), (CT,) * 65)
    with pytest.raises(BadPdu, match="more than 64"):
        UserInformation.decode(memoryview(UserInformation(common=(many,)).encode()))
    assert pdu.MAX_CONTEXTS == 128
