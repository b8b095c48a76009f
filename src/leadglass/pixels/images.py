"""From encapsulated pixels to native ones: what a data set says of its images, which decoder that means, what changes with it.

What changes, and nothing else does (docs/decisions/sandboxed-decoding.md):

- Pixel Data are native, OB up to 8 bits allocated and OW beyond (PS3.5 8.2); the extended offset table goes with the fragments;
- Photometric Interpretation: RGB where the decoder had to undo a colour transformation: YBR_RCT and YBR_ICT, which native pixels cannot
  have (PS3.5 8.2.4), and YBR_FULL(_422) of a lossy JPEG. Of a lossless source YBR_FULL stays: to convert would lose;
- Planar Configuration says how samples lie, and is added where it is missing;
- Lossy Image Compression is 01 after a JPEG process that is always lossy (PS3.3 C.7.6.1.1.5: once lossy, never again not), with ratio and
  method.

The SOP Instance UID stays: nothing is lost by decoding. A new one is due where pixels are compressed with loss (PS3.3 C.7.6.1.1.5).
"""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from leadglass.dicom.convert import Decoded, to_little_endian
from leadglass.dicom.elements import Elements
from leadglass.dicom.frames import FrameReader, encapsulated_frames, number_of_frames
from leadglass.dicom.syntax import ByteSource
from leadglass.dicom.tokens import INLINE, Kind, Token
from leadglass.dicom.vr import PIXEL_DATA
from leadglass.errors import BadDataSet, CannotConvert
from leadglass.pixels.pool import Decoders, Stopped, never
from leadglass.pixels.protocol import MAX_COMPRESSED, Codec, Flags, Frame

CODECS: Final = {
    "1.2.840.10008.1.2.5": Codec.RLE,
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (50, 51)), Codec.JPEG),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (57, 70)), Codec.JPEG_LOSSLESS),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)), Codec.JPEG_LS),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (90, 91)), Codec.JPEG_2000),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203)), Codec.HTJ2K),
    "1.2.840.10008.1.2.8.1": Codec.DEFLATED,
}
"""The transfer syntaxes that are decoded. Video (MPEG, HEVC) is not: its pictures are no frames of their own (PS3.5 8.2.5 to 8.2.8)."""

HELD_AT_ONCE: Final = 16 * 1024 * 1024
"""Decoded pixels of one object up to this are kept until they are sent; more are decoded a second time, frame by frame."""
_PIECE: Final = 512 * 1024
_LONGEST_VALUE: Final = 0xFFFFFFFE

_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
_ROWS, _COLUMNS, _ALLOCATED, _STORED, _REPRESENTATION = 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280103
_LOSSY, _LOSSY_RATIO, _LOSSY_METHOD = 0x00282110, 0x00282112, 0x00282114
_EXTENDED_OFFSETS: Final = 0x7FE00001
_ENCAPSULATED_ONLY: Final = frozenset({_EXTENDED_OFFSETS, 0x7FE00002, 0x7FE00003})
"""Extended Offset Table, its lengths, Encapsulated Pixel Data Value Total Length (PS3.3 C.7.6.3.1.8)."""
_WATCHED: Final = frozenset(
    {_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED, _STORED, _REPRESENTATION, _LOSSY, _LOSSY_RATIO, _LOSSY_METHOD}
)
_TRANSFORMED: Final = frozenset({"YBR_RCT", "YBR_ICT"})
_FULL: Final = frozenset({"YBR_FULL", "YBR_FULL_422"})
_ONE_SAMPLE: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})


def is_decodable(transfer_syntax: str) -> bool:
    """Whether pixels in this transfer syntax are decoded here at all."""
    return transfer_syntax in CODECS


@dataclass
class _Scope:
    """An item, or the data set itself, while it is being read."""

    number: int
    values: dict[int, bytes] = field(default_factory=dict)
    extended: Token | None = None
    has_pixels: bool = False


