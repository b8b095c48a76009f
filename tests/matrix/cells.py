"""The words of the matrix: who, what, which way, over what."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product


class Peer(StrEnum):
    DCMTK = "dcmtk"
    PYNETDICOM = "pynetdicom"
    ORTHANC = "Orthanc"


class Service(StrEnum):
    ECHO = "C-ECHO"
    STORE = "C-STORE"
    FIND_PATIENT_ROOT = "C-FIND, patient root"
    FIND_STUDY_ROOT = "C-FIND, study root"
    GET_PATIENT_ROOT = "C-GET, patient root"
    GET_STUDY_ROOT = "C-GET, study root"
    MOVE_PATIENT_ROOT = "C-MOVE, patient root"
    MOVE_STUDY_ROOT = "C-MOVE, study root"
    COMMIT = "storage commitment"


class Way(StrEnum):
    """Who asks whom."""

    ASKS_US = "asks leadglass"
    IS_ASKED = "is asked by leadglass"


class Transport(StrEnum):
    TLS = "TLS"
    PLAIN = "plain"


@dataclass(frozen=True, order=True)
class Cell:
    """One thing that a peer may be able to do with us."""

    peer: Peer
    service: Service
    way: Way
    transport: Transport

    def __str__(self) -> str:
        return f"{self.peer} {self.way}: {self.service}, {self.transport}"


def cells() -> Iterator[Cell]:
    """Every cell there is."""
    for peer, way, service, transport in product(Peer, Way, Service, Transport):
        yield Cell(peer, service, way, transport)
