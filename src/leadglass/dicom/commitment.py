"""Storage commitment, push model (PS3.4 annex J): what a request refers to, and the report that answers it, as values and as data sets."""

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.elements import Elements
from leadglass.dicom.syntax import encoding_of, is_deflated
from leadglass.dicom.tokens import Kind
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet

MAX_REFERENCES: Final = 20_000
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""As many references, with the longest UIDs and everything that may stand beside them."""

REQUEST: Final = 1
"""Action Type ID (PS3.4 J.3.2.1.1)."""
ALL_COMMITTED: Final = 1
SOME_FAILED: Final = 2
"""Event Type IDs (PS3.4 J.3.3.1)."""

_TRANSACTION: Final = 0x00081195
_REFERENCES: Final = 0x00081199
_FAILURES: Final = 0x00081198
_CLASS: Final = 0x00081150
_INSTANCE: Final = 0x00081155
_REASON: Final = 0x00081197
_UNDEFINED: Final = 0xFFFFFFFF
_LONGEST_UID: Final = 256


@dataclass(frozen=True, slots=True)
class Reference:
    """One object that is asked about."""

    sop_class: Uid
    sop_instance: Uid


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What one N-ACTION asks for."""

    transaction: Uid
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What one N-EVENT-REPORT says: whom we keep safely, and whom not, each with its failure reason (PS3.3 C.14)."""

    transaction: Uid
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @property
    def event_type(self) -> int:
        return SOME_FAILED if self.failed else ALL_COMMITTED


def decode_request(data: bytes, transfer_syntax: str) -> CommitmentRequest:
    """The request in an N-ACTION's data set; BadDataSet or InvalidUid if it is none (PS3.4 table J.3-1)."""
    if is_deflated(transfer_syntax):
        raise BadDataSet("a deflated commitment request")
    transaction = b""
    references: list[Reference] = []
    item: dict[int, bytes] = {}
    inside = 0
    elements = Elements(io.BytesIO(data), transfer_syntax, max_bytes=MAX_REQUEST_BYTES)
    for token in elements:
        if token.depth == 0 and token.kind is Kind.SEQUENCE:
            inside = token.tag
        elif token.depth == 0 and token.kind is Kind.ELEMENT and token.tag == _TRANSACTION:
            transaction = elements.value(token, _LONGEST_UID)
        elif inside == _REFERENCES and token.depth == 1 and token.kind is Kind.ELEMENT and token.tag in {_CLASS, _INSTANCE}:
            item[token.tag] = elements.value(token, _LONGEST_UID)
        elif inside == _REFERENCES and token.depth == 0 and token.kind is Kind.ITEM_END:
            if len(references) == MAX_REFERENCES:
                raise BadDataSet(f"more than {MAX_REFERENCES} references in one commitment request; ask in several")
            references.append(Reference(Uid.from_wire(item.pop(_CLASS, b"")), Uid.from_wire(item.pop(_INSTANCE, b""))))
    if not references:
        raise BadDataSet("a commitment request that refers to nothing (PS3.4 table J.3-1)")
    return CommitmentRequest(Uid.from_wire(transaction), tuple(references))


def encode_report(report: CommitmentReport, transfer_syntax: str) -> bytes:
    """The data set of an N-EVENT-REPORT (PS3.4 table J.3-2), in explicit or implicit little endian."""
    write = _Writer(encoding_of(transfer_syntax).explicit)
    parts = [write.element(_TRANSACTION, "UI", _uid(report.transaction))]
    if report.failed:
        parts.append(write.references(_FAILURES, report.failed))
    if report.committed:
        parts.append(write.references(_REFERENCES, ((each, None) for each in report.committed)))
    return b"".join(parts)


def _uid(uid: str) -> bytes:
    return uid.encode("ascii") + b"\0" * (len(uid) % 2)


class _Writer:
    """Elements in little endian, with or without their VR; sequences have an undefined length."""

    def __init__(self, explicit: bool) -> None:  # noqa: FBT001 - its only parameter
        self._explicit = explicit

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        if self._explicit:
            return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value

    def references(self, tag: int, items: Iterable[tuple[Reference, int | None]]) -> bytes:
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + (b"SQ\0\0" if self._explicit else b"")
        parts = [head, struct.pack("<I", _UNDEFINED)]
        for reference, reason in items:
            body = self.element(_CLASS, "UI", _uid(reference.sop_class)) + self.element(_INSTANCE, "UI", _uid(reference.sop_instance))
            if reason is not None:
                body += self.element(_REASON, "US", struct.pack("<H", reason))
            parts.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body)
        parts.append(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
        return b"".join(parts)
