"""The reports: every one is made from `Results` alone, so that all say the same."""

from leadglass.survey.folder import Folder
from leadglass.survey.report import html, sarif, tables
from leadglass.survey.report.public import without_addresses
from leadglass.survey.results import Results, to_json


def write_reports(results: Results, folder: Folder) -> None:
    """Write every report into `folder`: only its owner can read them, since they are a list of open doors."""
    folder.make()
    files = {
        "results.json": to_json(results),
        "report.html": html.render(results),
        "report-without-addresses.html": html.render(without_addresses(results), public=True),
        "targets.csv": tables.targets(results),
        "countries.csv": tables.countries(results),
        "results.sarif": sarif.render(results),
    }
    for name, content in files.items():
        folder.write(name, content)
