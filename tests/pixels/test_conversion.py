"""Every compressed image that pydicom bundles, decoded by us and by others; and what else an object says, which stays as it is."""

import contextlib
import io
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.uid import UID

from leadglass.dicom.part10 import read_file_meta
from leadglass.errors import CannotConvert, GivenUp
from leadglass.pixels.images import decoded_object, is_decodable
from leadglass.pixels.pool import Decoders
from tests import peers, samples
from tests.pixels.references import EXPLICIT, IMPLICIT, LOSSY, ours, pixels, theirs

NO_CODE_STREAM = {"JPEG2000-embedded-sequence-delimiter.dcm", "SC_rgb_jpeg.dcm"}
"""The first one's code stream names a width of 3,722,445,056, the second's data set is not in its transfer syntax."""
HTJ2K, HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.201"
CHANGED = {"PhotometricInterpretation", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "PixelData"}


def compressed() -> list[Path]:
    found = []
    for path in samples.all_files():
        if path.suffix == ".dcm" and path.name not in NO_CODE_STREAM and path.name != "UN_sequence.dcm":
            meta = pydicom.dcmread(path, force=True, stop_before_pixels=True).file_meta
            if is_decodable(meta.get("TransferSyntaxUID", "")):
                found.append(path)
    return found


def read(file: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(file))


@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("path", compressed(), ids=samples.name_of)
def test_every_compressed_image_is_decoded_as_others_decode_it(path: Path, target: str, decoders: Decoders) -> None:
    source, converted = pydicom.dcmread(path), read(ours(path, decoders, target))
    assert converted.file_meta.TransferSyntaxUID == target
    tolerance = 3 if source.file_meta.TransferSyntaxUID in LOSSY else 0
    expected, found = theirs(path), pixels(converted)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance
    assert len(converted.PixelData) % 2 == 0


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("path", compressed(), ids=samples.name_of)
def test_all_else_stays_as_it_was(path: Path, decoders: Decoders) -> None:
    source, converted = pydicom.dcmread(path), read(ours(path, decoders))
    lossy = source.file_meta.TransferSyntaxUID in LOSSY
    for element in source:
        if element.keyword not in CHANGED and element.tag.element and element.tag != 0xFFFCFFFC:
            assert converted[element.tag] == element, element.keyword
    added = {element.keyword for element in converted} - {element.keyword for element in source}
    said = {keyword for keyword in CHANGED if keyword.startswith("Lossy")}
    assert added == (said if lossy and source.get("LossyImageCompression") != "01" else set())
    if lossy:
        assert converted.LossyImageCompression == "01"
    before, after = source.PhotometricInterpretation, converted.PhotometricInterpretation
    transformed = before in {"YBR_RCT", "YBR_ICT"} or (lossy and before.startswith("YBR"))
    assert after == ("RGB" if transformed else before)
    assert ("OB" if source.BitsAllocated <= 8 else "OW") == converted["PixelData"].VR


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_what_was_compressed_without_loss_comes_back_to_the_bit(name: str, decoders: Decoders) -> None:
    assert read(ours(samples.sample(name), decoders)).PixelData == pydicom.dcmread(samples.sample("MR_small.dcm")).PixelData


def test_an_object_that_nobody_waits_for_any_more_is_given_up_between_two_frames(decoders: Decoders) -> None:
    source = pydicom.dcmread(samples.sample("SC_rgb_rle_2frame.dcm"))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, source)
    whole = buffer.getvalue()
    meta, offset = read_file_meta(io.BytesIO(whole))
    asked = iter([False, True])
    with contextlib.ExitStack() as closing, pytest.raises(GivenUp):
        decoded_object(io.BytesIO(whole[offset:]), meta.transfer_syntax, EXPLICIT, decoders, closing, lambda: next(asked))
    assert next(asked, None) is None


