"""What is told as different is what differs: no more, no less, whatever the encoding, and within bounds."""

import io
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.content import content_digest
from leadglass.dicom.differences import MAX_TEXT, Difference, Differences
from leadglass.dicom.elements import Elements, Kind
from leadglass.dicom.pixeldifferences import PixelComparison
from leadglass.dicom.syntax import is_native
from tests.dicom_data.data_sets import EXPLICIT, Sample, dcmconv, distinct, element, explicit_object, item, name_of, one

SEQUENCE = 0x00081140
REFERENCED = 0x00081155


def compared(
    first: bytes, other: bytes, syntax: str = EXPLICIT, other_syntax: str = EXPLICIT, **more: int
) -> tuple[list[Difference], Differences]:
    differences = Differences(io.BytesIO(first), syntax, io.BytesIO(other), other_syntax, **more)
    return list(differences), differences


def pixels_of(differences: Differences) -> PixelComparison:
    assert differences.result.pixels is not None
    return differences.result.pixels


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_the_same_in_another_encoding_differs_in_nothing(sample: Sample, tmp_path: Path) -> None:
    native = (("+ti", "+e"), ("+tb", "-e", "+g"))
    for options in native if is_native(sample.transfer_syntax) else (("+t=", "-e", "+g"),):
        syntax, data = dcmconv(sample.path, *options, folder=tmp_path)
        told, differences = compared(sample.data, data, sample.transfer_syntax, syntax)
        assert told == []
        assert differences.result.complete
        assert differences.result.pixels is None or differences.result.pixels.equal


@pytest.mark.parametrize("name", ["CT_small.dcm", "test-SR.dcm", "rtplan.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"])
def test_one_byte_of_any_value_is_told_once_and_where(name: str) -> None:
    sample = one(name)
    elements = Elements(sample.source, sample.transfer_syntax)
    values = [
        (token.tag, token.offset + token.length - 1, token.depth) for token in elements if token.kind is Kind.ELEMENT and token.length
    ]
    for tag, at, depth in random.Random(1).sample(values, min(40, len(values))):
        changed = bytearray(sample.data)
        changed[at] ^= 0x15
        told, differences = compared(sample.data, bytes(changed), sample.transfer_syntax, sample.transfer_syntax)
        same = content_digest(sample.source, sample.transfer_syntax) == content_digest(io.BytesIO(bytes(changed)), sample.transfer_syntax)
        unequal = differences.result.pixels is not None and not differences.result.pixels.equal
        assert same == (not told and not unequal)
        if told:
            assert [difference.path.rpartition("/")[2] for difference in told] == [f"{tag:08X}"]
            assert told[0].path.count("/") == 2 * depth


def test_values_are_shown_as_people_read_them() -> None:
    first = explicit_object(element(0x00100010, "PN", b"DOE^JANE"), element(0x00280010, "US", struct.pack("<H", 512)), after=())
    other = explicit_object(element(0x00100010, "PN", b"ROE^JOHN"), element(0x00280011, "US", struct.pack("<2H", 7, 8)), after=())
    told, _ = compared(first, other)
    assert told == [
        Difference("00100010", "PatientName", "DOE^JANE", "ROE^JOHN"),
        Difference("00280010", "Rows", "512", None),
        Difference("00280011", "Columns", None, "7\\8"),
    ]


def test_items_are_told_by_their_place() -> None:
    def nested(*uids: bytes) -> bytes:
        return explicit_object(element(SEQUENCE, "SQ", b"".join(item(element(REFERENCED, "UI", uid)) for uid in uids)))

    (told,), _ = compared(nested(b"1.2", b"1.4"), nested(b"1.2", b"1.6"))
    assert told == Difference("00081140/1/00081155", "ReferencedImageSequence/1/ReferencedSOPInstanceUID", "1.4", "1.6")
    more, _ = compared(nested(b"1.2"), nested(b"1.2", b"1.6"))
    assert [(each.path, each.first, each.other) for each in more] == [("00081140/1", None, "an item"), ("00081140/1/00081155", None, "1.6")]
    assert compared(nested(), explicit_object(element(SEQUENCE, "UN", b"")))[0] == []


def image(frames: list[bytes], **changed: bytes) -> bytes:
    elements = [
        element(0x00280002, "US", struct.pack("<H", 1)),
        element(0x00280008, "IS", str(len(frames)).encode()),
        element(0x00280010, "US", struct.pack("<H", 2)),
        element(0x00280011, "US", changed.get("columns", struct.pack("<H", 4))),
        element(0x00280100, "US", struct.pack("<H", 8)),
        element(0x7FE00010, "OB", b"".join(frames)),
    ]
    return explicit_object(after=elements)


