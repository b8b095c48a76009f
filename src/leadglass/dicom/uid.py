"""Unique identifiers (PS3.5 section 9), parsed once at the door so that nothing further in can meet a bad one."""

import re
from typing import Self

from leadglass.errors import InvalidUid

MAX_LENGTH = 64
"""PS3.5 section 9.1."""

_FORM = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)

IMPLEMENTATION_CLASS_UID = "2.25.104614921863740256386141871632853416197"
"""Ours, UUID-derived (PS3.5 B.2)."""

IMPLEMENTATION_VERSION_NAME = "LEADGLASS_0.1"
"""At most 16 characters (PS3.7 D.3.3.2.3)."""


class Uid(str):
    """A UID that holds digits and dots alone; leading zeros in a component are tolerated, as real devices send them.

    >>> Uid("1.2.840.10008.1.1")
    Uid('1.2.840.10008.1.1')
    >>> Uid("../../etc/passwd")
    Traceback (most recent call last):
        ...
    leadglass.errors.InvalidUid: not a UID: only digits and dots, at most 64 characters (PS3.5 9.1)
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if len(text) > MAX_LENGTH or not _FORM.fullmatch(text):
            raise InvalidUid("not a UID: only digits and dots, at most 64 characters (PS3.5 9.1)")
        return super().__new__(cls, text)

    @classmethod
    def from_wire(cls, raw: bytes) -> Self:
        """The UID in a padded field (PS3.5 9.1: one trailing NUL; spaces are met in the field)."""
        try:
            return cls(raw.rstrip(b"\0 ").decode("ascii"))
        except UnicodeDecodeError:
            raise InvalidUid("not a UID: it holds bytes outside ASCII (PS3.5 9.1)") from None

    def __repr__(self) -> str:
        return f"Uid({str.__repr__(self)})"
