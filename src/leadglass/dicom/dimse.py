"""DIMSE messages (PS3.7 section 9, annex E): the command sets as values, and their bytes (implicit VR little endian).

A command set says whether a data set follows; `decode` and `encode` carry that beside the command.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from leadglass.dicom.commands import (
    RESPONSE_BIT,
    ActionRequest,
    ActionResponse,
    CancelRequest,
    Command,
    CommandField,
    EchoRequest,
    EchoResponse,
    EventReportRequest,
    EventReportResponse,
    FindRequest,
    FindResponse,
    GetRequest,
    GetResponse,
    MalformedRequest,
    MoveRequest,
    MoveResponse,
    OtherCommand,
    Priority,
    Request,
    Response,
    StoreRequest,
    StoreResponse,
)
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.errors import BadMessage, InvalidUid

__all__ = [
    "MAX_COMMAND",
    "NO_DATA_SET",
    "RESPONSE_BIT",
    "ActionRequest",
    "ActionResponse",
    "CancelRequest",
    "Command",
    "CommandField",
    "Decoded",
    "EchoRequest",
    "EchoResponse",
    "EventReportRequest",
    "EventReportResponse",
    "FindRequest",
    "FindResponse",
    "GetRequest",
    "GetResponse",
    "MalformedRequest",
    "MoveRequest",
    "MoveResponse",
    "OtherCommand",
    "Priority",
    "Request",
    "Response",
    "StoreRequest",
    "StoreResponse",
    "decode",
    "encode",
    "is_response",
    "refusal",
]

MAX_COMMAND = 64 * 1024
"""Bytes of a command set; the standard's longest, an offending-element list aside, is a few hundred."""

NO_DATA_SET = 0x0101
"""Command Data Set Type (0000,0800): any other value says that a data set follows (PS3.7 E.1)."""

_HAS_DATA_SET = 0x0001
_ELEMENT = struct.Struct("<HHI")
_SHORT = struct.Struct("<HHIH")
_U16 = struct.Struct("<H")
_GROUP_LENGTH = struct.Struct("<HHII")

_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_RESPONDED_TO = 0x0120
_DATA_SET_TYPE = 0x0800


class Decoded(NamedTuple):
    """A command, and whether a data set follows it."""

    command: Command
    has_data: bool


class _Field(NamedTuple):
    """One element of a command set; `kind` is its VR."""

    element: int
    name: str
    kind: str
    required: bool = True


_REQUEST = (_Field(0x0002, "sop_class", "UI"), _Field(_MESSAGE_ID, "message_id", "US"))
_RESPONSE = (_Field(0x0002, "sop_class", "UI", required=False), _Field(_RESPONDED_TO, "message_id", "US"))
_STATUS = _Field(0x0900, "status", "US")
_COMMENT = _Field(0x0902, "comment", "LO", required=False)
_PRIORITY = _Field(0x0700, "priority", "US", required=False)
_AFFECTED_INSTANCE = _Field(0x1000, "sop_instance", "UI", required=False)
_COUNTS = (
    _Field(0x1020, "remaining", "US", required=False),
    _Field(0x1021, "completed", "US", required=False),
    _Field(0x1022, "failed", "US", required=False),
    _Field(0x1023, "warning", "US", required=False),
)

_FIELDS: dict[type[Request | Response | CancelRequest], tuple[_Field, ...]] = {
    EchoRequest: _REQUEST,
    EchoResponse: (*_RESPONSE, _STATUS),
    StoreRequest: (
        *_REQUEST,
        _PRIORITY,
        _Field(0x1000, "sop_instance", "UI"),
        _Field(0x1030, "move_originator", "AE", required=False),
        _Field(0x1031, "move_originator_message_id", "US", required=False),
    ),
    StoreResponse: (*_RESPONSE, _STATUS, _COMMENT, _AFFECTED_INSTANCE),
    FindRequest: (*_REQUEST, _PRIORITY),
    FindResponse: (*_RESPONSE, _STATUS, _COMMENT),
    GetRequest: (*_REQUEST, _PRIORITY),
    GetResponse: (*_RESPONSE, _STATUS, _COMMENT, *_COUNTS),
    MoveRequest: (*_REQUEST, _Field(0x0600, "destination", "AE"), _PRIORITY),
    MoveResponse: (*_RESPONSE, _STATUS, _COMMENT, *_COUNTS),
    ActionRequest: (
        _Field(0x0003, "sop_class", "UI"),
        _Field(_MESSAGE_ID, "message_id", "US"),
        _Field(0x1001, "sop_instance", "UI"),
        _Field(0x1008, "action_type", "US"),
    ),
    ActionResponse: (*_RESPONSE, _STATUS, _COMMENT, _AFFECTED_INSTANCE, _Field(0x1008, "action_type", "US", required=False)),
    EventReportRequest: (*_REQUEST, _Field(0x1000, "sop_instance", "UI"), _Field(0x1002, "event_type", "US")),
    EventReportResponse: (*_RESPONSE, _STATUS, _COMMENT, _AFFECTED_INSTANCE, _Field(0x1002, "event_type", "US", required=False)),
    CancelRequest: (_Field(_RESPONDED_TO, "message_id", "US"),),
}
"""Every element of every command, ascending after the first two; encoding, decoding and the tests walk this one table."""

_CLASSES = {each.field: each for each in _FIELDS}

_CARRIES_DATA = frozenset({CommandField.C_STORE, CommandField.C_FIND, CommandField.C_GET, CommandField.C_MOVE})


def is_response(command: Command) -> bool:
    """True for what answers a request of ours; a C-CANCEL is a request."""
    return bool(command.field & RESPONSE_BIT)


