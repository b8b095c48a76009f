"""What people and peers may: the policy, and the roles and attributes of people; each call asks the gate for itself.

Every method raises `NotAllowed` when the policy does not give the caller the right, and what it changes is in the trail.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from leadglass.access import policy as policies
from leadglass.access.anchor import digest_of
from leadglass.access.grant import AdministerGrant
from leadglass.access.holds import Hold
from leadglass.access.identity import Principal
from leadglass.access.policy import Asking, Policy
from leadglass.archive.administration import Parts
from leadglass.archive.alerts import alert, gives_more, seen_by
from leadglass.archive.holding import hold_row
from leadglass.archive.rows import Row
from leadglass.dicom.uid import Uid
from leadglass.durable import replace_file
from leadglass.errors import BadInput, ConfigurationError, WrongUsage
from leadglass.vocabulary import Action, Door, Outcome, Role

MAX_POLICY_BYTES: Final = 1 << 20


class Rights:
    """What one caller may ask and change of who may do what."""

    def __init__(self, parts: Parts, principal: Principal, door: Door, address: str) -> None:
        self._parts = parts
        self._who = (principal, door, address)

    def _admit(self, **detail: str | int) -> AdministerGrant:
        try:
            return self._parts.gate.admit_administer(*self._who, detail=detail)
        except BadInput:
            # The trail takes no such name, so nobody can have been given it.
            raise WrongUsage("names are ASCII letters, digits and common signs; no user and no peer is called otherwise") from None

    # Policy

    def check_policy(self, text: str | None = None) -> int:
        """How many rules policy.toml has, or another text; raises `ConfigurationError` when it cannot be applied."""
        with self._admit(verb="policy-check") as grant:
            policy = self._parsed(text)
            grant.settle(Outcome.DONE)
            return len(policy.rules)

    def apply_policy(self, text: str | None = None) -> int:
        """Put policy.toml in force from the next request on, or `text` in its place, whole and durably; gives how many rules it has.

        Nothing is changed where it cannot be applied (`ConfigurationError`).
        """
        with self._admit(verb="policy-apply") as grant:
            file, before, after = self._parts.policy_file, self._parts.gate.policy, self._parsed(text)
            if text is not None:
                replace_file(file, text.encode())
            self._parts.gate.apply_policy(grant, after)
            digest = digest_of(file)
            self._parts.anchor.configured({file.name: digest})
            told: dict[str, str | int] = {"rules": len(after.rules), "sha256": digest}
            if gives_more(before, after):
                told |= alert("policy-apply", file.name)
            grant.settle(Outcome.DONE, detail=told)
            return len(after.rules)

    def _parsed(self, text: str | None) -> Policy:
        if text is None:
            return policies.load_policy(self._parts.policy_file)
        if len(text.encode()) > MAX_POLICY_BYTES:
            raise ConfigurationError(f"the policy is longer than {MAX_POLICY_BYTES} bytes; a rule can name many people and values")
        return policies.parse_policy(text)

    def explain(self, who: str, address: str = "") -> list[Row]:
        """What a user or a peer may do by each way in, and which rules give or take it; who is held may nothing.

        Of a person at a peer it is what both may, so this at most. Rules for certain addresses speak only of who asks from `address`.
        """
        with self._admit(verb="policy-explain") as grant:
            asking = Asking.at(time.time_ns(), address)
            policy = self._parts.gate.policy
            rows: list[Row] = [
                {"who": each.id, "by": way, **asdict(said), **hold_row(hold)}
                for way, each, hold in self._ways(who)
                for said in policies.explain(policy if hold is None else Policy(), each, asking)
            ]
            grant.settle(Outcome.DONE, count=len(rows))
            return rows

    def explain_study(self, who: str, study: Uid, address: str = "") -> list[Row]:
        """For each way in and each action about studies: whether it is allowed for this study, and a sentence with the rule that decided.

        It looks at the study as the rules do and shows nothing of it: a study that is not there is one that no condition holds for.
        """
        with self._admit(verb="policy-explain", study=study) as grant:
            asking = Asking.at(time.time_ns(), address)
            rows: list[Row] = [
                {"who": each.id, "by": way, **self._decided(each, action, study, asking, held=hold is not None)}
                for way, each, hold in self._ways(who)
                for action in sorted(policies.ABOUT_STUDIES)
            ]
            grant.settle(Outcome.DONE, count=len(rows))
            return rows

    def _decided(self, who: Principal, action: Action, study: Uid, asking: Asking, *, held: bool) -> Row:
        if held:
            return {"action": action, "allowed": False, "why": "held: `leadglass release` ends it"}
        gives: list[str] = []
        for number, rule in enumerate(self._parts.gate.policy.rules, 1):
            if not rule.speaks_of(who, action, asking):
                continue
            known = f"rule {number}{f' ({rule.name})' if rule.name else ''}"
            if self._parts.vault.admits(study, rule.studies(who, asking)):
                if rule.takes_away:
                    return {"action": action, "allowed": False, "why": f"{known} takes it away"}
                gives.append(known)
        if gives:
            return {"action": action, "allowed": True, "why": f"{' and '.join(gives)} give{'s' if len(gives) == 1 else ''} it"}
        return {"action": action, "allowed": False, "why": "no rule gives it for this study, or there is no such study"}

    def _ways(self, who: str) -> list[tuple[str, Principal, Hold | None]]:
        registry = self._parts.registry
        if registry.accounts.get(who) is None and registry.peers.get(who) is None:
            raise WrongUsage(f"there is neither a user nor a peer {who}; `leadglass user list` and `peer list` show them")
        return [(way, each, registry.holds.get(each.kind, each.name)) for way, each in registry.ways_in(who)]

    # People

    def set_roles(self, name: str, roles: Sequence[Role]) -> None:
        """Give a person these roles in place of what he has; `Refused` where nobody would administer any more."""
        with self._admit(verb="user-role", user=name, role=",".join(sorted(set(roles)))) as grant:
            before = self._parts.registry.accounts.get(name)
            if before is None:
                raise WrongUsage(f"there is no user {name}; `leadglass user list` shows them")
            after = self._parts.registry.accounts.set_roles(grant, name, roles)
            policy = self._parts.gate.policy
            told = alert("user-role", name) if seen_by(policy, after.roles) - seen_by(policy, before.roles) else {}
            grant.settle(Outcome.DONE, count=1, detail=told)

    def set_attributes(self, name: str, given: Mapping[str, Sequence[str]]) -> None:
        """Set what rules may hold against a study, as department or modality; values may name patients, so the trail has only the keys."""
        with self._admit(verb="user-attributes", user=name, attributes=",".join(sorted(given))) as grant:
            if self._parts.registry.accounts.get(name) is None:
                raise WrongUsage(f"there is no user {name}; `leadglass user list` shows them")
            self._parts.registry.accounts.set_attributes(grant, name, given)
            grant.settle(Outcome.DONE, count=1, detail=alert("user-attributes", name))
