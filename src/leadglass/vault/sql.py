# ruff: noqa: S608 - what is written into the text are names of our own
"""The index's schema, derived from the one list of attributes; docs/formats.md describes it.

A column named after a keyword holds the text as it was received, without padding. Where the compared form differs (dates, times, numbers,
person names) it lies beside it: `KEYWORD_n`, and for names `KEYWORD_a`, `_i`, `_p` (alphabetic, ideographic, phonetic). A row is `odd` if
comparing these strings is not what `dicom.matching` means by matching, which is so for values with several components; such rows are judged
by `dicom.matching` itself.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from leadglass.dicom.attributes import INDEXED, Attribute
from leadglass.dicom.matching import name_groups, normalise
from leadglass.vocabulary import Level

SCHEMA_VERSION: Final = 3

STUDY_ATTRIBUTES: Final = INDEXED[Level.PATIENT] + INDEXED[Level.STUDY]
SERIES_ATTRIBUTES: Final = INDEXED[Level.SERIES]
IMAGE_ATTRIBUTES: Final = INDEXED[Level.IMAGE]
OWN_ATTRIBUTES: Final = tuple(entry for entry in IMAGE_ATTRIBUTES if entry.keyword != "SOPClassUID")
"""Of an image, what its own row holds."""

SHARED: Final[Mapping[Level, tuple[str, ...]]] = MappingProxyType(
    {
        Level.STUDY: ("IssuerOfPatientID", "ReferringPhysicianName"),
        Level.SERIES: ("Modality", "InstitutionName", "StationName"),
        Level.IMAGE: ("SOPClassUID",),
    }
)
"""Attributes whose values are traits: every component of a value, of any of a study's series or images, is one of the study.

Under ~KEYWORD stands a component as policies read it, where other white space than spaces is around it; under `ODD`, with a keyword as the
value, that the study's own value of it cannot be compared as a string.
"""
LOOSE: Final = "~"
ODD: Final = "odd"

_NORMALISED_VRS: Final = frozenset({"DA", "TM", "IS", "US"})


def search_columns(attribute: Attribute) -> tuple[str, ...]:
    """The columns that are compared when this attribute is a key; none of sequences and of images, which are judged one by one."""
    if attribute.items or (attribute.level is Level.IMAGE and attribute.vr != "UI"):
        return ()
    if attribute.vr == "PN":
        return tuple(f"{attribute.keyword}_{group}" for group in "aip")
    if attribute.vr in _NORMALISED_VRS:
        return (f"{attribute.keyword}_n",)
    return (attribute.keyword,)


def columns(attributes: tuple[Attribute, ...]) -> tuple[str, ...]:
    """Every column that these attributes take, in order."""
    return tuple(dict.fromkeys(column for entry in attributes for column in (entry.keyword, *search_columns(entry))))


def row_values(attributes: tuple[Attribute, ...], header: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keywords whose values are odd, and what stands in `columns(attributes)`."""
    odd: list[str] = []
    values: list[str] = []
    for entry in attributes:
        text = header.get(entry.keyword, "").strip(" \0")
        if not entry.items and ("\\" in text or text != text.strip()):
            odd.append(entry.keyword)
        values.append(text)
        values += _search_values(entry, text)
    return tuple(odd), tuple(values)


def _search_values(entry: Attribute, text: str) -> Iterator[str]:
    for column in search_columns(entry):
        if entry.vr == "PN":
            yield from name_groups(text) if text else ("", "", "")
            return
        if column != entry.keyword:
            yield normalise(entry.keyword, text) if text else ""


def _definitions(attributes: tuple[Attribute, ...]) -> str:
    return ", ".join(f"{column} TEXT NOT NULL" for column in columns(attributes))


