"""Decoding one frame, in the worker: the only module that touches the decoders (imagecodecs) and numpy.

imagecodecs brings libjpeg-turbo (JPEG of 8, 12 and 16 bits, also lossless), CharLS, OpenJPEG and OpenJPH; RLE is unpacked here (PS3.5 G).
"""

import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from leadglass.pixels.codestream import (
    Header,
    Malformed,
    Unsupported,
    jpeg_2000_code_stream,
    jpeg_2000_header,
    jpeg_header,
    jpeg_with_tail,
    require_whole_jpeg_2000,
)
from leadglass.pixels.protocol import Codec, Flags, Frame

Samples = NDArray[Any]

_LOSSLESS_PROCESS: Final = 0xC3
_JPEG_LS_PROCESS: Final = 0xF7
_TAIL: Final = b"\x5a" * 64
"""Bits that no decoder fills up with by itself: libjpeg takes zeros."""


class Mismatch(Exception):
    """The code stream is of another size, depth or number of samples than the data set says."""


def decode(frame: Frame, data: bytes) -> bytes:
    """The pixels of one frame in native little endian; raises `Mismatch`, `Malformed`, `Unsupported`, or what a decoder raises."""
    if frame.bits_allocated not in {8, 16, 32} and frame.codec is not Codec.DEFLATED:
        raise Unsupported
    if frame.codec is Codec.DEFLATED:
        return _inflate(frame, data)
    samples = _DECODERS[frame.codec](frame, data)
    if frame.codec is not Codec.RLE:
        samples = _in_cells(frame, samples)
    return _arrange(frame, samples)


def warm() -> None:
    """Load every decoder: once closed in, nothing can be loaded."""
    tiny = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for encode, decoder in (
        (imagecodecs.jpeg8_encode, imagecodecs.jpeg8_decode),
        (imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        (imagecodecs.jpeg2k_encode, imagecodecs.jpeg2k_decode),
        (imagecodecs.htj2k_encode, imagecodecs.htj2k_decode),
        (imagecodecs.packbits_encode, imagecodecs.packbits_decode),
    ):
        decoder(encode(tiny))


def _require(frame: Frame, header: Header) -> None:
    if (header.rows, header.columns, header.components) != (frame.rows, frame.columns, frame.samples):
        raise Mismatch
    if not 1 <= header.precision <= frame.bits_allocated:
        raise Mismatch


def _jpeg(frame: Frame, data: bytes) -> Samples:
    header = jpeg_header(data)
    _require(frame, header)
    if header.process == _JPEG_LS_PROCESS or (frame.codec is Codec.JPEG_LOSSLESS and header.process != _LOSSLESS_PROCESS):
        raise Mismatch
    if frame.samples == 1:
        spaces = ("GRAYSCALE", "GRAYSCALE")
    elif frame.samples == 3:
        spaces = ("YCBCR" if frame.flags & Flags.TO_RGB else "RGB", "RGB")
    else:
        raise Unsupported

    def run(stream: bytes) -> Samples:
        return imagecodecs.jpeg8_decode(stream, colorspace=spaces[0], outcolorspace=spaces[1])

    samples = run(data)
    if frame.flags & Flags.CHECK and not np.array_equal(samples, run(jpeg_with_tail(data, _TAIL))):
        # What was added was taken for pixels: some were missing.
        raise Malformed
    return samples


def _jpeg_ls(frame: Frame, data: bytes) -> Samples:
    header = jpeg_header(data)
    _require(frame, header)
    if header.process != _JPEG_LS_PROCESS:
        raise Mismatch
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        # CharLS 2.4 takes 24 seconds to find out, for 64 times 64 pixels.
        raise Malformed
    return imagecodecs.jpegls_decode(data)


def _jpeg_2000(frame: Frame, data: bytes) -> Samples:
    data = jpeg_2000_code_stream(data)
    _require(frame, jpeg_2000_header(data))
    require_whole_jpeg_2000(data)
    if frame.codec is Codec.HTJ2K:
        return imagecodecs.htj2k_decode(data)
    return imagecodecs.jpeg2k_decode(data, numthreads=1)


def _rle(frame: Frame, data: bytes) -> Samples:
    # Segments: for each sample its bytes, the most significant first (PS3.5 G.2).
    width = frame.bits_allocated // 8
    plane = frame.rows * frame.columns
    if len(data) < 64:
        raise Malformed
    count, *offsets = struct.unpack("<16I", data[:64])
    if count != width * frame.samples:
        raise Mismatch
    starts = [*offsets[:count], len(data)]
    if starts[0] != 64 or any(later < earlier for earlier, later in pairwise(starts)):
        raise Malformed
    out = np.empty((frame.samples, plane, width), np.uint8)
    for number in range(count):
        segment = _unpack_bits(data[starts[number] : starts[number + 1]], plane)
        out[number // width, :, width - 1 - number % width] = np.frombuffer(segment, np.uint8)
    pixels = out.view(f"<u{width}").reshape(frame.samples, frame.rows, frame.columns)
    return pixels.transpose(1, 2, 0) if frame.samples > 1 else pixels[0]


def _unpack_bits(segment: bytes, size: int) -> bytes:
    # PS3.5 G.3.2. What follows the last pixel is padding.
    out = bytearray()
    at, end = 0, len(segment)
    while len(out) < size and at < end:
        control = segment[at]
        at += 1
        if control < 128:
            out += segment[at : at + control + 1]
            at += control + 1
        elif control > 128:
            out += segment[at : at + 1] * (257 - control)
            at += 1
    if at > end or len(out) < size:
        raise Malformed
    return bytes(out[:size])


def _inflate(frame: Frame, data: bytes) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    pixels = stream.decompress(data, frame.size)
    if len(pixels) != frame.size or (not stream.eof and stream.decompress(stream.unconsumed_tail, 1)):
        raise Malformed
    return pixels


def _in_cells(frame: Frame, samples: Samples) -> Samples:
    expected = (frame.rows, frame.columns) if frame.samples == 1 else (frame.rows, frame.columns, frame.samples)
    if samples.shape != expected or samples.dtype.kind not in "iu":
        raise Mismatch
    width = frame.bits_allocated // 8
    if samples.dtype.itemsize > width:
        raise Mismatch
    # Negative numbers fill their cell with their sign; all others lie in it with zeros before them.
    return samples.astype(f"<{samples.dtype.kind}{width}", copy=False)


def _arrange(frame: Frame, samples: Samples) -> bytes:
    if frame.samples > 1 and frame.flags & Flags.PLANAR:
        samples = samples.transpose(2, 0, 1)
    return samples.tobytes()


_DECODERS: Final[dict[Codec, Callable[[Frame, bytes], Samples]]] = {
    Codec.RLE: _rle,
    Codec.JPEG: _jpeg,
    Codec.JPEG_LOSSLESS: _jpeg,
    Codec.JPEG_LS: _jpeg_ls,
    Codec.JPEG_2000: _jpeg_2000,
    Codec.HTJ2K: _jpeg_2000,
}
