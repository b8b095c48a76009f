"""Which studies a principal may reach, as a value that the index turns into SQL; nothing here looks anything up."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TypeAlias

from leadglass.dicom.attributes import INDEXED, attribute
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Level

_LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES)
_KEYWORDS: Final = frozenset(entry.keyword for level in _LEVELS for entry in INDEXED[level] if not entry.items)

_DATES: Final = frozenset(entry.keyword for level in _LEVELS for entry in INDEXED[level] if entry.vr == "DA")
_DATE: Final = re.compile("[0-9]{8}", re.ASCII)


class Quantifier(StrEnum):
    """How many of a study's series must meet a condition on a series-level attribute."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute must hold one of `values`, exactly, or a date from `since` to `until`; an absent or empty attribute never does.

    `since` and `until` are dates (PS3.5 6.2, DA), both included, one of which may be left out; what is no single date of eight digits
    lies in no range. `quantifier` matters for series-level attributes alone. A study without series meets no condition of that level,
    with either.
    """

    keyword: str
    values: frozenset[str] = frozenset()
    quantifier: Quantifier = Quantifier.ANY
    since: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        if self.keyword not in _KEYWORDS:
            raise ConfigurationError(
                f"{self.keyword!r} is no attribute that a study can be judged by; take one of {', '.join(sorted(_KEYWORDS))}"
            )
        if self.is_of_dates:
            self._require_dates()
        elif not self.values or any(not value.strip() for value in self.values):
            raise ConfigurationError(f"a condition on {self.keyword} names no value; list at least one, none of them empty")
        object.__setattr__(self, "values", frozenset(value.strip() for value in self.values))

    def _require_dates(self) -> None:
        if self.values:
            raise ConfigurationError(f"a condition on {self.keyword} has either values or dates, not both")
        if attribute(self.keyword).vr != "DA":
            raise ConfigurationError(f"{self.keyword} is no date; take one of {', '.join(sorted(_DATES))}")
        if not all(_DATE.fullmatch(each) for each in (self.since, self.until) if each is not None):
            raise ConfigurationError(f"a date of the condition on {self.keyword} has not eight digits; write it as 20240131")

    @property
    def is_of_dates(self) -> bool:
        """Whether it asks for a range of dates and not for values."""
        return self.since is not None or self.until is not None

    @property
    def level(self) -> Level:
        """The level of its attribute: PATIENT, STUDY or SERIES."""
        return attribute(self.keyword).level

    def holds(self, text: str) -> bool:
        """Whether one value, of one study or one series, meets it; a multi-valued one does if any component does.

        >>> Condition("StudyDate", since="20240101").holds("20240131"), Condition("StudyDate", until="20240101").holds("")
        (True, False)
        """
        if self.is_of_dates:
            date = text.strip(" ")
            return bool(_DATE.fullmatch(date)) and (self.since or "") <= date <= (self.until or "99999999")
        return any(component.strip() in self.values for component in text.split("\\"))


Alternatives: TypeAlias = tuple[tuple[Condition, ...], ...]
"""Sets of conditions; one of them is met by what meets every condition of it."""


@dataclass(frozen=True, slots=True)
class StudyPredicate:
    """Any of `any_of` whose conditions all hold, or `every` study, but none that meets one of `none_of`; or what any part of `also` admits.

    With neither alternatives nor `every` it admits nothing.

    >>> ct = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
    >>> ct.admits({"Modality": "CT"}), ct.admits({"Modality": "MR"}), ct.admits({})
    (True, False, False)
    >>> NO_STUDY.admits({"Modality": "CT"}), (ct | EVERY_STUDY).admits({})
    (False, True)
    >>> but_ct = EVERY_STUDY.without(ct.any_of)
    >>> but_ct.everything, but_ct.admits({"Modality": "CT"}), but_ct.admits({})
    (False, False, True)
    """

    any_of: Alternatives = ()
    every: bool = False
    none_of: Alternatives = ()
    also: tuple["StudyPredicate", ...] = ()

    def __post_init__(self) -> None:
        # An alternative without conditions would hold for every study: a slip of the pen must not mean that.
        if not all(self.any_of) or not all(self.none_of):
            raise ValueError("an alternative without conditions; say EVERY_STUDY where every study is meant")
        if any(part.also for part in self.also):
            raise ValueError("a part has no parts; put them side by side")

    @property
    def parts(self) -> tuple["StudyPredicate", ...]:
        """What it is the union of, those that admit nothing left out; each without parts of its own."""
        own = StudyPredicate(self.any_of, self.every, self.none_of)
        return tuple(part for part in (own, *self.also) if part.every or part.any_of)

    @property
    def everything(self) -> bool:
        """Whether it admits every study there is or could be."""
        return any(part.every and not part.none_of for part in self.parts)

    @property
    def nothing(self) -> bool:
        """Whether it admits no study, whatever it says."""
        return not self.parts

    @classmethod
    def union(cls, parts: Iterable["StudyPredicate"]) -> "StudyPredicate":
        """The studies that any of `parts` admits."""
        merged: dict[Alternatives, StudyPredicate] = {}
        for part in (each for whole in parts for each in whole.parts):
            if part.everything:
                return cls(every=True)
            known = merged.get(part.none_of, cls(none_of=part.none_of))
            merged[part.none_of] = cls(_distinct(known.any_of + part.any_of), known.every or part.every, part.none_of)
        if not merged:
            return cls()
        first, *rest = merged.values()
        return cls(first.any_of, first.every, first.none_of, tuple(rest))

    def __or__(self, other: Self) -> "StudyPredicate":
        return StudyPredicate.union((self, other))

    def __and__(self, other: Self) -> "StudyPredicate":
        """The studies that both admit.

        >>> ct = StudyPredicate(((Condition("Modality", frozenset({"CT"})),),))
        >>> north = StudyPredicate(((Condition("StationName", frozenset({"N"})),),))
        >>> [(ct & north).admits(each) for each in ({"Modality": "CT", "StationName": "N"}, {"Modality": "CT"}, {"StationName": "N"})]
        [True, False, False]
        >>> (ct & EVERY_STUDY) == ct, (ct & NO_STUDY) == NO_STUDY
        (True, True)
        """
        return StudyPredicate.union(_both(one, two) for one in self.parts for two in other.parts)

    def without(self, denied: Alternatives) -> "StudyPredicate":
        """Those of its studies that meet none of `denied`."""
        return StudyPredicate.union(StudyPredicate(part.any_of, part.every, _distinct(part.none_of + denied)) for part in self.parts)

    def admits(self, values: Mapping[str, str]) -> bool:
        """Whether one object with these header values (keyword to text) lies in a study that is admitted, judged by that object alone."""
        return any((part.every or _any_met(part.any_of, values)) and not _any_met(part.none_of, values) for part in self.parts)


def _both(one: StudyPredicate, two: StudyPredicate) -> StudyPredicate:
    """The studies that two parts admit; whatever one of them leaves out stays out."""
    alternatives = _distinct(
        tuple(dict.fromkeys(left + right))
        for left in (one.any_of + (((),) if one.every else ()))
        for right in (two.any_of + (((),) if two.every else ()))
    )
    none_of = _distinct(one.none_of + two.none_of)
    return StudyPredicate(tuple(each for each in alternatives if each), one.every and two.every, none_of)


def _distinct(alternatives: Iterable[tuple[Condition, ...]]) -> Alternatives:
    return tuple(dict.fromkeys(alternatives))


def _any_met(alternatives: Alternatives, values: Mapping[str, str]) -> bool:
    return any(all(condition.holds(values.get(condition.keyword, "")) for condition in conditions) for conditions in alternatives)


EVERY_STUDY: Final = StudyPredicate(every=True)
NO_STUDY: Final = StudyPredicate()
