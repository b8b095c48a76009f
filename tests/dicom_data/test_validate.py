"""What is an object and what is not: the real ones, the attacks, and every way of cutting one off."""

import io
import random
import struct
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.elements import Elements, Kind
from leadglass.dicom.part10 import read_file_meta
from leadglass.dicom.syntax import DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.tokens import MAX_DEPTH, MAX_ELEMENTS
from leadglass.dicom.validate import Validator, validate
from leadglass.errors import BadDataSet
from tests import samples
from tests.dicom_data.data_sets import (
    EXPLICIT,
    IDS,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Sample,
    distinct,
    element,
    explicit_object,
    implicit,
    item,
    name_of,
    one,
    real,
    refusal,
)

PRIVATE_SEQUENCE = 0x00091010


def test_the_real_objects_are_valid_and_what_is_none_is_refused() -> None:
    assert len(real()) > 140
    for sample in real():
        validate(sample.source, sample.transfer_syntax)
    for path in samples.no_objects():
        with pytest.raises(BadDataSet):
            taken_from_file(path.read_bytes())


def taken_from_file(whole: bytes) -> None:
    meta, offset = read_file_meta(io.BytesIO(whole))
    validate(io.BytesIO(whole[offset:]), meta.transfer_syntax)


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_fed_in_any_pieces_it_says_the_same(sample: Sample) -> None:
    whole = validate(sample.source, sample.transfer_syntax)
    rng = random.Random(sample.name)
    for largest in (1, 7, 300, 5000):
        if largest == 1 and len(sample.data) > 20_000:
            continue
        validator = Validator(sample.transfer_syntax)
        at = 0
        while at < len(sample.data):
            size = rng.randint(1, largest)
            validator.feed(memoryview(sample.data)[at : at + size])
            at += size
        assert validator.finish() == whole


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_cut_off_anywhere_it_is_refused_or_ends_between_two_elements(sample: Sample) -> None:
    rng = random.Random(sample.name)
    ends = set(_top_level_ends(sample)) if sample.transfer_syntax != DEFLATED_LITTLE_ENDIAN else set()
    for _ in range(60):
        cut = rng.randrange(len(sample.data))
        said = refusal(sample.data[:cut], sample.transfer_syntax)
        assert said or cut in ends, f"cut at {cut} of {len(sample.data)} was taken for complete"


def _top_level_ends(sample: Sample) -> list[int]:
    tokens = list(Elements(sample.source, sample.transfer_syntax))
    closing = {Kind.SEQUENCE_END, Kind.FRAGMENTS_END}
    return [
        token.offset + (token.length if token.kind is Kind.ELEMENT else 0)
        for token in tokens
        if token.depth == 0 and (token.kind is Kind.ELEMENT or token.kind in closing)
    ]


@pytest.mark.parametrize("missing", [row[0] for row in IDS], ids=lambda tag: f"{tag:08X}")
@pytest.mark.parametrize("value", [None, b"", b"../../etc/passwd", b"1.2.3\n", b"1.2.3\0/x"])
def test_each_identifying_uid_must_be_one(missing: int, value: bytes | None) -> None:
    rows = [(tag, vr, raw if tag != missing else value) for tag, vr, raw in IDS]
    data = b"".join(element(tag, vr, raw) for tag, vr, raw in rows if raw is not None)
    assert "UID" in refusal(data)


