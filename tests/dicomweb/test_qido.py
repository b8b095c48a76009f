"""Searching: what may be asked, what is answered, and that nobody can tell what he may not see from what is not there."""

import io
from collections.abc import Iterator
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from leadglass.dicom.matching import Range, Single, UidList, Wildcard
from leadglass.errors import BadInput, BadQuery
from leadglass.vocabulary import Level
from leadglass.wire.dicomweb.qido import parse
from tests.archives import ArchiveUnderTest
from tests.dicomweb.client import AS_STORED, Client, path_to
from tests.samples import sample

ROOT = "1.2.826.0.1.3680043.8.498"
HIDDEN = f"{ROOT}.9"


def asked(text: str, level: Level = Level.STUDY, path: dict[Level, str] | None = None) -> Any:  # noqa: ANN401 # short in the tests below
    return parse(text, level, path or {}, 100, 1000)


def test_keys_are_keywords_or_tags() -> None:
    query = asked("PatientName=DOE*&00080020=20200101-20201231&StudyInstanceUID=1.2,1.3%5C1.4").query
    assert query.keys == {
        "PatientName": Wildcard("doe*"),
        "StudyDate": Range("20200101", "20201231"),
        "StudyInstanceUID": UidList(("1.2", "1.3", "1.4")),
    }


def test_the_path_is_a_key_and_what_lies_between_is_returned() -> None:
    query = asked("", Level.IMAGE, {Level.STUDY: "1.2"}).query
    assert query.keys == {"StudyInstanceUID": Single("1.2")}
    assert {"Modality", "SOPInstanceUID"} <= set(query.returns)
    assert "PatientName" not in query.returns
    assert "PatientName" in asked("", Level.IMAGE).query.returns


def test_a_universal_key_narrows_nothing_and_is_returned() -> None:
    query = asked("StudyDescription=*").query
    assert not query.keys
    assert "StudyDescription" in query.returns


def test_includefield_adds_what_is_indexed_and_leaves_out_the_rest() -> None:
    plain, more, every = (
        set(asked(text).query.returns) for text in ("", "includefield=StudyDescription,00100021,00180050", "includefield=all")
    )
    assert more - plain == {"StudyDescription", "IssuerOfPatientID"}
    assert every > more
    assert "Modality" not in every


@pytest.mark.parametrize(
    ("text", "limit", "offset"), [("", 100, 0), ("limit=5&offset=7", 5, 7), ("limit=5000", 1000, 0), ("limit=0", 0, 0)]
)
def test_limit_and_offset(text: str, limit: int, offset: int) -> None:
    query = asked(text).query
    assert (query.limit, query.offset) == (limit, offset)


@pytest.mark.parametrize(
    "text",
    [
        "Nonsense=SECRET",
        "Modality=SECRET",
        "PatientName=a&PatientName=SECRET",
        "00100010=a&PatientName=SECRET",
        "NumberOfStudyRelatedInstances=SECRET",
        "RetrieveURL=SECRET",
        "SECRET",
        "limit=SECRET",
        "limit=-1",
        "limit=1&limit=2",
        "offset=99999999999",
        "fuzzymatching=SECRET",
        "includefield=SECRET",
        "StudyDate=SECRET",
        "StudyInstanceUID=SECRET",
        "PatientName=%FF",
        "PatientID=%00",
        "PatientID=SECRET%00",
        "StudyInstanceUID=%00",
        "00080061=%00",
        "&".join(f"a{number}=b" for number in range(300)),
    ],
)
def test_what_cannot_be_asked_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        asked(text)
    assert "SECRET" not in str(caught.value)


def test_a_refusal_says_what_would_be_right() -> None:
    with pytest.raises(BadQuery, match=r"PatientName.*StudyDate.*includefield"):
        asked("Patient=x")


@given(st.text(max_size=60) | st.text(alphabet="PatientName=&%,*?\\limtofse0123456789", max_size=60))
def test_any_query_string_is_understood_or_refused(text: str) -> None:
    try:
        query = asked(text).query
    except BadInput:
        return
    assert 0 <= query.limit <= 1000


# At a real archive


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveUnderTest]:
    """Ten CT studies, the first of two series, and one MR study; clinicians may see CT alone."""
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("archive"))
    policy = archive.home / "policy.toml"
    where = 'where = [{ attribute = "Modality", values = ["CT"], quantifier = "any" }]'
    clinician, rest = policy.read_text().split('[[rule]]\nroles = ["technologist"]', 1)
    policy.write_text(clinician.replace('studies = "every"', where) + '[[rule]]\nroles = ["technologist"]' + rest)
    with archive.serving():
        technologist = Client(archive, archive.token("tom", role="technologist", may="find,store"))
        files = [made(sample("CT_small.dcm").read_bytes(), number) for number in range(1, 9)]
        files.append(made(sample("CT_small.dcm").read_bytes(), 1, series=2))
        files.append(made(sample("MR_small.dcm").read_bytes(), 9))
        assert technologist.store(*files).status_code == 200
        yield archive


