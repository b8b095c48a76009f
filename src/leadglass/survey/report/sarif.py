"""SARIF 2.1.0 (OASIS, errata 01), so that the findings show where a CI shows those of other tools."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pydantic_core

from leadglass.survey.findings import RULES, Finding, Severity
from leadglass.survey.report import tables
from leadglass.survey.results import METHOD, Result, Results

_LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}
_SECURITY_SEVERITY = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "2.0"}

_GENERAL: Mapping[str, str] = {rule.id: rule.remedy for rule in RULES}


def render(results: Results) -> bytes:
    """`results.sarif`: one result for each finding of each system, at that system's line of `targets.csv`."""
    lines = {id(result): number for number, result in enumerate(results.targets, tables.FIRST_LINE)}
    rules: dict[str, dict[str, Any]] = {}
    found: list[dict[str, Any]] = []
    for result in results.worst_first:
        for finding in result.findings:
            rules.setdefault(finding.id, _rule(finding))
            found.append(_result(result, finding, lines[id(result)]))
    document = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {
                "tool": {"driver": {"name": "leadglass survey", "semanticVersion": f"{METHOD}.0.0", "rules": list(rules.values())}},
                "invocations": [{"executionSuccessful": not results.left}],
                "properties": _properties(results),
                "results": found,
            }
        ],
    }
    return pydantic_core.to_json(document, indent=1) + b"\n"


def _properties(results: Results) -> dict[str, Any]:
    scope = results.scope
    said: dict[str, Any] = {
        "owner": scope.authority.owner,
        "authorisedBy": scope.authority.authorised_by,
        "validUntil": scope.authority.valid_until.isoformat(),
        "started": results.started,
        "run": results.run_id,
        "level": str(scope.limits.level),
        "left": results.left,
    }
    if results.stopped:
        said["stopped"] = str(results.stopped)
    if results.shard:
        said["shard"] = results.shard
    if scope.limits.unsafe_mandate:
        said["unsafeMandate"] = scope.limits.unsafe_mandate
    return said


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "shortDescription": {"text": plain(finding.title)},
        "help": {"text": plain(_GENERAL.get(finding.id, finding.remedy))},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
        "properties": {"security-severity": _SECURITY_SEVERITY[finding.severity], "tags": ["security"]},
    }


def _result(result: Result, finding: Finding, line: int) -> dict[str, Any]:
    ports = ", ".join(str(port) for port in finding.ports)
    where = f"{result.name} ({result.host}) port {ports}" if result.host else result.name
    place = f"{result.country}/{result.site}/{result.name}"
    return {
        "ruleId": finding.id,
        "level": _LEVELS[finding.severity],
        "message": {"text": plain(f"{where}: {finding.title}. {finding.remedy}")},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": "targets.csv"}, "region": {"startLine": line}},
                "logicalLocations": [{"name": result.name, "fullyQualifiedName": place, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"leadglass/v1": _fingerprint(place, result.host, finding.id)},
    }


def _fingerprint(*parts: str) -> str:
    """The same for the same finding at the same system in every run."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def plain(text: str) -> str:
    r"""Text that cannot become a placeholder or an embedded link (SARIF 3.11.5, 3.11.6).

    >>> print(plain("[see](https://example.org) {0}"))
    \[see\](https://example.org) {{0}}
    """
    for character in ("\\", "[", "]"):
        text = text.replace(character, "\\" + character)
    return text.replace("{", "{{").replace("}", "}}")
