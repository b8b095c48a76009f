"""May they? A pure function of the policy, the principal and the action; what no rule gives is denied.

policy.toml is a list of rules. A rule names whom (roles, peers, users, or whoever is local), what they may or may not, about which
studies, and from where. What rules give adds up, and what a rule takes away is gone whatever the others give: the order does not matter,
and an empty file denies everyone everything.
"""

import datetime
import ipaddress
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leadglass.access.clock import NANOSECONDS
from leadglass.access.identity import ATTRIBUTES, Kind, Principal
from leadglass.dicom.predicate import EVERY_STUDY, NO_STUDY, Alternatives, Condition, Quantifier, StudyPredicate
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Action, Level, Role

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
ANY_PEER = "*"
_MOST_DAYS = 200 * 366
ABOUT_STUDIES = frozenset({Action.STORE, Action.FIND, Action.GET, Action.MOVE, Action.SETTLE})

DEFAULT_POLICY = """\
# Who may do what. Rules add up; what no rule gives is denied, so an empty file denies everyone everything.
# After a change: leadglass policy check HOME, then leadglass policy apply HOME. docs/configuration.md says all that a rule can.
#
# A rule names whom by roles, by peers (AE titles, "*" is every one), by users = ["anna"], or by local = true.
# A rule about some studies only, instead of studies = "every" (every `where` must hold; "any": at least one series does, "all": each):
#     [[rule.where]]
#     attribute = "Modality"
#     values = ["CT", "MR"]
#     quantifier = "any"
# A rule with may_not instead of may takes away, whatever other rules give.

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
    values: list[str] = []
    same_as: str | None = None
    newer_than_days: Annotated[int, Field(ge=0, le=_MOST_DAYS)] | None = None
    older_than_days: Annotated[int, Field(ge=0, le=_MOST_DAYS)] | None = None
    quantifier: Quantifier = Quantifier.ANY


class _Rule(_Table):
    name: str = ""
    roles: list[Role] = []
    peers: list[str] = []
    users: list[str] = []
    local: bool = False
    addresses: list[str] = []
    may: list[Action] = []
    may_not: list[Action] = []
    studies: Literal["every"] | None = None
    where: list[_Where] = []


class _File(_Table):
    rule: list[_Rule] = []


@dataclass(frozen=True, slots=True)
class Asking:
    """What a decision depends on beside who asks: from which address, and on which day (UTC)."""

    address: str = ""
    today: datetime.date = datetime.date.max

    @classmethod
    def at(cls, nanoseconds: int, address: str) -> Self:
        """From `address` at that time since 1970."""
        return cls(address, datetime.datetime.fromtimestamp(nanoseconds // NANOSECONDS, datetime.UTC).date())


@dataclass(frozen=True, slots=True)
class Where:
    """A condition that becomes one of studies once it is known who asks and when."""

    keyword: str
    quantifier: Quantifier
    values: frozenset[str] = frozenset()
    same_as: str | None = None
    """The person's attribute whose values it takes; whoever has none meets no such condition."""
    newer_than_days: int | None = None
    older_than_days: int | None = None

    def of(self, principal: Principal, asking: Asking) -> Condition | None:
        """The condition for this asker; None if nothing meets it."""
        if self.newer_than_days is not None or self.older_than_days is not None:
            since, until = _ago(asking.today, self.newer_than_days), _ago(asking.today, self.older_than_days)
            return Condition(self.keyword, quantifier=self.quantifier, since=since, until=until)
        values = self.values if self.same_as is None else principal.attribute(self.same_as)
        return Condition(self.keyword, values, self.quantifier) if values else None


def _ago(today: datetime.date, days: int | None) -> str | None:
    return None if days is None else f"{today - datetime.timedelta(days=min(days, today.toordinal() - 1)):%Y%m%d}".rjust(8, "0")


