"""The levels of the two Query/Retrieve information models (PS3.4 C.6) and what identifies an entity at each."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from leadglass.vocabulary import Level


class Root(StrEnum):
    """A Query/Retrieve information model, named after its topmost level (PS3.4 C.6.1, C.6.2)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"


UNIQUE_KEY: Final[Mapping[Level, str]] = MappingProxyType(
    {
        Level.PATIENT: "PatientID",
        Level.STUDY: "StudyInstanceUID",
        Level.SERIES: "SeriesInstanceUID",
        Level.IMAGE: "SOPInstanceUID",
    }
)
"""The attribute that identifies an entity of a level (PS3.4 C.6.1.1)."""

ORDER: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)


def levels_of(root: Root) -> tuple[Level, ...]:
    """The levels of a model, from the top.

    >>> [level.value for level in levels_of(Root.STUDY)]
    ['STUDY', 'SERIES', 'IMAGE']
    """
    return ORDER if root is Root.PATIENT else ORDER[1:]


def above(level: Level, root: Root) -> tuple[Level, ...]:
    """The levels over `level`, whose unique keys a query must give (PS3.4 C.4.1.3.1.1)."""
    levels = levels_of(root)
    return levels[: levels.index(level)]
