"""What alerts the auditor: every grant of access to patients, one's own too, is marked in the trail and told in the log."""

import logging
from typing import Final

from leadglass import logs
from leadglass.access.policy import Policy
from leadglass.vocabulary import Action, Role

ALERT: Final = "alert"
"""The detail that marks an entry."""
PATIENT_ACCESS: Final = "patient-access"
OF_PATIENTS: Final = frozenset({Action.FIND, Action.GET, Action.MOVE, Action.SETTLE})
"""What lets somebody see something of a patient."""


def alert(verb: str, whom: str) -> dict[str, str | int]:
    """The details of an outcome that gave somebody access to patients."""
    logs.event(logging.WARNING, f"alert: {verb} gives access to patients: {whom}; `leadglass trail alerts` shows who gave it")
    return {ALERT: PATIENT_ACCESS, "verb": verb, "to": whom}


def seen_by(policy: Policy, roles: frozenset[Role]) -> frozenset[Action]:
    """What of patients the rules of a policy give these roles, about whichever studies."""
    return frozenset(action for rule in policy.rules if not rule.takes_away and rule.roles & roles for action in rule.may & OF_PATIENTS)


def gives_more(before: Policy, after: Policy) -> bool:
    """Whether a policy has a rule about patients that the one before had not, or lacks one that took away."""

    def of_patients(policy: Policy, *, takes_away: bool) -> set[object]:
        return {rule for rule in policy.rules if rule.takes_away is takes_away and rule.may & OF_PATIENTS}

    gained = of_patients(after, takes_away=False) - of_patients(before, takes_away=False)
    return bool(gained or of_patients(before, takes_away=True) - of_patients(after, takes_away=True))
