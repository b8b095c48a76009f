"""What became of each presentation context that the survey proposes: a part of an observation, and like it without a place for text."""

from dataclasses import dataclass
from enum import StrEnum


class AskedClass(StrEnum):
    """The SOP classes that are proposed, one presentation context each."""

    VERIFICATION = "verification"
    STUDY_ROOT_FIND = "study-root-find"
    PATIENT_ROOT_FIND = "patient-root-find"
    STUDY_ROOT_GET = "study-root-get"
    STUDY_ROOT_MOVE = "study-root-move"
    WORKLIST_FIND = "worklist-find"
    CT_STORAGE = "ct-image-storage"
    MR_STORAGE = "mr-image-storage"
    SECONDARY_CAPTURE_STORAGE = "secondary-capture-image-storage"


class ContextAnswer(StrEnum):
    """What became of a proposed context (PS3.8 table 9-18); two more for answers that the standard does not have."""

    ACCEPTED = "accepted"
    USER_REJECTION = "user-rejection"
    NO_REASON = "no-reason-given"
    CLASS_NOT_SUPPORTED = "abstract-syntax-not-supported"
    SYNTAXES_NOT_SUPPORTED = "transfer-syntaxes-not-supported"
    NOT_ANSWERED = "not-answered"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class AskedContext:
    """One proposed presentation context and its answer."""

    asked: AskedClass
    answer: ContextAnswer
