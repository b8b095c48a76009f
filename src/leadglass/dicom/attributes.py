"""The list of attributes that are indexed, searched and returned; there is no other.

A keyword outside it is an unsupported optional key (PS3.4 C.2.2.1.3). Adding one is a line here and an index rebuild.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from leadglass.dicom.levels import UNIQUE_KEY
from leadglass.vocabulary import Level

__all__ = ["BY_KEYWORD", "BY_TAG", "COMPUTED", "DOOR", "INDEXED", "INDEXED_ITEMS", "INDEXED_TAGS", "UNIQUE_KEY", "Attribute", "attribute"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the data dictionary (PS3.6) and the level of the information model it describes."""

    keyword: str
    tag: int
    vr: str
    level: Level
    items: "tuple[Attribute, ...]" = ()
    """Of a sequence: what is known of each of its items."""


def _table(level: Level, *rows: tuple[int, str, str]) -> tuple[Attribute, ...]:
    return tuple(Attribute(keyword, tag, vr, level, _table(level, *_ITEMS.get(keyword, ()))) for tag, vr, keyword in sorted(rows))


_ITEMS: Final[Mapping[str, tuple[tuple[int, str, str], ...]]] = {
    "ProcedureCodeSequence": (
        (0x00080100, "SH", "CodeValue"),
        (0x00080102, "SH", "CodingSchemeDesignator"),
        (0x00080104, "LO", "CodeMeaning"),
    ),
    "RequestAttributesSequence": (
        (0x00400009, "SH", "ScheduledProcedureStepID"),
        (0x00401001, "SH", "RequestedProcedureID"),
    ),
}


INDEXED: Final[Mapping[Level, tuple[Attribute, ...]]] = MappingProxyType(
    {
        Level.PATIENT: _table(
            Level.PATIENT,
            (0x00100010, "PN", "PatientName"),
            (0x00100020, "LO", "PatientID"),
            (0x00100021, "LO", "IssuerOfPatientID"),
            (0x00100030, "DA", "PatientBirthDate"),
            (0x00100040, "CS", "PatientSex"),
        ),
        Level.STUDY: _table(
            Level.STUDY,
            (0x00080020, "DA", "StudyDate"),
            (0x00080030, "TM", "StudyTime"),
            (0x00080050, "SH", "AccessionNumber"),
            (0x00080090, "PN", "ReferringPhysicianName"),
            (0x00081030, "LO", "StudyDescription"),
            (0x00081032, "SQ", "ProcedureCodeSequence"),
            (0x0020000D, "UI", "StudyInstanceUID"),
            (0x00200010, "SH", "StudyID"),
        ),
        Level.SERIES: _table(
            Level.SERIES,
            (0x00080021, "DA", "SeriesDate"),
            (0x00080031, "TM", "SeriesTime"),
            (0x00080060, "CS", "Modality"),
            (0x00080070, "LO", "Manufacturer"),
            (0x00080080, "LO", "InstitutionName"),
            (0x00081010, "SH", "StationName"),
            (0x0008103E, "LO", "SeriesDescription"),
            (0x00180015, "CS", "BodyPartExamined"),
            (0x00181030, "LO", "ProtocolName"),
            (0x0020000E, "UI", "SeriesInstanceUID"),
            (0x00200011, "IS", "SeriesNumber"),
            (0x00400244, "DA", "PerformedProcedureStepStartDate"),
            (0x00400245, "TM", "PerformedProcedureStepStartTime"),
            (0x00400275, "SQ", "RequestAttributesSequence"),
        ),
        Level.IMAGE: _table(
            Level.IMAGE,
            (0x00080016, "UI", "SOPClassUID"),
            (0x00080018, "UI", "SOPInstanceUID"),
            (0x00080023, "DA", "ContentDate"),
            (0x00080033, "TM", "ContentTime"),
            (0x00200012, "IS", "AcquisitionNumber"),
            (0x00200013, "IS", "InstanceNumber"),
            (0x00280008, "IS", "NumberOfFrames"),
            (0x00280010, "US", "Rows"),
            (0x00280011, "US", "Columns"),
            (0x00280100, "US", "BitsAllocated"),
        ),
    }
)
"""What an object's own header says, by level."""

COMPUTED: Final[Mapping[Level, tuple[Attribute, ...]]] = MappingProxyType(
    {
        Level.PATIENT: _table(
            Level.PATIENT,
            (0x00201200, "IS", "NumberOfPatientRelatedStudies"),
            (0x00201202, "IS", "NumberOfPatientRelatedSeries"),
            (0x00201204, "IS", "NumberOfPatientRelatedInstances"),
        ),
        Level.STUDY: _table(
            Level.STUDY,
            (0x00080061, "CS", "ModalitiesInStudy"),
            (0x00080062, "UI", "SOPClassesInStudy"),
            (0x00201206, "IS", "NumberOfStudyRelatedSeries"),
            (0x00201208, "IS", "NumberOfStudyRelatedInstances"),
        ),
        Level.SERIES: _table(Level.SERIES, (0x00201209, "IS", "NumberOfSeriesRelatedInstances")),
        Level.IMAGE: (),
    }
)
"""What the index answers by counting (PS3.4 C.3.4)."""

DOOR: Final[tuple[Attribute, ...]] = _table(
    Level.IMAGE,
    (0x00080054, "AE", "RetrieveAETitle"),
    (0x00080056, "CS", "InstanceAvailability"),
    (0x00081190, "UR", "RetrieveURL"),
)
"""What the door that answers says of itself, at any level."""

_ALL = tuple(entry for table in (INDEXED, COMPUTED) for level in Level for entry in table[level]) + DOOR

BY_TAG: Final[Mapping[int, Attribute]] = MappingProxyType({entry.tag: entry for entry in _ALL})
BY_KEYWORD: Final[Mapping[str, Attribute]] = MappingProxyType({entry.keyword: entry for entry in _ALL})

_OF_ITEMS: Final[Mapping[str, Attribute]] = MappingProxyType({inner.keyword: inner for entry in _ALL for inner in entry.items})

INDEXED_TAGS: Final[frozenset[int]] = frozenset(entry.tag for level in Level for entry in INDEXED[level] if not entry.items)
INDEXED_ITEMS: Final[Mapping[int, tuple[Attribute, ...]]] = MappingProxyType(
    {entry.tag: entry.items for level in Level for entry in INDEXED[level] if entry.items}
)
"""The sequences among what is indexed, and what is known of their items."""


def attribute(keyword: str) -> Attribute:
    """The attribute of that keyword, also one of an item; KeyError if we do not index, compute or answer it.

    >>> attribute("PatientID").level.value
    'PATIENT'
    """
    return BY_KEYWORD.get(keyword) or _OF_ITEMS[keyword]
