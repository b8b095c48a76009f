"""Data sets for these tests: the real ones, element by element writers for the unreal ones, and dcmconv as the second opinion."""

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from leadglass.dicom.part10 import file_meta, read_file_meta
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.dicom.validate import validate
from leadglass.errors import BadDataSet
from tests import peers, samples

UNDEFINED = 0xFFFFFFFF
EXPLICIT = str(EXPLICIT_LITTLE_ENDIAN)
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}


@dataclass(frozen=True)
class Sample:
    """A data set as it lies in a file of pydicom."""

    name: str
    path: Path
    transfer_syntax: str
    data: bytes

    @property
    def source(self) -> io.BytesIO:
        return io.BytesIO(self.data)

    def read(self) -> Dataset:
        return pydicom.dcmread(self.path)


@cache
def real() -> tuple[Sample, ...]:
    """Every object that pydicom bundles."""
    return tuple(_sample(path) for path in samples.objects())


def distinct() -> tuple[Sample, ...]:
    """The same, with one of the 50 files that differ by their UIDs alone."""
    return tuple(sample for sample in real() if "TINY_ALPHA" not in sample.name or sample.name.endswith("IM000000"))


def one(name: str) -> Sample:
    return _sample(samples.sample(name))


def _sample(path: Path) -> Sample:
    whole = path.read_bytes()
    meta, offset = read_file_meta(io.BytesIO(whole))
    return Sample(samples.name_of(path), path, meta.transfer_syntax, whole[offset:])


def name_of(sample: Sample) -> str:
    return sample.name


def written(data_set: Dataset, transfer_syntax: str) -> bytes:
    """A data set as pydicom encodes it, without file meta information."""
    uid = UID(transfer_syntax)
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    write_dataset(target, data_set)
    return target.getvalue()


def parsed(data: bytes, transfer_syntax: str) -> Dataset:
    """A data set as pydicom reads it."""
    return pydicom.dcmread(io.BytesIO(file_meta("1.2.3", "1.2.4", transfer_syntax) + data))


def dcmconv(path: Path, *options: str, folder: Path) -> tuple[str, bytes]:
    """Transfer syntax and data set of what DCMTK makes of a file."""
    target = folder / "converted.dcm"
    peers.dcmtk("dcmconv", *options, str(path), str(target))
    whole = target.read_bytes()
    meta, offset = read_file_meta(io.BytesIO(whole))
    return meta.transfer_syntax, whole[offset:]


def flat(data_set: Dataset, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], tuple[str, Any]]]:
    """Every element of a pydicom data set by the tags and item numbers that lead to it."""
    for element in data_set:
        here = (*path, int(element.tag))
        if element.VR == "SQ":
            yield here, ("SQ", len(element.value))
            for index, item in enumerate(element.value):
                yield from flat(item, (*here, index))
        else:
            yield here, (element.VR, element.value)


def element(tag: int, vr: str, value: bytes, *, length: int | None = None) -> bytes:
    """One element in explicit VR little endian; `length` may lie."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<2xI", size) if vr in LONG else struct.pack("<H", size)) + value


def implicit(tag: int, value: bytes, *, length: int | None = None) -> bytes:
    """One element in implicit VR little endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes, *, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, content, length=length)


ITEM_END = implicit(0xFFFEE00D, b"")
SEQUENCE_END = implicit(0xFFFEE0DD, b"")

IDS = (
    (0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
    (0x00080018, "UI", b"1.2.3.4\0"),
    (0x0020000D, "UI", b"1.2.3\0"),
    (0x0020000E, "UI", b"1.2.3.5\0"),
)


def explicit_object(*extra: bytes, after: Iterable[bytes] = ()) -> bytes:
    """The smallest valid object, with `extra` elements in their place by tag and `after` behind them all."""
    elements = [*(element(*row) for row in IDS), *extra]
    return b"".join(sorted(elements, key=lambda raw: struct.unpack_from("<HH", raw))) + b"".join(after)


def refusal(data: bytes, transfer_syntax: str = EXPLICIT) -> str:
    """Why `validate` refuses; empty where it does not."""

    try:
        validate(io.BytesIO(data), transfer_syntax)
    except BadDataSet as refused:
        return str(refused)
    return ""
