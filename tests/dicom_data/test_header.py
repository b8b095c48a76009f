"""The header scan says what pydicom says, from as little of the object as holds it."""

import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

from leadglass.dicom.attributes import BY_KEYWORD, INDEXED, Attribute
from leadglass.dicom.header import MAX_HEADER_BYTES, NEED_MORE, Header, scan
from leadglass.dicom.syntax import EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.text import decode, encodings_of
from leadglass.errors import BadDataSet
from leadglass.vocabulary import Level
from tests.dicom_data.data_sets import EXPLICIT, Sample, distinct, element, explicit_object, name_of, one, written


def scanned(sample: Sample) -> Header:
    header = scan(sample.data, sample.transfer_syntax, complete=True)
    assert isinstance(header, Header)
    return header


def items_text(entry: Attribute, items: Sequence) -> str:
    texts = [{inner.keyword: as_text(item[inner.tag].value) for inner in entry.items if inner.tag in item} for item in items]
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":"))


def as_text(value: Any) -> str:  # noqa: ANN401 # whatever pydicom makes of a value
    if value is None:
        return ""
    if isinstance(value, str | PersonName | int | float) or not hasattr(value, "__iter__"):
        return str(value if isinstance(value, PersonName) else getattr(value, "original_string", value))
    return "\\".join(as_text(part) for part in value)


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_it_says_what_pydicom_says(sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that are not as they should be
        data_set = sample.read()
        expected = {
            entry.keyword: items_text(entry, data_set[entry.tag].value) if entry.items else as_text(data_set[entry.tag].value).rstrip(" ")
            for level in Level
            for entry in INDEXED[level]
            if entry.tag in data_set
        }
    tidied = {keyword: text.replace(" \\", "\\").rstrip(" =") for keyword, text in scanned(sample).values.items()}
    assert tidied == {keyword: text.replace(" \\", "\\").rstrip(" =") for keyword, text in expected.items()}


def test_names_of_the_world() -> None:
    names = {
        sample.name.removeprefix("charset_files/"): scanned(sample).values["PatientName"]
        for sample in distinct()
        if sample.name.startswith("charset_files/")
    }
    assert names["chrGerm.dcm"] == "Äneas^Rüdiger"
    assert names["chrRuss.dcm"] == "Люкceмбypг"  # noqa: RUF001 # as the file spells Luxembourg, two alphabets mixed
    assert names["chrH31.dcm"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert names["chrH32.dcm"] == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
    assert names["chrI2.dcm"] == "Hong^Gildong=洪^吉洞=홍^길동"
    assert names["chrX1.dcm"] == "Wang^XiaoDong=王^小東="


def test_a_backslash_within_a_character_is_none() -> None:
    # The second byte of this character in GB18030 is 0x5C.
    raw = "\u4e43^A".encode("gb18030")
    assert b"\\" not in raw
    raw = "鱘".encode("gbk")
    assert decode("誠\\".encode("gb18030"), encodings_of(b"GB18030")) == "誠\\"
    assert decode(raw, encodings_of(b"GB18030")) == "鱘"


def test_in_names_every_component_begins_in_the_first_character_set() -> None:
    encodings = encodings_of(b"ISO_IR 100\\ISO 2022 IR 144")
    raw = b"\x1b-L\xbb^\xe9=\x1b-L\xbb\\\xe9"
    assert decode(raw, encodings, name=True) == "Л^é=Л\\é"
    assert decode(raw, encodings) == "Л^щ=Л\\é"
    data = explicit_object(
        element(0x00080005, "CS", b"ISO_IR 100\\ISO 2022 IR 144"), element(0x00081030, "LO", raw), element(0x00100010, "PN", raw)
    )
    header = scan(data, EXPLICIT, complete=True)
    assert isinstance(header, Header)
    assert (header.values["PatientName"], header.values["StudyDescription"]) == ("Л^é=Л\\é", "Л^щ=Л\\é")


@pytest.mark.parametrize("term", [b"ISO_IR 6 ", b"NONSENSE", b"", b"\\", b"ISO-IR 100", b"ISO 2022 IR 6\\ISO 2022 IR 999"])
def test_an_unknown_character_set_hides_nothing_that_is_ascii(term: bytes) -> None:
    data = explicit_object(element(0x00080005, "CS", term), element(0x00100010, "PN", b"DOE^J\xfcrgen "))
    header = scan(data, EXPLICIT, complete=True)
    assert isinstance(header, Header)
    assert header.values["PatientName"].startswith("DOE^J")


@given(
    raw=st.binary(max_size=60),
    term=st.sampled_from([b"ISO 2022 IR 6\\ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"GB18030", b"ISO_IR 192", b"ISO_IR 13"]),
)
def test_any_bytes_are_some_text(raw: bytes, term: bytes) -> None:
    assert "\0" not in decode(raw, encodings_of(term), name=True)


def test_it_needs_no_more_than_the_header() -> None:
    sample = one("CT_small.dcm")
    assert scan(sample.data[:6000], sample.transfer_syntax, complete=False) == scanned(sample)
    assert scan(sample.data[:3000], sample.transfer_syntax, complete=False) is NEED_MORE
    with pytest.raises(BadDataSet, match="cut off"):
        scan(sample.data[:3001], sample.transfer_syntax, complete=True)


@pytest.mark.parametrize("name", ["CT_small.dcm", "image_dfl.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_growing_prefixes_need_more_until_they_say_it_all(name: str) -> None:
    sample = one(name)
    answers = [scan(sample.data[:size], sample.transfer_syntax, complete=False) for size in range(0, len(sample.data), 97)]
    headers = [answer for answer in answers if answer is not NEED_MORE]
    assert headers
    assert answers[: -len(headers)] == [NEED_MORE] * (len(answers) - len(headers))
    assert all(header == scanned(sample) for header in headers)


def test_a_header_without_end_is_refused() -> None:
    data = explicit_object() + element(0x00210010, "UN", bytes(MAX_HEADER_BYTES))
    assert scan(data[:100_000], EXPLICIT, complete=False) is NEED_MORE
    with pytest.raises(BadDataSet, match="header"):
        scan(data, EXPLICIT, complete=False)


def test_nothing_of_a_patient_is_in_its_repr() -> None:
    header = scanned(one("CT_small.dcm"))
    assert header.values["PatientName"] not in repr(header)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"], exclude_characters="\\=^"), max_size=12)


@given(
    name=st.tuples(TEXT, TEXT, TEXT).map("=".join),
    patient_id=TEXT,
    rows=st.integers(0, 65535),
    transfer_syntax=st.sampled_from([EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN]),
)
def test_what_pydicom_writes_is_read_back(name: str, patient_id: str, rows: int, transfer_syntax: str) -> None:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.2.4", "1.2.5"
    data_set.PatientName, data_set.PatientID, data_set.Rows = name, patient_id, rows
    header = scan(written(data_set, transfer_syntax), transfer_syntax, complete=True)
    assert isinstance(header, Header)
    assert header.values["PatientName"].rstrip("=") == name.rstrip("=")
    assert header.values["PatientID"] == patient_id
    assert header.values["Rows"] == str(rows)
    assert (header.study, header.series, header.instance) == ("1.2.4", "1.2.5", "1.2.3")


def test_the_list_of_attributes_agrees_with_the_dictionary() -> None:
    for entry in BY_KEYWORD.values():
        assert (keyword_for_tag(entry.tag), dictionary_VR(entry.tag)) == (entry.keyword, entry.vr)
