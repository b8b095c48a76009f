"""The images of the demo: those that pydicom brings along, of many kinds and in many transfer syntaxes."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom.data

from leadglass.dicom.part10 import read_file_meta
from leadglass.dicom.uid import Uid
from leadglass.dicom.validate import validate
from leadglass.errors import BadInput

_FROM_THE_SCANNER = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"})
"""CT and MR Image Storage: what the demo's modality sends; the rest comes by import."""


@dataclass(frozen=True)
class Image:
    """One object, ready to be sent."""

    path: Path
    sop_class: Uid
    sop_instance: Uid
    transfer_syntax: Uid
    data_set: bytes


def folder() -> Path:
    """Where pydicom keeps its test files."""
    return Path(pydicom.data.__file__).parent / "test_files"


def files() -> list[Path]:
    """Every file there, objects or not."""
    return sorted(path for path in folder().rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"})


def images(paths: list[Path]) -> Iterator[Image]:
    """The valid objects among `paths`."""
    for path in paths:
        content = path.read_bytes()
        try:
            meta, offset = read_file_meta(BytesIO(content))
            header = validate(BytesIO(content[offset:]), meta.transfer_syntax)
        except BadInput:
            continue
        # A deflated data set of odd length is padded by whoever sends it (PS3.5 A.5).
        data_set = content[offset:] + b"\0" * (len(content[offset:]) % 2)
        yield Image(path, header.sop_class, header.instance, meta.transfer_syntax, data_set)


def from_the_scanner(image: Image) -> bool:
    """Whether the demo's modality sends this one."""
    return image.sop_class in _FROM_THE_SCANNER