def test_frames_that_differ_are_counted() -> None:
    frames = [bytes([number % 256]) * 8 for number in range(20_000)]
    changed = list(frames)
    for number in (0, 3, 8191, 8192, 19_999):
        changed[number] = changed[number][:-1] + bytes([changed[number][-1] ^ 1])
    told, differences = compared(image(frames), image(changed))
    pixels = pixels_of(differences)
    assert told == []
    assert (pixels.equal, pixels.differing_frames) == (False, 5)
    assert pixels.first is not None
    assert (pixels.first.rows, pixels.first.columns, pixels.first.frames, pixels.first.bytes) == (2, 4, 20_000, 160_000)
    assert pixels_of(compared(image(frames), image(frames))[1]).differing_frames == 0
    other = pixels_of(compared(image(frames), image(frames, columns=struct.pack("<H", 8)))[1])
    assert (other.equal, other.differing_frames) == (True, None)


def test_compressed_frames_are_compared_as_they_lie() -> None:
    sample = one("examples_ybr_color.dcm")
    fragments = [token for token in Elements(sample.source, sample.transfer_syntax) if token.kind is Kind.FRAGMENT]
    changed = bytearray(sample.data)
    for token in fragments[5:8]:
        changed[token.offset + token.length // 2] ^= 1
    pixels = pixels_of(compared(sample.data, bytes(changed), sample.transfer_syntax, sample.transfer_syntax)[1])
    assert (pixels.equal, pixels.differing_frames) == (False, 3)
    mixed = pixels_of(compared(sample.data, sample.data, sample.transfer_syntax, "1.2.840.10008.1.2.4.90")[1])
    assert (mixed.equal, mixed.differing_frames) == (False, None)


def test_a_side_without_pixels_is_told() -> None:
    pixels = pixels_of(compared(image([bytes(8)]), explicit_object())[1])
    assert (pixels.equal, pixels.other) == (False, None)


@pytest.mark.long
def test_an_object_of_very_many_elements_takes_no_memory() -> None:
    def many(value: bytes) -> bytes:
        return explicit_object(element(SEQUENCE, "SQ", b"".join(item(element(REFERENCED, "UI", value)) for _ in range(25_000))))

    first, other = many(b"1.2"), many(b"1.3")
    tracemalloc.start()
    try:
        differences = Differences(io.BytesIO(first), EXPLICIT, io.BytesIO(other), EXPLICIT, max_leaves=20_000)
        before = tracemalloc.get_traced_memory()[0]
        count = sum(1 for _ in differences)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert not differences.result.complete
    assert 9_000 < count < 11_000
    assert peak < 1_000_000


def test_a_long_value_is_named_and_not_shown() -> None:
    (told,), _ = compared(explicit_object(element(0x00081030, "LO", b"a" * 4000)), explicit_object(element(0x00081030, "LO", b"b" * 5000)))
    assert told.first == "a" * MAX_TEXT + "..."
    assert told.other is not None
    assert told.other.startswith("5000 bytes, SHA-256 ")


TAGS = st.sampled_from([0x00081030, 0x00100010, 0x00100020, 0x00410010, 0x00411001, 0x00181000])
VALUES = st.dictionaries(TAGS, st.sampled_from([b"", b"A", b"A ", b"B", b"\0\0"]), max_size=4)
NESTED = st.lists(VALUES, max_size=3)


def _object(top: dict[int, bytes], items: list[dict[int, bytes]]) -> bytes:
    def plain(values: dict[int, bytes]) -> bytes:
        return b"".join(element(tag, "LO", value) for tag, value in sorted(values.items()))

    sequence = element(0x00082112, "SQ", b"".join(item(plain(values)) for values in items))
    before = {tag: value for tag, value in top.items() if tag < 0x00082112}
    after = {tag: value for tag, value in top.items() if tag > 0x00082112}
    return plain(before) + sequence + plain(after)


@given(VALUES, NESTED, VALUES, NESTED)
def test_nothing_is_told_exactly_where_the_content_is_the_same(
    top: dict[int, bytes], items: list[dict[int, bytes]], other_top: dict[int, bytes], other_items: list[dict[int, bytes]]
) -> None:
    first, other = _object(top, items), _object(other_top, other_items)
    same = content_digest(io.BytesIO(first), EXPLICIT) == content_digest(io.BytesIO(other), EXPLICIT)
    assert (compared(first, other)[0] == []) == same
    assert compared(first, first)[0] == []