NATIVE = ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "examples_palette.dcm", "examples_overlay.dcm", "SC_rgb_small_odd.dcm"]
LOSSLESS = [
    ("dcmcrle",),
    ("dcmcjpeg", "+e1"),
    *(("dcmcjpeg", "+el", "+sv", str(predictor)) for predictor in range(1, 8)),
    ("dcmcjpls", "+el"),
]


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("encoder", LOSSLESS, ids=" ".join)
def test_dcmtk_compresses_and_we_give_the_same_pixels_back(encoder: tuple[str, ...], name: str, tmp_path: Path, decoders: Decoders) -> None:
    program = peers.require(encoder[0])
    done = subprocess.run([program, *encoder[1:], samples.sample(name), tmp_path / "compressed.dcm"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    source, found = pydicom.dcmread(samples.sample(name)), read(ours(tmp_path / "compressed.dcm", decoders))
    assert UID(pydicom.dcmread(tmp_path / "compressed.dcm").file_meta.TransferSyntaxUID).is_compressed
    assert np.array_equal(pixels(found), pixels(source))


def made(path: Path, values: np.ndarray, stream: list[bytes], syntax: str, **attributes: object) -> Path:
    """A file of `values`, encapsulated as `stream` says."""
    data_set = pydicom.dcmread(samples.sample("CT_small.dcm"))
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    data_set.Rows, data_set.Columns = values.shape[1:3]
    data_set.SamplesPerPixel = values.shape[3] if values.ndim == 4 else 1
    data_set.PhotometricInterpretation = "RGB" if values.ndim == 4 else "MONOCHROME2"
    data_set.NumberOfFrames = len(values)
    data_set.BitsAllocated = data_set.BitsStored = values.dtype.itemsize * 8
    data_set.HighBit = data_set.BitsStored - 1
    data_set.PixelRepresentation = int(values.dtype.kind == "i")
    if values.ndim == 4:
        data_set.PlanarConfiguration = 0
    for keyword, value in attributes.items():
        if value is None:
            del data_set[keyword]
        else:
            setattr(data_set, keyword, value)
    data_set.PixelData = encapsulate(stream) if "ExtendedOffsetTable" not in attributes else encapsulate_extended(stream)[0]
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(path)
    return path


def noise(*shape: int, dtype: str = "u1", bits: int = 8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 1 << bits, shape).astype(dtype)


@pytest.mark.parametrize("syntax", [HTJ2K_LOSSLESS, HTJ2K])
@pytest.mark.parametrize(("shape", "dtype", "bits"), [((2, 33, 17), "u1", 8), ((1, 40, 30), "<u2", 12), ((3, 21, 20, 3), "u1", 8)])
def test_htj2k(syntax: str, shape: tuple[int, ...], dtype: str, bits: int, tmp_path: Path, decoders: Decoders) -> None:
    values = noise(*shape, dtype=dtype, bits=bits)
    path = made(tmp_path / "made.dcm", values, [bytes(imagecodecs.htj2k_encode(frame)) for frame in values], syntax)
    assert np.array_equal(pixels(read(ours(path, decoders))), np.squeeze(values.astype(np.int64)))


def test_signed_and_deep_jpeg_2000(tmp_path: Path, decoders: Decoders) -> None:
    values = noise(1, 30, 31, dtype="<i2", bits=15) - 16384
    path = made(tmp_path / "made.dcm", values, [bytes(imagecodecs.jpeg2k_encode(values[0], level=0))], "1.2.840.10008.1.2.4.90")
    assert np.array_equal(pixels(read(ours(path, decoders))), values[0].astype(np.int64))


def test_deflated_frames(tmp_path: Path, decoders: Decoders) -> None:
    values = noise(3, 16, 16)
    streams = [bytes(imagecodecs.deflate_encode(frame.tobytes(), raw=True)) for frame in values]
    path = made(tmp_path / "made.dcm", values, streams, "1.2.840.10008.1.2.4.80")  # pydicom does not know the right one
    assert read(ours(path, decoders, syntax="1.2.840.10008.1.2.8.1")).PixelData == values.tobytes()


@pytest.mark.parametrize("planar", [0, 1, None])
def test_planar_configuration_says_how_samples_lie_and_is_added_where_it_is_missing(
    planar: int | None, tmp_path: Path, decoders: Decoders
) -> None:
    values = noise(1, 10, 9, 3)
    path = made(
        tmp_path / "made.dcm", values, [bytes(imagecodecs.jpegls_encode(values[0]))], "1.2.840.10008.1.2.4.80", PlanarConfiguration=planar
    )
    converted = read(ours(path, decoders))
    assert converted.PlanarConfiguration == (planar or 0)
    assert [element.tag for element in converted] == sorted(element.tag for element in converted)
    assert np.array_equal(pixels(converted), values[0].astype(np.int64))


def test_extended_offset_tables_go_with_the_fragments(tmp_path: Path, decoders: Decoders) -> None:
    values = noise(3, 12, 12)
    streams = [bytes(imagecodecs.jpegls_encode(frame)) for frame in values]
    _, offsets, lengths = encapsulate_extended(streams)
    path = made(
        tmp_path / "made.dcm", values, streams, "1.2.840.10008.1.2.4.80", ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=lengths
    )
    converted = read(ours(path, decoders))
    assert "ExtendedOffsetTable" not in converted
    assert "ExtendedOffsetTableLengths" not in converted
    assert converted.PixelData == values.tobytes()


def test_a_frame_in_several_fragments(tmp_path: Path, decoders: Decoders) -> None:
    values = noise(1, 64, 64)
    path = made(tmp_path / "made.dcm", values, [bytes(imagecodecs.jpegls_encode(values[0]))], "1.2.840.10008.1.2.4.80")
    data_set = pydicom.dcmread(path)
    data_set.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(values[0]))], fragments_per_frame=5, has_bot=False)
    data_set.save_as(path)
    assert read(ours(path, decoders)).PixelData == values.tobytes()


