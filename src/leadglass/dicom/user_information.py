"""The user information of an A-ASSOCIATE PDU: what the two sides tell each other about themselves (PS3.7 D.3.3, PS3.8 D).

What the service class application information of an extended negotiation means is in `extended`.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from leadglass.dicom import items
from leadglass.dicom.uid import Uid
from leadglass.errors import BadPdu

MAX_ITEMS = 1024
"""More than a peer can need: one role and one extended negotiation for each of 128 contexts, and a handful besides."""

MAX_RELATED = 64
"""SOP classes of which another is a special case; real ones name one or two."""

MAX_IDENTITY = 16 * 1024
"""A JWT or SAML assertion is a few kB."""

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_TWO_U16 = struct.Struct(">HH")


class ItemType(IntEnum):
    """Types of the sub-items (PS3.7 D.3.3, PS3.8 D.1)."""

    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_OPERATIONS = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    EXTENDED_NEGOTIATION = 0x56
    COMMON_EXTENDED_NEGOTIATION = 0x57
    USER_IDENTITY = 0x58
    USER_IDENTITY_RESPONSE = 0x59


class IdentityKind(IntEnum):
    """What a user identity holds (PS3.7 Table D.3-14); a kind that is none of these is kept as it came."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True)
class AsyncWindow:
    """How many operations may be outstanding; 0 means any number (PS3.7 D.3.3.3)."""

    invoked: int
    performed: int


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """The roles of the association's requestor for one SOP class (PS3.7 D.3.3.4)."""

    sop_class: Uid
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """The service class application information for one SOP class, as it came (PS3.7 D.3.3.5)."""

    sop_class: Uid
    information: bytes


@dataclass(frozen=True, slots=True)
class CommonExtendedNegotiation:
    """Which service a SOP class belongs to, and which others it is a special case of (PS3.7 D.3.3.6); it is never answered."""

    sop_class: Uid
    service_class: Uid
    related: tuple[Uid, ...] = ()


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who uses the peer, as the peer says (PS3.7 D.3.3.7); both fields are credentials and are not printed."""

    kind: int
    response_requested: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UnknownItem:
    """A sub-item that we do not act on, kept as it came."""

    kind: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What a side says about itself; None or empty where it said nothing.

    `maximum_length` is the longest P-DATA-TF PDU it wants to receive, in bytes after the PDU header; 0 is any length.
    """

    maximum_length: int | None = None
    implementation_class_uid: str | None = None
    implementation_version_name: str | None = None
    async_window: AsyncWindow | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    common: tuple[CommonExtendedNegotiation, ...] = ()
    identity: UserIdentity | None = None
    identity_response: bytes | None = field(default=None, repr=False)
    unknown: tuple[UnknownItem, ...] = ()

    def encode(self) -> bytes:
        """The sub-items, in ascending order of type."""
        parts: list[bytes] = []
        if self.maximum_length is not None:
            parts.append(items.item(ItemType.MAXIMUM_LENGTH, _U32.pack(self.maximum_length)))
        if self.implementation_class_uid is not None:
            parts.append(items.item(ItemType.IMPLEMENTATION_CLASS_UID, self.implementation_class_uid.encode("ascii")))
        if self.async_window is not None:
            window = _TWO_U16.pack(self.async_window.invoked, self.async_window.performed)
            parts.append(items.item(ItemType.ASYNCHRONOUS_OPERATIONS, window))
        parts.extend(_encode_role(role) for role in self.roles)
        if self.implementation_version_name is not None:
            parts.append(items.item(ItemType.IMPLEMENTATION_VERSION_NAME, self.implementation_version_name.encode("ascii")))
        parts.extend(
            items.item(ItemType.EXTENDED_NEGOTIATION, _counted(each.sop_class.encode("ascii")) + each.information) for each in self.extended
        )
        parts.extend(_encode_common(each) for each in self.common)
        if self.identity is not None:
            parts.append(_encode_identity(self.identity))
        if self.identity_response is not None:
            parts.append(items.item(ItemType.USER_IDENTITY_RESPONSE, _counted(self.identity_response)))
        parts.extend(items.item(each.kind, each.data) for each in self.unknown)
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: memoryview) -> "UserInformation":
        """Read the sub-items; BadPdu if one lies about its length. Of an item that should be there once, the last counts."""
        once: dict[int, memoryview] = {}
        roles: list[RoleSelection] = []
        extended: list[ExtendedNegotiation] = []
        common: list[CommonExtendedNegotiation] = []
        unknown: list[UnknownItem] = []
        for kind, data in items.split(raw, MAX_ITEMS):
            match kind:
                case ItemType.ROLE_SELECTION:
                    roles.append(_decode_role(data))
                case ItemType.EXTENDED_NEGOTIATION:
                    name, information = _take_counted(data)
                    extended.append(ExtendedNegotiation(items.uid(name), bytes(information)))
                case ItemType.COMMON_EXTENDED_NEGOTIATION:
                    common.append(_decode_common(data))
                case _ if kind in ItemType.__members__.values():
                    once[kind] = data
                case _:
                    unknown.append(UnknownItem(kind, bytes(data)))
        return cls(
            maximum_length=_exactly(_U32, once.get(ItemType.MAXIMUM_LENGTH)),
            implementation_class_uid=_optional_text(once.get(ItemType.IMPLEMENTATION_CLASS_UID)),
            implementation_version_name=_optional_text(once.get(ItemType.IMPLEMENTATION_VERSION_NAME)),
            async_window=_decode_window(once.get(ItemType.ASYNCHRONOUS_OPERATIONS)),
            roles=tuple(roles),
            extended=tuple(extended),
            common=tuple(common),
            identity=_decode_identity(once.get(ItemType.USER_IDENTITY)),
            identity_response=_decode_identity_response(once.get(ItemType.USER_IDENTITY_RESPONSE)),
            unknown=tuple(unknown),
        )


