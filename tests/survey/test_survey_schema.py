"""results.json has a published schema, which is made from the types and followed by every results file (see conftest.py)."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey import schema
from leadglass.survey.addresses import RefusedTarget
from leadglass.survey.findings import Software, findings_of
from leadglass.survey.journal import decoded, encoded
from leadglass.survey.observations import Dimse, Observation, RecordCounts
from leadglass.survey.products import fingerprints
from leadglass.survey.results import to_json
from tests.architecture.tree import ROOT
from tests.survey.playing import play
from tests.survey.published_schema import faults
from tests.survey.test_survey_report import MIXED, result, results

OBSERVATIONS: st.SearchStrategy[Observation] = st.one_of([st.from_type(kind) for kind in get_args(Observation)])


def test_the_published_files_are_what_the_types_have() -> None:
    assert schema.published() == schema.render(), "run `make conformance` and read what it changed"
    assert (ROOT / "docs" / "results.schema.json").read_bytes() == schema.published()


def numbers_that_exist(seen: Observation) -> Observation:
    """As an observation is outside a strategy: numbers of tables that have such a row."""
    changes: dict[str, Any] = {"port": abs(seen.port) % 65535 + 1}
    if isinstance(seen, Dimse):
        row = None if seen.fingerprint is None else abs(seen.fingerprint) % len(fingerprints())
        changes |= {"fingerprint": row, "query_status": None if seen.query_status is None else abs(seen.query_status) % 65536}
    return dataclasses.replace(seen, **changes)


@given(OBSERVATIONS.map(numbers_that_exist), st.builds(Software))
def test_whatever_a_probe_may_see_is_by_the_schema_and_comes_back_from_the_journal(seen: Observation, software: Software) -> None:
    assert decoded(json.loads(json.dumps(encoded(seen)))) == seen
    found = findings_of((seen,), software)
    one = result(doors=(seen,), findings=found, records=RecordCounts(1, 2, 3, exact=True), software=software)
    assert faults(to_json(results(one, refused=(RefusedTarget("a", "b", "c"),)))) == []


def test_what_is_not_by_the_schema_is_seen(tmp_path: Path) -> None:
    play(tmp_path)
    good = (tmp_path / "results.json").read_bytes()
    assert faults(good) == []
    for told, wrong in (
        (b'"level": "records"', b'"level": "wide open"'),
        (b'"method"', b'"methods"'),
        (b'"studies": 10', b'"studies": "10"'),
    ):
        assert told in good
        assert faults(good.replace(told, wrong))


@pytest.mark.parametrize("key", ["survey", "targets", "totals"])
def test_a_key_that_is_missing_or_new_is_seen(key: str) -> None:
    document = json.loads(to_json(MIXED))
    assert faults(json.dumps(document | {"more": 1}).encode())
    del document[key]
    assert faults(json.dumps(document).encode())
