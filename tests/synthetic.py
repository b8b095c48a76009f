"""An index of any size: a first block of studies written row by row as objects are, then copied in SQL under other identifiers.

Each copy is a day: other patients, names, accession numbers and UIDs, the next date. No blobs are made; searches never open one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Final

import apsw

from leadglass.dicom.header import Header
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid
from leadglass.seal.rootkey import read_root_key
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.index import Index
from leadglass.vault.keys import Keys
from leadglass.vault.rows import Entry
from leadglass.vault.sql import OWN_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, columns
from tests.archives import ArchiveUnderTest

STUDIES_A_DAY: Final = 250
SERIES: Final = 2
IMAGES: Final = 10
"""Of each study."""
_ROOT: Final = "1.2.826.0.1.3680043.8.498."
_FIRST_DAY: Final = date(2011, 1, 1)
_SHARES: Final = (("CR", 30), ("CT", 25), ("US", 20), ("MR", 15), ("XA", 6), ("PT", 4))
_CLASS_OF: Final = {"CR": "1", "CT": "2", "US": "6.1", "MR": "4", "XA": "12.1", "PT": "128"}
_INSTITUTIONS: Final = ("General Hospital", "North Clinic", "South Clinic", "Outpatient Centre", "Rural Practice")
_INSTITUTION_SHARES: Final = (180, 40, 20, 9, 1)
_DAYS_IN_A_TRANSACTION: Final = 20


@dataclass(frozen=True)
class Study:
    """What a synthetic study is asked for by."""

    day: int
    number: int

    @property
    def patient_id(self) -> str:
        return f"PID{self.day:06}{self.number:04}"

    @property
    def surname(self) -> str:
        """Ten studies of a day have the same."""
        return f"NAME{_letters(self.day)}{_letters(self.number // 10)}"

    @property
    def name(self) -> str:
        return f"{self.surname}^GIVEN{_letters(self.number % 10)}"

    @property
    def date(self) -> str:
        return (_FIRST_DAY + timedelta(days=self.day)).strftime("%Y%m%d")

    @property
    def modality(self) -> str:
        return _at(self.number * 37 % 100, _SHARES)

    @property
    def institution(self) -> str:
        return _at(self.number * 101 % STUDIES_A_DAY, tuple(zip(_INSTITUTIONS, _INSTITUTION_SHARES, strict=True)))

    @property
    def uid(self) -> str:
        return f"{_ROOT}{self.day:06}.{self.number}".replace("8.498.0", "8.498.1")

    def entries(self) -> Iterator[Entry]:
        """Its objects, as an index takes them."""
        for image in range(IMAGES):
            series = f"{self.uid}.{image % SERIES}"
            values = {
                "PatientName": self.name,
                "PatientID": self.patient_id,
                "PatientBirthDate": f"{1930 + self.number % 80}0704",
                "PatientSex": "FM"[self.number % 2],
                "StudyDate": self.date,
                "StudyTime": f"{7 + self.number % 12:02}{self.number % 60:02}00",
                "AccessionNumber": f"ACC{self.day:06}{self.number:04}",
                "ReferringPhysicianName": f"REFERRER{self.number % 40}^DOCTOR",
                "StudyDescription": f"{self.modality} OF SOMETHING",
                "StudyID": str(self.number),
                "Modality": self.modality,
                "Manufacturer": "Synthetic",
                "InstitutionName": self.institution,
                "StationName": f"{self.modality}{self.number % 3}",
                "SeriesDescription": f"series {image % SERIES}",
                "SeriesNumber": str(image % SERIES),
                "InstanceNumber": str(image // SERIES),
                "Rows": "512",
                "Columns": "512",
                "BitsAllocated": "16",
                "ContentDate": self.date,
                "ContentTime": "101010.123456",
            }
            uids = (self.uid, series, f"{series}.{image}", f"1.2.840.10008.5.1.4.1.1.{_CLASS_OF[self.modality]}")
            names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
            header = Header(MappingProxyType({**values, **dict(zip(names, uids, strict=True))}), *(Uid(uid) for uid in uids))
            number = (self.day * STUDIES_A_DAY + self.number) * IMAGES + image
            place = BlobPlace.of(number // 4096, number.to_bytes(16, "big"))
            yield Entry(header, EXPLICIT_LITTLE_ENDIAN, 525_000, number, number + 1, place, b"k" * 16)


def _at(number: int, shares: tuple[tuple[str, int], ...]) -> str:
    for name, share in shares:
        if number < share:
            return name
        number -= share
    return shares[0][0]


def _letters(number: int) -> str:
    """Four letters that are another for every number."""
    return "".join("ABCDEFGHIJ"[int(digit)] for digit in f"{number:04}")


@contextmanager
def index_of(archive: ArchiveUnderTest) -> Iterator[Index]:
    """The index of an archive that nobody serves."""
    keys = Keys.open(archive.home / "keys", read_root_key(archive.root_key))
    index = Index.open(archive.home / "index" / "index.db", keys.named("index"))
    try:
        yield index
    finally:
        index.close()
        keys.close()


def fill(index: Index, days: int, first: int = 0) -> float:
    """Bring an index that holds the days before `first` to `days`; gives the seconds it took."""
    started = time.perf_counter()
    writer: apsw.Connection = index._writer  # noqa: SLF001 - the archive has no door through which rows without blobs come in
    if first == 0:
        for number in range(STUDIES_A_DAY):
            for entry in Study(0, number).entries():
                index.add(entry)
        index.flush()
        first = 1
    writer.pragma("synchronous", "OFF")
    for start in range(first, days, _DAYS_IN_A_TRANSACTION):
        with writer:
            for day in range(start, min(days, start + _DAYS_IN_A_TRANSACTION)):
                tables = ("studies", "series", "instance_rows")
                last = [int(writer.execute(f"SELECT max(id) FROM {table}").get) for table in tables]
                for statement in _copies(day, *last):
                    writer.execute(statement)
        writer.execute("UPDATE state SET value = (SELECT max(shard) FROM instance_rows) WHERE name = 'shard'")
    with writer:
        writer.execute("UPDATE traits SET studies = (SELECT count(*) FROM study_traits WHERE trait = traits.id)")
    writer.pragma("synchronous", "NORMAL")
    writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return time.perf_counter() - started


def _copies(day: int, studies: int, series: int, images: int) -> Iterator[str]:
    """The statements that copy day 0; the numbers are added to its rows' ids."""
    zero, other = Study(0, 0), Study(day, 0)
    old, new = zero.uid.rsplit(".", 1)[0], other.uid.rsplit(".", 1)[0]
    marks = {
        "StudyDate": (zero.date, other.date),
        "ContentDate": (zero.date, other.date),
        "AccessionNumber": ("ACC000000", f"ACC{day:06}"),
        "PatientID": ("PID000000", f"PID{day:06}"),
        "PatientName": ("NAMEAAAA", f"NAME{_letters(day)}"),
        "PatientName_a": ("nameaaaa", f"name{_letters(day).lower()}"),
        "StudyDate_n": (zero.date, other.date),
        **dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), (old, new)),
    }

    def copied(names: tuple[str, ...]) -> str:
        # Not replace(), which would also find a mark in the middle.
        return ", ".join(f"'{marks[name][1]}' || substr({name}, {len(marks[name][0]) + 1})" if name in marks else name for name in names)

    study, one, image = columns(STUDY_ATTRIBUTES), columns(SERIES_ATTRIBUTES), columns(OWN_ATTRIBUTES)
    yield (
        f"INSERT INTO studies (id, {', '.join(study)}, odd, key_id, first_committed, first_blob)"
        f" SELECT id + {studies}, {copied(study)}, odd, key_id, first_committed + {images}, first_blob FROM studies"
        f" WHERE id <= {STUDIES_A_DAY}"
    )
    yield (
        f"INSERT INTO series (id, study_id, {', '.join(one)}, odd, instances, first_committed, first_blob)"
        f" SELECT id + {series}, study_id + {studies}, {copied(one)}, odd, instances, first_committed + {images}, first_blob"
        f" FROM series WHERE id <= {STUDIES_A_DAY * SERIES}"
    )
    yield (
        f"INSERT INTO study_traits SELECT trait, '{other.date}', study_id + {studies} FROM study_traits WHERE study_id <= {STUDIES_A_DAY}"
    )
    yield (
        f"INSERT INTO instance_rows (id, series_id, {', '.join(image)}, number, sop_class, transfer_syntax, size, received, shard, blob)"
        f" SELECT id + {images}, series_id + {series}, {copied(image)}, number, sop_class, transfer_syntax, size, received,"
        f" (id + {images}) / 4096, randomblob(16) FROM instance_rows WHERE id <= {STUDIES_A_DAY * IMAGES}"
    )
