"""A fleet of archives on loopback, each at an address of its own, in processes of their own, by an encoder that shares nothing with ours.

`with fleet(archives, delay=0.05):` starts them and ends them. What a survey should find of each is in `Archive` itself.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.never.canary import Patient

PLANTED_NAME = "Zwergkaninchen^Zebedee"
PLANTED_ID = "FLQ-7313"
PLANTED_UID = "1.2.826.0.1.3680043.9.77313"
PLANTED_DATE = "18470213"
PLANTED_PHYSICIAN = "Quacksalbinski^Odo"
PLANTED_PIXELS = bytes((value * 53 + 29) % 241 for value in range(64 * 64))
PLANTED = Patient(("Zwergkaninchen", "Zebedee", PLANTED_ID, PLANTED_UID, PLANTED_DATE, "Quacksalbinski"), PLANTED_PIXELS)
"""Of every patient of a fleet: no file, no log and no memory that is left may hold it."""


class Behaviour(StrEnum):
    """What an archive does when a stranger asks."""

    CLOSED = "closed"
    """Nothing listens."""
    DEAD = "dead"
    """Nothing ever comes back: as behind a wall that drops."""
    SILENT = "silent"
    """It takes the connection, and says nothing."""
    OPEN_PORT = "open-port"
    """It speaks, but not DICOM."""
    REJECTING = "dicom"
    ASSOCIATING = "association"
    QUERY_OFFERED = "query-offered"
    RECORDS = "records"
    IMAGES = "images"

    @property
    def level(self) -> str:
        """The level that a survey should find."""
        return {Behaviour.DEAD: "closed", Behaviour.SILENT: "open-port"}.get(self, str(self))

    @property
    def is_open(self) -> bool:
        return self in {Behaviour.RECORDS, Behaviour.IMAGES}


@dataclass(frozen=True)
class Orthanc:
    """An Orthanc beside it, or alone: its counts are asked for, not its patients."""

    port: int
    patients: int
    studies: int
    instances: int
    hands_out_images: bool
    viewer: bool = False


@dataclass(frozen=True)
class Archive:
    """One archive: where, what it does, and what it holds."""

    name: str
    address: str
    port: int
    behaviour: Behaviour
    studies: int = 0
    rejection: tuple[int, int, int] = (1, 1, 7)
    country: str = ""
    web: Orthanc | None = None

    @property
    def patients(self) -> int:
        """Every third study is of the patient of the one before."""
        return self.studies - self.studies // 3

    @property
    def instances(self) -> int:
        return sum(images_of(number) for number in range(self.studies))


def images_of(study: int) -> int:
    """How many images a study has, by its number in its archive."""
    return study * 37 % 911 + 1


def patient_of(study: int) -> int:
    """The number of the patient of a study."""
    return study - (study + 1) // 3


@contextlib.contextmanager
def fleet(archives: Sequence[Archive], *, delay: float = 0.0, processes: int = 1) -> Iterator[list[int]]:
    """Let `archives` answer for the length of the block, each answer `delay` seconds, a round trip, late; the ids of the processes."""
    command = [sys.executable, "-P", "-m", "tests.fleet.serving"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with contextlib.ExitStack() as stack:
        running = []
        for number in range(processes):
            running.append(
                stack.enter_context(_ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)))
            )
            orders = {"delay": delay, "archives": [dataclasses.asdict(each) for each in archives[number::processes]]}
            stdin = running[-1].stdin
            assert stdin is not None
            stdin.write(json.dumps(orders).encode() + b"\n")
            stdin.flush()
        for process in running:
            assert process.stdout is not None
            said = process.stdout.readline()
            if said != b"ready\n":
                raise RuntimeError(f"a fleet did not start: {said.decode()}")
        yield [process.pid for process in running]


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    with process:
        try:
            yield process
        finally:
            process.terminate()
