"""Damaged, lying and greedy code streams: a reason each, never a picture that looks whole, and the next one is decoded."""

import os
import random
import signal
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import get_frame

from leadglass.errors import CannotConvert, GivenUp
from leadglass.pixels import codecs
from leadglass.pixels.codestream import Malformed
from leadglass.pixels.pool import Decoders, DecodingLimits
from leadglass.pixels.protocol import Codec, Flags, Frame
from tests import samples

HOSTILE = Path(__file__).with_name("hostile_worker.py")
SMALL = np.random.default_rng(3).integers(0, 250, (64, 64)).astype("u1")
STREAMS = {
    Codec.JPEG: bytes(imagecodecs.jpeg8_encode(SMALL, 90)),
    Codec.JPEG_LOSSLESS: bytes(imagecodecs.jpeg8_encode(SMALL, lossless=True)),
    Codec.JPEG_LS: bytes(imagecodecs.jpegls_encode(SMALL)),
    Codec.JPEG_2000: bytes(imagecodecs.jpeg2k_encode(SMALL, level=0, codecformat="j2k")),
    Codec.HTJ2K: bytes(imagecodecs.htj2k_encode(SMALL)),
}


def frame(codec: Codec, rows: int = 64, columns: int = 64, *, samples_: int = 1, bits: int = 8) -> Frame:
    return Frame(codec, Flags.CHECK, rows, columns, samples_, bits, bits)


@pytest.mark.parametrize("codec", STREAMS)
def test_whole_streams_are_decoded(codec: Codec, decoders: Decoders) -> None:
    found = np.frombuffer(decoders.decode(frame(codec), STREAMS[codec]), "u1").reshape(64, 64)
    assert np.abs(found.astype(int) - SMALL).max() <= (40 if codec is Codec.JPEG else 0)


@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\0", b"\xff\xd9\0"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("codec", STREAMS)
def test_a_stream_that_was_cut_off_is_no_picture(codec: Codec, share: float, end: bytes, decoders: Decoders) -> None:
    whole = STREAMS[codec]
    with pytest.raises(CannotConvert, match="damaged or cut off"):
        decoders.decode(frame(codec), whole[: int(len(whole) * share)] + end)


@pytest.mark.parametrize("codec", STREAMS)
@pytest.mark.parametrize(("rows", "columns"), [(63, 64), (64, 65), (65535, 65535)])
def test_a_stream_of_another_size_is_refused(codec: Codec, rows: int, columns: int, decoders: Decoders) -> None:
    with pytest.raises(CannotConvert, match=r"not of the size|larger than"):
        decoders.decode(frame(codec, rows, columns), STREAMS[codec])


@pytest.mark.parametrize(
    ("codec", "at", "huge"),
    [
        (Codec.JPEG, b"\xff\xc0\0\x0b\x08", b"\xff\xff\xff\xff"),
        (Codec.JPEG_LOSSLESS, b"\xff\xc3\0\x0b\x08", b"\xff\xff\xff\xff"),
        (Codec.JPEG_LS, b"\xff\xf7\0\x0b\x08", b"\xff\xff\xff\xff"),
    ],
)
def test_a_few_bytes_that_claim_gigabytes_are_refused_at_once(codec: Codec, at: bytes, huge: bytes, decoders: Decoders) -> None:
    whole = STREAMS[codec]
    where = whole.index(at) + len(at)
    bomb = whole[:where] + huge + whole[where + 4 :]
    begun = time.monotonic()
    with pytest.raises(CannotConvert, match="not of the size"):
        decoders.decode(frame(codec), bomb)
    with pytest.raises(CannotConvert, match="larger than"):
        decoders.decode(frame(codec, 65535, 65535), bomb)
    assert time.monotonic() - begun < 5


def test_a_true_bomb_is_larger_than_is_decoded() -> None:
    # Sixteen million pixels in a few thousand bytes, and a limit below that.
    stream = bytes(imagecodecs.jpegls_encode(np.zeros((4096, 4096), "u1")))
    assert len(stream) < 50_000
    small = Decoders(DecodingLimits(processes=1, frame_bytes=1 << 20))
    with pytest.raises(CannotConvert, match="larger than"):
        small.decode(frame(Codec.JPEG_LS, 4096, 4096), stream)
    small.close()
    tight = Decoders(DecodingLimits(processes=1, memory_bytes=8 << 20))
    with pytest.raises(CannotConvert):
        tight.decode(frame(Codec.JPEG_LS, 4096, 4096), stream)
    tight.close()


def test_a_deflated_bomb_stops_at_the_frame(decoders: Decoders) -> None:
    stream = bytes(imagecodecs.deflate_encode(bytes(200_000_000), raw=True))
    with pytest.raises(CannotConvert, match="damaged"):
        decoders.decode(frame(Codec.DEFLATED), stream)