@dataclass(frozen=True, slots=True)
class Rule:
    """To whom (any of the four ways of naming them), what, about which studies, and from where."""

    roles: frozenset[Role]
    peers: frozenset[str]
    users: frozenset[str]
    local: bool
    may: frozenset[Action]
    where: tuple[Where, ...]
    """All of which must hold; none: every study."""
    takes_away: bool = False
    networks: tuple[Network, ...] = ()
    """From where; none: from anywhere."""
    name: str = ""

    def names(self, principal: Principal) -> bool:
        """Whether this rule speaks of `principal`."""
        match principal.kind:
            case Kind.PEER:
                return ANY_PEER in self.peers or principal.name in self.peers
            case Kind.USER | Kind.TOKEN:
                return principal.name in self.users or bool(self.roles & principal.roles)
            case Kind.LOCAL:
                return self.local

    def speaks_of(self, principal: Principal, action: Action, asking: Asking) -> bool:
        """Whether it gives or takes this action of whoever asks, about whichever studies."""
        if not self.names(principal) or not self._reaches(asking.address):
            return False
        if self.takes_away:
            return action in self.may
        # An echo says nothing but that we are here: every peer that a rule names may have it, or no engineer could test a connection.
        echo = action is Action.ECHO and principal.kind is Kind.PEER
        return echo or (action in self.may and action in principal.may)

    def _reaches(self, address: str) -> bool:
        if not self.networks:
            return True
        try:
            at = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            # Not over a network: no range holds it.
            return False
        mapped = at.ipv4_mapped if isinstance(at, ipaddress.IPv6Address) else None
        return any((mapped or at) in network for network in self.networks)

    def alternative(self, principal: Principal, asking: Asking) -> tuple[Condition, ...] | None:
        """The conditions on studies for this asker, () for every study; None where nothing meets them."""
        conditions = [each.of(principal, asking) for each in self.where]
        met = tuple(each for each in conditions if each is not None)
        return met if len(met) == len(conditions) else None

    def studies(self, principal: Principal, asking: Asking) -> StudyPredicate:
        """The studies of which it speaks."""
        alternative = self.alternative(principal, asking)
        return NO_STUDY if alternative is None else EVERY_STUDY if not alternative else StudyPredicate((alternative,))


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules; `Policy()` denies everyone everything."""

    rules: tuple[Rule, ...] = ()


def decide(policy: Policy, principal: Principal, action: Action, asking: Asking) -> StudyPredicate | None:
    """The studies about which `principal` may do `action`, none for one that is not about studies.

    None when no rule gives it, or one takes it away wholly.
    """
    rules = [rule for rule in policy.rules if rule.speaks_of(principal, action, asking)]
    gives = [rule for rule in rules if not rule.takes_away]
    takes = [rule for rule in rules if rule.takes_away]
    if not gives:
        return None
    if action not in ABOUT_STUDIES:
        return None if takes else NO_STUDY
    denied = [each for rule in takes if (each := rule.alternative(principal, asking)) is not None]
    if not all(denied):
        # One of them takes away every study.
        return None
    given = StudyPredicate.union(rule.studies(principal, asking) for rule in gives)
    return given.without(tuple(denied)) & principal.within


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy says to one action of one principal."""

    action: Action
    allowed: bool
    studies: str | None
    """`every`, or the conditions; None for what is not about studies or not allowed."""
    rules: tuple[int, ...]
    """Which rules give it, the first in the file being 1."""
    against: tuple[int, ...] = ()
    """Which rules take it away, wholly or for some studies."""


def explain(policy: Policy, principal: Principal, asking: Asking) -> list[Explanation]:
    """What the policy gives `principal`, and by which rules, for each action."""
    return [_explain(policy, principal, action, asking) for action in Action]


def _explain(policy: Policy, principal: Principal, action: Action, asking: Asking) -> Explanation:
    visible = decide(policy, principal, action, asking)
    studies = None if visible is None or action not in ABOUT_STUDIES else describe(visible)
    speaking = [(number, rule) for number, rule in enumerate(policy.rules, 1) if rule.speaks_of(principal, action, asking)]
    gives, takes = ([number for number, rule in speaking if rule.takes_away is away] for away in (False, True))
    return Explanation(action, visible is not None, studies, tuple(gives), tuple(takes))


