"""What the survey reads of other machines' words: round trips, and never a crash."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from leadglass.survey import advisories, dicomjson, products
from leadglass.survey.observations import Field, RecordCounts
from leadglass.survey.probes.dimse import identifier
from leadglass.survey.tally import Tally, run_key, whole_number
from leadglass.vocabulary import Level

UID_KEYWORDS = [keyword for keyword in identifier.TAGS if keyword.endswith("UID")]
TEXT_KEYWORDS = ["PatientID", "IssuerOfPatientID", "PatientName", "StudyDescription"]
TEXT = st.text(string.ascii_letters + string.digits + "^ ", max_size=30).map(str.strip)
UIDS = st.lists(st.integers(0, 10**8), min_size=2, max_size=6).map(lambda parts: ".".join(map(str, parts)))


@given(st.dictionaries(st.sampled_from(UID_KEYWORDS), UIDS), st.dictionaries(st.sampled_from(TEXT_KEYWORDS), TEXT))
def test_an_identifier_comes_back_as_it_went(uids: dict[str, str], texts: dict[str, str]) -> None:
    asked = uids | texts
    assert identifier.decode(identifier.encode(Level.STUDY, asked)) == asked | {"QueryRetrieveLevel": "STUDY"}


@given(TEXT, UIDS, st.integers(0, 10**6))
def test_an_identifier_is_what_pydicom_reads_and_writes(patient: str, study: str, number: int) -> None:
    written = Dataset()
    written.PatientID = patient
    written.StudyInstanceUID = study
    written.NumberOfStudyRelatedInstances = number
    item = Dataset()
    item.StudyInstanceUID = "1.2.3"
    written.ReferencedStudySequence = Sequence([item])
    written["ReferencedStudySequence"].is_undefined_length = True
    raw = DicomBytesIO()
    raw.is_little_endian, raw.is_implicit_VR = True, True
    write_dataset(raw, written)
    read = identifier.decode(raw.getvalue())
    assert (read["PatientID"], read["StudyInstanceUID"]) == (patient.strip(), study)
    assert whole_number(read["NumberOfStudyRelatedInstances"]) == number


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading_of_an_identifier(raw: bytes) -> None:
    assert set(identifier.decode(raw)) <= set(identifier.TAGS)


def test_nested_sequences_without_end_are_left() -> None:
    deep = b"\x08\x00\x10\x11\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 10_000
    assert identifier.decode(deep) == {}


@pytest.mark.parametrize("text", ["", "-1", "1e3", "12x", "\uff19", "1" * 30])
def test_only_a_number_is_a_count(text: str) -> None:
    assert whole_number(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(JSON)
def test_any_json_is_read_without_a_crash(value: dicomjson.Json) -> None:
    parsed = dicomjson.parse(json.dumps(value).encode())
    for row in dicomjson.rows(parsed) or []:
        dicomjson.fields_of(row)
    dicomjson.whole_numbers(parsed, ("count",))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_json_without_a_crash(raw: bytes) -> None:
    dicomjson.rows(dicomjson.parse(raw))


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b"[" + b"1" * 10_000 + b"]", b'{"a":' * 5000, b" " * (dicomjson.MAX_JSON_BYTES + 1), b"\xff"]
)
def test_what_is_too_deep_or_too_large_is_no_json(raw: bytes) -> None:
    assert dicomjson.parse(raw) is None


@pytest.mark.parametrize("value", [{}, [1], [{"PatientName": 1}], [{"00100010": 1}, []], "x", None])
def test_what_is_no_answer_of_a_search(value: dicomjson.Json) -> None:
    assert dicomjson.rows(value) is None


def test_fields_are_those_with_a_value() -> None:
    row: dict[str, dicomjson.Json] = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        "00100030": {"vr": "DA", "Value": [""]},
        "00100040": {"vr": "CS"},
        "00080020": {"vr": "DA", "Value": ["20260101"]},
    }
    assert dicomjson.fields_of(row) == (Field.PATIENT_NAME, Field.STUDY_DATE)
    assert set(dicomjson.FIELD_TAGS) == set(Field)


# Counting by hash

PATIENTS = st.tuples(st.text(max_size=3), st.text(max_size=3))


@given(st.lists(st.tuples(PATIENTS, st.integers(0, 20), st.integers(0, 9))))
def test_a_tally_counts_as_a_set_does(rows: list[tuple[tuple[str, str], int, int]]) -> None:
    tally = Tally(run_key())
    first: dict[int, tuple[tuple[str, str], int]] = {}
    for (issuer, patient), study, images in rows:
        tally.add(issuer, patient, str(study), images)
        first.setdefault(study, ((issuer.strip(), patient.strip()), images))
    patients, instances = {patient for patient, _ in first.values()}, sum(images for _, images in first.values())
    assert tally.counts(exact=True) == RecordCounts(len(patients), len(first), instances, exact=True)


def test_at_least_none_is_no_count() -> None:
    assert Tally(run_key()).counts(exact=False) is None
    assert Tally(run_key()).counts(exact=True) == RecordCounts(0, 0, 0, exact=True)


def test_padding_makes_no_other_patient() -> None:
    tally = Tally(run_key())
    tally.add("", "P1", "1", 0)
    tally.add(" ", "P1 ", "2", 0)
    assert tally.counts(exact=True) == RecordCounts(patients=1, studies=2, instances=0, exact=True)


def test_issuer_and_id_are_not_run_together() -> None:
    tally = Tally(run_key())
    tally.add("A", "BC", "1", 0)
    tally.add("AB", "C", "2", 0)
    assert tally.counts(exact=True) == RecordCounts(patients=2, studies=2, instances=0, exact=True)


def test_hashes_of_two_runs_have_nothing_in_common() -> None:
    first, second = Tally(run_key()), Tally(run_key())
    for tally in (first, second):
        tally.add("", "P1", "1.2.3", 1)
    assert not vars(first)["_patients"] & vars(second)["_patients"]
    assert all(len(each) == 12 for each in vars(first)["_patients"])


# Products


@pytest.mark.parametrize(
    ("class_uid", "name", "product", "toolkit", "version"),
    [
        ("1.2.276.0.7230010.3.0.3.6.7", "OFFIS_DCMTK_367", "", "DCMTK", (3, 6, 7)),
        ("1.2.40.0.13.1.3", "dcm4che-5.31.0", "dcm4che", "dcm4che", (5, 31, 0)),
        ("1.2.40.0.13.1.3", "EntImaging-8.3.2", "Agfa Enterprise Imaging", "dcm4che", (8, 3, 2)),
        ("1.2.826.0.1.3680043.9.3811.3.0.4", "PYNETDICOM_304", "pynetdicom", "pynetdicom", (3, 0, 4)),
        ("1.2.276.0.7238010.5.0.3.5.4", "OSIRIX", "OsiriX or Horos", "DCMTK 3.5.4, patched", None),
        ("1.2.840.113619.6.96", "", "GE", "", None),
    ],
)
def test_software_is_told_by_class_and_version_together(
    class_uid: str, name: str, product: str, toolkit: str, version: tuple[int, ...] | None
) -> None:
    match = products.recognise(class_uid, name)
    assert match is not None
    row = products.fingerprints()[match.row]
    assert (row.product, row.toolkit, match.version) == (product, toolkit, version)


@pytest.mark.parametrize(
    ("class_uid", "name"), [("", ""), ("1.2.3", "OFFIS_DCMTK_367"), ("1.2.40.0.13.1.3", "Doe^John"), ("1.2.40.0.13.1.33", "dcm4che-5.1")]
)
def test_what_is_in_no_row_is_not_guessed(class_uid: str, name: str) -> None:
    assert products.recognise(class_uid, name) is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_words_of_a_device_break_the_table(class_uid: str, name: str) -> None:
    products.recognise(class_uid, name)
    products.version_number(name)


def test_every_row_has_its_provenance() -> None:
    for row in products.fingerprints():
        assert row.evidence
        assert row.confidence in {"source", "observed", "medium", "unverified"}
        assert row.product or row.toolkit
    assert all(each.ids and (each.below or each.through) for each in advisories.advisories())


@pytest.mark.parametrize(
    ("product", "version", "count"),
    [
        ("Orthanc", (1, 10, 1), 2),
        ("Orthanc", (1, 12, 10), 1),
        ("Orthanc", (1, 12, 11), 0),
        ("DCMTK", (3, 6, 6), 3),
        ("DCMTK", (3, 7, 0), 1),
        ("Orthanc", None, 0),
    ],
)
def test_advisories_are_matched_by_range(product: str, version: tuple[int, ...] | None, count: int) -> None:
    assert len(advisories.possible_advisories(product, version)) == count
