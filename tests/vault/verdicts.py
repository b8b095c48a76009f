"""A program that settles conflicts one after the other and says so when each is acknowledged: what the tests kill and cut off.

python -m tests.vault.verdicts HOME ACKNOWLEDGED
"""

import os
import sys
from pathlib import Path

from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Selection
from leadglass.dicom.uid import Uid
from leadglass.vault.asides import ConflictRow, Wanted
from leadglass.vault.journal import Verdict
from tests.vault.making import Archive, data_set

VERSIONS = {
    "first": {},
    "second": {"PatientName": "ROE^JOHN"},
    "third": {"StudyInstanceUID": "1.2.4", "SeriesInstanceUID": "1.2.4.1", "PatientID": "P2"},
}
STEPS = [
    ("second", Verdict.ACCEPTED),
    ("third", Verdict.REJECTED),
    ("third", Verdict.ACCEPTED),
    ("first", Verdict.ACCEPTED),
    ("second", Verdict.REJECTED),
]
SERVED = ["first", "second", "second", "third", "first", "first"]
"""What is served before the first step, and after each."""


def version(name: str) -> bytes:
    return data_set(name.encode() * 100, **VERSIONS[name])


def prepare(home: Path) -> None:
    """Three versions of one object, the first of which is served, and a second object of its study."""
    archive = Archive(home).create()
    for name in VERSIONS:
        archive.store(version(name))
    archive.store(data_set(SOPInstanceUID="1.2.3.1.2"))
    archive.close()


def served(archive: Archive, instance: str = "1.2.3.1.1") -> bytes:
    """The data set that is served under a SOP Instance UID."""
    (row,) = archive.vault.instances(Selection(instances=(Uid(instance),)), EVERY_STUDY)
    with archive.vault.open_object(row) as stored:
        return stored.reader.read()


def conflict_of(archive: Archive, data: bytes) -> ConflictRow:
    """The conflict whose object has these bytes."""
    for found in archive.vault.in_conflict(Wanted(settled=True), EVERY_STUDY):
        with archive.vault.open_side(found.row.place) as stored:
            if stored.reader.read() == data:
                return found.row
    raise LookupError(data[:100])


def main(home: Path, acknowledged: Path) -> None:
    archive = Archive(home).open()
    line = os.open(acknowledged, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.write(line, b"open\n")
    for number, (name, verdict) in enumerate(STEPS, 1):
        settle = archive.vault.accept if verdict is Verdict.ACCEPTED else archive.vault.reject
        settle(conflict_of(archive, version(name)), number, again=True)
        os.write(line, f"{number}\n".encode())
    archive.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