def test_what_the_wild_sends_is_taken() -> None:
    tolerated = {
        "trailing padding": explicit_object(after=[element(0xFFFCFFFC, "OB", bytes(300))]),
        "odd length": explicit_object(element(0x00100010, "PN", b"ODD")),
        "empty optional UID": explicit_object(element(0x00080014, "UI", b"")),
        "missing patient": explicit_object(),
        "retired character set": explicit_object(element(0x00080005, "CS", b"ISO_IR 6 "), element(0x00100010, "PN", b"M\xfcller")),
        "wrong group length": explicit_object(element(0x00080000, "UL", b"\xff\xff\xff\xff")),
        "private odd group": explicit_object(element(0x00090010, "LO", b"MAKER "), element(0x00091001, "UN", b"\0" * 8)),
        "out of order, not indexed": explicit_object(after=[element(0x00400310, "ST", b"b "), element(0x00321064, "SQ", b"")]),
        "unknown future VR": explicit_object(after=[struct.pack("<HH2s2xI", 0x0041, 0x1001, b"ZZ", 4) + b"abcd"]),
        "undefined length in UN": explicit_object(
            after=[element(0x00411001, "UN", b"", length=UNDEFINED), item(implicit(0x00100010, b"A^B ")), SEQUENCE_END]
        ),
        "sequence as deep as allowed": _nested(MAX_DEPTH),
    }
    assert {name: refusal(data) for name, data in tolerated.items() if refusal(data)} == {}


def _nested(depth: int) -> bytes:
    begin = element(PRIVATE_SEQUENCE, "SQ", b"", length=UNDEFINED) + item(b"", length=UNDEFINED)
    return explicit_object() + begin.replace(b"\x09\0", b"\x41\0") * depth + (ITEM_END + SEQUENCE_END) * depth


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 10_000])
def test_nesting_beyond_the_bound_is_refused(depth: int) -> None:
    assert "nested" in refusal(_nested(depth))


