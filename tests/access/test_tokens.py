"""Tokens as they lie on disk, and the studies that one is made for."""

import json
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.access import tokens as tokens_module
from leadglass.access.identity import BearerToken, Kind, Principal
from leadglass.access.policy import Asking, decide, parse_policy
from leadglass.access.registry import TABLES, Registry
from leadglass.access.sealed import SealedFile
from leadglass.access.tokens import GRANTABLE, Token, Tokens
from leadglass.dicom.predicate import Condition, StudyPredicate
from leadglass.errors import NotAllowed
from leadglass.vocabulary import Action, Door, Outcome, Role
from tests.access.people import ARCHIVE, KEY, Clock, House

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "access"
_CONDITIONS = st.builds(
    Condition,
    st.sampled_from(["Modality", "PatientID", "StudyInstanceUID", "InstitutionName"]),
    st.frozensets(st.text(min_size=1).filter(str.strip), min_size=1, max_size=3),
)
_TOKENS = st.builds(
    Token,
    st.text(min_size=1),
    st.text(),
    st.frozensets(st.sampled_from(sorted(GRANTABLE)), min_size=1),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.booleans(),
    st.text(st.sampled_from("0123456789abcdef"), min_size=64, max_size=64),
    st.lists(_CONDITIONS, max_size=3).map(tuple),
)


@settings(max_examples=20)  # each is made durable
@given(st.lists(_TOKENS, max_size=4, unique_by=lambda token: token.id))
def test_tokens_are_read_as_they_were_written(tokens: list[Token]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokens.sealed"
        SealedFile(file, KEY, ARCHIVE, "tokens").save([tokens_module._encode(each) for each in tokens])  # noqa: SLF001
        assert Tokens(SealedFile(file, KEY, ARCHIVE, "tokens"), Clock(), lambda _: True).list() == tuple(tokens)


def test_the_kept_table_of_tokens_with_conditions_is_read(tmp_path: Path) -> None:
    """Two with conditions or none, and one as they were written before there were any."""
    for what in TABLES:
        SealedFile(tmp_path / f"{what}.sealed", KEY, ARCHIVE, what).save([])
    (tmp_path / "tokens.sealed").write_bytes((VECTORS / "3-conditions.tokens.sealed").read_bytes())
    kept = Registry.open(tmp_path, KEY, ARCHIVE, Clock()).tokens.list()
    assert [tokens_module._encode(each) for each in kept] == json.loads((VECTORS / "3-conditions.json").read_text())  # noqa: SLF001


def test_what_the_policy_gives_is_given_within_the_studies_of_the_token_alone() -> None:
    policy = parse_policy(
        '[[rule]]\nroles = ["clinician"]\nmay = ["find"]\n[[rule.where]]\nattribute = "InstitutionName"\nvalues = ["North"]\n'
    )
    within = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
    token = Principal("token:1@anna", Kind.TOKEN, "anna", frozenset({Role.CLINICIAN}), frozenset({Action.FIND}), within=within)
    seen = decide(policy, token, Action.FIND, Asking())
    assert seen is not None
    studies = [{"InstitutionName": where, "Modality": modality} for where in ("North", "South") for modality in ("CT", "MR")]
    assert [seen.admits(study) for study in studies] == [True, False, False, False]


def test_who_was_seen_last_is_known_after_the_next_start(house: House) -> None:
    house.user("anna", Role.CLINICIAN)
    used, unused = house.token("anna", Action.FIND), house.token("anna", Action.FIND)
    principal = house.gate.identify(Door.DICOMWEB, BearerToken(used[1].reveal()))
    seen = house.registry.seen
    assert seen.last(Kind.TOKEN, used[0]) is None, "to show a token is not to be let do something with it"
    with pytest.raises(NotAllowed):
        house.gate.admit_get(principal, Door.DICOMWEB, "127.0.0.1")
    assert seen.last(Kind.TOKEN, used[0]) is None
    with house.gate.admit_find(principal, Door.DICOMWEB, "127.0.0.1") as grant:
        grant.settle(Outcome.DONE)
    seen.save()
    again = Registry.open(house.folder / "access", KEY, ARCHIVE, house.clock).seen
    for kept in (seen, again):
        assert [kept.last(Kind.TOKEN, each[0]) for each in (used, unused)] == [house.clock(), None]
        assert kept.last(Kind.USER, "anna") == house.clock()
        assert kept.last(Kind.USER, "otto") is None
