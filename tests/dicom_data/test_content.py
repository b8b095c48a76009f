"""The content digest is blind to encodings and to nothing else."""

import io
import random
import struct
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from leadglass.dicom.content import content_digest
from leadglass.dicom.convert import to_little_endian
from leadglass.dicom.elements import Elements, Kind
from leadglass.dicom.syntax import DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN, is_native
from tests.dicom_data.data_sets import (
    EXPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Sample,
    dcmconv,
    distinct,
    element,
    explicit_object,
    implicit,
    item,
    name_of,
    one,
    parsed,
    written,
)


def digest(data: bytes, transfer_syntax: str = EXPLICIT) -> bytes:
    return content_digest(io.BytesIO(data), transfer_syntax)


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_dcmtk_may_encode_it_as_it_likes(sample: Sample, tmp_path: Path) -> None:
    expected = digest(sample.data, sample.transfer_syntax)
    native = (("+te", "-e"), ("+ti", "+e"), ("+tb", "-e", "+g"))
    for options in native if is_native(sample.transfer_syntax) else (("+t=", "+e"), ("+t=", "-e", "+g")):
        transfer_syntax, data = dcmconv(sample.path, *options, folder=tmp_path)
        assert digest(data, transfer_syntax) == expected, options


@pytest.mark.parametrize("sample", [sample for sample in distinct() if is_native(sample.transfer_syntax)], ids=name_of)
def test_it_is_the_same_after_our_own_converting(sample: Sample) -> None:
    data = b"".join(to_little_endian(sample.source, sample.transfer_syntax))
    assert digest(data) == digest(sample.data, sample.transfer_syntax)


@pytest.mark.parametrize("name", ["CT_small.dcm", "reportsi.dcm", "test-SR.dcm", "rtplan.dcm", "liver_1frame.dcm"])
def test_pydicom_may_encode_it_as_it_likes(name: str) -> None:
    sample = one(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = sample.read()
        data_set.pop(0xFFFCFFFC, None)
        for uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            assert digest(written(data_set, uid), uid) == digest(sample.data, sample.transfer_syntax)


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_one_byte_of_any_value_counts(sample: Sample) -> None:
    if sample.transfer_syntax == DEFLATED_LITTLE_ENDIAN:
        return
    expected = digest(sample.data, sample.transfer_syntax)
    rng = random.Random(sample.name)
    tokens = [
        token for token in Elements(sample.source, sample.transfer_syntax) if token.kind in {Kind.ELEMENT, Kind.FRAGMENT} and token.length
    ]
    tokens = [token for token in tokens if token.tag & 0xFFFF and token.tag != 0xFFFCFFFC]
    for token in [*rng.sample(tokens, min(12, len(tokens))), tokens[-1]]:
        at = token.offset + rng.randrange(token.length)
        changed = bytearray(sample.data)
        changed[at] = changed[at] ^ 0x41 if changed[at] not in b"\0 " else 0x41
        assert digest(bytes(changed), sample.transfer_syntax) != expected, f"{token.tag:08X}"


def test_an_element_more_or_less_counts() -> None:
    base = explicit_object(element(0x00100010, "PN", b"A^B "))
    others = [
        explicit_object(),
        explicit_object(element(0x00100010, "PN", b"A^B "), element(0x00100030, "DA", b"")),
        explicit_object(element(0x00100020, "LO", b"A^B ")),
        explicit_object(element(0x00100010, "PN", b" A^B")),
    ]
    digests = [digest(data) for data in [base, *others]]
    assert len(set(digests)) == len(digests)


def test_what_encodings_do_not_keep_does_not_count() -> None:
    inner = element(0x00411002, "LO", b"abcd")
    implicit_inner = implicit(0x00411002, b"abcd")
    private = 0x00411001
    same = [
        element(private, "SQ", item(inner)),
        element(private, "SQ", item(inner, length=UNDEFINED) + ITEM_END),
        element(private, "SQ", item(inner) + SEQUENCE_END, length=UNDEFINED),
        element(private, "UN", item(implicit_inner) + SEQUENCE_END, length=UNDEFINED),
        element(private, "UN", item(implicit_inner)),
        element(private, "OB", item(implicit_inner)),
        element(0x00410000, "UL", bytes(4)) + element(private, "SQ", item(inner)),
        element(private, "SQ", item(inner)) + element(0xFFFCFFFC, "OB", b"xx"),
    ]
    assert len({digest(explicit_object(after=[data])) for data in same}) == 1
    empty = [
        element(private, "SQ", b""),
        element(private, "SQ", SEQUENCE_END, length=UNDEFINED),
        element(private, "UN", b""),
        element(private, "LO", b""),
    ]
    assert len({digest(explicit_object(after=[data])) for data in empty}) == 1


def test_digests_once_stored_stay_what_they_are() -> None:
    kept = {
        "CT_small.dcm": "c3cab7c4453eb74819e267e3481c82a11a7231ca28c701ebfe7b887a9daa1f4c",
        "reportsi.dcm": "f87aba3aa3a6c29078fd8eeae8afd18c5b735b12147388617a3fd9368bf445e0",
        "JPEG2000.dcm": "cb4f0e421376f6caffdc7b13b01f651fd41117b9ef8fe5426fc4b165bfd4fb8d",
    }
    assert {name: digest(one(name).data, one(name).transfer_syntax).hex() for name in kept} == kept


def test_structures_do_not_run_into_each_other() -> None:
    inner = element(0x00411002, "LO", b"ab")
    private = 0x00411001
    different = [
        element(private, "SQ", item(inner) + item(inner)),
        element(private, "SQ", item(inner + inner)),
        element(private, "SQ", item(inner) + item(b"")),
        element(private, "SQ", item(inner)) + element(0x00411002, "LO", b"ab"),
        element(private, "SQ", item(element(private, "SQ", item(inner)))),
        element(private, "SQ", item(b"")),
        element(private, "SQ", b""),
    ]
    assert len({digest(explicit_object(after=[data])) for data in different}) == len(different)


def test_compressed_pixels_count_with_their_transfer_syntax_and_fragments() -> None:
    sample = one("JPEG2000.dcm")
    lossless = "1.2.840.10008.1.2.4.90"
    assert sample.transfer_syntax != lossless
    assert digest(sample.data, sample.transfer_syntax) != digest(sample.data, lossless)


def test_opaque_values_full_of_item_tags_end() -> None:
    value = struct.pack("<HHI", 0xFFFE, 0xE000, 8) * 100
    for _ in range(1500):
        value = item(implicit(0x00411001, value))
    digest(explicit_object(after=[element(0x00411001, "UN", value)]))


@given(value=st.binary(max_size=100), tag=st.sampled_from([0x00411001, 0x00100010, 0x7FE00010, 0x00081140]))
def test_any_value_in_un_has_a_digest(value: bytes, tag: int) -> None:
    assert len(digest(explicit_object(after=[element(tag, "UN", value)]) if tag > 0x0020000E else element(tag, "UN", value))) == 32


def test_big_endian_pixels_are_the_same_pixels() -> None:
    pixels = bytes(range(200))
    turned = b"".join(pixels[at + 1 : at + 2] + pixels[at : at + 1] for at in range(0, 200, 2))
    big = struct.pack(">HH2s2xI", 0x7FE0, 0x0010, b"OW", 200) + turned
    assert (
        digest(big, EXPLICIT_BIG_ENDIAN)
        == digest(implicit(0x7FE00010, pixels), IMPLICIT_LITTLE_ENDIAN)
        == digest(element(0x7FE00010, "OB", pixels))
    )
    assert parsed(big, ExplicitVRBigEndian).PixelData == turned
