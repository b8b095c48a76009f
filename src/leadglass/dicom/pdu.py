"""The seven protocol data units of the DICOM upper layer (PS3.8 9.3): values, their bytes, and the bounds on them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from leadglass.dicom import items
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import UserInformation
from leadglass.errors import BadPdu

HEADER_SIZE = 6
MAX_ASSOCIATE = 1 << 20
"""128 contexts with a dozen transfer syntaxes each come to 50 kB; a SAML assertion adds 64 kB at most."""

MAX_CONTEXTS = 128
"""Identifiers are the odd numbers of one byte (PS3.8 9.3.2.2)."""

MAX_TRANSFER_SYNTAXES = 128
"""For one presentation context; the standard knows about 60."""

APPLICATION_CONTEXT = Uid("1.2.840.10008.3.1.1.1")
"""The only one there is (PS3.7 A.2.1)."""

PROTOCOL_VERSION = 1

_HEADER = struct.Struct(">BxI")
_ASSOCIATE = struct.Struct(">H2x16s16s32x")
_PDV = struct.Struct(">IBB")
_TITLE_LENGTH = 16


class PduType(IntEnum):
    """The first byte of a PDU."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class _Item(IntEnum):
    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    CONTEXT_RESULT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50


class AbortSource(IntEnum):
    """PS3.8 Table 9-26."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why a service provider aborts (PS3.8 Table 9-26); 0 from a service user."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = items.INVALID_PARAMETER


class ContextOutcome(IntEnum):
    """The answer to one proposed presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as its requestor proposes it (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: Uid
    transfer_syntaxes: tuple[Uid, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The acceptor's answer (PS3.8 9.3.3.2); `transfer_syntax` is None where the context was not accepted."""

    id: int
    result: int
    transfer_syntax: Uid | None = None


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ; `called` and `calling` are AE titles without their padding."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: Uid = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC; the titles are an echo that nothing may be concluded from (PS3.8 Table 9-17)."""

    called: str
    calling: str
    contexts: tuple[ContextResult, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: Uid = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ: the three bytes of PS3.8 Table 9-21, any value."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Pdv:
    """A fragment of a DIMSE message: of its command set or of its data set (PS3.8 9.3.5.1, E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DataTransfer:
    """P-DATA-TF."""

    pdvs: tuple[Pdv, ...]


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A-RELEASE-RQ."""


@dataclass(frozen=True, slots=True)
class ReleaseResponse:
    """A-RELEASE-RP."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT."""

    source: int
    reason: int


Pdu = AssociateRequest | AssociateAccept | AssociateReject | DataTransfer | ReleaseRequest | ReleaseResponse | Abort


def frame(kind: int, body: bytes) -> bytes:
    """A PDU with its header."""
    return _HEADER.pack(kind, len(body)) + body


def check_header(kind: int, length: int, max_data: int) -> None:
    """Refuse a PDU before a byte of its body is kept: an unknown type, or longer than anything that may come.

    `max_data` is the longest P-DATA-TF that we announced.
    """
    match kind:
        case PduType.P_DATA_TF:
            allowed = length <= max_data
        case PduType.ASSOCIATE_RQ | PduType.ASSOCIATE_AC:
            allowed = length <= MAX_ASSOCIATE
        case PduType.ASSOCIATE_RJ | PduType.RELEASE_RQ | PduType.RELEASE_RP | PduType.ABORT:
            allowed = length == 4
        case _:
            raise BadPdu(f"no PDU has type {kind:#04x}: the peer does not speak DICOM", AbortReason.UNRECOGNIZED_PDU)
    if not allowed:
        raise BadPdu(f"a PDU of type {kind:#04x} and {length} bytes: longer or shorter than it may be", AbortReason.INVALID_PARAMETER)


def read_header(raw: bytes | bytearray | memoryview, position: int = 0) -> tuple[int, int]:
    """The type and the body's length of the PDU that begins at `position`."""
    kind, length = _HEADER.unpack_from(raw, position)
    return kind, length


def encode(pdu: Pdu) -> bytes:
    """The bytes of any PDU."""
    match pdu:
        case AssociateRequest():
            contexts = b"".join(map(_encode_proposed, pdu.contexts))
            return frame(PduType.ASSOCIATE_RQ, _encode_associate(pdu, contexts))
        case AssociateAccept():
            contexts = b"".join(map(_encode_result, pdu.contexts))
            return frame(PduType.ASSOCIATE_AC, _encode_associate(pdu, contexts))
        case AssociateReject():
            return frame(PduType.ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason)))
        case DataTransfer():
            return frame(PduType.P_DATA_TF, b"".join(map(_encode_pdv, pdu.pdvs)))
        case ReleaseRequest():
            return frame(PduType.RELEASE_RQ, bytes(4))
        case ReleaseResponse():
            return frame(PduType.RELEASE_RP, bytes(4))
        case Abort():
            return frame(PduType.ABORT, bytes((0, 0, pdu.source, pdu.reason)))


def decode(kind: int, body: memoryview) -> Pdu:
    """The PDU of type `kind` with `body`, whose header passed `check_header`; BadPdu if the body is not one."""
    match kind:
        case PduType.ASSOCIATE_RQ:
            return _decode_request(body)
        case PduType.ASSOCIATE_AC:
            return _decode_accept(body)
        case PduType.P_DATA_TF:
            return DataTransfer(tuple(Pdv(c, bool(flags & 1), bool(flags & 2), bytes(d)) for c, flags, d in split_pdvs(body)))
    if len(body) != 4:
        raise BadPdu("a PDU of fixed length has another", AbortReason.INVALID_PARAMETER)
    match kind:
        case PduType.ASSOCIATE_RJ:
            return AssociateReject(body[1], body[2], body[3])
        case PduType.RELEASE_RQ:
            return ReleaseRequest()
        case PduType.RELEASE_RP:
            return ReleaseResponse()
        case PduType.ABORT:
            return Abort(body[2], body[3])
    raise BadPdu(f"no PDU has type {kind:#04x}", AbortReason.UNRECOGNIZED_PDU)


def split_pdvs(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Context id, message control header and fragment of each PDV of a P-DATA-TF, one at a time; no byte is copied.

    Bits 2 to 7 of the message control header are not ours to check (PS3.8 E.2).
    """
    position, end = 0, len(body)
    while position < end:
        if end - position < _PDV.size:
            raise BadPdu("a PDV ends within its header", AbortReason.INVALID_PARAMETER)
        length, context_id, flags = _PDV.unpack_from(body, position)
        stop = position + 4 + length
        if length < 2 or stop > end:
            raise BadPdu("a PDV is shorter than its header or longer than its PDU", AbortReason.INVALID_PARAMETER)
        yield context_id, flags, body[position + 6 : stop]
        position = stop
    if not position:
        raise BadPdu("a P-DATA-TF without a PDV", AbortReason.INVALID_PARAMETER)


def check_title(title: str) -> str:
    """`title` without its padding if it is an AE title: 1 to 16 printable ASCII characters, no backslash (PS3.5 6.2, AE)."""
    stripped = title.strip(" ")
    if not stripped or len(stripped) > _TITLE_LENGTH or not stripped.isascii() or not stripped.isprintable() or "\\" in stripped:
        raise BadPdu("an AE title is blank, too long, or holds control or other characters (PS3.5 6.2)", AbortReason.INVALID_PARAMETER)
    return stripped


def _encode_pdv(pdv: Pdv) -> bytes:
    return _PDV.pack(len(pdv.data) + 2, pdv.context_id, pdv.is_command | pdv.is_last << 1) + pdv.data


def _encode_associate(pdu: AssociateRequest | AssociateAccept, contexts: bytes) -> bytes:
    titles = (title.encode("ascii").ljust(_TITLE_LENGTH) for title in (pdu.called, pdu.calling))
    return b"".join(
        (
            _ASSOCIATE.pack(pdu.protocol_version, *titles),
            items.item(_Item.APPLICATION_CONTEXT, pdu.application_context.encode("ascii")),
            contexts,
            items.item(_Item.USER_INFORMATION, pdu.user.encode()),
        )
    )


def _encode_proposed(context: ProposedContext) -> bytes:
    syntaxes = b"".join(items.item(_Item.TRANSFER_SYNTAX, each.encode("ascii")) for each in context.transfer_syntaxes)
    abstract = items.item(_Item.ABSTRACT_SYNTAX, context.abstract_syntax.encode("ascii"))
    return items.item(_Item.PROPOSED_CONTEXT, bytes((context.id, 0, 0, 0)) + abstract + syntaxes)


def _encode_result(context: ContextResult) -> bytes:
    # A transfer syntax item is there in every case, its value significant in an acceptance alone (PS3.8 9.3.3.2).
    syntax = items.item(_Item.TRANSFER_SYNTAX, (context.transfer_syntax or "").encode("ascii"))
    return items.item(_Item.CONTEXT_RESULT, bytes((context.id, 0, context.result, 0)) + syntax)


def _associate_parts(body: memoryview) -> tuple[int, bytes, bytes, list[tuple[int, memoryview]]]:
    if len(body) < _ASSOCIATE.size:
        raise BadPdu("an A-ASSOCIATE PDU ends within its fixed part", AbortReason.INVALID_PARAMETER)
    version, called, calling = _ASSOCIATE.unpack_from(body)
    # Application context, user information, and room for items that a later edition may add.
    return version, called, calling, list(items.split(body[_ASSOCIATE.size :], MAX_CONTEXTS + 16))


def _decode_request(body: memoryview) -> AssociateRequest:
    version, called, calling, parts = _associate_parts(body)
    contexts = tuple(_decode_proposed(data) for kind, data in parts if kind == _Item.PROPOSED_CONTEXT)
    _check_ids([context.id for context in contexts])
    return AssociateRequest(
        called=check_title(called.decode("latin-1")),
        calling=check_title(calling.decode("latin-1")),
        contexts=contexts,
        user=_user(parts),
        application_context=_application_context(parts),
        protocol_version=version,
    )


def _decode_accept(body: memoryview) -> AssociateAccept:
    version, called, calling, parts = _associate_parts(body)
    contexts = tuple(_decode_result(data) for kind, data in parts if kind == _Item.CONTEXT_RESULT)
    _check_ids([context.id for context in contexts])
    return AssociateAccept(
        called=items.text(called),
        calling=items.text(calling),
        contexts=contexts,
        user=_user(parts),
        application_context=_application_context(parts),
        protocol_version=version,
    )


def _check_ids(ids: list[int]) -> None:
    if len(ids) > MAX_CONTEXTS or len(set(ids)) != len(ids) or not all(each % 2 for each in ids):
        raise BadPdu("presentation context ids are not distinct odd numbers (PS3.8 9.3.2.2)", AbortReason.INVALID_PARAMETER)


def _application_context(parts: list[tuple[int, memoryview]]) -> Uid:
    for kind, data in parts:
        if kind == _Item.APPLICATION_CONTEXT:
            return items.uid(data)
    raise BadPdu("an A-ASSOCIATE PDU without an application context", AbortReason.INVALID_PARAMETER)


def _user(parts: list[tuple[int, memoryview]]) -> UserInformation:
    for kind, data in parts:
        if kind == _Item.USER_INFORMATION:
            return UserInformation.decode(data)
    return UserInformation()


def _decode_proposed(raw: memoryview) -> ProposedContext:
    if len(raw) < 4:
        raise BadPdu("a presentation context ends within its fixed part", AbortReason.INVALID_PARAMETER)
    abstract: Uid | None = None
    syntaxes: list[Uid] = []
    for kind, data in items.split(raw[4:], MAX_TRANSFER_SYNTAXES + 1):
        if kind == _Item.ABSTRACT_SYNTAX:
            abstract = items.uid(data)
        elif kind == _Item.TRANSFER_SYNTAX:
            syntaxes.append(items.uid(data))
    if abstract is None or not syntaxes:
        raise BadPdu("a presentation context without an abstract or a transfer syntax", AbortReason.INVALID_PARAMETER)
    return ProposedContext(raw[0], abstract, tuple(syntaxes))


def _decode_result(raw: memoryview) -> ContextResult:
    if len(raw) < 4:
        raise BadPdu("a presentation context ends within its fixed part", AbortReason.INVALID_PARAMETER)
    if raw[2] != ContextOutcome.ACCEPTANCE:
        return ContextResult(raw[0], raw[2])
    for kind, data in items.split(raw[4:], MAX_TRANSFER_SYNTAXES):
        if kind == _Item.TRANSFER_SYNTAX:
            return ContextResult(raw[0], raw[2], items.uid(data))
    raise BadPdu("an accepted presentation context without a transfer syntax", AbortReason.INVALID_PARAMETER)
