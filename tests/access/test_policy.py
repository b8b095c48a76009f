import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.access.identity import Kind, Principal
from leadglass.access.policy import DEFAULT_POLICY, Asking, Explanation, decide, explain, load_policy, parse_policy
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Action, Role

TODAY = datetime.date(2024, 1, 31)
INSIDE = Asking("10.20.0.9", TODAY)
CLINICIAN = Principal("user:anna", Kind.USER, "anna", frozenset({Role.CLINICIAN}), frozenset(Action))


def rule(whom: str, may: str = '["find"]', about: str = 'studies = "every"') -> str:
    return f"[[rule]]\n{whom}\nmay = {may}\n{about}\n"


CT_ONLY = '[[rule.where]]\nattribute = "Modality"\nvalues = ["CT", "PT"]\n'


def test_a_rule_about_some_studies_gives_those() -> None:
    visible = decide(parse_policy(rule('roles = ["clinician"]', about=CT_ONLY)), CLINICIAN, Action.FIND, Asking())
    assert visible is not None
    assert visible.admits({"Modality": "CT"})
    assert not visible.admits({"Modality": "MR"})
    assert not visible.admits({})


def test_every_condition_of_a_rule_must_hold() -> None:
    about = CT_ONLY + '[[rule.where]]\nattribute = "InstitutionName"\nvalues = ["North"]\nquantifier = "all"\n'
    visible = decide(parse_policy(rule('roles = ["clinician"]', about=about)), CLINICIAN, Action.FIND, Asking())
    assert visible is not None
    assert visible.admits({"Modality": "CT", "InstitutionName": "North"})
    assert not visible.admits({"Modality": "CT", "InstitutionName": "South"})


def test_rules_add_up() -> None:
    text = rule('roles = ["clinician"]', about=CT_ONLY) + rule('users = ["anna"]', about=CT_ONLY.replace('"CT", "PT"', '"MR"'))
    visible = decide(parse_policy(text), CLINICIAN, Action.FIND, Asking())
    assert visible is not None
    assert visible.admits({"Modality": "CT"})
    assert visible.admits({"Modality": "MR"})
    assert not visible.admits({"Modality": "US"})
    another = Principal("user:berta", Kind.USER, "berta", frozenset({Role.CLINICIAN}), frozenset(Action))
    hers = decide(parse_policy(text), another, Action.FIND, Asking())
    assert hers is not None
    assert not hers.admits({"Modality": "MR"})


def test_a_rule_speaks_of_whom_it_names() -> None:
    policy = parse_policy(rule('peers = ["CT1"]'))
    for kind, name, given_ in [(Kind.PEER, "CT1", True), (Kind.PEER, "CT2", False), (Kind.USER, "CT1", False), (Kind.LOCAL, "CT1", False)]:
        principal = Principal("p", kind, name, may=frozenset(Action))
        assert (decide(policy, principal, Action.FIND, Asking()) is not None) == given_


def test_what_a_principal_is_bounded_to_bounds_the_rule() -> None:
    token = Principal("token:1@anna", Kind.TOKEN, "anna", frozenset({Role.CLINICIAN}), frozenset({Action.FIND}))
    policy = parse_policy(DEFAULT_POLICY)
    assert decide(policy, token, Action.FIND, Asking()) is not None
    assert decide(policy, token, Action.GET, Asking()) is None
    storing = Principal("token:1@anna", Kind.TOKEN, "anna", frozenset({Role.CLINICIAN}), frozenset({Action.STORE}))
    assert decide(policy, storing, Action.STORE, Asking()) is None


DAYS = '[[rule.where]]\nattribute = "StudyDate"\nnewer_than_days = {newer}\nolder_than_days = {older}\n'


def denied(whom: str, may: str = '["find"]', about: str = 'studies = "every"') -> str:
    return rule(whom, may, about).replace("may = ", "may_not = ")


