"""What the trail says of one request, and the two forms it has on disk: a sealed entry, and a leaf that names nobody.

The leaf is what the Merkle tree is made of (C2SP tlog-tiles): 42 bytes that hold the time, the kind and the hash of the sealed
entry. Whoever has no key can verify the tree and learns when something happened, never who or about whom.
"""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from leadglass.errors import BadInput, TrailDamaged
from leadglass.vocabulary import Action, Door, Outcome

FORMAT_VERSION = 1
LEAF = struct.Struct(">BBQ32s")
"""Format version, kind, nanoseconds since 1970 UTC, SHA-256 of the sealed entry."""

MAX_STUDIES = 400
"""Study UIDs that one entry names; more go on in entries of the kind CONTINUED, so that a record stays under 64 KiB."""

_MAX_TEXT = 256
_MAX_DETAILS = 32
_SAFE_TEXT = re.compile(r"[A-Za-z0-9 @:._,/*+=\[\]()<>!#$%&'-]*", re.ASCII)
"""What identifiers are made of. No caret and nothing outside ASCII: a person name (PS3.5 6.2.1) hardly fits through."""
_JSON = json.JSONEncoder(separators=(",", ":"))
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)


class Kind(IntEnum):
    """What an entry records; the number is in the leaf, for ever."""

    INTENT = 1
    OUTCOME = 2
    DENIED = 3
    UNIDENTIFIED = 4
    CONTINUED = 5
    STARTED = 6
    STOPPED = 7
    RECOVERED = 8
    RESERVE_USED = 9
    RESERVE_RESTORED = 10
    CHANGED = 11
    CONFIGURED = 12
    SIGNED_IN = 13
    SIGN_IN_REFUSED = 14
    SIGNED_OUT = 15

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", "-")


Detail = Mapping[str, str | int]
"""Counts and words of our own vocabulary; never an element's value."""


def _check_text(what: str, text: str) -> None:
    if len(text) > _MAX_TEXT or not _SAFE_TEXT.fullmatch(text):
        raise BadInput(f"the trail takes identifiers and counts only: {what} holds something else, or over {_MAX_TEXT} characters")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the trail; `refers_to` is the sequence number of the intent that this ends."""

    time: int
    kind: Kind
    principal: str = ""
    door: Door | None = None
    address: str = ""
    action: Action | None = None
    studies: tuple[str, ...] = ()
    count: int = 0
    outcome: Outcome | None = None
    refers_to: int | None = None
    detail: Detail = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_text("principal", self.principal)
        _check_text("address", self.address)
        if len(self.studies) > MAX_STUDIES or not all(_UID.fullmatch(study) for study in self.studies):
            raise BadInput(f"the trail takes at most {MAX_STUDIES} study UIDs in one entry")
        if len(self.detail) > _MAX_DETAILS:
            raise BadInput(f"the trail takes at most {_MAX_DETAILS} details in one entry")
        for name, value in self.detail.items():
            _check_text("detail", name)
            if isinstance(value, str):
                _check_text("detail", value)

    def encode(self) -> bytes:
        """The entry as compact JSON: keys in a fixed order, what is empty left out."""
        fields: dict[str, object] = {"v": FORMAT_VERSION, "time": self.time, "kind": self.kind.word}
        optional: tuple[tuple[str, object], ...] = (
            ("principal", self.principal),
            ("door", self.door),
            ("address", self.address),
            ("action", self.action),
            ("studies", list(self.studies)),
            ("count", self.count),
            ("outcome", self.outcome),
            ("detail", dict(self.detail)),
        )
        fields.update((name, value) for name, value in optional if value)
        if self.refers_to is not None:
            fields["refers_to"] = self.refers_to
        return _JSON.encode(fields).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The entry in `data`; raises `TrailDamaged` for anything that `encode` does not write."""
        try:
            fields = json.loads(data)
            if fields.pop("v") != FORMAT_VERSION:
                raise TrailDamaged("a trail entry has a format version that this leadglass does not know; use a newer one")
            entry = cls(
                time=fields.pop("time"),
                kind=Kind[fields.pop("kind").upper().replace("-", "_")],
                principal=fields.pop("principal", ""),
                door=Door(fields.pop("door")) if "door" in fields else None,
                address=fields.pop("address", ""),
                action=Action(fields.pop("action")) if "action" in fields else None,
                studies=tuple(fields.pop("studies", ())),
                count=fields.pop("count", 0),
                outcome=Outcome(fields.pop("outcome")) if "outcome" in fields else None,
                refers_to=fields.pop("refers_to", None),
                detail=fields.pop("detail", {}),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadInput):
            raise TrailDamaged("a trail entry opens but is not one that leadglass writes") from None
        if fields or entry.encode() != data:
            raise TrailDamaged("a trail entry opens but is not one that leadglass writes")
        return entry


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the tree and its signature cover: when, what kind, and the hash of the sealed entry."""

    kind: int
    time: int
    sealed_hash: bytes

    @classmethod
    def of(cls, entry: Entry, sealed: bytes) -> Self:
        return cls(entry.kind, entry.time, hashlib.sha256(sealed).digest())

    def encode(self) -> bytes:
        return LEAF.pack(FORMAT_VERSION, self.kind, self.time, self.sealed_hash)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        if len(data) != LEAF.size or data[0] != FORMAT_VERSION:
            raise TrailDamaged("a trail leaf is not one that leadglass writes")
        _, kind, time, sealed_hash = LEAF.unpack(data)
        return cls(kind, time, sealed_hash)


def seal_context(origin: str, sequence: int) -> bytes:
    """What a sealed entry is bound to: moved to another place or another archive, it does not open."""
    return b"leadglass trail entry v1\0" + origin.encode() + b"\0" + sequence.to_bytes(8, "big")
