"""What the survey makes up: UIDs that nobody has, and the one object that `write_probe` offers.

It is nobody's image, which says of itself what it is, who sent it and that it may be deleted.
"""

import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context
from leadglass.dicom.convert import element_header
from leadglass.dicom.uid import Uid

PATIENT_ID = "LEADGLASS-SURVEY-"
"""The run's id follows."""
_IMPLICIT_HEADER = struct.Struct("<HHI")


def random_uid() -> str:
    """A UUID-derived UID (PS3.5 B.2) that no archive holds."""
    return f"2.25.{secrets.randbits(122) + (1 << 122)}"


@dataclass(frozen=True, slots=True)
class SyntheticObject:
    """One object: its SOP Instance UID (a UUID as a number, PS3.5 B.2) and its data set in the context's transfer syntax."""

    number: int
    data: bytes

    @property
    def uid(self) -> Uid:
        return Uid(f"2.25.{self.number}")


def synthetic_object(context: Context, run_id: str) -> SyntheticObject:
    """A Secondary Capture, CT or MR image (as the context has it) of two by two black pixels."""
    number = int(random_uid().removeprefix("2.25."))
    uid = f"2.25.{number}"
    elements: list[tuple[int, str, str | int | bytes]] = [
        (0x0008_0016, "UI", str(context.abstract_syntax)),
        (0x0008_0018, "UI", uid),
        (0x0008_0060, "CS", "OT"),
        (0x0008_0064, "CS", "SYN"),
        (0x0008_1030, "LO", f"leadglass survey {run_id}: synthetic, safe to delete"),
        (0x0010_0010, "PN", "LEADGLASS^SURVEY"),
        (0x0010_0020, "LO", PATIENT_ID + run_id),
        (0x0010_0030, "DA", ""),
        (0x0010_0040, "CS", "O"),
        (0x0020_000D, "UI", random_uid()),
        (0x0020_000E, "UI", random_uid()),
        (0x0020_0010, "SH", ""),
        (0x0020_0011, "IS", "1"),
        (0x0020_0013, "IS", "1"),
        (0x0028_0002, "US", 1),
        (0x0028_0004, "CS", "MONOCHROME2"),
        (0x0028_0010, "US", 2),
        (0x0028_0011, "US", 2),
        (0x0028_0100, "US", 8),
        (0x0028_0101, "US", 8),
        (0x0028_0102, "US", 7),
        (0x0028_0103, "US", 0),
        (0x7FE0_0010, "OB", bytes(4)),
    ]
    return SyntheticObject(number, b"".join(_encoded(elements, implicit=context.transfer_syntax == IMPLICIT_LITTLE_ENDIAN)))


def _encoded(elements: list[tuple[int, str, str | int | bytes]], *, implicit: bool) -> Iterator[bytes]:
    for tag, vr, value in elements:
        raw = _value(vr, value)
        # In implicit little endian, pixels of eight bits are OW (PS3.5 A.1): the same bytes here.
        yield _IMPLICIT_HEADER.pack(tag >> 16, tag & 0xFFFF, len(raw)) if implicit else element_header(tag, vr, len(raw))
        yield raw


def _value(vr: str, value: str | int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return value.to_bytes(2, "little")
    raw = value.encode("ascii")
    return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
