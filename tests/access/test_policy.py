from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.access.identity import Kind, Principal
from leadglass.access.policy import DEFAULT_POLICY, Explanation, decide, explain, load_policy, parse_policy
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Action, Role

CLINICIAN = Principal("user:anna", Kind.USER, "anna", frozenset({Role.CLINICIAN}), frozenset(Action))


def rule(whom: str, may: str = '["find"]', about: str = 'studies = "every"') -> str:
    return f"[[rule]]\n{whom}\nmay = {may}\n{about}\n"


CT_ONLY = '[[rule.where]]\nattribute = "Modality"\nvalues = ["CT", "PT"]\n'


def test_a_rule_about_some_studies_gives_those() -> None:
    visible = decide(parse_policy(rule('roles = ["clinician"]', about=CT_ONLY)), CLINICIAN, Action.FIND)
    assert visible is not None
    assert visible.admits({"Modality": "CT"})
    assert not visible.admits({"Modality": "MR"})
    assert not visible.admits({})


def test_every_condition_of_a_rule_must_hold() -> None:
    about = CT_ONLY + '[[rule.where]]\nattribute = "InstitutionName"\nvalues = ["North"]\nquantifier = "all"\n'
    visible = decide(parse_policy(rule('roles = ["clinician"]', about=about)), CLINICIAN, Action.FIND)
    assert visible is not None
    assert visible.admits({"Modality": "CT", "InstitutionName": "North"})
    assert not visible.admits({"Modality": "CT", "InstitutionName": "South"})


def test_rules_add_up() -> None:
    text = rule('roles = ["clinician"]', about=CT_ONLY) + rule('users = ["anna"]', about=CT_ONLY.replace('"CT", "PT"', '"MR"'))
    visible = decide(parse_policy(text), CLINICIAN, Action.FIND)
    assert visible is not None
    assert visible.admits({"Modality": "CT"})
    assert visible.admits({"Modality": "MR"})
    assert not visible.admits({"Modality": "US"})
    another = Principal("user:berta", Kind.USER, "berta", frozenset({Role.CLINICIAN}), frozenset(Action))
    hers = decide(parse_policy(text), another, Action.FIND)
    assert hers is not None
    assert not hers.admits({"Modality": "MR"})


def test_a_rule_speaks_of_whom_it_names() -> None:
    policy = parse_policy(rule('peers = ["CT1"]'))
    for kind, name, given_ in [(Kind.PEER, "CT1", True), (Kind.PEER, "CT2", False), (Kind.USER, "CT1", False), (Kind.LOCAL, "CT1", False)]:
        principal = Principal("p", kind, name, may=frozenset(Action))
        assert (decide(policy, principal, Action.FIND) is not None) == given_


def test_what_a_principal_is_bounded_to_bounds_the_rule() -> None:
    token = Principal("token:1@anna", Kind.TOKEN, "anna", frozenset({Role.CLINICIAN}), frozenset({Action.FIND}))
    policy = parse_policy(DEFAULT_POLICY)
    assert decide(policy, token, Action.FIND) is not None
    assert decide(policy, token, Action.GET) is None
    storing = Principal("token:1@anna", Kind.TOKEN, "anna", frozenset({Role.CLINICIAN}), frozenset({Action.STORE}))
    assert decide(policy, storing, Action.STORE) is None


FAULTS = [
    ("[[rules]]\n", "known here: rule"),
    (rule('roles = ["clinicians"]'), "'clinician', 'technologist', 'administrator' or 'auditor'"),
    (rule('rolles = ["clinician"]'), "known here: roles, peers, users, local, may, studies, where"),
    (rule('roles = ["clinician"]', about=CT_ONLY + 'quantifyer = "any"\n'), "known here: attribute, values, quantifier"),
    (rule('roles = ["clinician"]', may='["look"]'), "'echo', 'store', 'find'"),
    (rule('roles = ["clinician"]', may="[]"), "at least 1"),
    (rule(""), "names nobody"),
    (rule('roles = ["clinician"]', about=""), 'studies = "every"'),
    (rule('roles = ["clinician"]', about='studies = "every"\n' + CT_ONLY), "not both"),
    (rule('roles = ["clinician"]', about='studies = "some"'), "'every'"),
    (rule('roles = ["auditor"]', may='["read-trail"]'), "leave out studies"),
    (
        rule('roles = ["clinician"]', about='[[rule.where]]\nattribute = "Modalitty"\nvalues = ["CT"]'),
        "rule 1: 'Modalitty' is no attribute",
    ),
    (rule('roles = ["clinician"]', about='[[rule.where]]\nattribute = "Modality"\nvalues = []'), "at least 1"),
    (rule('roles = ["clinician"]', about='[[rule.where]]\nattribute = "Modality"\nvalues = [" "]'), "no value"),
    ("[[rule]\n", "not TOML"),
    ("rule = 5\n", "valid list"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_a_fault_is_refused_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("policy.toml")


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    try:
        policy = parse_policy(text)
    except ConfigurationError:
        return
    assert policy.rules == ()


def test_a_missing_file_is_no_empty_policy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_policy(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text(DEFAULT_POLICY)
    assert load_policy(tmp_path / "policy.toml") == parse_policy(DEFAULT_POLICY)
    (tmp_path / "policy.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_policy(tmp_path / "policy.toml")


def test_the_policy_explains_itself() -> None:
    text = rule('roles = ["auditor"]') + rule('roles = ["clinician"]', about=CT_ONLY)
    said = {each.action: each for each in explain(parse_policy(text), CLINICIAN)}
    assert said.keys() == set(Action)
    assert said[Action.FIND] == Explanation(Action.FIND, allowed=True, studies="any Modality in CT, PT", rules=(2,))
    assert said[Action.GET] == Explanation(Action.GET, allowed=False, studies=None, rules=())
    both = parse_policy(text + rule('users = ["anna"]') + rule('roles = ["clinician"]', may='["read-trail"]', about=""))
    said = {each.action: each for each in explain(both, CLINICIAN)}
    assert said[Action.FIND] == Explanation(Action.FIND, allowed=True, studies="every", rules=(2, 3))
    assert said[Action.READ_TRAIL] == Explanation(Action.READ_TRAIL, allowed=True, studies=None, rules=(4,))
