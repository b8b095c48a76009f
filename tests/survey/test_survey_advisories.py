"""Advisories from CSAF files: what is read, what is refused, and where a later survey finds it."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.errors import BadInput, ConfigurationError
from leadglass.survey import advisories
from leadglass.survey.advisories import read_csaf, read_range, update
from tests.archives import leadglass

VERSIONS = st.lists(st.integers(0, 9999), min_size=1, max_size=5).map(tuple)


def csaf(product: str = "DCMTK", version: str = "<3.8.0", name: str = "ICSMA-26-999-01", cve: str = "CVE-2026-99999") -> dict[str, Any]:
    """An advisory of one product, in the shape in which CISA publishes them."""
    leaf = {"category": "product_version_range", "name": version, "product": {"name": "x", "product_id": "CSAFPID-0001"}}
    named = {"category": "product_name", "name": product, "branches": [leaf]}
    score = {"cvss_v3": {"baseScore": 8.1}, "products": ["CSAFPID-0001"]}
    return {
        "document": {"category": "csaf_security_advisory", "csaf_version": "2.0", "tracking": {"id": name}},
        "product_tree": {"branches": [{"category": "vendor", "name": "Somebody", "branches": [named]}]},
        "vulnerabilities": [{"cve": cve, "product_status": {"known_affected": ["CSAFPID-0001"]}, "scores": [score]}],
    }


def written(folder: Path, document: object, name: str = "one.json") -> Path:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def ids_for(product: str, *version: int) -> set[str]:
    return {each.advisory for each in advisories.possible_advisories(product, version)}


def test_the_command_says_where_the_table_is_and_a_later_survey_finds_it(tmp_path: Path) -> None:
    before = ids_for("DCMTK", 3, 7, 9)
    path = written(tmp_path, csaf())
    done = leadglass("survey", "advisories", "update", path)
    assert str(advisories.user_table()) in done.stdout
    assert advisories.user_table().stat().st_mode & 0o777 == 0o600
    assert ids_for("DCMTK", 3, 7, 9) - before == {"ICSMA-26-999-01"}
    assert ids_for("DCMTK", 3, 8, 0) == ids_for("DCMTK", 3, 8, 1) == set()
    again = json.loads(leadglass("survey", "advisories", "update", path, "--json").stdout)
    assert (again["added"], again["unchanged"]) == (0, 1)


def test_an_advisory_that_is_read_again_replaces_its_rows(tmp_path: Path) -> None:
    update([written(tmp_path, csaf(version="<3.8.0"))], advisories.user_table())
    update([written(tmp_path, csaf(version="<3.7.5"))], advisories.user_table())
    assert "ICSMA-26-999-01" not in ids_for("DCMTK", 3, 7, 9)
    assert "ICSMA-26-999-01" in ids_for("DCMTK", 3, 7, 1)


def test_a_newer_text_of_a_packaged_advisory_wins(tmp_path: Path) -> None:
    assert "ICSMA-22-174-01" in ids_for("DCMTK", 3, 6, 6)
    update([written(tmp_path, csaf(version="<3.6.5", name="ICSMA-22-174-01"))], advisories.user_table())
    assert "ICSMA-22-174-01" not in ids_for("DCMTK", 3, 6, 6)


@pytest.mark.parametrize(
    ("product", "ours"),
    [
        ("DCMTK", "DCMTK"),
        ("OFFIS DCMTK", "DCMTK"),
        ("MedDream PACS Premium", "MedDream"),
        ("OHIF Viewers", "OHIF"),
        ("Merge DICOM Toolkit C/C++", "MergeCOM-3"),
        ("Orthanc Server", "Orthanc"),
        ("Osimis WebViewer", None),
        ("Vue PACS", None),
        ("DICOM Viewer", None),
        ("LOGIQ", None),
    ],
)
def test_a_product_is_known_by_its_name_alone(product: str, ours: str | None) -> None:
    assert [row["product"] for row in read_csaf(json.dumps(csaf(product)).encode()).rows] == ([ours] if ours else [])


@given(VERSIONS, VERSIONS)
def test_a_range_is_read_as_it_was_written(low: tuple[int, ...], high: tuple[int, ...]) -> None:
    first, last = ".".join(map(str, low)), ".".join(map(str, high))
    assert read_range(f">={first}|<{last}", exact=False) == (low, high, None)
    assert read_range(f"<= {last}", exact=False) == (None, None, high)
    assert read_range(first, exact=True) == (low, None, low)


@pytest.mark.parametrize("text", ["R4.1L1", "HD 16 | HD23", "<8/30/2024", "with wireless option", "", "<>", "1.2 - 1.4", "< 1.2 < 1.3"])
def test_a_range_that_is_not_certain_is_left_out_and_told(text: str) -> None:
    assert read_range(text, exact=False) is None
    read = read_csaf(json.dumps(csaf(version=text)).encode())
    assert (read.rows, read.unread) == ((), ("ICSMA-26-999-01",))


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[1]",
        "[" * 100_000,
        '{"document": {"category": "csaf_security_advisory"}}',
        json.dumps(csaf(name="=HYPERLINK(1)")),
        json.dumps(csaf(name="a\nb")),
        json.dumps(csaf() | {"document": []}),
    ],
)
def test_what_is_no_advisory_is_refused_and_the_others_are_read(tmp_path: Path, raw: str) -> None:
    with pytest.raises(BadInput):
        read_csaf(raw.encode())
    bad, good = written(tmp_path, raw, "bad.json"), written(tmp_path, csaf(), "good.json")
    assert leadglass("survey", "advisories", "update", bad, good, code=1).stdout.startswith("1 rows new")


def test_nothing_read_is_nothing_written(tmp_path: Path) -> None:
    update([written(tmp_path, csaf("Vue PACS"))], advisories.user_table())
    assert not advisories.user_table().exists()


def test_only_words_of_known_shape_come_into_the_table(tmp_path: Path) -> None:
    update([written(tmp_path, csaf(cve='=cmd|"x"!A1'))], advisories.user_table())
    (_, line) = advisories.user_table().read_text().splitlines()
    assert re.fullmatch(r"DCMTK,,3\.8\.0,,,8\.1,ICSMA-26-999-01,CSAF", line)


def test_a_tree_without_end_is_bounded() -> None:
    branch: dict[str, Any] = {"category": "vendor", "name": "x"}
    for _ in range(200):
        branch = {"category": "vendor", "name": "x", "branches": [branch, branch]}
    wide = {"branches": [{"category": "product_name", "name": "DCMTK", "product": {"product_id": "P"}}] * 30_000}
    began = time.process_time()
    for tree in ({"branches": [branch]}, wide):
        document = csaf() | {"product_tree": tree}
        # As read from JSON; a file of this shape cannot be that large, but the walk is bounded by itself.
        assert len(list(advisories._leaves(document["product_tree"]))) <= advisories.MAX_LEAVES  # noqa: SLF001 # the bound is here
    assert time.process_time() - began < 5


_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=9), x), max_leaves=8
)


@settings(max_examples=40)
@given(_JSON)
def test_no_json_breaks_the_reading(value: object) -> None:
    for raw in (json.dumps(value), json.dumps(csaf() | {"product_tree": value}), json.dumps(csaf() | {"vulnerabilities": value})):
        try:
            read_csaf(raw.encode())
        except BadInput:
            continue


@pytest.mark.parametrize("table", ["", "product\nx\n", "\x00"])
def test_a_damaged_table_is_told_and_what_to_do(table: str) -> None:
    path = advisories.user_table()
    path.parent.mkdir(parents=True)
    path.write_text(table)
    with pytest.raises(ConfigurationError, match="remove it"):
        advisories.advisories()
