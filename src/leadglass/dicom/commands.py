"""The commands of DIMSE (PS3.7 section 9, annex E) as values; `dimse` has their bytes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from leadglass.dicom.uid import Uid

RESPONSE_BIT = 0x8000


class CommandField(IntEnum):
    """Command Field (0000,0100) (PS3.7 E.1); a response has `RESPONSE_BIT` besides."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


class Priority(IntEnum):
    """Priority (0000,0700)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """C-ECHO-RQ."""

    message_id: int
    sop_class: Uid
    field: ClassVar[int] = CommandField.C_ECHO


@dataclass(frozen=True, slots=True)
class EchoResponse:
    """C-ECHO-RSP; `message_id` in every response is that of the request."""

    message_id: int
    status: int
    sop_class: Uid | None = None
    field: ClassVar[int] = CommandField.C_ECHO | RESPONSE_BIT


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """C-STORE-RQ; the originator is there when it is a sub-operation of a C-MOVE."""

    message_id: int
    sop_class: Uid
    sop_instance: Uid
    priority: int = Priority.MEDIUM
    move_originator: str | None = None
    move_originator_message_id: int | None = None
    field: ClassVar[int] = CommandField.C_STORE


@dataclass(frozen=True, slots=True)
class StoreResponse:
    """C-STORE-RSP."""

    message_id: int
    status: int
    sop_class: Uid | None = None
    sop_instance: Uid | None = None
    comment: str | None = None
    field: ClassVar[int] = CommandField.C_STORE | RESPONSE_BIT


@dataclass(frozen=True, slots=True)
class FindRequest:
    """C-FIND-RQ."""

    message_id: int
    sop_class: Uid
    priority: int = Priority.MEDIUM
    field: ClassVar[int] = CommandField.C_FIND


@dataclass(frozen=True, slots=True)
class FindResponse:
    """C-FIND-RSP."""

    message_id: int
    status: int
    sop_class: Uid | None = None
    comment: str | None = None
    field: ClassVar[int] = CommandField.C_FIND | RESPONSE_BIT


@dataclass(frozen=True, slots=True)
class GetRequest:
    """C-GET-RQ."""

    message_id: int
    sop_class: Uid
    priority: int = Priority.MEDIUM
    field: ClassVar[int] = CommandField.C_GET


@dataclass(frozen=True, slots=True)
class GetResponse:
    """C-GET-RSP; the counts are of sub-operations, None where the response does not say."""

    message_id: int
    status: int
    sop_class: Uid | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    comment: str | None = None
    field: ClassVar[int] = CommandField.C_GET | RESPONSE_BIT


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """C-MOVE-RQ."""

    message_id: int
    sop_class: Uid
    destination: str
    priority: int = Priority.MEDIUM
    field: ClassVar[int] = CommandField.C_MOVE


@dataclass(frozen=True, slots=True)
class MoveResponse:
    """C-MOVE-RSP; the counts are of sub-operations, None where the response does not say."""

    message_id: int
    status: int
    sop_class: Uid | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    comment: str | None = None
    field: ClassVar[int] = CommandField.C_MOVE | RESPONSE_BIT


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """N-ACTION-RQ (PS3.7 10.1.4); class and instance are the requested ones."""

    message_id: int
    sop_class: Uid
    sop_instance: Uid
    action_type: int
    field: ClassVar[int] = CommandField.N_ACTION


@dataclass(frozen=True, slots=True)
class ActionResponse:
    """N-ACTION-RSP."""

    message_id: int
    status: int
    sop_class: Uid | None = None
    sop_instance: Uid | None = None
    action_type: int | None = None
    comment: str | None = None
    field: ClassVar[int] = CommandField.N_ACTION | RESPONSE_BIT


@dataclass(frozen=True, slots=True)
class EventReportRequest:
    """N-EVENT-REPORT-RQ (PS3.7 10.1.1), which an SCP sends."""

    message_id: int
    sop_class: Uid
    sop_instance: Uid
    event_type: int
    field: ClassVar[int] = CommandField.N_EVENT_REPORT


@dataclass(frozen=True, slots=True)
class EventReportResponse:
    """N-EVENT-REPORT-RSP."""

    message_id: int
    status: int
    sop_class: Uid | None = None
    sop_instance: Uid | None = None
    event_type: int | None = None
    comment: str | None = None
    field: ClassVar[int] = CommandField.N_EVENT_REPORT | RESPONSE_BIT


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """C-CANCEL-RQ; `message_id` is that of the request to be cancelled, and there is no response to this one."""

    message_id: int
    field: ClassVar[int] = CommandField.C_CANCEL


@dataclass(frozen=True, slots=True)
class OtherCommand:
    """A command that has no class here (most N-services, a private field): `values` by element number, as they came."""

    field: int
    message_id: int
    values: Mapping[int, bytes] = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class MalformedRequest:
    """A request of which so much can be read that it can be refused with `status` instead of an abort."""

    field: int
    message_id: int
    status: int
    why: str


Request = EchoRequest | StoreRequest | FindRequest | GetRequest | MoveRequest | ActionRequest | EventReportRequest
Response = EchoResponse | StoreResponse | FindResponse | GetResponse | MoveResponse | ActionResponse | EventReportResponse
Command = Request | Response | CancelRequest | OtherCommand | MalformedRequest