@dataclass(frozen=True)
class Image:
    """One image with encapsulated pixels: the number of its item (0: the data set itself), its frames, what was said of it."""

    number: int
    transfer_syntax: str
    frame: Frame
    photometric: str
    count: int
    values: dict[int, bytes]
    reader: FrameReader

    @property
    def length(self) -> int:
        """Bytes of all pixels when native, before they are padded."""
        return self.frame.size * self.count

    def decode(self, index: int, decoders: Decoders, *, check: bool, stopped: Stopped = never) -> tuple[bytes, int]:
        """The pixels of one frame, counted from 0, and how long it was compressed; CannotConvert with the reason, GivenUp."""
        stream = bytearray()
        try:
            for piece in self.reader.read(index):
                stream += piece
                if len(stream) > MAX_COMPRESSED:
                    raise CannotConvert("a compressed frame is larger than is decoded here")
        except BadDataSet:
            raise CannotConvert("the fragments of the compressed pixels are damaged") from None
        frame = self.frame
        if check:
            flags = frame.flags | Flags.CHECK
            frame = Frame(frame.codec, flags, frame.rows, frame.columns, frame.samples, frame.bits_allocated, frame.bits_stored)
        return decoders.decode(frame, bytes(stream), stopped), len(stream)


def images_in(source: ByteSource, transfer_syntax: str) -> list[Image]:
    """Every image with encapsulated pixels in the data set at the source's position, icons too; CannotConvert with the reason."""
    if transfer_syntax not in CODECS:
        raise CannotConvert("pixels of this transfer syntax are not decoded here")
    try:
        return list(_images(source, transfer_syntax))
    except BadDataSet:
        raise CannotConvert("the frames of the compressed pixels cannot be told apart") from None


def _images(source: ByteSource, transfer_syntax: str) -> Iterator[Image]:
    elements = Elements(source, transfer_syntax)
    begun = 0
    scopes = [_Scope(0)]
    for token in elements:
        scope = scopes[-1]
        if token.kind is Kind.ITEM:
            begun += 1
            scopes.append(_Scope(begun))
        elif token.kind is Kind.ITEM_END:
            scopes.pop()
        elif token.kind is Kind.FRAGMENTS:
            if token.tag != PIXEL_DATA or scope.has_pixels:
                raise CannotConvert("an element that is not Pixel Data is encapsulated")
            scope.has_pixels = True
            yield _image(scope, transfer_syntax, elements, token)
        elif token.tag in _WATCHED and token.length <= INLINE:
            scope.values[token.tag] = token.value or b""
        elif token.tag == _EXTENDED_OFFSETS:
            scope.extended = token


def _image(scope: _Scope, transfer_syntax: str, elements: Elements, pixels: Token) -> Image:
    values = scope.values

    def number(tag: int, default: int) -> int:
        raw = values.get(tag, b"")
        return struct.unpack("<H", raw[:2])[0] if len(raw) >= 2 else default

    photometric = values.get(_PHOTOMETRIC, b"").decode("ascii", "replace").strip("\0 ")
    samples, allocated = number(_SAMPLES, 1), number(_ALLOCATED, 0)
    codec = CODECS[transfer_syntax]
    flags = Flags(0)
    if number(_REPRESENTATION, 0) == 1:
        flags |= Flags.SIGNED
    if samples > 1 and number(_PLANAR, 0) == 1:
        flags |= Flags.PLANAR
    if codec is Codec.JPEG and samples == 3 and photometric in _FULL:
        flags |= Flags.TO_RGB
    if not 1 <= samples <= 255 or allocated > 64 or (photometric in _ONE_SAMPLE and samples != 1):
        raise CannotConvert("Samples per Pixel, Bits Allocated or Photometric Interpretation fit no image")
    rows, columns = number(_ROWS, 0), number(_COLUMNS, 0)
    frame = Frame(codec, flags, rows, columns, samples, allocated, min(number(_STORED, allocated), 255))
    count = number_of_frames(values.get(_FRAMES, b""))
    if not frame.size or (count > 1 and rows * columns * samples * allocated % 8):
        raise CannotConvert("the image has no pixels, or frames that do not end with a byte")
    if frame.size * count > _LONGEST_VALUE:
        raise CannotConvert("the pixels would be longer than an element can be; ask for the object as it is stored")
    reader = encapsulated_frames(elements, pixels, scope.extended, count, transfer_syntax)
    return Image(scope.number, transfer_syntax, frame, photometric, count, values, reader)


def photometric_after(image: Image) -> str:
    """The photometric interpretation of the decoded pixels (PS3.5 8.2, PS3.3 C.7.6.3.1.2)."""
    codec, before = image.frame.codec, image.photometric
    if before in _TRANSFORMED:
        if codec not in {Codec.JPEG_2000, Codec.HTJ2K}:
            raise CannotConvert(f"no pixels of this transfer syntax are {before}")
        return "RGB"
    if image.frame.flags & Flags.TO_RGB:
        return "RGB"
    if before.startswith("YBR_PARTIAL"):
        raise CannotConvert("pixels with parts of their chroma are not decoded here")
    # Decoded, every pixel has samples of its own.
    return "YBR_FULL" if before == "YBR_FULL_422" else before


