"""What software answers: by the packaged table of fingerprints, and which private keys are no secret.

Text that a device sends about itself is compared here and dropped; what is kept is a row number and a version as numbers.
"""

import csv
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from leadglass.survey.observations import VersionNumber

_LONGEST_VERSION_NAME = 16
"""PS3.7 D.3.3.2.3."""
_MAX_COMPONENTS = 5


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One row of `data/fingerprints.csv`."""

    product: str
    toolkit: str
    class_uid: str
    version_pattern: str
    evidence: str
    confidence: str

    def fits(self, class_uid: str) -> bool:
        return class_uid.startswith(self.class_uid) if self.class_uid.endswith(".") else class_uid == self.class_uid


@dataclass(frozen=True, slots=True)
class Recognised:
    """A row of the table, and the version where its pattern gave one."""

    row: int
    version: VersionNumber | None


def packaged_rows(name: str) -> Iterator[dict[str, str]]:
    """The rows of a table in `data/`."""
    text = resources.files("leadglass.survey").joinpath("data", name).read_text("utf-8")
    yield from csv.DictReader(text.splitlines())


@functools.cache
def fingerprints() -> Sequence[Fingerprint]:
    """The packaged table, in the order of its file: an observation refers to a row by number."""
    return tuple(Fingerprint(**row) for row in packaged_rows("fingerprints.csv"))


@functools.cache
def published_keys() -> frozenset[str]:
    """SHA-256 of the public keys (SubjectPublicKeyInfo, hexadecimal) whose private halves anybody can download, under any certificate."""
    return frozenset(row["sha256"] for row in packaged_rows("published_keys.csv"))


def recognise(class_uid: str, version_name: str) -> Recognised | None:
    """The row for what an A-ASSOCIATE-AC says of itself: class UID and version name together before the class UID alone.

    >>> fingerprints()[recognise("1.2.276.0.7230010.3.0.3.6.7", "OFFIS_DCMTK_367").row].toolkit
    'DCMTK'
    """
    fitting = [(row, each) for row, each in enumerate(fingerprints()) if each.fits(class_uid)]
    if len(version_name) <= _LONGEST_VERSION_NAME:
        for row, each in fitting:
            if each.version_pattern and (match := re.fullmatch(each.version_pattern, version_name, re.ASCII)):
                return Recognised(row, version_number(match.groupdict().get("version") or ""))
    return Recognised(fitting[0][0], None) if len(fitting) == 1 else None


def version_number(text: str) -> VersionNumber | None:
    """A version as numbers; None where the text is not one.

    >>> version_number("1.12.10"), version_number("367"), version_number("Doe^John")
    ((1, 12, 10), (3, 6, 7), None)
    """
    if re.fullmatch(r"\d{3,4}", text, re.ASCII):
        return tuple(int(digit) for digit in text)
    match = re.match(r"\d{1,4}(?:\.\d{1,4})*", text, re.ASCII)
    return tuple(int(part) for part in match[0].split("."))[:_MAX_COMPONENTS] if match else None
