"""A scope written for a test, and a survey run by it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from leadglass.survey.probing import probe_here
from leadglass.survey.results import Result, Results
from leadglass.survey.run import survey

TOMORROW = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


def toml(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    if isinstance(value, int | float | dt.date):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def table(name: str, values: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def scope_text(
    targets: Sequence[Mapping[str, object]],
    *,
    authority: Mapping[str, object] | None = None,
    limits: Mapping[str, object] | None = None,
    public: Mapping[str, object] | None = None,
) -> str:
    """A scope file; the rates are those of a fast test."""
    who = {"owner": "Hospital", "authorised_by": "CISO", "contact": "security@example.org", "valid_until": TOMORROW} | dict(authority or {})
    how = {"level": "retrieve", "timeout_seconds": 5, "connections_per_second": 2000} | dict(limits or {})
    said = table("public", public) if public else ""
    return table("authority", who) + table("limits", how) + said + "".join(table("[target]", each) for each in targets)


def run(folder: Path, *targets: Mapping[str, object], **limits: object) -> Results:
    """Survey `targets`, in this process, which is quicker than to start one; the reports are in `folder`/out."""
    scope = folder / "scope.toml"
    scope.write_text(
        scope_text([{"name": f"target {number}", "host": "127.0.0.1", **each} for number, each in enumerate(targets)], limits=limits)
    )
    return survey(scope, folder / "out", probing=probe_here)


def run_one(folder: Path, target: Mapping[str, object], **limits: object) -> Result:
    """Survey one system."""
    return run(folder, target, **limits).targets[0]


def finding_ids(result: Result) -> set[str]:
    return {finding.id for finding in result.findings}
