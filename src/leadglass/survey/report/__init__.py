"""The reports: every one is made from `Results` alone, so that all say the same."""

from pathlib import Path

from leadglass import durable
from leadglass.survey.report import html, sarif, tables
from leadglass.survey.report.public import without_addresses
from leadglass.survey.results import Results, to_json


def write_reports(results: Results, out: Path) -> None:
    """Write every report into `out`: 0700, its files 0600, since they are a list of open doors."""
    out.mkdir(mode=durable.PRIVATE_FOLDER, parents=True, exist_ok=True)
    out.chmod(durable.PRIVATE_FOLDER)
    files = {
        "results.json": to_json(results),
        "report.html": html.render(results),
        "report-without-addresses.html": html.render(without_addresses(results), public=True),
        "targets.csv": tables.targets(results),
        "countries.csv": tables.countries(results),
        "results.sarif": sarif.render(results),
    }
    for name, content in files.items():
        durable.replace_file(out / name, content)
