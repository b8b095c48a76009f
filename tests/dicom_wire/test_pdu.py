"""PDUs: what is encoded is decoded as it was, what real peers send is understood, and no length that lies is believed."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom import items, pdu
from leadglass.dicom.pdu import AbortReason, AssociateAccept, AssociateRequest, ContextResult, PduType, ProposedContext
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection, UserIdentity, UserInformation
from leadglass.errors import BadPdu
from tests.dicom_wire import strategies as dicom

VECTORS = Path(__file__).parents[1] / "vectors" / "pdu"
MAX_DATA = 16384
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
VERIFICATION = Uid("1.2.840.10008.1.1")
IMPLICIT = Uid("1.2.840.10008.1.2")


def decoded(raw: bytes) -> pdu.Pdu:
    kind, length = pdu.read_header(raw)
    pdu.check_header(kind, length, MAX_DATA)
    assert length == len(raw) - pdu.HEADER_SIZE
    return pdu.decode(kind, memoryview(raw)[pdu.HEADER_SIZE :])


@given(dicom.pdus)
def test_every_pdu_comes_back_as_it_was(value: pdu.Pdu) -> None:
    assert decoded(pdu.encode(value)) == value


@given(dicom.user_informations)
def test_user_information_comes_back_as_it_was(value: UserInformation) -> None:
    assert UserInformation.decode(memoryview(value.encode())) == value


@given(dicom.pdus, st.data())
def test_a_pdu_cut_short_anywhere_in_its_body_is_refused_or_means_less(value: pdu.Pdu, data: st.DataObject) -> None:
    body = pdu.encode(value)[pdu.HEADER_SIZE :]
    kind = pdu.encode(value)[0]
    stop = data.draw(st.integers(0, len(body) - 1))
    try:
        shorter = pdu.decode(kind, memoryview(body)[:stop])
    except BadPdu:
        return
    assert shorter != value


@pytest.mark.parametrize("kind", [0, 8, 0x16, 0x48, 255])
def test_what_is_no_pdu_is_refused_by_its_first_byte(kind: int) -> None:
    with pytest.raises(BadPdu) as caught:
        pdu.check_header(kind, 4, MAX_DATA)
    assert caught.value.reason == AbortReason.UNRECOGNIZED_PDU


@pytest.mark.parametrize(
    ("kind", "length", "allowed"),
    [
        (PduType.P_DATA_TF, MAX_DATA, True),
        (PduType.P_DATA_TF, MAX_DATA + 1, False),
        (PduType.P_DATA_TF, 0xFFFFFFFF, False),
        (PduType.ASSOCIATE_RQ, pdu.MAX_ASSOCIATE, True),
        (PduType.ASSOCIATE_RQ, pdu.MAX_ASSOCIATE + 1, False),
        (PduType.ASSOCIATE_RQ, 0xFFFFFFFF, False),
        (PduType.ASSOCIATE_AC, 0xFFFFFFFF, False),
        (PduType.ASSOCIATE_RJ, 4, True),
        (PduType.ASSOCIATE_RJ, 0xFFFFFFFF, False),
        (PduType.RELEASE_RQ, 5, False),
        (PduType.RELEASE_RP, 3, False),
        (PduType.ABORT, 0, False),
    ],
)
def test_a_length_is_judged_before_anything_is_kept(kind: int, length: int, allowed: bool) -> None:
    if allowed:
        pdu.check_header(kind, length, MAX_DATA)
    else:
        with pytest.raises(BadPdu):
            pdu.check_header(kind, length, MAX_DATA)


@pytest.mark.parametrize("title", ["", " " * 16, "CT\x00ONE", "CT\nONE", "A\\B", "CT\x7f", "MÜNCHEN", "\x1b[31mX"])
def test_an_ae_title_with_control_or_other_bytes_is_refused(title: str) -> None:
    good = pdu.encode(AssociateRequest("LEADGLASS", "CT1", ()))
    calling_at = good.index(b"CT1")
    bad = good[:calling_at] + title.encode("latin-1").ljust(16)[:16] + good[calling_at + 16 :]
    with pytest.raises(BadPdu):
        decoded(bad)


def test_an_accept_with_a_bad_title_is_tolerated_because_nothing_depends_on_it() -> None:
    good = pdu.encode(AssociateAccept("LEADGLASS", "CT1", ()))
    value = decoded(good.replace(b"CT1 ", b"C\x00\xff\n"))
    assert isinstance(value, AssociateAccept)
    assert value.calling == "C???"


def request_with(contexts: bytes, user: bytes = b"") -> bytes:
    fixed = struct.pack(">H2x16s16s32x", 1, b"LEADGLASS".ljust(16), b"CT1".ljust(16))
    body = fixed + items.item(0x10, pdu.APPLICATION_CONTEXT.encode()) + contexts + items.item(0x50, user)
    return pdu.frame(PduType.ASSOCIATE_RQ, body)


def context(identifier: int, inner: bytes | None = None) -> bytes:
    usual = items.item(0x30, VERIFICATION.encode()) + items.item(0x40, IMPLICIT.encode())
    return items.item(0x20, bytes((identifier, 0, 0, 0)) + (usual if inner is None else inner))


LYING_ITEMS = {
    "sub-item longer than the user information": b"\x51\x00\x00\x08\x00\x00",
    "name longer than the user information": b"\x55\x00\x00\x08AB",
    "unknown sub-item longer than the user information": b"\x5a\x00\x00\x08AB",
    "header of a sub-item cut short": b"\x51\x00\x00",
    "maximum length of three bytes": items.item(0x51, b"\0\0\1"),
    "window of two bytes": items.item(0x53, b"\0\1"),
    "role whose UID is longer than its item": items.item(0x54, b"\xff\xff1.2\0\1"),
    "role without its roles": items.item(0x54, b"\0\x031.2"),
    "role with too many": items.item(0x54, b"\0\x031.2\0\1\1"),
    "role for what is no UID": items.item(0x54, b"\0\x03../\0\1"),
    "extended negotiation cut short": items.item(0x56, b"\0"),
    "identity whose first field is longer than its item": items.item(0x58, b"\1\0\xff\xffadmin\0\0"),
    "identity without its second field": items.item(0x58, b"\1\0\0\5admin"),
    "identity longer than any": items.item(0x58, b"\1\0\x80\0" + bytes(0x8000) + b"\0\0"),
    "identity response longer than its item": items.item(0x59, b"\0\5abc"),
    "a thousand and more items": items.item(0x5A, b"") * 1025,
}


@pytest.mark.parametrize("user", LYING_ITEMS.values(), ids=LYING_ITEMS.keys())
def test_a_user_item_that_lies_about_its_length_is_refused(user: bytes) -> None:
    with pytest.raises(BadPdu):
        decoded(request_with(context(1), user))


BAD_CONTEXTS = {
    "even id": context(2),
    "the same id twice": context(1) + context(1),
    "no transfer syntax": context(1, items.item(0x30, VERIFICATION.encode())),
    "no abstract syntax": context(1, items.item(0x40, IMPLICIT.encode())),
    "abstract syntax that is a path": context(1, items.item(0x30, b"../../etc/passwd") + items.item(0x40, IMPLICIT.encode())),
    "cut short": items.item(0x20, b"\1\0"),
    "more transfer syntaxes than there are": context(
        1, items.item(0x30, VERIFICATION.encode()) + items.item(0x40, IMPLICIT.encode()) * 200
    ),
    "a thousand contexts": b"".join(context(number * 2 % 256 + 1) for number in range(1000)),
    "an item longer than the PDU": b"\x20\0\xff\xff",
}


@pytest.mark.parametrize("contexts", BAD_CONTEXTS.values(), ids=BAD_CONTEXTS.keys())
def test_presentation_contexts_that_are_none_are_refused(contexts: bytes) -> None:
    with pytest.raises(BadPdu):
        decoded(request_with(contexts))


def test_128_contexts_are_taken() -> None:
    value = decoded(request_with(b"".join(context(number) for number in range(1, 256, 2))))
    assert isinstance(value, AssociateRequest)
    assert len(value.contexts) == 128


BAD_PDVS = {
    "none at all": b"",
    "header cut short": b"\0\0\0\2\1",
    "no room for its own header": b"\0\0\0\1\1\3",
    "length of zero": b"\0\0\0\0\1\3",
    "longer than the PDU": b"\0\0\0\x09\1\3abc",
    "4 GiB": b"\xff\xff\xff\xff\1\3abc",
    "length of zero, whose header is the beginning of a good one": b"\0\0\0\0" + b"\0\0\0\2\1\3",
}


@pytest.mark.parametrize("body", BAD_PDVS.values(), ids=BAD_PDVS.keys())
def test_pdvs_that_lie_are_refused(body: bytes) -> None:
    with pytest.raises(BadPdu):
        pdu.decode(PduType.P_DATA_TF, memoryview(body))


def test_the_reserved_bits_of_the_message_control_header_are_not_looked_at() -> None:
    value = pdu.decode(PduType.P_DATA_TF, memoryview(b"\0\0\0\3\1\xfdX"))
    assert value == pdu.DataTransfer((pdu.Pdv(1, is_command=True, is_last=False, data=b"X"),))


def test_an_accept_without_a_word_about_its_implementation_stays_without_one() -> None:
    accept = AssociateAccept("A", "B", (ContextResult(1, 0, IMPLICIT),))
    value = decoded(pdu.encode(accept))
    assert isinstance(value, AssociateAccept)
    assert value.user.implementation_class_uid is None
    assert value.user.implementation_version_name is None


def test_the_credentials_of_a_user_identity_are_not_printed() -> None:
    identity = UserIdentity(2, response_requested=True, primary=b"anna", secondary=b"secret")
    printed = repr(AssociateRequest("A", "B", (), UserInformation(identity=identity, identity_response=b"ticket")))
    assert not any(word in printed for word in ("anna", "secret", "ticket"))


def vector(name: str) -> pdu.Pdu:
    return decoded(bytes.fromhex((VECTORS / f"{name}.hex").read_text()))


def test_the_request_of_dcmtk_echoscu_is_understood() -> None:
    assert vector("dcmtk-3.6.7-echoscu-rq") == AssociateRequest(
        "ANY-SCP",
        "ECHOSCU",
        (ProposedContext(1, VERIFICATION, (IMPLICIT,)),),
        UserInformation(16384, "1.2.276.0.7230010.3.0.3.6.7", "OFFIS_DCMTK_367"),
    )


def test_the_request_of_dcmtk_getscu_proposes_the_other_role() -> None:
    value = vector("dcmtk-3.6.7-getscu-rq")
    assert isinstance(value, AssociateRequest)
    assert RoleSelection(CT, scu=False, scp=True) in value.user.roles
    assert len(value.contexts) == 121


def test_the_request_of_pynetdicom_with_everything_is_understood() -> None:
    value = vector("pynetdicom-3.0.4-rq")
    assert isinstance(value, AssociateRequest)
    assert value.user.identity == UserIdentity(2, response_requested=True, primary=b"user", secondary=b"passcode")
    assert value.user.roles == (RoleSelection(CT, scu=True, scp=True),)
    assert value.user.async_window is not None
    assert value.user.async_window.invoked == 5
    assert value.user.extended[0].information == b"\x01\x00\x01"
    assert pdu.encode(value)[0] == PduType.ASSOCIATE_RQ


def test_what_we_encode_stays_what_it_was() -> None:
    # The bytes of our own request, kept: other implementations have been seen to take exactly these.
    ours = AssociateRequest(
        "ORTHANC",
        "LEADGLASS",
        (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CT, (Uid("1.2.840.10008.1.2.1"), IMPLICIT))),
        UserInformation(131072, "2.25.1", "LEADGLASS_0.1", roles=(RoleSelection(CT, scu=False, scp=True),)),
    )
    assert vector("leadglass-rq") == ours
    assert pdu.encode(ours).hex() == (VECTORS / "leadglass-rq.hex").read_text().strip()
