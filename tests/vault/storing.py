"""A program that stores objects one after the other and says so when each is acknowledged: what the tests kill, starve and cut off.

    python -m tests.vault.storing HOME ACKNOWLEDGED FIRST COUNT [SIZE]

Every acknowledgment is one write of one line to the file ACKNOWLEDGED: the number of the object and what became of it.
"""

import os
import sys
from pathlib import Path

from leadglass.errors import LeadglassError
from tests.vault.making import Archive, data_set

STUDY_OBJECTS = 7
"""A new study, hence a new key, every seventh object."""


def numbered(number: int, size: int = 3000) -> bytes:
    """The object of that number: what is stored can be told from the number alone."""
    study = f"1.5.{number // STUDY_OBJECTS + 1}"
    pixels = (number.to_bytes(4, "big") * (size // 4 + 1))[:size]
    return data_set(
        pixels,
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.{number}",
        PatientID=f"PATIENT{number // STUDY_OBJECTS}",
        PatientName=f"NAME{number // STUDY_OBJECTS}^TEST",
        InstanceNumber=str(number),
    )


def conflicting(number: int, size: int = 3000) -> bytes:
    """Another object with the same SOP Instance UID."""
    return numbered(number, size).replace(b"TEST", b"PEST")


def store(home: Path, acknowledged: Path, first: int, count: int, size: int) -> None:
    """Store `count` objects, each tenth also with other content; go on after a refusal."""
    archive = Archive(home).open()
    line = os.open(acknowledged, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.write(line, b"open\n")
    for number in range(first, first + count):
        for data in (numbered(number, size), conflicting(number, size))[: 2 if number % 10 == 0 else 1]:
            try:
                result: str = archive.store(data)
            except LeadglassError as error:
                result = type(error).__name__
            os.write(line, f"{number} {result}\n".encode())
    archive.close()
    os.write(line, b"closed\n")


if __name__ == "__main__":
    home, acknowledged, first, count, *size = sys.argv[1:]
    store(Path(home), Path(acknowledged), int(first), int(count), int(size[0]) if size else 3000)