def encode(command: Command, *, has_data: bool) -> bytes:
    """The command set with its group length; TypeError for a `MalformedRequest`, which is nothing to send."""
    if isinstance(command, MalformedRequest):
        raise TypeError("a malformed request is only ever received")
    if isinstance(command, OtherCommand):
        values = dict(command.values)
        values.pop(0x0000, None)
        values[_COMMAND_FIELD] = _U16.pack(command.field)
        values[_DATA_SET_TYPE] = _U16.pack(_HAS_DATA_SET if has_data else NO_DATA_SET)
        body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in sorted(values.items()))
        return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body
    pending = [(_COMMAND_FIELD, _SHORT.pack(0, _COMMAND_FIELD, 2, command.field))]
    data_set_type = _HAS_DATA_SET if has_data else NO_DATA_SET
    pending.append((_DATA_SET_TYPE, _SHORT.pack(0, _DATA_SET_TYPE, 2, data_set_type)))
    for element, name, kind, _ in _FIELDS[type(command)]:
        value = getattr(command, name)
        if value is None:
            continue
        if kind == "US":
            pending.append((element, _SHORT.pack(0, element, 2, value)))
        else:
            # A comment is for people; what is in no character set of a command (PS3.7 6.3.1) is no reason to give none.
            raw = value.encode("ascii", "replace" if kind == "LO" else "strict")
            if len(raw) % 2:
                raw += b"\0" if kind == "UI" else b" "
            pending.append((element, _ELEMENT.pack(0, element, len(raw)) + raw))
    pending.sort()
    body = b"".join([each for _, each in pending])
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def decode(raw: bytes | bytearray | memoryview) -> Decoded:
    """Read a command set; BadMessage if it cannot even be refused by a response.

    The group length is not relied on: the PDVs say where a command set ends.
    """
    values = _elements(raw)
    command_field = _unsigned(values, _COMMAND_FIELD)
    data_set_type = _unsigned(values, _DATA_SET_TYPE)
    if command_field is None or data_set_type is None:
        raise BadMessage("a command set without a command field or a data set type (PS3.7 E.1)")
    has_data = data_set_type != NO_DATA_SET
    described = _CLASSES.get(command_field)
    if described is None:
        message_id = _unsigned(values, _RESPONDED_TO if command_field & RESPONSE_BIT else _MESSAGE_ID)
        if message_id is None:
            raise BadMessage("a command set without a message id (PS3.7 E.1)")
        return Decoded(OtherCommand(command_field, message_id, values), has_data)
    try:
        arguments = _arguments(_FIELDS[described], values)
        if command_field in _CARRIES_DATA and not has_data:
            raise BadMessage("a request that needs a data set came without one (PS3.7 9.1)")
    except (BadMessage, InvalidUid) as problem:
        message_id = _unsigned(values, _MESSAGE_ID)
        if command_field & RESPONSE_BIT or message_id is None:
            raise BadMessage(str(problem)) from None
        status = Status.INVALID_ATTRIBUTE_VALUE if isinstance(problem, InvalidUid) else Status.MISTYPED_ARGUMENT
        return Decoded(MalformedRequest(command_field, message_id, status, str(problem)), has_data)
    return Decoded(described(**arguments), has_data)  # type: ignore[arg-type]  # the table names each class's own fields


def refusal(request: Command, status: int) -> OtherCommand:
    """The response that refuses any request, when nothing more is known about it than its kind and id."""
    values = {_RESPONDED_TO: _U16.pack(request.message_id), 0x0900: _U16.pack(status)}
    return OtherCommand(request.field | RESPONSE_BIT, request.message_id, values)


def _elements(raw: bytes | bytearray | memoryview) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    position, end = 0, len(raw)
    if end > MAX_COMMAND:
        raise BadMessage("a command set longer than any may be")
    while position < end:
        if position + 8 > end:
            raise BadMessage("a command set ends within an element's header")
        group, element, length = _ELEMENT.unpack_from(raw, position)
        start = position + 8
        position = start + length
        if group != 0 or position > end or element in values:
            raise BadMessage("a command set holds another group, an element twice, or one longer than itself (PS3.7 6.3.1)")
        values[element] = bytes(raw[start:position])
    return values


def _unsigned(values: Mapping[int, bytes], element: int) -> int | None:
    raw = values.get(element)
    if raw is None or len(raw) != _U16.size:
        return None
    value: int = _U16.unpack(raw)[0]
    return value


def _arguments(fields: tuple[_Field, ...], values: Mapping[int, bytes]) -> dict[str, int | str | Uid]:
    arguments: dict[str, int | str | Uid] = {}
    for element, name, kind, required in fields:
        raw = values.get(element)
        if not raw and not required:
            continue
        if raw is None:
            raise BadMessage(f"a command set without its element (0000,{element:04X}) (PS3.7 9.3)")
        if kind == "US":
            if len(raw) != _U16.size:
                raise BadMessage(f"element (0000,{element:04X}) of a command set has the wrong length")
            arguments[name] = _U16.unpack(raw)[0]
        elif kind == "UI":
            arguments[name] = Uid.from_wire(raw)
        else:
            arguments[name] = _text(raw, element)
    return arguments


def _text(raw: bytes, element: int) -> str:
    text = raw.rstrip(b"\0 ").lstrip(b" ").decode("latin-1")
    if not text.isascii() or not text.isprintable():
        if element == _COMMENT.element:
            # A peer's comment is for people: nothing depends on it, so nothing is refused for it.
            return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)
        raise BadMessage(f"element (0000,{element:04X}) of a command set holds other than printable ASCII")
    return text
