"""The questions of the ladder, each asked in an association that stands: is a query answered, how many, which fields, one image."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from leadglass.dicom.contexts import Context
from leadglass.survey.observations import Field, RecordCounts
from leadglass.survey.probes.dimse import identifier
from leadglass.survey.probes.dimse.conversation import Conversation, Search
from leadglass.survey.probes.dimse.session import Session
from leadglass.survey.synthetic import random_uid
from leadglass.survey.tally import Tally
from leadglass.vocabulary import Level


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
    """Counts the studies of one archive as they stream by, and those who are in them by hash."""

    def __init__(self, session: Session, *, key: bytes, max_matches: int, seconds: float) -> None:
        self._session = session
        self._tally = Tally(key)
        self._left = max_matches
        self._seconds = seconds
        self._unsaid: list[str] = []
        self.first_study = ""
        """So that fields and an image can be asked of one study; dropped with this object."""

    async def count(self) -> RecordCounts | None:
        """The counts; None where the archive refuses this query."""
        exact = False
        try:
            async with asyncio.timeout(self._seconds):
                exact = await self._count_studies()
                if self._unsaid:
                    exact = await self._count_unsaid() and exact
        except TimeoutError:
            await self._session.cut()
        counts = self._tally.counts(exact=exact)
        return counts if exact or counts.studies else None

    async def _count_studies(self) -> bool:
        keys = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "NumberOfStudyRelatedInstances")
        search = await _search(self._session, Level.STUDY, dict.fromkeys(keys, ""))
        if search is None:
            return False
        while (raw := await search.next_match()) is not None:
            if self._left == 0:
                await search.stop()
                return False
            self._left -= 1
            row = identifier.decode(raw)
            study = row.get("StudyInstanceUID", "")
            self.first_study = self.first_study or study
            images = identifier.whole_number(row.get("NumberOfStudyRelatedInstances", ""))
            self._tally.add(row.get("IssuerOfPatientID", ""), row.get("PatientID", ""), study, images or 0)
            if images is None:
                self._unsaid.append(study)
        return search.is_complete

    async def _count_unsaid(self) -> bool:
        """Ask for the series, and where need be the images, of the studies whose rows did not say how many they have."""
        complete = True
        for study in self._unsaid:
            asked = {"StudyInstanceUID": study, "SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""}
            rows = await self._rows(Level.SERIES, asked)
            complete = complete and rows is not None
            for row in rows or ():
                images = identifier.whole_number(row.get("NumberOfSeriesRelatedInstances", ""))
                if images is None:
                    asked = {"StudyInstanceUID": study, "SeriesInstanceUID": row.get("SeriesInstanceUID", ""), "SOPInstanceUID": ""}
                    found = await self._rows(Level.IMAGE, asked)
                    complete = complete and found is not None
                    images = len(found or ())
                self._tally.add_instances(images)
        return complete

    async def _rows(self, level: Level, asked: Mapping[str, str]) -> list[Mapping[str, str]] | None:
        """All rows of a query below the study; None where they could not be had whole."""
        search = await _search(self._session, level, asked)
        if search is None:
            return None
        rows: list[Mapping[str, str]] = []
        while (raw := await search.next_match()) is not None:
            if self._left == 0:
                await search.stop()
                return None
            self._left -= 1
            rows.append(identifier.decode(raw))
        return rows if search.is_complete else None


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


async def _one_row(session: Session, level: Level, asked: Mapping[str, str]) -> Mapping[str, str]:
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
