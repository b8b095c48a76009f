"""Which studies a principal may reach, as a value that the index turns into SQL; nothing here looks anything up."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from leadglass.dicom.attributes import INDEXED, attribute
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Level

_LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES)
_KEYWORDS: Final = frozenset(entry.keyword for level in _LEVELS for entry in INDEXED[level])


class Quantifier(StrEnum):
    """How many of a study's series must meet a condition on a series-level attribute."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute must hold one of `values`, exactly; an absent or empty attribute never does.

    `quantifier` matters for series-level attributes alone. A study without series meets no condition of that level, with either.
    """

    keyword: str
    values: frozenset[str]
    quantifier: Quantifier = Quantifier.ANY

    def __post_init__(self) -> None:
        if self.keyword not in _KEYWORDS:
            raise ConfigurationError(
                f"{self.keyword!r} is no attribute that a study can be judged by; take one of {', '.join(sorted(_KEYWORDS))}"
            )
        if not self.values or any(not value.strip() for value in self.values):
            raise ConfigurationError(f"a condition on {self.keyword} names no value; list at least one, none of them empty")
        object.__setattr__(self, "values", frozenset(value.strip() for value in self.values))

    @property
    def level(self) -> Level:
        """The level of its attribute: PATIENT, STUDY or SERIES."""
        return attribute(self.keyword).level

    def holds(self, text: str) -> bool:
        """Whether one value, of one study or one series, meets it; a multi-valued one does if any component does."""
        return any(component.strip() in self.values for component in text.split("\\"))


@dataclass(frozen=True, slots=True)
class StudyPredicate:
    """Any of `any_of` whose conditions all hold; with neither alternatives nor `everything` it admits nothing.

    >>> ct = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
    >>> ct.admits({"Modality": "CT"}), ct.admits({"Modality": "MR"}), ct.admits({})
    (True, False, False)
    >>> NO_STUDY.admits({"Modality": "CT"}), (ct | EVERY_STUDY).admits({})
    (False, True)
    """

    any_of: tuple[tuple[Condition, ...], ...] = ()
    everything: bool = False

    def __post_init__(self) -> None:
        # An alternative without conditions would hold for every study: a slip of the pen must not mean that.
        if not all(self.any_of):
            raise ValueError("an alternative without conditions; say EVERY_STUDY where every study is meant")

    def __or__(self, other: Self) -> "StudyPredicate":
        if self.everything or other.everything:
            return EVERY_STUDY
        return StudyPredicate(tuple(dict.fromkeys(self.any_of + other.any_of)))

    def __and__(self, other: Self) -> "StudyPredicate":
        """The studies that both admit.

        >>> ct = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
        >>> north = StudyPredicate(((Condition("StationName", frozenset({"N"})),),))
        >>> [(ct & north).admits(each) for each in ({"Modality": "CT", "StationName": "N"}, {"Modality": "CT"}, {"StationName": "N"})]
        [True, False, False]
        >>> (ct & EVERY_STUDY) == ct, (ct & NO_STUDY) == NO_STUDY
        (True, True)
        """
        if self.everything:
            return StudyPredicate(other.any_of, other.everything)
        if other.everything:
            return self
        return StudyPredicate(tuple(dict.fromkeys(tuple(dict.fromkeys(one + two)) for one in self.any_of for two in other.any_of)))

    def admits(self, values: Mapping[str, str]) -> bool:
        """Whether one object with these header values (keyword to text) lies in a study that is admitted, judged by that object alone."""
        if self.everything:
            return True
        return any(all(condition.holds(values.get(condition.keyword, "")) for condition in alternative) for alternative in self.any_of)


EVERY_STUDY: Final = StudyPredicate(everything=True)
NO_STUDY: Final = StudyPredicate()
