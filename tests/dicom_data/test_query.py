"""Identifiers of C-FIND and C-GET: read as PS3.4 C.4 has them, written so that others read them."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from leadglass.dicom.header import Header, scan
from leadglass.dicom.levels import Root
from leadglass.dicom.matching import AnyOf, Moments, Range, Single, UidList, Wildcard, matches
from leadglass.dicom.query import (
    MAX_IDENTIFIER_BYTES,
    IdentifierWriter,
    Query,
    Selection,
    query_from_identifier,
    selection_from_identifier,
)
from leadglass.dicom.syntax import DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet, BadQuery
from leadglass.vocabulary import Level
from tests.dicom_data.data_sets import EXPLICIT, element, parsed, written

SYNTAXES = [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN]


def identifier(**keys: object) -> Dataset:
    data_set = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on what is wrong on purpose
        for keyword, value in keys.items():
            setattr(data_set, keyword, value)
    return data_set


def asked(root: Root = Root.STUDY, transfer_syntax: str = EXPLICIT, **keys: object) -> Query:
    return query_from_identifier(written(identifier(**keys), transfer_syntax), transfer_syntax, root)


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_a_study_query(transfer_syntax: str) -> None:
    query = asked(
        transfer_syntax=transfer_syntax,
        SpecificCharacterSet="ISO_IR 100",
        QueryRetrieveLevel="STUDY",
        PatientName="Mül*",
        StudyDate="20200101-",
        ModalitiesInStudy=["CT", "MR"],
        StudyInstanceUID=["1.2.3", "1.2.4"],
        NumberOfStudyRelatedInstances=None,
        AccessionNumber="",
        InstanceAvailability="ONLINE",
    )
    assert query.level is Level.STUDY
    assert query.keys == {
        "PatientName": Wildcard("mul*"),
        "StudyDate": Range("20200101", None),
        "ModalitiesInStudy": AnyOf(("CT", "MR")),
        "StudyInstanceUID": UidList(("1.2.3", "1.2.4")),
    }
    assert set(query.returns) == {*query.keys, "NumberOfStudyRelatedInstances", "AccessionNumber", "InstanceAvailability"}
    assert (query.limit, query.offset, query.unsupported) == (None, 0, ())


def test_what_we_do_not_know_or_lies_below_is_named_as_unsupported() -> None:
    inner = identifier(ScheduledProcedureStepID="x")
    query = asked(
        QueryRetrieveLevel="STUDY", Modality="CT", SeriesNumber="", PatientComments="x", RequestAttributesSequence=Sequence([inner])
    )
    assert query.keys == {}
    assert query.returns == ()
    assert query.unsupported == (0x00080060, 0x00104000, 0x00200011, 0x00400275)


def test_numbers_are_read_in_their_byte_order() -> None:
    for transfer_syntax in SYNTAXES:
        query = asked(
            transfer_syntax=transfer_syntax, QueryRetrieveLevel="IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", Rows=512
        )
        assert query.keys["Rows"] == Single("512")


@pytest.mark.parametrize(
    ("root", "keys"),
    [
        (Root.STUDY, {}),
        (Root.STUDY, {"QueryRetrieveLevel": "PATIENT"}),
        (Root.STUDY, {"QueryRetrieveLevel": "study"}),
        (Root.STUDY, {"QueryRetrieveLevel": "../STUDY"}),
        (Root.STUDY, {"QueryRetrieveLevel": "SERIES"}),
        (Root.STUDY, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": ""}),
        (Root.STUDY, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": ["1.2", "1.3"]}),
        (Root.STUDY, {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.2"}),
        (Root.PATIENT, {"QueryRetrieveLevel": "STUDY"}),
        (Root.PATIENT, {"QueryRetrieveLevel": "STUDY", "PatientID": "A*"}),
        (Root.STUDY, {"QueryRetrieveLevel": "STUDY", "StudyDate": "20200101-20200102-"}),
    ],
)
def test_what_the_model_does_not_allow_is_refused(root: Root, keys: dict[str, object]) -> None:
    with pytest.raises(BadQuery):
        asked(root, EXPLICIT, **keys)


def test_the_patient_root_begins_with_the_patient() -> None:
    assert asked(Root.PATIENT, QueryRetrieveLevel="PATIENT", PatientID="A*").keys == {"PatientID": Wildcard("A*")}
    assert asked(Root.PATIENT, QueryRetrieveLevel="STUDY", PatientID="A").keys == {"PatientID": Single("A")}


def test_bytes_that_are_no_identifier_are_refused() -> None:
    level = element(0x00080052, "CS", b"STUDY ")
    for data in (
        b"\0",
        level[:-2],
        level + element(0x00100010, "PN", b"", length=400),
        level * 2,
        bytes(MAX_IDENTIFIER_BYTES + 1),
        level + bytes(40),
    ):
        with pytest.raises((BadQuery, BadDataSet)):
            query_from_identifier(data, EXPLICIT, Root.STUDY)
    with pytest.raises(BadQuery):
        query_from_identifier(level, DEFLATED_LITTLE_ENDIAN, Root.STUDY)


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_a_record_is_written_so_that_pydicom_reads_it(transfer_syntax: str) -> None:
    query = Query(
        Level.SERIES, {}, ("StudyDate", "PatientName", "Modality", "SeriesNumber", "NumberOfSeriesRelatedInstances", "SeriesDescription")
    )
    record = {
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.4",
        "PatientName": "Müller^Jürgen=漢",
        "Modality": "CT",
        "NumberOfSeriesRelatedInstances": "12",
        "Rows": "5",
    }
    theirs = parsed(IdentifierWriter(query, transfer_syntax).write(record), transfer_syntax)
    assert theirs.PatientName == "Müller^Jürgen=漢"
    assert (theirs.SpecificCharacterSet, theirs.QueryRetrieveLevel, theirs.Modality) == ("ISO_IR 192", "SERIES", "CT")
    assert (theirs.StudyInstanceUID, theirs.SeriesInstanceUID, theirs.NumberOfSeriesRelatedInstances) == ("1.2.3", "1.2.4", 12)
    assert (theirs.SeriesDescription, theirs.StudyDate, theirs.SeriesNumber) == ("", "", None)
    assert "Rows" not in theirs


UIDS = st.lists(st.integers(0, 10**9), min_size=1, max_size=5).map(lambda parts: ".".join(map(str, parts)))
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"], exclude_characters="\\=^*?"), min_size=1, max_size=10)


@given(name=TEXT, uid=UIDS, rows=st.integers(0, 65535), transfer_syntax=st.sampled_from(SYNTAXES))
def test_what_is_written_is_read_back_as_keys(name: str, uid: str, rows: int, transfer_syntax: str) -> None:
    record = {"StudyInstanceUID": uid, "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4", "StudyDescription": name, "Rows": str(rows)}
    data = IdentifierWriter(Query(Level.IMAGE, {}, ("StudyDescription", "Rows")), transfer_syntax).write(record)
    assert len(data) % 2 == 0
    back = query_from_identifier(data, transfer_syntax, Root.STUDY)
    assert back.keys == {
        "StudyInstanceUID": Single(uid),
        "SeriesInstanceUID": Single("1.3"),
        "SOPInstanceUID": Single("1.4"),
        "StudyDescription": Single(name),
        "Rows": Single(str(rows)),
    }


def chosen(root: Root = Root.STUDY, **keys: object) -> tuple[Level, Selection]:
    return selection_from_identifier(written(identifier(**keys), EXPLICIT), EXPLICIT, root)


def test_a_selection_names_what_to_retrieve() -> None:
    assert chosen(QueryRetrieveLevel="STUDY", StudyInstanceUID=["1.2", "1.3"]) == (Level.STUDY, Selection((Uid("1.2"), Uid("1.3"))))
    assert chosen(QueryRetrieveLevel="IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", SOPInstanceUID=["1.4", "1.5"]) == (
        Level.IMAGE,
        Selection((Uid("1.2"),), (Uid("1.3"),), (Uid("1.4"), Uid("1.5"))),
    )
    assert chosen(Root.PATIENT, QueryRetrieveLevel="PATIENT", PatientID="A") == (Level.PATIENT, Selection(patient_id="A"))


@pytest.mark.parametrize(
    ("root", "keys"),
    [
        (Root.STUDY, {"QueryRetrieveLevel": "STUDY"}),
        (Root.STUDY, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "*"}),
        (Root.STUDY, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.2"}),
        (Root.STUDY, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": ["1.2", "1.3"], "SeriesInstanceUID": "1.2"}),
        (Root.PATIENT, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2"}),
        (Root.PATIENT, {"QueryRetrieveLevel": "PATIENT", "PatientID": ""}),
    ],
)
def test_a_selection_that_could_mean_too_much_is_refused(root: Root, keys: dict[str, object]) -> None:
    with pytest.raises(BadQuery):
        chosen(root, **keys)


def test_a_selection_of_nothing_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="whole archive"):
        Selection()


def test_what_is_asked_for_is_not_printed() -> None:
    query = asked(QueryRetrieveLevel="STUDY", PatientName="ZQXJ*")
    assert "ZQXJ" not in repr(query)
    assert "zqxj" not in repr(query)
    assert "ZQXJ" not in repr(chosen(Root.PATIENT, QueryRetrieveLevel="PATIENT", PatientID="ZQXJ"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_query_or_refused(data: bytes) -> None:
    for transfer_syntax in SYNTAXES:
        for read in (query_from_identifier, selection_from_identifier):
            try:
                read(element(0x00080052, "CS", b"STUDY ") + data, transfer_syntax, Root.STUDY)
            except (BadQuery, BadDataSet):
                continue


def test_an_item_of_a_sequence_is_asked_for_as_a_whole() -> None:
    """PS3.4 C.2.2.2.6, from the object's own bytes to the match."""
    first = identifier(RequestedProcedureID="RP1", ScheduledProcedureStepID="S1")
    second = identifier(RequestedProcedureID="RP2", ScheduledProcedureStepID="S2")
    uids = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"), "1.2.3")
    whole = identifier(**uids, RequestAttributesSequence=Sequence([first, second]), Rows=5)
    for transfer_syntax in SYNTAXES:
        header = scan(written(whole, transfer_syntax), transfer_syntax, complete=True)
        assert isinstance(header, Header)
        for keys, found in (
            ({"RequestedProcedureID": "RP2"}, True),
            ({"RequestedProcedureID": "RP2", "ScheduledProcedureStepID": "S*"}, True),
            ({"RequestedProcedureID": "RP2", "ScheduledProcedureStepID": "S1"}, False),
            ({"RequestedProcedureID": ""}, None),
        ):
            query = asked(
                transfer_syntax=transfer_syntax,
                QueryRetrieveLevel="SERIES",
                StudyInstanceUID="1.2.3",
                RequestAttributesSequence=Sequence([identifier(**keys)]),
            )
            match = query.keys.get("RequestAttributesSequence")
            assert (
                None if match is None else matches("RequestAttributesSequence", match, header.values["RequestAttributesSequence"])
            ) is found
            theirs = parsed(IdentifierWriter(query, transfer_syntax).write({**header.values}), transfer_syntax)
            assert [str(item.RequestedProcedureID) for item in theirs.RequestAttributesSequence] == ["RP1", "RP2"]


