"""SARIF 2.1.0, so that the findings show where a CI shows those of other tools."""

from typing import Any

import pydantic_core

from leadglass.survey.findings import Finding, Severity
from leadglass.survey.results import METHOD, Result, Results

_LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}
_SECURITY_SEVERITY = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "2.0"}


def render(results: Results) -> bytes:
    """`results.sarif`: one result for each finding of each system."""
    rules: dict[str, dict[str, Any]] = {}
    found: list[dict[str, Any]] = []
    for result in results.worst_first:
        for finding in result.findings:
            rules.setdefault(finding.id, _rule(finding))
            found.append(_result(result, finding))
    document = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {
                "tool": {"driver": {"name": "leadglass survey", "semanticVersion": f"{METHOD}.0.0", "rules": list(rules.values())}},
                "results": found,
            }
        ],
    }
    return pydantic_core.to_json(document, indent=1) + b"\n"


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "shortDescription": {"text": finding.title},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
        "properties": {"security-severity": _SECURITY_SEVERITY[finding.severity]},
    }


def _result(result: Result, finding: Finding) -> dict[str, Any]:
    ports = ", ".join(str(port) for port in finding.ports)
    where = f"{result.name} ({result.host}) port {ports}" if result.host else result.name
    return {
        "ruleId": finding.id,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{where}: {finding.title}. {finding.remedy}"},
        "locations": [
            {
                "logicalLocations": [
                    {"name": result.name, "fullyQualifiedName": f"{result.country}/{result.site}/{result.name}", "kind": "resource"}
                ]
            }
        ],
    }
