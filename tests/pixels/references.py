"""Independent decoders: DCMTK for RLE, JPEG and JPEG-LS, Pillow under pydicom for JPEG 2000; and ours, through the whole conversion."""

import contextlib
import io
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID

from leadglass.dicom.part10 import file_meta, read_file_meta
from leadglass.pixels.images import decoded_object
from leadglass.pixels.pool import Decoders
from tests import peers

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_TOOLS = {
    "1.2.840.10008.1.2.5": ("dcmdrle",),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70)), ("dcmdjpeg",)),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)), ("dcmdjpls",)),
}
LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51))


def ours(path: Path, decoders: Decoders, target: str = EXPLICIT, syntax: str | None = None) -> bytes:
    """The file converted by us, as a DICOM file; `syntax` is its transfer syntax where its meta information cannot say so."""
    whole = path.read_bytes()
    meta, offset = read_file_meta(io.BytesIO(whole))
    with contextlib.ExitStack() as closing:
        pieces = decoded_object(io.BytesIO(whole[offset:]), syntax or meta.transfer_syntax, target, decoders, closing)
        return file_meta(meta.sop_class or "1.2", meta.sop_instance or "1.3", target) + b"".join(pieces)


def theirs(path: Path) -> NDArray[np.int64]:
    """The pixels as somebody else decodes them; colours as RGB."""
    source = pydicom.dcmread(path)
    tool = _TOOLS.get(source.file_meta.TransferSyntaxUID)
    if path.name == "GDCMJ2K_TextGBR.dcm":  # a whole JPX file where only its code stream may be (PS3.5 A.4.4)
        frame = get_frame(source.PixelData, 0, number_of_frames=1)
        with tempfile.TemporaryDirectory() as folder:
            stream, target = Path(folder) / "frame.j2k", Path(folder) / "frame.ppm"
            stream.write_bytes(frame[frame.index(b"\xff\x4f\xff\x51") :])
            subprocess.run([peers.require("opj_decompress"), "-i", stream, "-o", target], check=True, capture_output=True)
            return np.asarray(Image.open(target), np.int64)
    if tool is None:
        return np.asarray(source.pixel_array, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "decoded.dcm"
        subprocess.run([peers.require(tool[0]), *tool[1:], path, target], check=True, capture_output=True)
        return pixels(pydicom.dcmread(target))


def pixels(data_set: Dataset) -> NDArray[np.int64]:
    """The pixel values of a native data set, by the bits that are stored (PS3.5 8.1.1): frames, rows, columns, samples."""
    assert not UID(data_set.file_meta.TransferSyntaxUID).is_compressed
    allocated, stored = data_set.BitsAllocated, data_set.BitsStored
    raw = np.frombuffer(data_set.PixelData, f"<u{allocated // 8}").astype(np.int64)
    raw &= (1 << stored) - 1
    if data_set.PixelRepresentation:
        raw = np.where(raw >> (stored - 1), raw - (1 << stored), raw)
    frames, samples = int(data_set.get("NumberOfFrames") or 1), data_set.SamplesPerPixel
    shape = [frames, data_set.Rows, data_set.Columns, samples]
    raw = raw[: int(np.prod(shape))]
    if samples > 1 and data_set.PlanarConfiguration == 1:
        raw = raw.reshape(frames, samples, data_set.Rows, data_set.Columns).transpose(0, 2, 3, 1)
    return np.squeeze(raw.reshape(shape))