def made(file: bytes, study: int, series: int = 1) -> bytes:
    data_set = pydicom.dcmread(io.BytesIO(file))
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = UID(f"{ROOT}.{study}"), UID(f"{ROOT}.{study}.{series}")
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.{study}.{series}.1")
    data_set.PatientID, data_set.PatientName, data_set.StudyDate = f"P{study}", f"Müller^{study}", f"2020010{study}"
    data_set.SpecificCharacterSet = "ISO_IR 192"
    written = io.BytesIO()
    data_set.save_as(written)
    return written.getvalue()


@pytest.fixture(scope="module")
def clinician(served: ArchiveUnderTest) -> Client:
    return Client(served, served.token("clara"))


@pytest.fixture(scope="module")
def technologist(served: ArchiveUnderTest) -> Client:
    return Client(served, served.token("tom", may="find", role="technologist"))


def values(rows: list[dict[str, Any]], tag: str) -> list[Any]:
    return [row[tag].get("Value", [None])[0] for row in rows]


def test_pages_join_to_the_whole_and_say_that_there_is_more(clinician: Client) -> None:
    seen: list[str] = []
    for offset in range(0, 10, 3):
        answer = clinician.get(f"/studies?limit=3&offset={offset}")
        seen += values(answer.json(), "0020000D") if answer.status_code == 200 else []
        assert ("additional results" in answer.headers.get("Warning", "")) == (offset < 5)
    assert sorted(seen) == [f"{ROOT}.{number}" for number in range(1, 9)]
    assert clinician.get("/studies?offset=100").status_code == 204
    assert "Warning" not in clinician.get("/studies").headers


def test_a_warning_says_that_fuzzy_matching_is_not_done(clinician: Client) -> None:
    answer = clinician.get("/studies?fuzzymatching=true")
    assert answer.headers["Warning"].startswith("299 https://")
    assert "fuzzymatching" in answer.headers["Warning"]


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("PatientID=P3", [3]),
        ("PatientName=muller^4", [4]),
        ("PatientName=M%C3%BCller^?", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("StudyDate=20200103-20200105", [3, 4, 5]),
        ("StudyDate=-20200102", [1, 2]),
        (f"StudyInstanceUID={ROOT}.2,{ROOT}.7,{HIDDEN}", [2, 7]),
        ("ModalitiesInStudy=CT&PatientID=P1", [1]),
        ("ModalitiesInStudy=CT,US&PatientID=P1", [1]),
        ("ModalitiesInStudy=MR", []),
        ("PatientID=P9", []),
    ],
)
def test_matching(clinician: Client, query: str, studies: list[int]) -> None:
    answer = clinician.get(f"/studies?{query}")
    assert answer.status_code == (200 if studies else 204)
    assert sorted(values(answer.json(), "0020000D") if studies else []) == [f"{ROOT}.{number}" for number in studies]


def test_a_study_is_described_with_counts_and_a_url_that_leads_to_it(clinician: Client) -> None:
    (row,) = clinician.get("/studies?PatientID=P1").json()
    assert (row["00080061"]["Value"], row["00201206"]["Value"], row["00201208"]["Value"]) == (["CT"], [2], [2])
    assert row["00100010"]["Value"] == [{"Alphabetic": "Müller^1"}]
    assert row["00080056"]["Value"] == ["ONLINE"]
    assert clinician.get(row["00081190"]["Value"][0], AS_STORED).status_code == 200


def test_series_and_instances_below_the_path(clinician: Client) -> None:
    assert len(clinician.get(f"/studies/{ROOT}.1/series").json()) == 2
    assert len(clinician.get(f"/studies/{ROOT}.1/instances").json()) == 2
    assert len(clinician.get(f"/studies/{ROOT}.1/series/{ROOT}.1.2/instances").json()) == 1
    assert len(clinician.get("/series?Modality=CT").json()) == 9
    assert values(clinician.get("/instances?PatientID=P2").json(), "00080018") == [f"{ROOT}.2.1.1"]


def test_what_may_not_be_seen_is_the_same_bytes_as_what_does_not_exist(clinician: Client, technologist: Client) -> None:
    assert technologist.get("/studies?PatientID=P9").status_code == 200
    for template in (
        "/studies?StudyInstanceUID={0}",
        "/studies?StudyInstanceUID={0}&includefield=all",
        "/studies/{0}/series",
        "/studies/{0}/instances?limit=1",
        "/studies/{0}",
        "/studies/{0}/metadata",
        "/studies/{0}/series/{0}.1",
        path_to("{0}", "{0}.1", "{0}.1.1"),
        path_to("{0}", "{0}.1", "{0}.1.1") + "/frames/1",
        path_to("{0}", "{0}.1", "{0}.1.1") + "/frames/99",
        path_to("{0}", "{0}.1", "{0}.1.1") + "/bulkdata/7FE00010",
    ):
        answers = [clinician.get(template.format(study)) for study in (HIDDEN, f"{ROOT}.77")]
        said = [(one.status_code, one.content, [field for field in one.headers.items() if field[0] != "date"]) for one in answers]
        assert said[0] == said[1], template
    assert len(clinician.get("/studies").json()) == 8


def test_a_hostile_host_field_is_not_repeated(clinician: Client) -> None:
    for host in ('a"b', "a b", "x" * 300, "a/b", "a,b"):
        answer = clinician.request("GET", "/studies?PatientID=P1", {"Host": host})
        assert answer.status_code == 400 or answer.json()[0]["00081190"]["Value"][0].startswith("https://127.0.0.1:")