def describe(visible: StudyPredicate) -> str:
    """The studies that a predicate admits, in words."""
    return "; or ".join(_described_part(part) for part in visible.parts) or "none"


def _described_part(part: StudyPredicate) -> str:
    given = "every" if part.every else _described(part.any_of)
    return f"{given}, but not {_described(part.none_of)}" if part.none_of else given


def _described(alternatives: Alternatives) -> str:
    return ", or ".join(" and ".join(_described_condition(each) for each in conditions) for conditions in alternatives)


def _described_condition(condition: Condition) -> str:
    what = f"{condition.quantifier} {condition.keyword}"
    if condition.level is Level.PATIENT and not condition.is_of_dates:
        # Who reads this may be somebody who sees no patient.
        return f"{condition.keyword} among {len(condition.values)}"
    if not condition.is_of_dates:
        return f"{what} in {', '.join(sorted(condition.values))}"
    return " ".join(
        [what, *([f"from {condition.since}"] if condition.since else []), *([f"to {condition.until}"] if condition.until else [])]
    )


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


REPAIR: Final = """\
[[rule]]
name = "there is no valid policy: only its repair"
local = true
may = ["administer", "read-trail"]
"""
"""What is in force when serving begins without a valid policy: nobody reaches a patient, and the archive's owner can put one in force."""


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
    if bool(rule.may) == bool(rule.may_not):
        raise ConfigurationError(f"{where} must have either may = [...] or may_not = [...], with at least 1 action")
    actions = rule.may or rule.may_not
    about = ABOUT_STUDIES.intersection(actions)
    if about and (rule.studies is None) == (not rule.where):
        raise ConfigurationError(f'{where} must say about which studies: studies = "every", or [[rule.where]] tables, not both')
    if not about and (rule.studies is not None or rule.where):
        raise ConfigurationError(f"{where} speaks of nothing that is about studies; leave out studies and where")
    if rule.may_not and rule.where and about != set(actions):
        raise ConfigurationError(f"{where} takes away about some studies what is not about studies; give it a rule of its own")
    return Rule(
        roles=frozenset(rule.roles),
        peers=frozenset(peer.strip() for peer in rule.peers),
        users=frozenset(rule.users),
        local=rule.local,
        may=frozenset(actions),
        where=tuple(_where(each, where) for each in rule.where),
        takes_away=bool(rule.may_not),
        networks=tuple(_network(each, where) for each in rule.addresses),
        name=rule.name,
    )


def _where(at: _Where, where: str) -> Where:
    days = at.newer_than_days is not None or at.older_than_days is not None
    if (bool(at.values), at.same_as is not None, days).count(True) != 1:
        raise ConfigurationError(f"{where}: a condition has one of values (at least 1), same_as, or newer_than_days and older_than_days")
    if at.same_as is not None and at.same_as not in ATTRIBUTES:
        raise ConfigurationError(f"{where}: a person has no attribute {at.same_as!r}; take one of {', '.join(sorted(ATTRIBUTES))}")
    if at.newer_than_days is not None and at.older_than_days is not None and at.newer_than_days < at.older_than_days:
        raise ConfigurationError(f"{where}: no study is newer than {at.newer_than_days} days and older than {at.older_than_days}")
    made = Where(at.attribute, at.quantifier, frozenset(at.values), at.same_as, at.newer_than_days, at.older_than_days)
    try:
        # Whoever asks: the attribute, and the values as far as they are known.
        made.of(_ANYBODY, Asking(today=datetime.date(2000, 1, 1)))
    except (ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return made


_ANYBODY: Final = Principal("user:anybody", Kind.USER, "anybody", attributes=tuple((name, ("x",)) for name in ATTRIBUTES))


def _network(text: str, where: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError:
        raise ConfigurationError(f"{where}: {text!r} is no address range; write one as 10.20.0.0/16") from None


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
