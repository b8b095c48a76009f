"""Command sets: what is encoded is decoded as it was, pydicom agrees, and what is malformed is refused by a response where it can be."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from leadglass.dicom import dimse
from leadglass.dicom.dimse import Command, EchoRequest, MalformedRequest, OtherCommand, StoreRequest
from leadglass.dicom.status import Status, StatusKind, describe, kind_of
from leadglass.dicom.uid import Uid
from leadglass.errors import BadMessage
from tests.dicom_wire import strategies as dicom

VERIFICATION = Uid("1.2.840.10008.1.1")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def short(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


@given(dicom.commands, st.booleans())
def test_every_command_comes_back_as_it_was(command: Command, has_data: bool) -> None:
    needs_data = isinstance(command, (StoreRequest, dimse.FindRequest, dimse.GetRequest, dimse.MoveRequest))
    decoded = dimse.decode(dimse.encode(command, has_data=has_data or needs_data))
    assert decoded == (command, has_data or needs_data)


@given(dicom.commands)
def test_pydicom_reads_the_same_elements_in_ascending_order(command: Command) -> None:
    raw = dimse.encode(command, has_data=True)
    elements = read_dataset(BytesIO(raw), is_implicit_VR=True, is_little_endian=True)
    assert elements.CommandField == command.field
    assert elements.CommandGroupLength == len(raw) - 12
    assert elements.CommandDataSetType != dimse.NO_DATA_SET
    assert list(elements.keys()) == sorted(elements.keys())
    identifier = elements.get("MessageID", elements.get("MessageIDBeingRespondedTo"))
    assert identifier == command.message_id


@given(
    st.integers(0, 0x7FFF).filter(lambda field: field not in {0x1, 0x10, 0x20, 0x21, 0x30, 0x100, 0x130, 0xFFF}), dicom.U16, st.booleans()
)
def test_a_command_without_a_class_is_kept_as_it_came(field: int, message_id: int, has_data: bool) -> None:
    raw = dimse.encode(OtherCommand(field, message_id, {0x0110: struct.pack("<H", message_id), 0x1008: b"\x01\x00"}), has_data=has_data)
    command, followed = dimse.decode(raw)
    assert isinstance(command, OtherCommand)
    assert (command.field, command.message_id, followed) == (field, message_id, has_data)
    assert dimse.encode(command, has_data=has_data) == raw


UNREADABLE = {
    "empty": b"",
    "cut short in a header": b"\0\0\0\1",
    "element longer than the command": b"\0\0\0\1\xff\xff\xff\xff",
    "another group": struct.pack("<HHI", 8, 0x0100, 2) + b"\x30\0",
    "an element twice": short(0x0100, 0x30) * 2,
    "no command field": short(0x0110, 1) + short(0x0800, 0x101),
    "no data set type": short(0x0100, 0x30) + short(0x0110, 1),
    "no message id": element(0x0002, VERIFICATION.encode()) + short(0x0100, 0x30) + short(0x0800, 0x101),
    "an unknown command without a message id": short(0x0100, 0x7777) + short(0x0800, 0x101),
    "a response without a status": short(0x0100, 0x8030) + short(0x0120, 1) + short(0x0800, 0x101),
    "a message id of four bytes": short(0x0100, 0x30) + element(0x0110, b"\1\0\0\0") + short(0x0800, 0x101),
    "longer than any": element(0x0100, b"\x30\0") + element(0x0901, bytes(dimse.MAX_COMMAND)),
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_even_be_answered_is_a_bad_message(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        dimse.decode(raw)


def store_request(*, instance: bytes = b"1.2.3\0", sop_class: bytes = CT.encode(), data_set_type: int = 0) -> bytes:
    return b"".join(
        (element(2, sop_class), short(0x100, 1), short(0x110, 7), short(0x700, 0), short(0x800, data_set_type), element(0x1000, instance))
    )


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (store_request(instance=b"../../etc/passwd"), Status.INVALID_ATTRIBUTE_VALUE),
        (store_request(instance=b"1.2\xff"), Status.INVALID_ATTRIBUTE_VALUE),
        (store_request(instance=b"1" * 66), Status.INVALID_ATTRIBUTE_VALUE),
        (store_request(sop_class=b""), Status.INVALID_ATTRIBUTE_VALUE),
        (store_request(data_set_type=dimse.NO_DATA_SET), Status.MISTYPED_ARGUMENT),
        (store_request()[:-14], Status.MISTYPED_ARGUMENT),
        (store_request() + element(0x1030, b"BAD\x1bAET"), Status.MISTYPED_ARGUMENT),
        (store_request() + element(0x1031, b"1"), Status.MISTYPED_ARGUMENT),
    ],
)
def test_a_malformed_request_can_be_refused_by_a_response(raw: bytes, status: int) -> None:
    command = dimse.decode(raw).command
    assert isinstance(command, MalformedRequest)
    assert (command.message_id, command.status) == (7, status)
    refusal = dimse.decode(dimse.encode(dimse.refusal(command, status), has_data=False)).command
    assert isinstance(refusal, dimse.StoreResponse)
    assert (refusal.message_id, refusal.status) == (7, status)


def test_a_good_request_is_none_of_those() -> None:
    assert dimse.decode(store_request()).command == StoreRequest(7, CT, Uid("1.2.3"))


def test_a_wrong_group_length_is_not_relied_on() -> None:
    raw = (
        element(0, struct.pack("<I", 999)) + element(2, VERIFICATION.encode()) + short(0x100, 0x30) + short(0x110, 1) + short(0x800, 0x101)
    )
    assert dimse.decode(raw) == (EchoRequest(1, VERIFICATION), False)


def test_a_comment_of_the_peer_cannot_bring_control_characters() -> None:
    raw = short(0x100, 0x8001) + short(0x120, 1) + short(0x800, 0x101) + short(0x900, 0xC000) + element(0x902, b"\x1b[2Jbad\n")
    answer = dimse.decode(raw).command
    assert isinstance(answer, dimse.StoreResponse)
    assert answer.comment == "?[2Jbad?"


def test_a_malformed_request_cannot_be_sent() -> None:
    with pytest.raises(TypeError):
        dimse.encode(MalformedRequest(1, 1, 0x0106, ""), has_data=False)


@given(dicom.U16)
def test_every_status_has_a_kind_and_words(status: int) -> None:
    assert kind_of(status) in StatusKind
    assert describe(status).startswith(f"0x{status:04X} ")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, StatusKind.SUCCESS),
        (0x0001, StatusKind.WARNING),
        (0x0107, StatusKind.WARNING),
        (0x0122, StatusKind.FAILURE),
        (0xA700, StatusKind.FAILURE),
        (0xB000, StatusKind.WARNING),
        (0xC123, StatusKind.FAILURE),
        (0xFE00, StatusKind.CANCEL),
        (0xFF00, StatusKind.PENDING),
        (0xFF01, StatusKind.PENDING),
        (0xFF02, StatusKind.FAILURE),
    ],
)
def test_the_kinds_are_those_of_ps3_7_annex_c(status: int, kind: StatusKind) -> None:
    assert kind_of(status) is kind
