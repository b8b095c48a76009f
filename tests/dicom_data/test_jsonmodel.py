"""The JSON model says what pydicom says, for any size, and its bulk data are found again."""

import base64
import io
import json
import struct
import tracemalloc
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from leadglass.dicom.jsonmodel import bulk_value, json_chunks, record_to_json
from leadglass.dicom.syntax import EXPLICIT_BIG_ENDIAN
from leadglass.errors import BadDataSet, BadQuery
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
    item,
    name_of,
    one,
)


def model(data: bytes, transfer_syntax: str = EXPLICIT) -> dict[str, Any]:
    text = b"".join(json_chunks(io.BytesIO(data), transfer_syntax, lambda path: f"https://x/{path}"))
    loaded: dict[str, Any] = json.loads(text, parse_constant=_no_constant)
    return loaded


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


NOT_COMPARED = {"00080005", "FFFCFFFC", "7FE00010"}
PYDICOM_FAILS = {"badVR.dcm": {"00280008"}}
"""An IS that is none; ours is a string, as it stands."""


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_pydicom_says_the_same(sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sample.read().to_json_dict(1025, lambda _: "bulk", suppress_invalid_tags=True)
    skipped = NOT_COMPARED | PYDICOM_FAILS.get(sample.path.name, set())
    assert list(_differences(model(sample.data, sample.transfer_syntax), theirs, skipped)) == []


def _differences(ours: dict[str, Any], theirs: dict[str, Any], skipped: set[str], path: str = "") -> list[str]:
    found = []
    for tag in sorted((ours.keys() | theirs.keys()) - skipped):
        mine, other = ours.get(tag), theirs.get(tag)
        if tag.endswith("0000") or (mine and other is None and mine["vr"] == "SQ"):
            continue  # group lengths, and sequences that pydicom gives up on because of one element in them
        if mine and other and "BulkDataURI" in other:
            mine = {"vr": mine["vr"], "BulkDataURI": other["BulkDataURI"]}
        if mine and mine["vr"] == "UN" and int(tag[:4], 16) % 2:
            continue  # pydicom knows the private elements of some makers
        if mine and other and mine["vr"] == other["vr"] == "SQ":
            assert len(mine.get("Value", [])) == len(other.get("Value", []))
            for index, pair in enumerate(zip(mine.get("Value", []), other.get("Value", []), strict=True)):
                found += _differences(*pair, skipped, f"{path}{tag}/{index}/")
        elif _tidy(mine) != _tidy(other) and not (mine and other is None and mine["vr"] == "UN"):
            found.append(f"{path}{tag}: {mine} but {other}")
    return found


def _tidy(entry: dict[str, Any] | None) -> object:
    # pydicom leaves padding within multi-valued text and writes empty members as "".
    if entry is None or "Value" not in entry:
        return entry
    return entry["vr"], [(value.strip() or None) if isinstance(value, str) else value for value in entry["Value"]]


def test_numbers_of_every_kind() -> None:
    values = {
        (0x00189151, "FL"): (struct.pack("<3f", 1.5, float("nan"), float("inf")), [1.5, "NaN", "Infinity"]),
        (0x00081163, "FD"): (struct.pack("<2d", -0.25, float("-inf")), [-0.25, "-Infinity"]),
        (0x00720082, "SV"): (struct.pack("<2q", -5, 1 << 60), [-5, str(1 << 60)]),
        (0x00280009, "AT"): (b"\x18\0\x63\x10", ["00181063"]),
        (0x00280106, "SS"): (b"\xff\xff", [-1]),
        (0x00280030, "DS"): (b"1.50\\ 2 \\x\\\\1e5", [1.5, 2, "x", None, 100000.0]),
        (0x00200013, "IS"): (b"+07\\1.5", [7, "1.5"]),
        (0x00280010, "US"): (b"\1\0\2", [1]),
        (0x00100010, "PN"): (b"A^B=C\\=D^E ", [{"Alphabetic": "A^B", "Ideographic": "C"}, {"Ideographic": "D^E"}]),
        (0x00081190, "UR"): (b"http://a/b\\c ", ["http://a/b\\c"]),
    }
    ours = model(b"".join(element(tag, vr, raw) for (tag, vr), (raw, _) in sorted(values.items())))
    assert {(int(tag, 16), entry["vr"]): entry["Value"] for tag, entry in ours.items()} == {
        key: value for key, (_, value) in values.items()
    }


def test_empty_values_sequences_and_items() -> None:
    data = element(0x00081140, "SQ", b"") + element(0x00100010, "PN", b"") + element(0x00100020, "LO", b"  ")
    data += element(
        0x00400275, "SQ", item(b"") + item(element(0x00400009, "SH", b"a "), length=UNDEFINED) + ITEM_END + SEQUENCE_END, length=UNDEFINED
    )
    assert model(data) == {
        "00081140": {"vr": "SQ"},
        "00100010": {"vr": "PN"},
        "00100020": {"vr": "LO"},
        "00400275": {"vr": "SQ", "Value": [{}, {"00400009": {"vr": "SH", "Value": ["a"]}}]},
    }


def test_binary_values_are_inline_up_to_a_bound_and_pixels_never() -> None:
    data = element(0x00420011, "OB", bytes(1024)) + element(0x00660040, "OL", bytes(1028)) + element(0x7FE00010, "OB", b"ab")
    ours = model(explicit_object(after=[data]))
    assert base64.b64decode(ours["00420011"]["InlineBinary"]) == bytes(1024)
    assert ours["00660040"] == {"vr": "OL", "BulkDataURI": "https://x/00660040"}
    assert ours["7FE00010"] == {"vr": "OB", "BulkDataURI": "https://x/7FE00010"}


@pytest.mark.parametrize("sample", distinct(), ids=name_of)
def test_every_bulk_data_path_leads_back_to_the_value(sample: Sample) -> None:
    ours = model(sample.data, sample.transfer_syntax)
    for path in _paths(ours):
        where = ours
        *way, last = path.removeprefix("https://x/").split("/")
        for tag, index in zip(way[::2], way[1::2], strict=True):
            where = where[tag]["Value"][int(index)]
        assert where[last]["BulkDataURI"] == path
        if last != "7FE00010":
            assert len(b"".join(bulk_value(sample.source, sample.transfer_syntax, path.removeprefix("https://x/")))) > 1024
    with pytest.raises(BadQuery):
        bulk_value(sample.source, sample.transfer_syntax, "00081190")


def _paths(data_set: dict[str, Any]) -> list[str]:
    found = []
    for entry in data_set.values():
        if "BulkDataURI" in entry:
            found.append(entry["BulkDataURI"])
        elif entry["vr"] == "SQ":
            found += [path for inner in entry.get("Value", []) for path in _paths(inner)]
    return found


def test_a_waveform_lies_where_its_path_says() -> None:
    sample = one("waveform_ecg.dcm")
    path = "54000100/0/54001010"
    assert b"".join(bulk_value(sample.source, sample.transfer_syntax, path)) == sample.read().WaveformSequence[0].WaveformData


def test_text_is_in_utf_8_and_says_so_also_within_items() -> None:
    inner = element(0x00080005, "CS", b"ISO_IR 100") + element(0x00400009, "SH", b"\xe4 ")
    data = element(0x00080005, "CS", b"ISO_IR 144") + element(0x00400275, "SQ", item(inner) + item(element(0x00400009, "SH", b"\xbb ")))
    ours = model(data)
    assert ours["00080005"]["Value"] == ["ISO_IR 192"]
    assert [entry["00400009"]["Value"] for entry in ours["00400275"]["Value"]] == [["ä"], ["Л"]]


def test_what_was_written_as_unknown_is_named_again_and_is_little_endian() -> None:
    data = struct.pack(">HH2s2xI", 0x0028, 0x0010, b"UN", 2) + b"\0\2" + struct.pack(">HH2sH", 0x0028, 0x0011, b"US", 2) + b"\2\0"
    assert model(data, EXPLICIT_BIG_ENDIAN) == {"00280010": {"vr": "US", "Value": [512]}, "00280011": {"vr": "US", "Value": [512]}}


def test_text_cannot_break_out_of_json() -> None:
    hostile = b'"},"00100020":{"vr":"LO"}\x01\x1f\x7f<script>\xff'
    assert model(element(0x00100010, "PN", hostile))["00100010"]["Value"][0]["Alphabetic"].startswith('"},"00100020"')


def test_many_items_need_no_memory() -> None:
    frame = item(element(0x00400009, "SH", b"ab") * 20)
    data = b"".join(element(tag, vr, raw) for tag, vr, raw in IDS) + element(0x52009230, "SQ", frame * 500)
    source = io.BytesIO(data)
    tracemalloc.start()
    try:
        size = sum(len(chunk) for chunk in json_chunks(source, EXPLICIT, lambda path: path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 300_000
    assert peak < 300_000


@given(st.binary(max_size=300))
def test_any_bytes_become_json_or_are_refused(data: bytes) -> None:
    try:
        model(data)
    except BadDataSet:
        return


def test_a_record_becomes_a_row() -> None:
    row = record_to_json(
        {
            "StudyDate": "20200101",
            "PatientName": "Müller^J=漢",
            "Rows": "512",
            "ModalitiesInStudy": "CT\\MR",
            "NumberOfStudyRelatedInstances": "7",
            "PatientID": "",
        }
    )
    assert row == {
        "00080020": {"vr": "DA", "Value": ["20200101"]},
        "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^J", "Ideographic": "漢"}]},
        "00100020": {"vr": "LO"},
        "00201208": {"vr": "IS", "Value": [7]},
        "00280010": {"vr": "US", "Value": [512]},
    }
    assert list(row) == sorted(row)
    assert Dataset.from_json(row).PatientName == "Müller^J=漢"