SCHEMA: Final = f"""
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE studies (id INTEGER PRIMARY KEY, {_definitions(STUDY_ATTRIBUTES)},
  odd INTEGER NOT NULL, key_id BLOB NOT NULL, first_committed INTEGER NOT NULL, first_blob BLOB NOT NULL);
CREATE UNIQUE INDEX studies_by_uid ON studies (StudyInstanceUID);
CREATE INDEX studies_by_date ON studies (StudyDate_n);
CREATE INDEX studies_by_patient ON studies (PatientID, StudyDate_n);
CREATE INDEX studies_by_accession ON studies (AccessionNumber, StudyDate_n);
CREATE INDEX studies_by_name ON studies (PatientName_a, StudyDate_n);
CREATE INDEX studies_by_ideographic_name ON studies (PatientName_i, StudyDate_n) WHERE PatientName_i != '';
CREATE INDEX studies_by_phonetic_name ON studies (PatientName_p, StudyDate_n) WHERE PatientName_p != '';

CREATE TABLE series (id INTEGER PRIMARY KEY, study_id INTEGER NOT NULL REFERENCES studies, {_definitions(SERIES_ATTRIBUTES)},
  odd INTEGER NOT NULL, instances INTEGER NOT NULL, first_committed INTEGER NOT NULL, first_blob BLOB NOT NULL);
CREATE UNIQUE INDEX series_in_study ON series (study_id, SeriesInstanceUID);
CREATE INDEX series_by_uid ON series (SeriesInstanceUID);

CREATE TABLE traits (id INTEGER PRIMARY KEY, keyword TEXT NOT NULL, value TEXT NOT NULL, studies INTEGER NOT NULL);
CREATE UNIQUE INDEX traits_by_value ON traits (keyword, value);
CREATE TABLE study_traits (trait INTEGER NOT NULL REFERENCES traits, StudyDate_n TEXT NOT NULL,
  study_id INTEGER NOT NULL REFERENCES studies, PRIMARY KEY (trait, StudyDate_n, study_id)) WITHOUT ROWID;
CREATE INDEX traits_of_study ON study_traits (study_id);

CREATE TABLE uids (id INTEGER PRIMARY KEY, uid TEXT NOT NULL);
CREATE UNIQUE INDEX uids_by_uid ON uids (uid);

CREATE TABLE instance_rows (id INTEGER PRIMARY KEY, series_id INTEGER NOT NULL REFERENCES series, {_definitions(OWN_ATTRIBUTES)},
  number INTEGER NOT NULL, sop_class INTEGER NOT NULL REFERENCES uids, transfer_syntax INTEGER NOT NULL REFERENCES uids,
  size INTEGER NOT NULL, received INTEGER NOT NULL, shard INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE UNIQUE INDEX instances_by_uid ON instance_rows (SOPInstanceUID);
CREATE INDEX instances_in_series ON instance_rows (series_id, number);
CREATE INDEX instances_by_shard ON instance_rows (shard, blob);
CREATE VIEW instances AS SELECT id, series_id, {", ".join(columns(OWN_ATTRIBUTES))}, number,
  (SELECT uid FROM uids WHERE uids.id = sop_class) AS SOPClassUID,
  (SELECT uid FROM uids WHERE uids.id = instance_rows.transfer_syntax) AS transfer_syntax, size, received, shard, blob FROM instance_rows;

CREATE TABLE conflicts (blob BLOB PRIMARY KEY, shard INTEGER NOT NULL, kind TEXT NOT NULL, first_blob BLOB NOT NULL, since INTEGER NOT NULL,
  SOPInstanceUID TEXT NOT NULL, StudyInstanceUID TEXT NOT NULL, state TEXT NOT NULL, settled INTEGER NOT NULL, digest BLOB) WITHOUT ROWID;
CREATE INDEX conflicts_by_uid ON conflicts (SOPInstanceUID, digest);
CREATE INDEX conflicts_by_study ON conflicts (StudyInstanceUID);
CREATE INDEX open_conflicts ON conflicts (since) WHERE state = 'open';
CREATE INDEX conflicts_by_shard ON conflicts (shard);
"""
"""Blobs put aside are in `conflicts` alone, unless their state is `accepted`: no search or retrieval reads that table.

`digest` is `dicom.content.content_digest` of the blob, or NULL until it was needed; whoever changes that function changes the version.

`traits` are values that many studies share and by which searches and policies narrow, each with the number of its studies; `study_traits`
gives a trait's studies by their date. What stands under which keyword is told beside `SHARED`. UIDs that millions of objects share stand
once, in `uids`; `instances` shows the rows with them.
"""
"""`shard` is `BlobPlace.where`: the shard and the place in its pack."""

CONTRADICTIONS: Final = {
    "a series does not count its instances": (
        "SELECT id FROM series WHERE instances != (SELECT count(*) FROM instance_rows WHERE series_id = series.id)"
    ),
    "a study has no series": "SELECT id FROM studies WHERE id NOT IN (SELECT study_id FROM series)",
    "a study's date is not the one of its traits": (
        "SELECT s.id FROM study_traits m LEFT JOIN studies s ON s.id = m.study_id WHERE s.StudyDate_n IS NOT m.StudyDate_n"
    ),
    "a trait does not count its studies": (
        "SELECT id FROM traits WHERE studies != (SELECT count(*) FROM study_traits WHERE trait = traits.id)"
    ),
    "something is both served and put aside": (
        "SELECT a.blob FROM conflicts a JOIN instance_rows i ON i.shard = a.shard AND i.blob = a.blob WHERE a.state != 'accepted'"
    ),
}
"""What must never have a row."""


def _dump(attributes: tuple[Attribute, ...], alias: str, more: str, source: str, order: str) -> str:
    names = ", ".join(f"{alias}.{column}" for column in columns(attributes))
    return f"SELECT {more}, {names} FROM {source} ORDER BY {order}"


_SERIES: Final = "series e JOIN studies s ON s.id = e.study_id"

DUMP: Final = {
    "studies": _dump(STUDY_ATTRIBUTES, "s", "s.odd, s.key_id, s.first_committed, s.first_blob", "studies s", "s.StudyInstanceUID"),
    "series": _dump(
        SERIES_ATTRIBUTES,
        "e",
        "s.StudyInstanceUID, e.odd, e.instances, e.first_committed, e.first_blob",
        _SERIES,
        "s.StudyInstanceUID, e.SeriesInstanceUID",
    ),
    "traits": (
        "SELECT s.StudyInstanceUID, t.keyword, t.value, m.StudyDate_n FROM study_traits m JOIN traits t ON t.id = m.trait"
        " JOIN studies s ON s.id = m.study_id ORDER BY 1, 2, 3, 4"
    ),
    "instances": _dump(
        IMAGE_ATTRIBUTES,
        "i",
        "s.StudyInstanceUID, e.SeriesInstanceUID, i.number, i.transfer_syntax, i.size, i.received, i.shard, i.blob",
        f"{_SERIES} JOIN instances i ON i.series_id = e.id",
        "i.SOPInstanceUID",
    ),
    "conflicts": (
        "SELECT shard, blob, kind, first_blob, since, SOPInstanceUID, StudyInstanceUID, state, settled FROM conflicts ORDER BY blob"
    ),
}
"""Every table in an order of its own content, without SQLite's row numbers."""