def test_whatever_is_changed_in_real_streams_ends_in_pixels_or_a_reason(decoders: Decoders) -> None:
    chance = random.Random(5)
    for name, codec in (
        ("JPGExtended.dcm", Codec.JPEG),
        ("SC_rgb_jpeg_gdcm.dcm", Codec.JPEG_LOSSLESS),
        ("MR_small_jpeg_ls_lossless.dcm", Codec.JPEG_LS),
        ("693_J2KI.dcm", Codec.JPEG_2000),
        ("SC_rgb_rle_16bit.dcm", Codec.RLE),
    ):
        data_set = pydicom.dcmread(samples.sample(name))
        whole = get_frame(data_set.PixelData, 0, number_of_frames=1)
        wanted = frame(codec, data_set.Rows, data_set.Columns, samples_=data_set.SamplesPerPixel, bits=data_set.BitsAllocated)
        assert len(decoders.decode(wanted, whole)) == wanted.size
        for _ in range(25):
            changed = bytearray(whole)
            for _ in range(chance.randrange(1, 6)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            try:
                assert len(decoders.decode(wanted, bytes(changed))) == wanted.size
            except CannotConvert as refused:
                assert 20 < len(str(refused)) < 80  # noqa: PT017


def packed(data: bytes, cuts: list[int]) -> bytes:
    """RLE by PS3.5 G.3.1, run by run where `cuts` says so: a literal run, or a repeated one where it can be one."""
    out, at = bytearray(), 0
    while at < len(data):
        size = min((cuts[at % len(cuts)] if cuts else 128), len(data) - at)
        run = data[at : at + size]
        out += bytes([257 - size]) + run[:1] if size > 1 and len(set(run)) == 1 else bytes([size - 1]) + run
        at += size
    return bytes(out) + bytes(len(out) % 2)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([1, 3]),
    st.sampled_from([8, 16, 32]),
    st.lists(st.integers(1, 128), max_size=9),
    st.booleans(),
    st.data(),
)
def test_rle_comes_back_whatever_the_runs(
    rows: int, columns: int, count: int, bits: int, cuts: list[int], planar: bool, drawn: st.DataObject
) -> None:
    width = bits // 8
    raw = drawn.draw(st.binary(min_size=rows * columns * count * width, max_size=rows * columns * count * width))
    values = np.frombuffer(raw, f"<u{width}").reshape(rows, columns, count)
    planes = [values[:, :, sample].astype(f">u{width}").tobytes()[byte::width] for sample in range(count) for byte in range(width)]
    segments = [packed(plane, cuts) for plane in planes]
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    stream = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets))) + b"".join(segments)
    found = codecs.decode(Frame(Codec.RLE, Flags.PLANAR if planar else Flags(0), rows, columns, count, bits, bits), stream)
    expected = values.transpose(2, 0, 1) if planar and count > 1 else values
    assert found == expected.tobytes()
    with pytest.raises(Malformed):
        codecs.decode(Frame(Codec.RLE, Flags(0), rows, columns, count, bits, bits), stream[: 64 + len(segments[0]) // 2])


def test_a_frame_that_nobody_waits_for_any_more_is_given_up_and_its_process_ended() -> None:
    command = (sys.executable, str(HOSTILE), "loop")
    own = Decoders(DecodingLimits(processes=1), command)
    begun = time.monotonic()
    with pytest.raises(GivenUp):
        own.decode(frame(Codec.JPEG_LS), b"x", stopped=lambda: time.monotonic() - begun > 0.2)
    assert own.decode(frame(Codec.JPEG_LS), b"behave") == bytes(64 * 64)
    own.close()


def test_who_waits_for_a_free_process_gives_up_too() -> None:
    command = (sys.executable, str(HOSTILE), "loop")
    own = Decoders(DecodingLimits(processes=1, seconds_per_frame=20), command)
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(own.decode, frame(Codec.JPEG_LS), b"x", over.is_set)
        time.sleep(0.1)
        begun = time.monotonic()
        with pytest.raises(GivenUp):
            own.decode(frame(Codec.JPEG_LS), b"behave", stopped=lambda: time.monotonic() - begun > 0.2)
        over.set()
        assert isinstance(busy.exception(10), GivenUp)
    own.close()


def test_a_worker_ended_by_hand_fails_one_frame() -> None:
    own = Decoders(DecodingLimits(processes=1))
    assert own.decode(frame(Codec.JPEG_LS), STREAMS[Codec.JPEG_LS]) == SMALL.tobytes()
    (pid,) = own.processes
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(CannotConvert, match="broke off"):
        own.decode(frame(Codec.JPEG_LS), STREAMS[Codec.JPEG_LS])
    assert own.decode(frame(Codec.JPEG_LS), STREAMS[Codec.JPEG_LS]) == SMALL.tobytes()
    own.close()
