"""Extended negotiation: what the service class application information says, what we can do of it, and what is then agreed.

Each option is a byte, 1 or 0; bytes that are missing are 0, bytes beyond those we know are of a later edition (PS3.7 D.3.3.5).
An acceptor answers with what both sides can do. Without an answer, or without a question, nothing of it is agreed.
"""

from dataclasses import dataclass, fields
from typing import Final, Self

from leadglass.dicom import sopclasses
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import ExtendedNegotiation


@dataclass(frozen=True, slots=True)
class _Options:
    """Bytes of 0 and 1, in the order of the fields."""

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(*(byte == 1 for byte in raw[: len(fields(cls))]))

    def encode(self) -> bytes:
        return bytes(getattr(self, each.name) for each in fields(self))

    def __and__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, each.name) and getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class QueryOptions(_Options):
    """Of C-FIND (PS3.4 C.5.1.1.1)."""

    relational: bool = False
    combined_datetime: bool = False
    fuzzy: bool = False
    """Person names match by sound or likeness."""
    timezone: bool = False
    """Dates and times are converted by Timezone Offset From UTC."""
    enhanced: bool = False
    """The query may ask for a view of converted enhanced multi-frame images."""


@dataclass(frozen=True, slots=True)
class RetrieveOptions(_Options):
    """Of C-MOVE and C-GET (PS3.4 C.5.2.1, C.5.3.1)."""

    relational: bool = False
    enhanced: bool = False


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """Of C-STORE (PS3.4 B.3.1.4, Table B.3-1); `level` 2 is full, `signature` 3 is bit preserving, `coercion` 1 is none."""

    level: int
    signature: int
    coercion: int

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        level, _, signature, _, coercion, _ = (raw + bytes(6))[:6]
        return cls(level, signature, coercion)

    def encode(self) -> bytes:
        return bytes((self.level, 0, self.signature, 0, self.coercion, 0))


OFFERED_QUERY: Final = QueryOptions()
"""What our C-FIND can do; a bit set here is a promise that `wire/dimse/find` keeps where it was agreed."""
OFFERED_RETRIEVE: Final = RetrieveOptions()
OFFERED_STORAGE: Final = StorageOptions(level=2, signature=3, coercion=1)
"""Every attribute is kept, byte for byte, and none is changed."""


def answer(asked: ExtendedNegotiation, *, stores: bool) -> ExtendedNegotiation | None:
    """Our answer for a SOP class that was accepted; None where there is nothing to negotiate. `stores`: it is one that we store."""
    information: bytes | None = None
    if asked.sop_class in sopclasses.FIND:
        information = (QueryOptions.decode(asked.information) & OFFERED_QUERY).encode()
    elif asked.sop_class in sopclasses.GET | sopclasses.MOVE:
        information = (RetrieveOptions.decode(asked.information) & OFFERED_RETRIEVE).encode()
    elif stores:
        information = OFFERED_STORAGE.encode()
    if information is None:
        return None
    if not stores:
        # An answer is no longer than the question: who asks in an older edition's bytes reads no more than those.
        information = information[: max(1, len(asked.information))]
    return ExtendedNegotiation(asked.sop_class, information)


def find_information(items: tuple[ExtendedNegotiation, ...], sop_class: Uid) -> bytes:
    """The application information for a SOP class; empty where there is none."""
    return next((each.information for each in items if each.sop_class == sop_class), b"")