def _counted(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise BadPdu("a field of the user information is longer than its length field can say", items.INVALID_PARAMETER)
    return _U16.pack(len(data)) + data


def _take_counted(raw: memoryview) -> tuple[memoryview, memoryview]:
    if len(raw) < _U16.size:
        raise BadPdu("a field of the user information ends within its length", items.INVALID_PARAMETER)
    stop = _U16.size + _U16.unpack_from(raw)[0]
    if stop > len(raw):
        raise BadPdu("a field of the user information is longer than its item", items.INVALID_PARAMETER)
    return raw[_U16.size : stop], raw[stop:]


def _exactly(form: struct.Struct, raw: memoryview | None) -> int | None:
    if raw is None:
        return None
    if len(raw) != form.size:
        raise BadPdu("a number in the user information has the wrong length", items.INVALID_PARAMETER)
    value: int = form.unpack(raw)[0]
    return value


def _optional_text(raw: memoryview | None) -> str | None:
    return None if raw is None else items.text(raw)


def _decode_window(raw: memoryview | None) -> AsyncWindow | None:
    if raw is None:
        return None
    if len(raw) != _TWO_U16.size:
        raise BadPdu("the asynchronous operations window has the wrong length", items.INVALID_PARAMETER)
    return AsyncWindow(*_TWO_U16.unpack(raw))


def _encode_role(role: RoleSelection) -> bytes:
    return items.item(ItemType.ROLE_SELECTION, _counted(role.sop_class.encode("ascii")) + bytes((role.scu, role.scp)))


def _decode_role(raw: memoryview) -> RoleSelection:
    name, roles = _take_counted(raw)
    if len(roles) != 2:
        raise BadPdu("a role selection does not hold its two roles", items.INVALID_PARAMETER)
    return RoleSelection(items.uid(name), scu=roles[0] == 1, scp=roles[1] == 1)


def _encode_common(common: CommonExtendedNegotiation) -> bytes:
    related = b"".join(_counted(each.encode("ascii")) for each in common.related)
    names = _counted(common.sop_class.encode("ascii")) + _counted(common.service_class.encode("ascii"))
    return items.item(ItemType.COMMON_EXTENDED_NEGOTIATION, names + _counted(related))


def _decode_common(raw: memoryview) -> CommonExtendedNegotiation:
    sop_class, rest = _take_counted(raw)
    service_class, rest = _take_counted(rest)
    # What follows is of a later version of the sub-item (PS3.7 Table D.3-12).
    names, _ = _take_counted(rest)
    related: list[Uid] = []
    while names:
        if len(related) == MAX_RELATED:
            raise BadPdu(f"a SOP class is a special case of more than {MAX_RELATED} others", items.INVALID_PARAMETER)
        name, names = _take_counted(names)
        related.append(items.uid(name))
    return CommonExtendedNegotiation(items.uid(sop_class), items.uid(service_class), tuple(related))


def _encode_identity(identity: UserIdentity) -> bytes:
    head = bytes((identity.kind, identity.response_requested))
    return items.item(ItemType.USER_IDENTITY, head + _counted(identity.primary) + _counted(identity.secondary))


def _decode_identity(raw: memoryview | None) -> UserIdentity | None:
    if raw is None:
        return None
    if not 2 <= len(raw) <= MAX_IDENTITY:
        raise BadPdu("the user identity is cut short or longer than any is", items.INVALID_PARAMETER)
    primary, rest = _take_counted(raw[2:])
    secondary, _ = _take_counted(rest)
    return UserIdentity(raw[0], response_requested=raw[1] == 1, primary=bytes(primary), secondary=bytes(secondary))


def _decode_identity_response(raw: memoryview | None) -> bytes | None:
    return None if raw is None else bytes(_take_counted(raw)[0])
