"""Frames are those that pydicom finds, however they lie."""

import io
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels.utils import pack_bits

from leadglass.dicom.frames import Frames
from leadglass.dicom.syntax import EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, is_native
from leadglass.errors import BadDataSet, BadQuery
from tests.dicom_data.data_sets import EXPLICIT, SEQUENCE_END, UNDEFINED, Sample, distinct, element, explicit_object, item, name_of

JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
WITH_PIXELS = [sample for sample in distinct() if "PixelData" in sample.read() and not sample.name.endswith("badVR.dcm")]


def read(data: bytes, transfer_syntax: str = EXPLICIT) -> list[bytes]:
    frames = Frames.locate(io.BytesIO(data), transfer_syntax)
    return [b"".join(frames.read(number + 1)) for number in range(frames.count)]


@pytest.mark.parametrize("sample", WITH_PIXELS, ids=name_of)
def test_pydicom_finds_the_same(sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = sample.read()
        ours = read(sample.data, sample.transfer_syntax)
        count = int(data_set.get("NumberOfFrames", 1) or 1)
        if not is_native(sample.transfer_syntax):
            assert ours == list(generate_frames(data_set.PixelData, number_of_frames=count))
            return
        pixels = data_set.PixelData
        if sample.transfer_syntax == EXPLICIT_BIG_ENDIAN and data_set["PixelData"].VR == "OW":
            pixels = np.frombuffer(pixels, ">u2").astype("<u2").tobytes()
        size = len(ours[0])
        assert size * 8 == data_set.Rows * data_set.Columns * data_set.BitsAllocated * _samples(data_set)
        assert ours == [pixels[at * size : (at + 1) * size] for at in range(count)]


def _samples(data_set: object) -> int:
    photometric, samples = str(data_set.PhotometricInterpretation), int(data_set.SamplesPerPixel)  # type: ignore[attr-defined]
    return 2 if photometric == "YBR_FULL_422" else samples


def image(frames: int, *pixels: bytes, rows: int = 4, columns: int = 4, bits: int = 8, samples: int = 1) -> bytes:
    return explicit_object(
        element(0x00280002, "US", struct.pack("<H", samples)),
        element(0x00280008, "IS", str(frames).encode()),
        element(0x00280010, "US", struct.pack("<H", rows)),
        element(0x00280011, "US", struct.pack("<H", columns)),
        element(0x00280100, "US", struct.pack("<H", bits)),
        after=pixels,
    )


@given(frames=st.integers(1, 9), rows=st.integers(1, 9), columns=st.integers(1, 9), data=st.data())
def test_packed_bits_are_cut_to_the_bit(frames: int, rows: int, columns: int, data: st.DataObject) -> None:
    count = frames * rows * columns
    bits = np.array(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)), dtype=np.uint8)
    packed = pack_bits(bits, pad=True)
    ours = read(image(frames, element(0x7FE00010, "OB", packed), rows=rows, columns=columns, bits=1))
    assert ours == [pack_bits(part, pad=False) for part in np.split(bits, frames)]


def test_large_packed_frames_are_cut_across_pieces() -> None:
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2, 3 * 1001 * 1003, dtype=np.uint8)
    ours = read(image(3, element(0x7FE00010, "OB", pack_bits(bits, pad=True)), rows=1001, columns=1003, bits=1))
    assert ours == [pack_bits(part, pad=False) for part in np.split(bits, 3)]


