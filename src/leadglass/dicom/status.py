"""The status of a DIMSE response (PS3.7 annex C, PS3.4 annexes B and C): the codes we send, and words for any."""

from enum import IntEnum, StrEnum

_CLASS_MASK = 0xF000
_BYTE_MASK = 0xFF00
_PENDING_MASK = 0xFFFE


class Status(IntEnum):
    """Status codes that leadglass sends; a peer may send any 16-bit number."""

    SUCCESS = 0x0000
    NO_SUCH_ATTRIBUTE = 0x0105
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    INVALID_ARGUMENT_VALUE = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    CANNOT_COUNT_MATCHES = 0xA701
    CANNOT_PERFORM_SUBOPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    IDENTIFIER_DOES_NOT_MATCH = 0xA900
    """C-FIND, C-GET, C-MOVE: the identifier is not of this SOP class. C-STORE: nor is the data set."""
    SUBOPERATIONS_FAILED = 0xB000
    """Sub-operations complete, one or more of them failed."""
    CANNOT_UNDERSTAND = 0xC000
    """Unable to process; the low twelve bits are the sender's own."""
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_WITHOUT_OPTIONAL_KEYS = 0xFF01


class StatusKind(StrEnum):
    """What a status means for the operation (PS3.7 C)."""

    SUCCESS = "success"
    PENDING = "pending"
    CANCEL = "cancel"
    WARNING = "warning"
    FAILURE = "failure"


def kind_of(status: int) -> StatusKind:
    """The kind of any status code; one that the standard does not place is a failure.

    >>> kind_of(0xFF01), kind_of(0xB006), kind_of(0xA700)
    (<StatusKind.PENDING: 'pending'>, <StatusKind.WARNING: 'warning'>, <StatusKind.FAILURE: 'failure'>)
    """
    if status == Status.SUCCESS:
        return StatusKind.SUCCESS
    if status & _PENDING_MASK == Status.PENDING:
        return StatusKind.PENDING
    if status == Status.CANCELLED:
        return StatusKind.CANCEL
    if status & _CLASS_MASK == 0xB000 or status in _WARNINGS:
        # PS3.7 C.3: 0001, Bxxx, 0107 and 0116 are warnings.
        return StatusKind.WARNING
    return StatusKind.FAILURE


def describe(status: int) -> str:
    """A status as a person reads it.

    >>> describe(0xA700), describe(0xC123)
    ('0xA700 failure: out of resources', '0xC123 failure: cannot understand')
    """
    # Of Axxx the low byte may be the sender's own, of Cxxx all three low digits (PS3.4 B.2.3, C.4.1.1.4).
    mask = _CLASS_MASK if status & _CLASS_MASK == Status.CANNOT_UNDERSTAND else _BYTE_MASK
    known = _WORDS.get(status) or _WORDS.get(status & mask)
    words = f": {known}" if known else ""
    return f"0x{status:04X} {kind_of(status)}{words}"


_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
_WORDS = {each.value: each.name.lower().replace("_", " ") for each in Status if each is not Status.SUCCESS}