def test_defined_lengths_nest_no_deeper() -> None:
    content = b""
    for _ in range(MAX_DEPTH + 1):
        content = element(0x00411001, "SQ", item(content))
    assert "nested" in refusal(explicit_object(after=[content]))


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, str(IMPLICIT_LITTLE_ENDIAN)])
def test_lengths_of_4_gib_take_no_memory_and_are_refused_at_the_end(transfer_syntax: str) -> None:
    if transfer_syntax == EXPLICIT:
        begun = explicit_object() + element(0x7FE00010, "OW", b"", length=0xFFFFFFFE)
    else:
        begun = b"".join(implicit(tag, value) for tag, _, value in IDS) + implicit(0x7FE00010, b"", length=0xFFFFFFFE)
    validator = Validator(transfer_syntax)
    tracemalloc.start()
    try:
        validator.feed(begun)
        for _ in range(1000):
            validator.feed(bytes(1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000
    with pytest.raises(BadDataSet, match="cut off"):
        validator.finish()


def test_a_value_beyond_the_largest_object_is_refused_when_its_header_is_seen() -> None:
    validator = Validator(EXPLICIT, max_bytes=10_000)
    with pytest.raises(BadDataSet, match="beyond"):
        validator.feed(explicit_object(after=[element(0x7FE00010, "OW", b"", length=20_000)]))


def test_a_value_beyond_its_item_or_sequence_is_refused() -> None:
    inner = element(0x00411002, "LO", b"abc ", length=400)
    for broken in (
        element(0x00411001, "SQ", item(inner)),
        element(0x00411001, "SQ", item(b"", length=400)),
        element(0x00411001, "SQ", item(element(0x00411002, "SQ", b"", length=400))),
        element(0x00411001, "SQ", item(inner, length=UNDEFINED) + ITEM_END),
    ):
        assert "beyond" in refusal(explicit_object(after=[broken, element(0x00500010, "LO", bytes(1000))])), broken


def test_what_stands_where_it_cannot_is_refused() -> None:
    refused = {
        "group 0002": element(0x00020010, "UI", b"1.2 "),
        "command group": element(0x00000100, "US", b"\1\0"),
        "stray item": item(b""),
        "stray delimiter": ITEM_END,
        "undefined length of text": element(0x00500010, "UT", b"", length=UNDEFINED),
        "no item in a sequence": element(0x00411001, "SQ", element(0x00411002, "LO", b"ab")),
        "lower-case VR": struct.pack("<HH2sH", 0x41, 0x1001, b"lo", 0),
        "implicit in explicit": implicit(0x00411001, b"abcd"),
        "fragment of undefined length": element(0x7FE00010, "OB", b"", length=UNDEFINED) + item(b"", length=UNDEFINED),
        "indexed attribute again": element(0x00100020, "LO", b"OTHER "),
        "zeros": bytes(64),
    }
    first = explicit_object(element(0x00100020, "LO", b"ID"))
    assert [name for name, data in refused.items() if not refusal(first + data)] == []


def test_an_indexed_attribute_twice_is_refused_also_at_once() -> None:
    twice = element(0x00100020, "LO", b"A ") + element(0x00100020, "LO", b"B ")
    assert "twice" in refusal(explicit_object(twice))


def test_floods_of_elements_end_at_the_bound() -> None:
    validator = Validator(EXPLICIT)
    validator.feed(explicit_object())
    flood = element(0x00500010, "LO", b"") * 50_000
    begun = time.monotonic()
    for _ in range(MAX_ELEMENTS // 50_000 - 1):
        validator.feed(flood)
    with pytest.raises(BadDataSet, match="more than"):
        validator.feed(flood * 2)
    assert time.monotonic() - begun < 60


def test_a_bomb_of_zeros_is_refused_before_it_is_out() -> None:
    image = explicit_object(after=[element(0x7FE00010, "OW", b"", length=200 * 1024 * 1024)])
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(image)
    for _ in range(200):
        bomb += deflate.compress(bytes(1024 * 1024))
    bomb += deflate.flush()
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        assert "grows" in refusal(bomb, DEFLATED_LITTLE_ENDIAN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_an_honest_deflated_object_is_taken_and_a_broken_one_is_not() -> None:
    sample = one("image_dfl.dcm")
    assert refusal(sample.data + b"\0", sample.transfer_syntax) == ""
    assert "cut off" in refusal(sample.data[:-20], sample.transfer_syntax)
    unfinished = zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = unfinished.compress(explicit_object()) + unfinished.flush(zlib.Z_SYNC_FLUSH)
    assert "deflated data set ends" in refusal(whole, sample.transfer_syntax)
    assert "no deflate stream" in refusal(b"\xff" + sample.data, sample.transfer_syntax)


def test_the_header_is_there_before_the_pixels_and_does_not_change() -> None:
    sample = one("CT_small.dcm")
    validator = Validator(sample.transfer_syntax)
    validator.feed(sample.data[:6000])
    early = validator.header
    assert early is not None
    validator.feed(sample.data[6000:])
    assert validator.finish() is early


def test_after_a_refusal_it_refuses_for_good() -> None:
    validator = Validator(EXPLICIT)
    for _ in range(2):
        with pytest.raises(BadDataSet):
            validator.feed(bytes(100))


@given(
    data=st.binary(max_size=400),
    transfer_syntax=st.sampled_from([EXPLICIT, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, DEFLATED_LITTLE_ENDIAN]),
)
def test_any_bytes_are_judged_without_a_crash(data: bytes, transfer_syntax: str) -> None:
    refusal(explicit_object() + data, transfer_syntax)
    refusal(data, transfer_syntax)


@given(st.data())
def test_a_real_object_with_bytes_changed_is_judged_without_a_crash(data: st.DataObject) -> None:
    sample = one(
        data.draw(st.sampled_from(["MR_small_implicit.dcm", "rtdose_expb_1frame.dcm", "reportsi.dcm", "JPEG2000.dcm", "image_dfl.dcm"]))
    )
    changed = bytearray(sample.data)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, min(len(changed), 3000) - 1), st.integers(0, 255)), max_size=8)):
        changed[at] = value
    refusal(bytes(changed), sample.transfer_syntax)


def test_messages_name_no_value() -> None:
    secret = b"ZQXJ"
    for data in (
        explicit_object(element(0x00100010, "PN", secret * 2000)),
        explicit_object(element(0x00100020, "LO", secret), after=[element(0x00100020, "LO", secret)]),
        element(0x0020000D, "UI", secret),
    ):
        said = refusal(data)
        assert said
        assert "ZQXJ" not in said
