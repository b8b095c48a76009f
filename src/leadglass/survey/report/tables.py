"""The CSV reports; a cell cannot become a formula in the spreadsheet that opens it."""

import csv
import dataclasses
import io
import re
from collections.abc import Iterable, Sequence

from leadglass.survey.results import Result, Results, Sums, dotted

FIRST_LINE = 2
"""Of the systems in `targets.csv`, counted from 1 as editors do; each has one line."""

_FORMULA = re.compile(r"(^|;)(\s*)(?=[=+\-@])")
"""Also after a semicolon: where that separates, a spreadsheet parts a cell there."""

_TARGET_COLUMNS = (
    "name",
    "host",
    "country",
    "site",
    "level",
    "open",
    "write",
    "transport",
    "patients",
    "studies",
    "instances",
    "exact",
    "instances_accessible",
    "open_viewers",
    "product",
    "version",
    "findings",
)


def targets(results: Results) -> bytes:
    """`targets.csv`: a line for each system, in the order of the scope."""
    return _csv(_TARGET_COLUMNS, (_row(result) for result in results.targets))


def countries(results: Results) -> bytes:
    """`countries.csv`: Greenbone's columns."""
    columns = ("country", *(field.name for field in dataclasses.fields(Sums)))
    return _csv(columns, ((country, *dataclasses.astuple(each)) for country, each in results.by_country().items()))


def _row(result: Result) -> Sequence[object]:
    counts = result.records
    counted = (counts.patients, counts.studies, counts.instances, str(counts.exact).lower()) if counts else ("", "", "", "")
    return (
        result.name,
        result.host,
        result.country,
        result.site,
        result.level,
        str(result.level.is_open).lower(),
        result.write,
        result.transport or "",
        *counted,
        result.instances_accessible,
        result.open_viewers,
        result.software.name or result.software.toolkit,
        dotted(result.software.version or result.software.toolkit_version),
        " ".join(finding.id for finding in result.findings),
    )


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def cell(value: object) -> str:
    """A cell that a spreadsheet takes for text or a number, never for a formula.

    >>> cell("=HYPERLINK(1)"), cell("North; @SUM(1)"), cell(-3), cell("North")
    ("'=HYPERLINK(1)", "North;' @SUM(1)", '-3', 'North')
    """
    text = "".join(each if each.isprintable() else " " for each in str(value))
    return text if isinstance(value, int) else _FORMULA.sub(r"\1'\2", text)
