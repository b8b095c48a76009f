"""One self-contained HTML page: the frame, the style and the pieces that every report is made of.

Nothing is loaded and nothing runs: the policy in the page's head allows the one style it carries, by its hash, and nothing else.
"""

import base64
import functools
import hashlib
from importlib import resources

import jinja2

from leadglass import templates
from leadglass.survey.report import worldmap
from leadglass.survey.results import dotted


def grouped(number: int) -> str:
    """A number as a person reads it, in groups of three.

    >>> grouped(24_300_000).split()
    ['24', '300', '000']
    """
    return f"{number:,}".replace(",", "\u202f")


def percent(part: int, whole: int) -> str:
    """A share, never rounded to none or to all.

    >>> percent(590, 2300), percent(1, 2300), percent(2299, 2300), percent(0, 0)
    ('26%', 'under 1%', 'over 99%', '-')
    """
    if not whole:
        return "-"
    rounded = round(100 * part / whole)
    if part and not rounded:
        return "under 1%"
    return "over 99%" if part != whole and rounded == 100 else f"{rounded}%"


def moment(started: str) -> str:
    """A run's start as a person reads it.

    >>> moment("2026-11-02T23:00:00+00:00")
    '2026-11-02 23:00'
    """
    return started[:16].replace("T", " ")


@functools.cache
def _style() -> str:
    return resources.files("leadglass.survey.report").joinpath("templates", "style.css").read_text("utf-8")


def policy() -> str:
    """The Content-Security-Policy of every page."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = templates.environment("leadglass.survey.report")
    environment.filters |= {"grouped": grouped, "dotted": dotted, "short": worldmap.short, "moment": moment}
    environment.globals["percent"] = percent
    return environment


def render(template: str, **values: object) -> bytes:
    """The page of a template that extends `page.html.j2`; every text in `values` is escaped."""
    return _environment().get_template(template).render(values, style=_style(), policy=policy()).encode()
