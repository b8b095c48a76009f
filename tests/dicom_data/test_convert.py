"""Converting to explicit little endian says what DCMTK says, element by element, and reads and writes in pieces."""

import io
import struct
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from leadglass.dicom.convert import to_little_endian
from leadglass.dicom.syntax import EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, is_native
from leadglass.errors import BadDataSet, CannotConvert
from tests.dicom_data.data_sets import (
    IDS,
    SEQUENCE_END,
    UNDEFINED,
    Sample,
    dcmconv,
    distinct,
    flat,
    implicit,
    item,
    name_of,
    one,
    parsed,
    refusal,
    written,
)

NATIVE = [sample for sample in distinct() if is_native(sample.transfer_syntax)]
ENCAPSULATED = [sample for sample in distinct() if not is_native(sample.transfer_syntax)]


def converted(data: bytes, transfer_syntax: str) -> bytes:
    return b"".join(to_little_endian(io.BytesIO(data), transfer_syntax))


def elements_of(data: bytes) -> dict[tuple[Any, ...], tuple[str, Any]]:
    """All but what a converter may leave out or decide: group lengths, padding, OB or OW for 8-bit pixels."""
    found = {}
    for path, (vr, value) in flat(parsed(data, EXPLICIT_LITTLE_ENDIAN)):
        tag = path[-1]
        if tag & 0xFFFF and tag != 0xFFFCFFFC:
            found[path] = ("OB" if (vr, tag) == ("OW", 0x7FE00010) else vr, value)
    return found


