"""May they? A pure function of the policy, the principal and the action; what no rule gives is denied.

policy.toml is a list of rules that add up. A rule names whom (roles, peers, users, or whoever is local), what they may, and about
which studies. There is no rule that takes away, so the order does not matter and an empty file denies everyone everything.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leadglass.access.identity import Kind, Principal
from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY, Condition, Quantifier, StudyPredicate
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Action, Role

ANY_PEER = "*"
ABOUT_STUDIES = frozenset({Action.STORE, Action.FIND, Action.GET, Action.MOVE, Action.SETTLE})

DEFAULT_POLICY = """\
# Who may do what. Rules add up; what no rule gives is denied, so an empty file denies everyone everything.
# After a change: leadglass policy check HOME, then leadglass policy apply HOME.
#
# A rule names whom by roles, by peers (AE titles, "*" is every one), by users = ["anna"], or by local = true.
# A rule about some studies only, instead of studies = "every" (every `where` must hold; "any": at least one series does, "all": each):
#     [[rule.where]]
#     attribute = "Modality"
#     values = ["CT", "MR"]
#     quantifier = "any"

[[rule]]
roles = ["clinician"]
may = ["find", "get", "settle"]
studies = "every"

[[rule]]
roles = ["technologist"]
may = ["store", "find"]
studies = "every"

[[rule]]
roles = ["administrator"]
may = ["administer"]

[[rule]]
roles = ["auditor"]
may = ["read-trail"]

# A peer gets of this what `leadglass peer add --may` gave it, and echo.
[[rule]]
peers = ["*"]
may = ["store", "find", "get", "move"]
studies = "every"

# Who runs commands on this machine as the archive's own user: leadglass import, peer, user, trail, conflicts.
# "settle" alone shows which objects are in conflict and in which elements they differ; their values need "get" as well.
[[rule]]
local = true
may = ["administer", "read-trail", "store", "settle"]
studies = "every"
"""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Where(_Table):
    attribute: str
    values: Annotated[list[str], Field(min_length=1)]
    quantifier: Quantifier = Quantifier.ANY


class _Rule(_Table):
    roles: list[Role] = []
    peers: list[str] = []
    users: list[str] = []
    local: bool = False
    may: Annotated[list[Action], Field(min_length=1)]
    studies: Literal["every"] | None = None
    where: list[_Where] = []


class _File(_Table):
    rule: list[_Rule] = []


@dataclass(frozen=True, slots=True)
class Rule:
    """To whom (any of the four ways of naming them), what, and about which studies."""

    roles: frozenset[Role]
    peers: frozenset[str]
    users: frozenset[str]
    local: bool
    may: frozenset[Action]
    studies: StudyPredicate

    def names(self, principal: Principal) -> bool:
        """Whether this rule speaks of `principal`."""
        match principal.kind:
            case Kind.PEER:
                return ANY_PEER in self.peers or principal.name in self.peers
            case Kind.USER | Kind.TOKEN:
                return principal.name in self.users or bool(self.roles & principal.roles)
            case Kind.LOCAL:
                return self.local

    def gives(self, principal: Principal, action: Action) -> bool:
        # An echo says nothing but that we are here: every peer that a rule names may have it, or no engineer could test a connection.
        echo = action is Action.ECHO and principal.kind is Kind.PEER
        return self.names(principal) and (echo or (action in self.may and action in principal.may))


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules; `Policy()` denies everyone everything."""

    rules: tuple[Rule, ...] = ()


def decide(policy: Policy, principal: Principal, action: Action) -> StudyPredicate | None:
    """The studies about which `principal` may do `action`, none for one that is not about studies; None when no rule gives it."""
    given: StudyPredicate | None = None
    for rule in policy.rules:
        if rule.gives(principal, action):
            studies = rule.studies if action in ABOUT_STUDIES else NO_STUDY
            given = studies if given is None else given | studies
    return given


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy says to one action of one principal."""

    action: Action
    allowed: bool
    studies: str | None
    """`every`, or the conditions; None for what is not about studies or not allowed."""
    rules: tuple[int, ...]
    """Which rules give it, the first in the file being 1."""


def explain(policy: Policy, principal: Principal) -> list[Explanation]:
    """What the policy gives `principal`, and by which rules, for each action."""
    return [_explain(policy, principal, action) for action in Action]


def _explain(policy: Policy, principal: Principal, action: Action) -> Explanation:
    visible = decide(policy, principal, action)
    studies = None if visible is None or action not in ABOUT_STUDIES else _describe(visible)
    rules = tuple(number for number, rule in enumerate(policy.rules, 1) if rule.gives(principal, action))
    return Explanation(action, visible is not None, studies, rules)


def _describe(visible: StudyPredicate) -> str:
    if visible.everything:
        return "every"
    alternatives = [
        " and ".join(f"{condition.quantifier} {condition.keyword} in {', '.join(sorted(condition.values))}" for condition in conditions)
        for conditions in visible.any_of
    ]
    return ", or ".join(alternatives)


def parse_policy(text: str, origin: str = "policy.toml") -> Policy:
    """The policy in `text` (TOML); raises `ConfigurationError` that names every fault and what would be right."""
    try:
        parsed = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{origin} is not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{origin}: " + "; ".join(_faults(error))) from None
    except RecursionError:
        raise ConfigurationError(f"{origin} is nested too deeply; a policy is a list of [[rule]] tables") from None
    return Policy(tuple(_rule(rule, f"{origin}: rule {number}") for number, rule in enumerate(parsed.rule, 1)))


def load_policy(path: Path) -> Policy:
    """The policy in the file at `path`; a missing file is an error, not an empty policy."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; run as the owner of the archive") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text") from None
    return parse_policy(text, str(path))


def _rule(rule: _Rule, where: str) -> Rule:
    if not (rule.roles or rule.peers or rule.users or rule.local):
        raise ConfigurationError(f"{where} names nobody; give roles, peers, users, or local = true")
    about = ABOUT_STUDIES.intersection(rule.may)
    if about and (rule.studies is None) == (not rule.where):
        raise ConfigurationError(f'{where} must say about which studies: studies = "every", or [[rule.where]] tables, not both')
    if not about and (rule.studies is not None or rule.where):
        raise ConfigurationError(f"{where} gives nothing that is about studies; leave out studies and where")
    return Rule(
        roles=frozenset(rule.roles),
        peers=frozenset(peer.strip() for peer in rule.peers),
        users=frozenset(rule.users),
        local=rule.local,
        may=frozenset(rule.may),
        studies=_predicate(rule, where),
    )


def _predicate(rule: _Rule, where: str) -> StudyPredicate:
    if not rule.where:
        return EVERY_STUDY
    try:
        return StudyPredicate((tuple(Condition(at.attribute, frozenset(at.values), at.quantifier) for at in rule.where),))
    except (ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"{where}: {error}") from None


_TABLES: dict[str, type[BaseModel]] = {"": _File, "rule": _Rule, "where": _Where}


def _faults(error: ValidationError) -> Iterator[str]:
    """Each fault as a sentence; what stands in the file is not repeated but for the name of a key."""
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        steps = [f"{step + 1}" if isinstance(step, int) else str(step) for step in fault["loc"]]
        place = " ".join(steps)
        if fault["type"] == "extra_forbidden":
            tables = [step for step in steps[:-1] if step in _TABLES]
            known = _TABLES[tables[-1] if tables else ""].model_fields
            yield f"{place}: unknown key; known here: {', '.join(known)}"
        else:
            yield f"{place}: {fault['msg']}"
