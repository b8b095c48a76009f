"""Negotiation: what an acceptor makes of a proposal, and what both sides then hold; and the SOP classes and transfer syntaxes known."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from pydicom.uid import UID
from pynetdicom import sop_class

from leadglass.dicom import sopclasses
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Context, Offer, agreed, negotiate, propose
from leadglass.dicom.pdu import AssociateAccept, AssociateRequest, ContextOutcome, ContextResult
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection, UserInformation
from leadglass.errors import BadPdu, ConfigurationError
from tests.dicom_wire import strategies as dicom

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
BOTH = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
UNKNOWN = Uid("1.2.3.4")


def results(request: AssociateRequest, offer: Offer | None) -> list[tuple[int, Uid | None]]:
    return [(each.result, each.transfer_syntax) for each in negotiate(request, lambda _: offer).results]


def test_the_first_transfer_syntax_that_the_requestor_names_and_we_know_is_taken() -> None:
    request = propose("A", "B", [(CT, (UNKNOWN, *BOTH))])
    assert results(request, Offer(frozenset(reversed(BOTH)))) == [(0, EXPLICIT_LITTLE_ENDIAN)]


def test_or_the_first_of_ours() -> None:
    request = propose("A", "B", [(CT, BOTH)])
    assert results(request, Offer(tuple(reversed(BOTH)), by_our_order=True)) == [(0, IMPLICIT_LITTLE_ENDIAN)]


def test_no_common_transfer_syntax() -> None:
    assert results(propose("A", "B", [(CT, [UNKNOWN])]), Offer(BOTH)) == [(ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED, None)]


def test_an_abstract_syntax_that_we_do_not_offer() -> None:
    assert results(propose("A", "B", [(CT, BOTH)]), None) == [(ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED, None)]


@pytest.mark.parametrize(
    ("proposed", "offer", "held"),
    [
        (None, Offer(BOTH), (True, False)),
        (None, Offer(BOTH, as_scu=True), (True, False)),
        (None, Offer(BOTH, as_scp=False, as_scu=True), None),
        ((False, True), Offer(BOTH), None),
        ((False, True), Offer(BOTH, as_scu=True), (False, True)),
        ((False, True), Offer(BOTH, as_scp=False, as_scu=True), (False, True)),
        ((True, True), Offer(BOTH), (True, False)),
        ((True, True), Offer(BOTH, as_scu=True), (True, True)),
        ((True, True), Offer(BOTH, as_scp=False, as_scu=True), (False, True)),
        ((False, False), Offer(BOTH, as_scu=True), None),
    ],
)
def test_roles_are_those_proposed_and_offered(proposed: tuple[bool, bool] | None, offer: Offer, held: tuple[bool, bool] | None) -> None:
    roles = [] if proposed is None else [RoleSelection(CT, scu=proposed[0], scp=proposed[1])]
    request = propose("A", "B", [(CT, BOTH)], roles=roles)
    negotiated = negotiate(request, lambda _: offer)
    assert [(each.requestor_is_scu, each.requestor_is_scp) for each in negotiated.contexts] == ([] if held is None else [held])
    # The other side comes to the same conclusion from what it is told.
    answer = AssociateAccept("B", "A", negotiated.results, UserInformation(roles=negotiated.roles))
    assert tuple(agreed(request, answer).values()) == negotiated.contexts


@given(dicom.requests)
def test_each_proposed_context_is_answered_once(request: AssociateRequest) -> None:
    negotiated = negotiate(request, lambda uid: Offer(BOTH) if len(uid) % 2 else None)
    assert [each.id for each in negotiated.results] == [each.id for each in request.contexts]


def test_an_answer_to_what_was_not_proposed_is_passed_over() -> None:
    request = propose("A", "B", [(CT, [IMPLICIT_LITTLE_ENDIAN])])
    answer = AssociateAccept("B", "A", (ContextResult(1, 0, EXPLICIT_LITTLE_ENDIAN), ContextResult(3, 0, IMPLICIT_LITTLE_ENDIAN)))
    assert agreed(request, answer) == {}
    assert agreed(request, AssociateAccept("B", "A", (ContextResult(1, 0, IMPLICIT_LITTLE_ENDIAN),))) == {
        1: Context(1, CT, IMPLICIT_LITTLE_ENDIAN)
    }


def test_more_contexts_than_there_are_ids_cannot_be_proposed() -> None:
    with pytest.raises(BadPdu):
        propose("A", "B", [(CT, BOTH)] * 129)
    assert len(propose("A", "B", [(CT, BOTH)] * 128).contexts) == 128


def test_every_storage_class_of_ps3_4_is_known_and_nothing_else() -> None:
    assert {CT, Uid("1.2.840.10008.5.1.4.1.1.481.3"), Uid("1.2.840.10008.5.1.4.34.7")} <= sopclasses.STORAGE.keys()
    # A retired one, which old archives are full of.
    assert Uid("1.2.840.10008.5.1.4.1.1.6") in sopclasses.STORAGE
    assert not sopclasses.STORAGE.keys() & (sopclasses.FIND | sopclasses.GET | sopclasses.MOVE | {sopclasses.VERIFICATION})
    assert all("Storage" in name for name in sopclasses.STORAGE.values())
    assert len(sopclasses.STORAGE) > 190


def test_every_transfer_syntax_in_which_pydicom_knows_objects_is_known() -> None:
    assert all(UID(each).is_transfer_syntax for each in sopclasses.TRANSFER_SYNTAXES)
    assert {
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.4.203",
        "1.2.840.10008.1.2.5",
    } <= sopclasses.TRANSFER_SYNTAXES


def test_every_storage_class_that_dcmtk_or_pynetdicom_knows_is_stored_and_none_of_no_patient() -> None:
    library = next(Path("/usr/lib").rglob("libdcmdata.so.*"))
    uids = {found.decode() for found in re.findall(rb"(1\.2\.840\.10008\.5\.1\.4\.1\.1\.[0-9.]+)\0", library.read_bytes())}
    of_dcmtk = {uid for uid in uids if "Storage" in UID(uid).name}
    of_pynetdicom = {str(uid) for uid in sop_class._STORAGE_CLASSES.values()}  # noqa: SLF001 # it has no public list
    of_no_patient = {str(uid) for uid in sop_class._NON_PATIENT_OBJECT_CLASSES.values()}  # noqa: SLF001
    assert min(len(of_dcmtk), len(of_pynetdicom)) > 160
    assert (of_dcmtk | of_pynetdicom) - of_no_patient <= sopclasses.STORAGE.keys()
    assert not of_no_patient & sopclasses.STORAGE.keys()


def test_private_and_old_storage_classes_are_added_by_name_and_nothing_else_is() -> None:
    private, old = "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.1.29"
    assert sopclasses.storage_with([private, old]) == sopclasses.STORAGE.keys() | {private, old}
    for uid, says in (
        ("1.2.840.10008.1.1", "which is no Storage SOP class"),
        ("1.2.840.10008.5.1.4.1.2.2.1", "which is no Storage SOP class"),
        ("1.2.840.10008.1.2.4.50", "Transfer Syntax"),
        ("1.2.840.10008.1.20.1", "which is no Storage SOP class"),
        (CT, "stored already"),
        ("1.2.840.10008.5.1.4.1.1.999", "no edition of PS3.6"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            sopclasses.storage_with([uid])