def test_dates_and_times_are_one_range_of_moments_where_that_was_negotiated() -> None:
    keys = {"StudyDate": "20200101-20200103", "StudyTime": "1000-1200"}
    data = written(identifier(QueryRetrieveLevel="STUDY", **keys), EXPLICIT)
    apart = query_from_identifier(data, EXPLICIT, Root.STUDY).keys["StudyTime"]
    moments = query_from_identifier(data, EXPLICIT, Root.STUDY, combine=True).keys["StudyTime"]
    assert apart == Range("100000.000000", "120059.999999")
    assert moments == Moments(("20200101", "100000.000000"), ("20200103", "120059.999999"))
    assert isinstance(moments, Moments)
    assert [moments.hold(f"2020010{day}", time) for day, time in ((1, "0959"), (1, "1000"), (2, "0300"), (3, "115900"), (3, "1201"))] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_what_was_negotiated_lets_keys_above_be_missing() -> None:
    data = written(identifier(QueryRetrieveLevel="SERIES", Modality="CT"), EXPLICIT)
    assert query_from_identifier(data, EXPLICIT, Root.PATIENT, relational=True).keys == {"Modality": Single("CT")}
    with pytest.raises(BadQuery):
        query_from_identifier(data, EXPLICIT, Root.PATIENT)
    data = written(identifier(QueryRetrieveLevel="IMAGE", SOPInstanceUID="1.2"), EXPLICIT)
    assert selection_from_identifier(data, EXPLICIT, Root.STUDY, relational=True) == (Level.IMAGE, Selection(instances=(Uid("1.2"),)))


def test_an_element_of_a_file_header_before_an_identifier_is_passed_over() -> None:
    """As Orthanc 1.10.1 sends it at level IMAGE."""
    body = written(identifier(QueryRetrieveLevel="STUDY", PatientID="A"), IMPLICIT_LITTLE_ENDIAN)
    assert query_from_identifier(b"\2\0\3\0\0\0\0\0" + body, IMPLICIT_LITTLE_ENDIAN, Root.STUDY).keys == {"PatientID": Single("A")}
