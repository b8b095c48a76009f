"""What to do first: the findings across all systems, the worst and those that concern most patients before the others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leadglass.survey.findings import RULES, Finding, Severity
from leadglass.survey.results import Result, Results, sums

_SENTENCE_END = re.compile(r"(?<=\.)\s+(?=[A-Z])")

_GENERAL: Mapping[str, str] = {rule.id: rule.remedy for rule in RULES}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to change at several systems; `patients` are those of the open ones among them."""

    id: str
    severity: Severity
    title: str
    remedy: str
    """Its first sentence: what to do."""
    more: str
    """The rest of it."""
    systems: int
    patients: int


def steps(results: Results) -> Sequence[Step]:
    """Each kind of finding once: by severity, then patients, then systems."""
    found: dict[str, list[Finding]] = {}
    where: dict[str, dict[int, Result]] = {}
    for number, result in enumerate(results.targets):
        for finding in result.findings:
            found.setdefault(finding.id, []).append(finding)
            where.setdefault(finding.id, {})[number] = result
    listed = [_step(findings, list(where[name].values())) for name, findings in found.items()]
    return sorted(listed, key=lambda step: (-step.severity.rank, -step.patients, -step.systems, step.id))


def _step(findings: Sequence[Finding], systems: Sequence[Result]) -> Step:
    first = findings[0]
    # The exact setting differs by product and stands with each system; what holds for all is the rule's own remedy.
    remedy, _, more = _SENTENCE_END.sub("\n", _GENERAL.get(first.id, first.remedy), count=1).partition("\n")
    return Step(
        id=first.id,
        severity=max((finding.severity for finding in findings), key=lambda severity: severity.rank),
        title=in_common([finding.title for finding in findings]),
        remedy=remedy,
        more=more,
        systems=len(systems),
        patients=sums(systems).patients,
    )


def in_common(titles: Sequence[str]) -> str:
    """What the titles share; a title names the version or the viewer of its system.

    >>> in_common(["Orthanc 1.9.1 may be affected", "Orthanc 1.10.1 may be affected"])
    'Orthanc … may be affected'
    """
    shortest, *others = sorted((title.split() for title in set(titles)), key=len)
    if not others:
        return " ".join(shortest)
    start = 0
    while start < len(shortest) and all(words[start] == shortest[start] for words in others):
        start += 1
    end = 0
    while end < len(shortest) - start and all(words[-1 - end] == shortest[-1 - end] for words in others):
        end += 1
    return " ".join([*shortest[:start], "…", *shortest[len(shortest) - end :]])