def test_icons_are_decoded_too_and_native_ones_stay(tmp_path: Path, decoders: Decoders) -> None:
    values = noise(1, 16, 16)
    path = made(tmp_path / "made.dcm", values, [bytes(imagecodecs.jpegls_encode(values[0]))], "1.2.840.10008.1.2.4.80")
    data_set = pydicom.dcmread(path)
    icons = []
    for encoded in (True, False):
        icon = Dataset()
        icon.Rows = icon.Columns = icon.BitsAllocated = icon.BitsStored = 8
        icon.SamplesPerPixel, icon.HighBit, icon.PixelRepresentation, icon.PhotometricInterpretation = 1, 7, 0, "MONOCHROME2"
        small = values[0, :8, :8].copy()
        icon.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(small))]) if encoded else small.tobytes()
        icon["PixelData"].VR = "OB"
        icon["PixelData"].is_undefined_length = encoded
        icons.append(icon)
    data_set.IconImageSequence = Sequence(icons)
    data_set.save_as(path)
    converted = read(ours(path, decoders))
    assert [icon.PixelData for icon in converted.IconImageSequence] == [values[0, :8, :8].tobytes()] * 2
    assert converted.PixelData == values.tobytes()


def test_lossless_ybr_full_stays_ybr_full(tmp_path: Path, decoders: Decoders) -> None:
    values = noise(1, 16, 16, 3)
    path = made(
        tmp_path / "made.dcm",
        values,
        [bytes(imagecodecs.jpegls_encode(values[0]))],
        "1.2.840.10008.1.2.4.80",
        PhotometricInterpretation="YBR_FULL",
    )
    converted = read(ours(path, decoders))
    assert converted.PhotometricInterpretation == "YBR_FULL"
    assert converted.PixelData == values.tobytes()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.92", "1.2.3"])
def test_video_and_the_unknown_cannot_be_converted(syntax: str, tmp_path: Path, decoders: Decoders) -> None:
    path = made(tmp_path / "made.dcm", noise(1, 8, 8), [b"\0\0\1\xb3"], syntax)
    with pytest.raises(CannotConvert, match="not decoded here"):
        ours(path, decoders)
