"""The nouns that every layer shares; everything else is named where it lives."""

from enum import StrEnum


class Action(StrEnum):
    """What somebody may ask of the archive; the policy speaks of nothing else."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"
    SETTLE = "settle"
    ADMINISTER = "administer"
    READ_TRAIL = "read-trail"


class Level(StrEnum):
    """A level of the DICOM information model (PS3.4 C.6.2), named as Query/Retrieve Level (0008,0052) names it."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


class Role(StrEnum):
    """What a person is to the archive; the default policy gives each its rights."""

    CLINICIAN = "clinician"
    TECHNOLOGIST = "technologist"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"


class Door(StrEnum):
    """A protocol by which the archive is reached."""

    DIMSE = "dimse"
    DIMSE_PLAINTEXT = "dimse-plaintext"
    DICOMWEB = "dicomweb"
    PAGES = "pages"
    CONTROL = "control"


class Outcome(StrEnum):
    """How a request ended; the trail records one for every intent."""

    DONE = "done"
    PARTIAL = "partial"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StoreResult(StrEnum):
    """What became of an object that was handed in; all three are success to its sender."""

    STORED = "stored"
    ALREADY_THERE = "already-there"
    CONFLICT = "conflict"


class Refusal(StrEnum):
    """Why a door refused somebody it knows, before an operation was reached."""

    CALLED_TITLE = "called-title"
    """He asked for another AE title than ours."""
    SERVICE = "service"
    """He proposed a service that was not given to him."""
    NOT_UNDERSTOOD = "not-understood"
    """What he asked could not be understood, or is nothing that we do."""
    HELD_PEER = "held-peer"
    """An administrator holds this peer: it is nobody to every door."""
    HELD_USER = "held-user"
    """An administrator holds this person, with every token of theirs."""
    HELD_TOKEN = "held-token"  # noqa: S105
    """An administrator holds this token."""
