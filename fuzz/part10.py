"""File meta information: read, or refused; what is read is a transfer syntax and an offset within the file."""

import io

from leadglass.dicom.part10 import file_meta, read_file_meta
from leadglass.dicom.uid import Uid


def target(data: bytes) -> None:
    """The file begins with `data`, and then with `data` behind a good preamble."""
    for file in (data, bytes(128) + b"DICM" + data):
        meta, offset = read_file_meta(io.BytesIO(file))
        if offset > len(file):
            raise AssertionError("the data set begins behind the file")
        again, _ = read_file_meta(io.BytesIO(file_meta(meta.sop_class or "1", meta.sop_instance or "1", Uid(meta.transfer_syntax))))
        if again.transfer_syntax != meta.transfer_syntax:
            raise AssertionError("another transfer syntax is read back")


def seeds() -> list[bytes]:
    """A whole file, and only its elements."""
    whole = file_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3", "1.2.840.10008.1.2.1")
    return [whole, whole[132:], whole + b"\x08\0\x05\0CS\0\0"]
