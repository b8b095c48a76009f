"""Files: ours are read by others, others' are read by us, and those that cannot be trusted say why."""

import io
import struct

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.part10 import MAX_META_BYTES, FileMeta, file_meta, read_file_meta
from leadglass.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Uid
from leadglass.errors import BadDataSet
from tests import samples
from tests.dicom_data.data_sets import EXPLICIT, element

UIDS = st.lists(st.integers(0, 10**9), min_size=1, max_size=5).map(lambda parts: ".".join(map(str, parts)))


@given(sop_class=UIDS, sop_instance=UIDS, transfer_syntax=UIDS)
def test_what_is_written_is_read_by_us_and_by_pydicom(sop_class: str, sop_instance: str, transfer_syntax: str) -> None:
    begun = file_meta(sop_class, sop_instance, transfer_syntax)
    expected = FileMeta(Uid(transfer_syntax), Uid(sop_class), Uid(sop_instance))
    assert read_file_meta(io.BytesIO(begun + b"data set")) == (expected, len(begun))
    theirs = pydicom.dcmread(io.BytesIO(begun)).file_meta
    assert (theirs.MediaStorageSOPClassUID, theirs.MediaStorageSOPInstanceUID, theirs.TransferSyntaxUID) == (
        sop_class,
        sop_instance,
        transfer_syntax,
    )
    assert theirs.FileMetaInformationGroupLength == len(begun) - 144
    assert (theirs.ImplementationClassUID, theirs.ImplementationVersionName) == (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)


def test_the_preamble_is_zero_whatever_it_was() -> None:
    assert file_meta("1.2", "1.3", EXPLICIT)[:132] == bytes(128) + b"DICM"


def test_the_real_files_are_read_as_pydicom_reads_them() -> None:
    for path in samples.objects():
        theirs = pydicom.dcmread(path, stop_before_pixels=True)
        with path.open("rb") as source:
            meta, offset = read_file_meta(source)
            assert meta.transfer_syntax == Uid(theirs.file_meta.TransferSyntaxUID)
            assert meta.sop_instance in {None, theirs.file_meta.get("MediaStorageSOPInstanceUID")}
            source.seek(offset)
            if not theirs.file_meta.TransferSyntaxUID.is_deflated:
                group = struct.unpack("<H" if theirs.file_meta.TransferSyntaxUID.is_little_endian else ">H", source.read(2))[0]
                assert group >= 8


PREFIX = bytes(128) + b"DICM"
TRANSFER_SYNTAX = element(0x00020010, "UI", EXPLICIT.encode() + b"\0")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "byte 128"),
        (b"DICM" + TRANSFER_SYNTAX, "byte 128"),
        (PREFIX, "transfer syntax"),
        (PREFIX + element(0x00020010, "UI", b""), "transfer syntax"),
        (PREFIX + element(0x00020010, "UI", b"../../etc/passwd"), "UID"),
        (PREFIX + TRANSFER_SYNTAX[:-1], "cut off"),
        (PREFIX + b"\2\0\x10", "cut off"),
        (PREFIX + struct.pack("<HHI", 2, 0x10, 4) + b"1.2 ", "explicit"),
        (PREFIX + element(0x00020102, "OB", b"", length=0xFFFFFFFE), "longer"),
        (PREFIX + element(0x00020102, "OB", bytes(MAX_META_BYTES)), "longer"),
    ],
    ids=["empty", "no preamble", "nothing", "empty", "path", "cut value", "cut header", "implicit", "4 GiB", "1 MiB"],
)
def test_what_cannot_be_trusted_is_refused_with_why(data: bytes, why: str) -> None:
    with pytest.raises(BadDataSet, match=why):
        read_file_meta(io.BytesIO(data))


@pytest.mark.parametrize("length", [None, 0, 5, 0xFFFFFFFF])
def test_a_wrong_group_length_or_none_misleads_nobody(length: int | None) -> None:
    group = b"" if length is None else element(0x00020000, "UL", struct.pack("<I", length))
    data = PREFIX + group + TRANSFER_SYNTAX
    meta, offset = read_file_meta(io.BytesIO(data + element(0x00080005, "CS", b"")))
    assert (meta, offset) == (FileMeta(Uid(EXPLICIT), None, None), len(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for begun in (b"", PREFIX, PREFIX + TRANSFER_SYNTAX):
        try:
            meta, offset = read_file_meta(io.BytesIO(begun + data))
        except BadDataSet:
            continue
        assert offset <= len(begun + data)
        assert Uid(meta.transfer_syntax)
