"""The questions of the ladder, each asked in an association that stands: is a query answered, how many, which fields, one image."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from leadglass.dicom.contexts import Context
from leadglass.survey.observations import Field, RecordCounts
from leadglass.survey.probes.dimse import identifier
from leadglass.survey.probes.dimse.conversation import Conversation, Search
from leadglass.survey.probes.dimse.session import Session
from leadglass.survey.synthetic import random_uid
from leadglass.survey.tally import Tally, whole_number
from leadglass.vocabulary import Level

LONGEST_UID = 64
"""Characters (PS3.5 9.1)."""

_STUDY_KEYS = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "NumberOfStudyRelatedInstances")

Row: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ImagePointer:
    """One image of the archive, so that it can be asked for; lives as long as the conversation."""

    study: str = field(repr=False)
    series: str = field(repr=False)
    instance: str = field(repr=False)
    sop_class: str = field(repr=False)


async def ask_for_nobody(conversation: Conversation, context: Context, *, patient_root: bool) -> Search:
    """One query that matches nobody; its end tells whether queries are answered, and no patient is touched."""
    if patient_root:
        asked = identifier.encode(Level.PATIENT, {"PatientID": random_uid()})
    else:
        asked = identifier.encode(Level.STUDY, {"StudyInstanceUID": random_uid()})
    search = Search(conversation, context, asked)
    if await search.next_match() is not None:
        # It answers with something that was not asked for: an answer all the same.
        await search.stop()
    return search


class Counting:
    """Counts the studies of one archive as they stream by, and those who are in them by hash.

    What comes twice counts once, what was not asked for not at all. `exact` needs what the numbers rest on: a row without a UID, or a
    study without a Patient ID, cannot be told from others like it, and the counts are then "at least".
    """

    def __init__(self, session: Session, *, key: bytes, max_matches: int, seconds: float) -> None:
        self._session = session
        self._tally = Tally(key)
        self._left = max_matches
        self._seconds = seconds
        self._unsaid: list[str] = []
        self._is_sure = True
        self.first_study = ""
        """So that fields and an image can be asked of one study; dropped with this object."""

    async def count(self) -> RecordCounts | None:
        """The counts; None where the archive refuses this query, or nothing came of it in time."""
        is_complete = False
        try:
            async with asyncio.timeout(self._seconds):
                is_complete = await self._each_row(Level.STUDY, dict.fromkeys(_STUDY_KEYS, ""), self._take_study)
                for study in self._unsaid:
                    is_complete = await self._count_series(study) and is_complete
        except TimeoutError:
            await self._session.cut()
            is_complete = False
        return self._tally.counts(exact=is_complete and self._is_sure)

    def _take_study(self, row: Row) -> None:
        study, patient = self._uid_of(row, "StudyInstanceUID"), row.get("PatientID", "")
        self.first_study = self.first_study or study
        images = whole_number(row.get("NumberOfStudyRelatedInstances", ""))
        self._is_sure = self._is_sure and bool(patient)
        is_new = self._tally.add(row.get("IssuerOfPatientID", ""), patient, study, images or 0)
        if images is None and study and is_new:
            self._unsaid.append(study)

    async def _count_series(self, study: str) -> bool:
        """Ask for the series, and where need be the images, of a study whose row did not say how many it has."""
        unsaid: list[str] = []

        def take(row: Row) -> None:
            series = self._uid_of(row, "SeriesInstanceUID")
            if row.get("StudyInstanceUID", study) != study or not self._tally.is_new("series", series):
                return
            images = whole_number(row.get("NumberOfSeriesRelatedInstances", ""))
            self._tally.add_instances(images or 0)
            if images is None and series:
                unsaid.append(series)

        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""}
        is_complete = await self._each_row(Level.SERIES, keys, take)
        for series in unsaid:
            is_complete = await self._count_images(study, series) and is_complete
        return is_complete

    async def _count_images(self, study: str, series: str) -> bool:
        def take(row: Row) -> None:
            if row.get("SeriesInstanceUID", series) == series and self._tally.is_new("image", self._uid_of(row, "SOPInstanceUID")):
                self._tally.add_instances(1)

        return await self._each_row(Level.IMAGE, {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": ""}, take)

    def _uid_of(self, row: Row, keyword: str) -> str:
        """A UID to tell rows apart by; empty where there is none of the length that one can have: many are held for long."""
        value = row.get(keyword, "")
        is_one = 0 < len(value) <= LONGEST_UID
        self._is_sure = self._is_sure and is_one
        return value if is_one else ""

    async def _each_row(self, level: Level, asked: Mapping[str, str], take: Callable[[Row], None]) -> bool:
        """Give every row of an answer to `take`; False where they could not be had whole."""
        search = await _search(self._session, level, asked)
        if search is None:
            return False
        began = time.monotonic()
        raw = await search.next_match()
        self._session.observe(f"search at level {level}", time.monotonic() - began)
        while raw is not None:
            if self._left == 0:
                await search.stop()
                return False
            self._left -= 1
            take(identifier.decode(raw))
            raw = await search.next_match()
        return search.is_complete


async def fields_of(session: Session, study: str) -> tuple[tuple[Field, ...], str]:
    """Which attributes one study's row has a value for, the values dropped here; and its UID.

    `study`: its UID; empty for whichever comes first.
    """
    row = await _one_row(session, Level.STUDY, {"StudyInstanceUID": study} | dict.fromkeys(Field, ""))
    return tuple(each for each in Field if row.get(each)), row.get("StudyInstanceUID", "") or study


async def any_image(session: Session, study: str) -> ImagePointer | None:
    """Some image of `study`."""
    row = await _one_row(session, Level.SERIES, {"StudyInstanceUID": study, "SeriesInstanceUID": ""})
    series = row.get("SeriesInstanceUID", "")
    if not series:
        return None
    asked = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": "", "SOPClassUID": ""}
    row = await _one_row(session, Level.IMAGE, asked)
    instance = row.get("SOPInstanceUID", "")
    return ImagePointer(study, series, instance, row.get("SOPClassUID", "")) if instance else None


async def _one_row(session: Session, level: Level, asked: Mapping[str, str]) -> Row:
    search = await _search(session, level, asked)
    raw = await search.next_match() if search is not None else None
    if search is None or raw is None:
        return {}
    await search.stop()
    return identifier.decode(raw)


async def _search(session: Session, level: Level, asked: Mapping[str, str]) -> Search | None:
    """A query in an association that stands; None where none stands any more, or a UID of the archive's is not one to ask with."""
    standing = await session.standing()
    if standing is None or not all(value.isascii() for value in asked.values()):
        return None
    conversation, context = standing
    return Search(conversation, context, identifier.encode(level, asked))


def image_identifier(image: ImagePointer) -> bytes:
    """The C-GET identifier of `image` (PS3.4 C.4.3.1.3)."""
    return identifier.encode(
        Level.IMAGE, {"StudyInstanceUID": image.study, "SeriesInstanceUID": image.series, "SOPInstanceUID": image.instance}
    )
