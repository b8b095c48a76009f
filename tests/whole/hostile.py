"""Bytes that no honest peer sends, made by hand."""

import struct
import zlib

IMPLICIT, EXPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
PATH = "../../../../../../etc/passwd"

_LONG = {"OB", "OW", "SQ", "UN", "UT"}


def element(group: int, number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit little endian; `length` lies about its value's."""
    if vr not in _LONG:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr.encode(), len(value) if length is None else length) + value
    return struct.pack("<HH2s2xI", group, number, vr.encode(), len(value) if length is None else length) + value


def data_set(
    number: int,
    *,
    sop_class: str = CT_CLASS,
    instance: str | None = None,
    study: str | None = None,
    series: str | None = None,
    tail: bytes = b"",
) -> bytes:
    """The least that is an object, under UIDs of its own unless they are given, with `tail` after it."""
    root = f"1.2.826.0.1.3680043.10.998.{number}"
    return b"".join(
        (
            element(0x0008, 0x0016, "UI", sop_class.encode()),
            element(0x0008, 0x0018, "UI", (root + ".3" if instance is None else instance).encode()),
            element(0x0010, 0x0010, "PN", b"Hostile^Object"),
            element(0x0010, 0x0020, "LO", b"HOSTILE"),
            element(0x0020, 0x000D, "UI", (root + ".1" if study is None else study).encode()),
            element(0x0020, 0x000E, "UI", (root + ".2" if series is None else series).encode()),
            tail,
        )
    )


def instance_of(number: int) -> str:
    """The SOP Instance UID of `data_set(number)`."""
    return f"1.2.826.0.1.3680043.10.998.{number}.3"


def nested(depth: int, *, closed: bool) -> bytes:
    """Sequences in one another, all of undefined length."""
    opened = struct.pack("<HH2s2xI", 0x0040, 0xA730, b"SQ", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ended = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return opened * depth + ended * (depth if closed else 0)


def deflated(data: bytes) -> bytes:
    """As in the deflated transfer syntax (PS3.5 A.5)."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def bomb(number: int, mebibytes: int) -> bytes:
    """A deflated object that inflates to this many mebibytes of zeros."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(data_set(number) + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", mebibytes << 20))
    zeros = bytes(1 << 20)
    packed += b"".join(packer.compress(zeros) for _ in range(mebibytes)) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def file_of(data: bytes, transfer_syntax: str = EXPLICIT, *, sop_class: str = CT_CLASS, instance: str = "1.2.3") -> bytes:
    """A Part 10 file around a data set."""
    group = b"".join(
        (
            element(0x0002, 0x0001, "OB", b"\0\1"),
            element(0x0002, 0x0002, "UI", sop_class.encode()),
            element(0x0002, 0x0003, "UI", instance.encode()),
            element(0x0002, 0x0010, "UI", transfer_syntax.encode()),
        )
    )
    return bytes(128) + b"DICM" + element(0x0002, 0x0000, "UL", struct.pack("<I", len(group))) + group + data


# The upper layer


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; `length` lies about its body's."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """An item or sub-item of an A-ASSOCIATE PDU."""
    return struct.pack(">BxH", kind, len(body) if length is None else length) + body


def associate(
    *,
    calling: bytes = b"CT1",
    called: bytes = b"LEADGLASS",
    application: bytes = b"1.2.840.10008.3.1.1.1",
    abstract: bytes = VERIFICATION.encode(),
    transfer: bytes = IMPLICIT.encode(),
    implementation: bytes = b"1.2.826.0.1.3680043.10.998",
    extra: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ with one presentation context (PS3.8 9.3.2)."""
    context = item(0x20, b"\1\0\0\0" + item(0x30, abstract) + item(0x40, transfer))
    user = item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, implementation) + extra)
    fixed = b"\0\1\0\0" + called.ljust(16)[:16] + calling.ljust(16)[:16] + bytes(32)
    return pdu(1, fixed + item(0x10, application) + context + user)


def command(fields: list[tuple[int, bytes]]) -> bytes:
    """A command set in implicit little endian, with its group length (PS3.7 6.3.1)."""
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in fields)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def echo(sop_class: bytes = VERIFICATION.encode() + b"\0") -> bytes:
    """A C-ECHO-RQ."""
    return command(
        [(0x0002, sop_class), (0x0100, struct.pack("<H", 0x0030)), (0x0110, struct.pack("<H", 1)), (0x0800, struct.pack("<H", 0x0101))]
    )


def transfer(data: bytes, *, context: int = 1, header: int = 3, length: int | None = None) -> bytes:
    """A P-DATA-TF of one PDV; `length` lies about the PDV's."""
    return pdu(4, struct.pack(">IBB", len(data) + 2 if length is None else length, context, header) + data)