FAULTS = [
    ("[[rules]]\n", "known here: rule"),
    (rule('roles = ["clinicians"]'), "'clinician', 'technologist', 'administrator' or 'auditor'"),
    (rule('rolles = ["clinician"]'), "known here: name, roles, peers, users, local, addresses, may, may_not, studies, where"),
    (
        rule('roles = ["clinician"]', about=CT_ONLY + 'quantifyer = "any"\n'),
        "known here: attribute, values, same_as, newer_than_days, older_than_days, quantifier",
    ),
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
    (rule('roles = ["clinician"]') + 'may_not = ["get"]\n', "either may"),
    (rule('roles = ["clinician"]\naddresses = ["10.0.0.1/8"]'), "no address range"),
    (rule('roles = ["clinician"]', about=CT_ONLY + 'same_as = "modality"\n'), "one of values"),
    (rule('roles = ["clinician"]', about='[[rule.where]]\nattribute = "Modality"\nsame_as = "ward"'), "no attribute 'ward'"),
    (rule('roles = ["clinician"]', about='[[rule.where]]\nattribute = "Modality"\nnewer_than_days = 3'), "is no date"),
    (rule('roles = ["clinician"]', about='[[rule.where]]\nattribute = "StudyDate"\nnewer_than_days = -1'), "greater than or equal to 0"),
    (rule('roles = ["clinician"]', about=DAYS.format(newer=1, older=2)), "no study is newer"),
    (denied('roles = ["clinician"]', may='["find", "administer"]', about=CT_ONLY), "a rule of its own"),
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
    said = {each.action: each for each in explain(parse_policy(text), CLINICIAN, Asking())}
    assert said.keys() == set(Action)
    assert said[Action.FIND] == Explanation(Action.FIND, allowed=True, studies="any Modality in CT, PT", rules=(2,))
    assert said[Action.GET] == Explanation(Action.GET, allowed=False, studies=None, rules=())
    both = parse_policy(text + rule('users = ["anna"]') + rule('roles = ["clinician"]', may='["read-trail"]', about=""))
    said = {each.action: each for each in explain(both, CLINICIAN, Asking())}
    assert said[Action.FIND] == Explanation(Action.FIND, allowed=True, studies="every", rules=(2, 3))
    assert said[Action.READ_TRAIL] == Explanation(Action.READ_TRAIL, allowed=True, studies=None, rules=(4,))


# What takes away


def allowed(text: str, values: dict[str, str], who: Principal = CLINICIAN, asking: Asking = INSIDE) -> bool:
    visible = decide(parse_policy(text), who, Action.FIND, asking)
    return visible is not None and visible.admits(values)


EVERY_ONE = rule('roles = ["clinician"]')


def test_what_a_rule_takes_away_is_gone_whatever_others_give_and_in_any_order() -> None:
    no_ct = denied('users = ["anna"]', about=CT_ONLY)
    for text in (EVERY_ONE + no_ct, no_ct + EVERY_ONE, no_ct + rule('users = ["anna"]') + EVERY_ONE):
        assert allowed(text, {"Modality": "MR"})
        assert not allowed(text, {"Modality": "CT"})
    assert not allowed(no_ct, {"Modality": "MR"})
    assert allowed(EVERY_ONE + denied('users = ["berta"]', about=CT_ONLY), {"Modality": "CT"})
    assert allowed(EVERY_ONE + denied('users = ["anna"]', may='["get"]', about=CT_ONLY), {"Modality": "CT"})
    assert decide(parse_policy(EVERY_ONE + denied('users = ["anna"]')), CLINICIAN, Action.FIND, Asking()) is None
    reading = rule('roles = ["clinician"]', may='["read-trail"]', about="")
    for text, given_ in ((reading, True), (reading + reading.replace("may = ", "may_not = "), False)):
        assert (decide(parse_policy(text), CLINICIAN, Action.READ_TRAIL, Asking()) is not None) is given_


def test_a_rule_can_be_for_some_addresses() -> None:
    inside = rule('roles = ["clinician"]\naddresses = ["10.20.0.0/16", "2001:db8::/32"]')
    for address, given_ in [
        ("10.20.0.9", True), ("10.21.0.9", False), ("::ffff:10.20.0.9", True), ("2001:db8::7%eth0", True), ("", False), ("uid:0", False),
    ]:  # fmt: skip
        assert allowed(inside, {}, asking=Asking(address, TODAY)) is given_
    outside = EVERY_ONE + denied('roles = ["clinician"]\naddresses = ["0.0.0.0/0"]')
    assert not allowed(outside, {}, asking=Asking("192.0.2.1", TODAY))


def test_a_rule_can_hold_what_is_known_of_a_person_against_the_study() -> None:
    same = rule('roles = ["clinician"]', about='[[rule.where]]\nattribute = "Modality"\nsame_as = "modality"')
    reader = replace(CLINICIAN, attributes=(("modality", ("CT", "MR")),))
    assert allowed(same, {"Modality": "MR"}, reader)
    assert not allowed(same, {"Modality": "US"}, reader)
    assert not allowed(same, {"Modality": "CT"}), "of whom nothing is known is given nothing"
    assert not allowed(same, {}, reader)


@pytest.mark.parametrize(
    ("days", "seen"),
    [
        ("newer_than_days = 30", {"20240131", "20240102", "20240101"}),
        ("older_than_days = 30", {"20240101", "20231231"}),
        ("newer_than_days = 31\nolder_than_days = 30", {"20240101", "20231231"}),
        ("newer_than_days = 73000", {"20240131", "20240102", "20240101", "20231231"}),
    ],
)
def test_a_rule_can_be_about_the_age_of_a_study(days: str, seen: set[str]) -> None:
    text = rule('roles = ["clinician"]', about=f'[[rule.where]]\nattribute = "StudyDate"\n{days}')
    asked = {"20240131", "20240102", "20240101", "20231231", "", "2024", "nonsense"}
    assert {date for date in asked if allowed(text, {"StudyDate": date})} == seen


def test_what_is_explained_names_no_patient() -> None:
    listed = rule('users = ["anna"]', about='[[rule.where]]\nattribute = "PatientID"\nvalues = ["P-4711", "P-4712"]')
    (said,) = (each for each in explain(parse_policy(listed), CLINICIAN, Asking()) if each.action is Action.FIND)
    assert said.studies == "PatientID among 2"
    both = parse_policy(EVERY_ONE + denied('users = ["anna"]', about=CT_ONLY))
    (said,) = (each for each in explain(both, CLINICIAN, Asking()) if each.action is Action.FIND)
    assert (said.studies, said.rules, said.against) == ("every, but not any Modality in CT, PT", (1,), (2,))


WHERE = st.sampled_from([
    'attribute = "Modality"\nvalues = ["CT"]',
    'attribute = "Modality"\nvalues = ["CT", "MR"]\nquantifier = "all"',
    'attribute = "Modality"\nsame_as = "modality"',
    'attribute = "InstitutionName"\nvalues = ["North"]',
    'attribute = "PatientID"\nsame_as = "patient"',
    'attribute = "StudyDate"\nnewer_than_days = 30',
])  # fmt: skip
RULES = st.tuples(
    st.sampled_from(
        ['roles = ["clinician"]', 'users = ["anna"]', 'users = ["berta"]', 'roles = ["clinician"]\naddresses = ["10.0.0.0/8"]']
    ),
    st.booleans(),
    st.lists(WHERE, max_size=2),
)
PEOPLE = st.builds(
    lambda modality, patient: replace(CLINICIAN, attributes=(("modality", modality), ("patient", patient))),
    st.sampled_from([(), ("CT",), ("MR", "US")]),
    st.sampled_from([(), ("P1",)]),
)
OBJECTS = st.fixed_dictionaries({
    "Modality": st.sampled_from(["", "CT", "MR"]),
    "InstitutionName": st.sampled_from(["", "North"]),
    "PatientID": st.sampled_from(["P1", "P2"]),
    "StudyDate": st.sampled_from(["", "20240131", "20200101"]),
})  # fmt: skip


@given(st.lists(RULES, max_size=5), PEOPLE, OBJECTS, st.sampled_from(["10.1.1.1", "192.0.2.1"]))
def test_a_policy_means_what_a_reader_of_the_file_thinks(
    rules: list[tuple[str, bool, list[str]]], who: Principal, values: dict[str, str], address: str
) -> None:
    """Read rule by rule, without a predicate: somebody gives it and nobody takes it away."""

    def holds(where: str) -> bool:
        known = dict(who.attributes)
        match where.split("\n", maxsplit=1)[0].split('"')[1], where:
            case "StudyDate", _:
                return values["StudyDate"] == "20240131"
            case keyword, text if "same_as" in text:
                return values[keyword] in known[text.split('"')[3]]
            case keyword, text:
                return values[keyword] in text.split("values = ")[1].split("]")[0].replace('"', "").strip("[").split(", ")

    def speaks(whom: str, where: list[str]) -> bool:
        return "berta" not in whom and ("addresses" not in whom or address.startswith("10.")) and all(holds(each) for each in where)

    text = "".join(
        (denied if away else rule)(whom, about="".join(f"[[rule.where]]\n{each}\n" for each in where) or 'studies = "every"')
        for whom, away, where in rules
    )
    gives = any(speaks(whom, where) for whom, away, where in rules if not away)
    takes = any(speaks(whom, where) for whom, away, where in rules if away)
    assert allowed(text, values, who, Asking(address, TODAY)) is (gives and not takes)
