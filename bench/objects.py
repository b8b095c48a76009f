"""Synthetic CT images that differ in nothing but their identifiers, all of fixed length, so that one is made by a few copies."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from bench.engine_sink import make_object
from leadglass.dicom.uid import Uid

CT = Uid(CTImageStorage)
MULTI_FRAME = Uid(MultiFrameGrayscaleWordSecondaryCaptureImageStorage)

_FIRST_DATE = date(1995, 1, 1)
_DAYS = 10_000


@dataclass(frozen=True)
class Identifiers:
    """What makes one object another; every text has the same length in every object."""

    study: str
    series: str
    instance: str
    patient_id: str
    patient_name: str
    study_date: str

    @classmethod
    def of(cls, run: int, number: int, per_study: int) -> "Identifiers":
        """Of object `number` in its run, `per_study` objects to a study and a patient."""
        study = number // per_study
        day = _FIRST_DATE + timedelta(days=study % _DAYS)
        return cls(
            study=f"2.25.1{run:012}{study:010}",
            series=f"2.25.2{run:012}{study:010}",
            instance=f"2.25.3{run:012}{number:010}",
            patient_id=f"ID{run:012}{study:010}",
            patient_name=f"BENCH{study:09}^{run:09}",
            study_date=day.strftime("%Y%m%d"),
        )


PLACEHOLDERS = Identifiers(
    study="2.25.19999999999999999999991",
    series="2.25.29999999999999999999992",
    instance="2.25.39999999999999999999993",
    patient_id="ID9999999999999999999994",
    patient_name="BENCH999999995^999999995",
    study_date="99990606",
)


class Template:
    """Bytes in which the placeholders stand, each perhaps several times."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        self._places = [(name, at, len(text)) for name, text in vars(PLACEHOLDERS).items() for at in _places(data, text.encode())]

    def fill(self, identifiers: Identifiers) -> bytearray:
        """The bytes of one object; they are overwritten by the next."""
        for name, at, length in self._places:
            self._data[at : at + length] = getattr(identifiers, name).encode()
        return self._data


def _places(data: bytes, text: bytes) -> Iterator[int]:
    at = data.find(text)
    while at >= 0:
        yield at
        at = data.find(text, at + 1)


def encode(dataset: Dataset) -> bytes:
    """A data set in explicit VR little endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def template(size: int) -> bytes:
    """A CT image of `size` bytes in all, with placeholders for identifiers."""
    small = encode(_identified(make_object(1000)))
    # Its rows have 500 bytes: within one of them of what was asked for.
    return encode(_identified(make_object(size - len(small) + 1000)))


def _identified(dataset: Dataset) -> Dataset:
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        PLACEHOLDERS.study,
        PLACEHOLDERS.series,
        PLACEHOLDERS.instance,
    )
    dataset.PatientID, dataset.PatientName, dataset.StudyDate = PLACEHOLDERS.patient_id, PLACEHOLDERS.patient_name, PLACEHOLDERS.study_date
    dataset.AccessionNumber, dataset.StudyID, dataset.StudyTime = "BENCH", "1", "120000"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    return dataset


FRAME = 1000 * 1000 * 2
_BLOCK = bytes(range(256)) * 4096


def multi_frame(identifiers: Identifiers, frames: int) -> tuple[int, Iterator[bytes]]:
    """A multi-frame image of 2 MB a frame: its data set's length, and its bytes in pieces of at most 1 MiB."""
    dataset = _identified(Dataset())
    dataset.SOPClassUID = MULTI_FRAME
    dataset.Modality, dataset.NumberOfFrames, dataset.Rows, dataset.Columns = "OT", frames, 1000, 1000
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    pixels = frames * FRAME
    head = bytes(Template(encode(dataset)).fill(identifiers)) + b"\xe0\x7f\x10\x00OW\0\0" + pixels.to_bytes(4, "little")

    def pieces() -> Iterator[bytes]:
        yield head
        whole, rest = divmod(pixels, len(_BLOCK))
        for _ in range(whole):
            yield _BLOCK
        yield _BLOCK[:rest]

    return len(head) + pixels, pieces()


def study_identifier(study: str) -> bytes:
    """The identifier of a C-GET for one study."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    return encode(identifier)