def _changes(image: Image, compressed: int) -> dict[int, tuple[str, bytes]]:
    changed: dict[int, tuple[str, bytes]] = {}
    after = photometric_after(image)
    if after != image.photometric:
        changed[_PHOTOMETRIC] = "CS", _even(after)
    if image.frame.samples > 1 and image.values.get(_PLANAR) not in {b"\0\0", b"\1\0"}:
        changed[_PLANAR] = "US", b"\0\0"
    if image.frame.codec is Codec.JPEG and image.number == 0 and image.values.get(_LOSSY, b"").strip(b"\0 ") != b"01":
        changed[_LOSSY] = "CS", b"01"
        if not image.values.get(_LOSSY_RATIO, b"").strip(b"\0 "):
            changed[_LOSSY_RATIO] = "DS", _even(f"{image.length / max(compressed, 1):.2f}")
        if not image.values.get(_LOSSY_METHOD, b"").strip(b"\0 "):
            changed[_LOSSY_METHOD] = "CS", _even("ISO_10918_1")
    return changed


def _even(text: str) -> bytes:
    return (text + " " * (len(text) % 2)).encode("ascii")


def decoded_object(
    source: ByteSource,
    transfer_syntax: str,
    target: str,
    decoders: Decoders,
    closing: contextlib.ExitStack,
    stopped: Stopped = never,
) -> Iterator[bytes]:
    """The data set at the source's position in `target`, its pixels decoded; CannotConvert, before the first piece, with the reason.

    Every frame is decoded before the first piece is given, so that what cannot be decoded breaks no message off. Pixels up to HELD_AT_ONCE
    are held meanwhile (`closing` gives the room back); of larger objects each frame is decoded once more when its turn comes.
    `stopped` is asked for each frame before the first piece, and GivenUp raised once it says so.
    """
    origin = source.tell()
    decoded: dict[int, Decoded] = {}
    for image in images_in(source, transfer_syntax):
        photometric_after(image)
        kept: list[bytes] | None = None
        if image.length <= HELD_AT_ONCE:
            closing.enter_context(decoders.holding(image.length))
            kept = []
        compressed = 0
        for index in range(image.count):
            pixels, length = image.decode(index, decoders, check=True, stopped=stopped)
            compressed += length
            if kept is not None:
                kept.append(pixels)
        changed = _changes(image, compressed)
        decoded[image.number] = Decoded(
            changed,
            frozenset(changed) | _ENCAPSULATED_ONLY,
            "OB" if image.frame.bits_allocated <= 8 else "OW",
            image.length + image.length % 2,
            partial(_pixels, image, kept, decoders),
        )
    source.seek(origin)
    return to_little_endian(source, transfer_syntax, target, decoded)


def _pixels(image: Image, kept: list[bytes] | None, decoders: Decoders) -> Iterator[bytes]:
    for index in range(image.count):
        if kept is not None:
            yield from _in_pieces(kept[index])
        else:
            with decoders.holding(image.frame.size):
                pixels, _ = image.decode(index, decoders, check=False)
                yield from _in_pieces(pixels)
                del pixels
    if image.length % 2:
        yield b"\0"


def _in_pieces(pixels: bytes) -> Iterator[bytes]:
    view = memoryview(pixels)
    for at in range(0, len(view), _PIECE):
        yield bytes(view[at : at + _PIECE])


class DecodedFrames:
    """The frames of an object's own image, native and little endian; numbers begin with 1, as in PS3.18."""

    def __init__(self, source: ByteSource, transfer_syntax: str, decoders: Decoders) -> None:
        own = [image for image in images_in(source, transfer_syntax) if image.number == 0]
        if not own:
            raise CannotConvert("the object has no compressed pixels")
        self._image = own[0]
        self._decoders = decoders
        photometric_after(self._image)

    @property
    def count(self) -> int:
        return self._image.count

    def read(self, number: int) -> Iterator[bytes]:
        """Frame `number`, in pieces; CannotConvert where it cannot be decoded."""
        with self._decoders.holding(self._image.frame.size):
            pixels, _ = self._image.decode(number - 1, self._decoders, check=True)
            yield from _in_pieces(pixels)