def test_odd_frames_of_big_endian_words_are_turned_before_they_are_cut() -> None:
    pixels = bytes(range(54))
    turned = np.frombuffer(pixels, "<u2").astype(">u2").tobytes()
    head = b"".join(
        struct.pack(">HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
        for tag, vr, value in (
            (0x00280008, b"IS", b"2 "),
            (0x00280010, b"US", b"\0\3"),
            (0x00280011, b"US", b"\0\x09"),
            (0x00280100, b"US", b"\0\x08"),
        )
    )
    data = head + struct.pack(">HH2s2xI", 0x7FE0, 0x10, b"OW", 54) + turned
    assert read(data, EXPLICIT_BIG_ENDIAN) == [pixels[:27], pixels[27:]]
    assert Frames.locate(io.BytesIO(data), EXPLICIT_BIG_ENDIAN).transfer_syntax == EXPLICIT_LITTLE_ENDIAN


PIXELS = element(0x7FE00010, "OB", b"", length=UNDEFINED)
CODE_STREAMS = [b"\xff\xd8" + bytes([number]) * (10 + 2 * number) + b"\xff\xd9" for number in range(1, 6)]


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("fragments", [1, 2])
def test_offset_tables_and_fragments_give_the_same_frames(*, table: bool, fragments: int) -> None:
    pixels = PIXELS + encapsulate(CODE_STREAMS, fragments_per_frame=fragments, has_bot=table) + SEQUENCE_END
    assert read(image(5, pixels), JPEG) == CODE_STREAMS


def test_the_extended_offset_table_leads_too() -> None:
    pixels, offsets, lengths = encapsulate_extended(CODE_STREAMS)
    tables = element(0x7FE00001, "OV", offsets) + element(0x7FE00002, "OV", lengths)
    assert read(image(5, tables, PIXELS + pixels + SEQUENCE_END), RLE) == CODE_STREAMS


@pytest.mark.parametrize(
    "table", [b"\0" * 20, struct.pack("<5I", 0, 9, 18, 27, 36), struct.pack("<5I", 8, 1 << 31, 3, 4, 5), b"\0" * 8, b"x" * 20]
)
def test_a_table_that_leads_nowhere_is_not_followed(table: bytes) -> None:
    pixels = PIXELS + item(table) + b"".join(item(stream) for stream in CODE_STREAMS) + SEQUENCE_END
    assert read(image(5, pixels), RLE) == CODE_STREAMS


def test_all_fragments_are_the_frame_where_there_is_one() -> None:
    pixels = PIXELS + item(b"") + item(b"ab") + item(b"cd") + SEQUENCE_END
    assert read(image(1, pixels), RLE) == [b"abcd"]


@pytest.mark.parametrize(
    ("data", "transfer_syntax"),
    [
        (explicit_object(), EXPLICIT),
        (image(2, PIXELS + item(b"") + item(b"ab") + item(b"cd") + item(b"ef") + SEQUENCE_END), RLE),
        (image(3, PIXELS + item(b"") + item(b"ab") + SEQUENCE_END), JPEG),
        (image(1, PIXELS + item(b"") + SEQUENCE_END), JPEG),
        (image(1, PIXELS + item(b"") + item(b"ab") + SEQUENCE_END), EXPLICIT),
        (image(1, PIXELS + SEQUENCE_END), JPEG),
        (image(1, PIXELS + item(b"") + item(b"ab")), JPEG),
        (image(1, element(0x7FE00010, "OB", b"short")), EXPLICIT),
        (image(2_000_000_000, element(0x7FE00010, "OB", bytes(16))), EXPLICIT),
        (image(1, element(0x7FE00010, "OB", bytes(16)), bits=0), EXPLICIT),
        (image(2_000_000_000, PIXELS + item(b"") + item(b"ab") + SEQUENCE_END), JPEG),
    ],
)
def test_frames_that_cannot_be_told_apart_are_refused(data: bytes, transfer_syntax: str) -> None:
    with pytest.raises(BadDataSet):
        Frames.locate(io.BytesIO(data), transfer_syntax)


@pytest.mark.parametrize("number", [0, -1, 4])
def test_there_is_no_frame_beyond_the_last(number: int) -> None:
    frames = Frames.locate(io.BytesIO(image(3, element(0x7FE00010, "OB", bytes(48)))), EXPLICIT)
    with pytest.raises(BadQuery):
        frames.read(number)


def test_two_frames_may_be_read_side_by_side() -> None:
    pixels = np.arange(600_000, dtype="<u2").tobytes()
    frames = Frames.locate(io.BytesIO(image(2, element(0x7FE00010, "OW", pixels), rows=300, columns=1000, bits=16)), EXPLICIT)
    first, second = [b""], [b""]
    for one, other in zip(frames.read(1), frames.read(2), strict=True):
        first.append(one)
        second.append(other)
    assert b"".join(first + second) == pixels
