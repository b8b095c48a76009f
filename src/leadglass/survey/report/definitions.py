"""What others called open, computed from the same answers: why published numbers differ, and which of ours stands beside which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leadglass.survey.observations import Dimse, ExposureLevel, Transport, Web, Write
from leadglass.survey.results import Result, Results
from leadglass.survey.scope import ExposureLimit


@dataclass(frozen=True, slots=True)
class Definition:
    """Whom a study counted (`holds`), among which systems, and what it published."""

    study: str
    counted: str
    holds: Callable[[Result], bool]
    among: Callable[[Result], bool]
    base: str
    """`among` in words."""
    published: str
    asks: ExposureLimit = ExposureLimit.CONNECT
    """The least limit at which a survey can tell."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One definition, and what this survey finds by it; `count` is None where it did not ask so far."""

    definition: Definition
    count: int | None
    among: int


def speaks_dicom(result: Result) -> bool:
    """It answered with a valid DICOM PDU, a rejection included."""
    return _reaches(result, ExposureLevel.DICOM)


def lets_strangers_associate(result: Result) -> bool:
    """An association was accepted without credentials."""
    return _reaches(result, ExposureLevel.ASSOCIATION)


def _reaches(result: Result, level: ExposureLevel) -> bool:
    return any(isinstance(door, Dimse) and door.level.rank >= level.rank for door in result.doors)


def _checks_no_title(result: Result) -> bool:
    return any(
        isinstance(door, Dimse) and door.level.rank >= ExposureLevel.ASSOCIATION.rank and not door.named_called_ae for door in result.doors
    )


def _speaks_at_104(result: Result) -> bool:
    return any(isinstance(door, Dimse) and door.port == 104 and door.level.rank >= ExposureLevel.DICOM.rank for door in result.doors)


def _admits_at_104(result: Result) -> bool:
    return any(isinstance(door, Dimse) and door.port == 104 and door.level.rank >= ExposureLevel.ASSOCIATION.rank for door in result.doors)


def _shows_dicom(result: Result) -> bool:
    return speaks_dicom(result) or any(
        isinstance(door, Web) and (door.level.is_open or door.product or door.viewers) for door in result.doors
    )


def _has_tls(result: Result) -> bool:
    return any(isinstance(door, Dimse) and door.transport in {Transport.TLS, Transport.MUTUAL_TLS} for door in result.doors)


def _speaks_or_has_tls(result: Result) -> bool:
    return speaks_dicom(result) or _has_tls(result)


def _everything(_: Result) -> bool:
    return True


DEFINITIONS: Sequence[Definition] = (
    Definition(
        "Greenbone, 2019",
        "answers queries for patient records",
        lambda result: result.level.is_open,
        _everything,
        "all systems",
        "590 of about 2,300 (26%)",
        ExposureLimit.QUERY,
    ),
    Definition(
        "Greenbone, 2019: images accessible",
        "hands out images",
        lambda result: result.level is ExposureLevel.IMAGES,
        _everything,
        "all systems",
        "400 of 737 million images; systems not published",
        ExposureLimit.RETRIEVE,
    ),
    Definition(
        "Greenbone, 2019: viewers",
        "shows a web viewer without password",
        lambda result: result.open_viewers > 0,
        _everything,
        "all systems",
        "39 of about 2,300 (2%)",
        ExposureLimit.QUERY,
    ),
    Definition(
        "Stites and Pianykh, 2016",
        "accepts an association from a stranger; stopped before any query",
        lets_strangers_associate,
        speaks_dicom,
        "those that speak DICOM",
        "719 of 2,774 (26%)",
    ),
    Definition(
        "CybelAngel, 2020",
        "accepts an association at port 104",
        _admits_at_104,
        _speaks_at_104,
        "those that speak DICOM at port 104",
        "44 of 50 sampled (88%)",
    ),
    Definition(
        "Aplite, 2023: leaking",
        "answers queries for patient records",
        lambda result: result.level.is_open,
        _shows_dicom,
        "those that show DICOM, by DIMSE or on the web",
        "about 30% of more than 3,800",
        ExposureLimit.QUERY,
    ),
    Definition(
        "Aplite, 2023: open to tampering",
        "offers storing to a stranger, or accepts it",
        lambda result: result.write in {Write.OFFERED, Write.ACCEPTED},
        _shows_dicom,
        "those that show DICOM, by DIMSE or on the web",
        "more than 30% of more than 3,800",
    ),
    Definition(
        "Censys, 2024",
        "shows DICOM, by DIMSE or on the web, open or not",
        _shows_dicom,
        _everything,
        "all systems",
        "5,100 hosts; how many are open was not published",
    ),
    Definition(
        "TrendAI, 2025: titles",
        "accepts an association under an invented AE title",
        _checks_no_title,
        speaks_dicom,
        "those that speak DICOM",
        "99.56% of 3,627",
    ),
    Definition(
        "TrendAI, 2025: encryption",
        "speaks DICOM over TLS",
        _has_tls,
        _speaks_or_has_tls,
        "those that speak DICOM, or TLS at a DICOM port",
        "0.14% of 3,627",
    ),
)
"""The figures are those of the publications, by way of press and conference reports."""


def measure(results: Results) -> Sequence[Measured]:
    """Every definition, counted over the same systems."""
    went = results.scope.limits.level
    return [
        Measured(
            each,
            sum(each.among(result) and each.holds(result) for result in results.targets) if went.reaches(each.asks) else None,
            sum(each.among(result) for result in results.targets),
        )
        for each in DEFINITIONS
    ]


def associates_without_records(results: Results) -> int:
    """Systems that let strangers associate and answer no query: open to some counts, not to Greenbone's nor ours."""
    return sum(lets_strangers_associate(result) and not result.level.is_open for result in results.targets)