@pytest.mark.parametrize("sample", NATIVE, ids=name_of)
def test_dcmtk_converts_to_the_same_elements(sample: Sample, tmp_path: Path) -> None:
    transfer_syntax, theirs = dcmconv(sample.path, "+te", folder=tmp_path)
    assert transfer_syntax == EXPLICIT_LITTLE_ENDIAN
    ours = converted(sample.data, sample.transfer_syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values
        assert elements_of(ours) == elements_of(theirs)
    assert refusal(ours) == ""


@pytest.mark.parametrize("sample", NATIVE, ids=name_of)
def test_whatever_dcmtk_makes_of_it_is_converted_back(sample: Sample, tmp_path: Path) -> None:
    original = converted(sample.data, sample.transfer_syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for options in (("+ti", "-e"), ("+tb", "+e")):
            transfer_syntax, data = dcmconv(sample.path, *options, folder=tmp_path)
            back = elements_of(converted(data, transfer_syntax))
            for path, (vr, value) in elements_of(original).items():
                found_vr, found = back[path]
                # What an implicit encoding forgets of a private element cannot come back; its bytes do.
                if found_vr == vr:
                    assert found == value
                else:
                    assert found_vr == "UN" or {found_vr, vr} <= {"US", "SS", "OB", "OW"} or {found_vr, vr} == {"LO", "SH"}


def test_explicit_little_endian_is_given_as_it_is_and_deflated_inflated() -> None:
    plain, deflated = one("CT_small.dcm"), one("image_dfl.dcm")
    assert converted(plain.data, plain.transfer_syntax) == plain.data
    assert parsed(converted(deflated.data, deflated.transfer_syntax), EXPLICIT_LITTLE_ENDIAN) == deflated.read()


@pytest.mark.parametrize("sample", ENCAPSULATED, ids=name_of)
def test_compressed_pixels_that_nobody_decoded_cannot_be_converted_and_that_is_said_at_once(sample: Sample) -> None:
    with pytest.raises(CannotConvert):
        to_little_endian(sample.source, sample.transfer_syntax)


def test_big_endian_numbers_of_every_width_are_turned() -> None:
    data_set = Dataset()
    data_set.ReferencePixelX0, data_set.RegionFlags, data_set.FrameIncrementPointer = -2, 7, 0x00181063
    data_set.add_new(0x00660040, "OL", struct.pack(">2I", 1, 2))
    data_set.add_new(0x7FE00009, "OD", struct.pack(">d", 2.5))
    data_set.add_new(0x7FE00008, "OF", struct.pack(">f", 1.5))
    data_set.add_new(0x00720082, "SV", [-5])
    data_set.add_new(0x00081163, "FD", [0.25, 4.0])
    data_set.add_new(0x00186020, "SL", -3)
    data_set.add_new(0x60003000, "OW", b"\x01\x02\x03\x04")
    ours = dict(flat(parsed(converted(written(data_set, ExplicitVRBigEndian), EXPLICIT_BIG_ENDIAN), EXPLICIT_LITTLE_ENDIAN)))
    assert ours[0x00660040,][1] == struct.pack("<2I", 1, 2)
    assert ours[0x7FE00009,][1] == struct.pack("<d", 2.5)
    assert ours[0x7FE00008,][1] == struct.pack("<f", 1.5)
    assert ours[0x60003000,][1] == b"\x02\x01\x04\x03"
    assert ours[0x00720082,][1] == -5
    assert ours[0x00280009,][1] == 0x00181063
    assert list(ours[0x00081163,][1]) == [0.25, 4.0]


@pytest.mark.parametrize(("signed", "vr"), [(0, "US"), (1, "SS"), (None, "US")])
def test_the_sign_of_pixels_decides_us_or_ss_also_in_items(signed: int | None, vr: str) -> None:
    data_set = Dataset()
    if signed is not None:
        data_set.PixelRepresentation = signed
    data_set.add_new(0x00280106, "US", 5)
    inner = Dataset()
    inner.add_new(0x00409216, "US", 6)
    data_set.RealWorldValueMappingSequence = Sequence([inner])
    ours = dict(flat(parsed(converted(written(data_set, ImplicitVRLittleEndian), IMPLICIT_LITTLE_ENDIAN), EXPLICIT_LITTLE_ENDIAN)))
    assert ours[0x00280106,] == (vr, 5)
    assert ours[0x00409096, 0, 0x00409216] == (vr, 6)


@pytest.mark.parametrize(("bits", "vr"), [(8, "OB"), (16, "OW"), (1, "OB")])
def test_the_depth_of_pixels_decides_ob_or_ow(bits: int, vr: str) -> None:
    data = implicit(0x00280100, struct.pack("<H", bits)) + implicit(0x7FE00010, b"\1\2")
    assert dict(flat(parsed(converted(data, IMPLICIT_LITTLE_ENDIAN), EXPLICIT_LITTLE_ENDIAN)))[0x7FE00010,] == (vr, b"\1\2")


def test_what_nobody_knows_becomes_un_and_too_long_a_text_too() -> None:
    data = implicit(0x00091001, b"private!") + implicit(0x00100010, b"A" * 70_000) + implicit(0x77770001, b"unknown!")
    ours = converted(data, IMPLICIT_LITTLE_ENDIAN)
    assert ours.count(b"UN\0\0") == 3
    assert parsed(ours, EXPLICIT_LITTLE_ENDIAN)[0x00091001].value == b"private!"


def test_an_unknown_sequence_in_big_endian_holds_little_endian_items() -> None:
    head = struct.pack(">HH2s2xI", 0x0041, 0x1001, b"UN", UNDEFINED)
    data = head + item(implicit(0x00280010, struct.pack("<H", 300))) + SEQUENCE_END
    ours = dict(flat(parsed(converted(data, EXPLICIT_BIG_ENDIAN), EXPLICIT_LITTLE_ENDIAN)))
    assert ours[0x00411001, 0, 0x00280010] == ("US", 300)


def test_two_gigabytes_of_pixels_need_no_memory() -> None:
    ids = b"".join(implicit(tag, value) for tag, _, value in IDS)
    size = 2_000_000_000
    source = Endless(ids + implicit(0x7FE00010, b"", length=size), size)
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in to_little_endian(source, IMPLICIT_LITTLE_ENDIAN))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > size
    assert peak < 2_000_000


class Endless:
    """A source that begins with some bytes and goes on with zeros."""

    def __init__(self, head: bytes, zeros: int) -> None:
        self._head, self._size, self._at = head, len(head) + zeros, 0

    def read(self, size: int, /) -> bytes:
        size = min(size, self._size - self._at)
        given = self._head[self._at : self._at + size]
        given += bytes(size - len(given))
        self._at += size
        return given

    def seek(self, offset: int, whence: int = 0, /) -> int:
        assert whence == 0
        self._at = min(offset, self._size)
        return self._at

    def tell(self) -> int:
        return self._at


@given(cut=st.integers(0, 9000))
def test_cut_off_it_is_refused_or_ends_between_two_elements(cut: int) -> None:
    sample = one("MR_small_bigendian.dcm")
    try:
        converted(sample.data[:cut], sample.transfer_syntax)
    except BadDataSet as refused:
        assert "cut off" in str(refused)  # noqa: PT017 # either outcome is right
