"""Whether an object is what it was: data sets compared element by element, by pydicom's reading of both."""

import io
import warnings
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread, read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from tests.dicomweb.client import data_set_of
from tests.whole.associating import DEFLATED, Sent

TRAILING_PADDING = 0xFFFCFFFC
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass(frozen=True)
class Original:
    """A file, and what its data set says of itself."""

    path: Path
    patient: str
    study: str
    series: str
    modality: str
    sent: Sent

    @property
    def uid(self) -> str:
        return self.sent.sop_instance


def original(path: Path) -> Original:
    """The object in the file at `path`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dcmread(path, stop_before_pixels=True)
        sent = Sent(
            str(found.SOPClassUID), str(found.SOPInstanceUID), str(found.file_meta.TransferSyntaxUID), data_set_of(path.read_bytes())
        )
        patient, modality = str(found.get("PatientID") or ""), str(found.get("Modality") or "")
        return Original(path, patient, str(found.StudyInstanceUID), str(found.SeriesInstanceUID), modality, sent)


def padded(sent: Sent) -> Sent:
    """As it is on the wire: a deflated data set is padded to even length there (PS3.5 A.5)."""
    odd = sent.transfer_syntax == DEFLATED and len(sent.data_set) % 2
    return replace(sent, data_set=sent.data_set + b"\0") if odd else sent


def all_distinct(paths: Iterable[Path], folder: Path) -> list[Original]:
    """The objects in `paths`, none left out: of those that share a SOP Instance UID each but the first gets one of its own.

    An archive serves one object under a UID, and many of pydicom's files are one image in another transfer syntax. The new UID is as long
    as the old one, so that not another byte of the copy in `folder` changes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Original] = {}
    for path in paths:
        read = original(path)
        if read.uid in found:
            read = original(_renamed(read, folder / f"{len(found)}-{path.name}", found.keys()))
        found[read.uid] = read
    return list(found.values())


def _renamed(read: Original, copy: Path, taken: Container[str]) -> Path:
    uid = next(new for number in range(10, 100) if (new := f"{read.uid[:-2]}{number}") not in taken)
    copy.write_bytes(read.path.read_bytes().replace(read.uid.encode(), uid.encode()))
    return copy


ALL_UNKNOWN = {"rtdose_rle.dcm", "rtdose_rle_1frame.dcm"}
"""Every element of these has VR UN: DCMTK finds no SOP class in them and sends an empty one, which is no C-STORE by PS3.7 9.3.1."""


UNCONVERTED = {"JPEG2000-embedded-sequence-delimiter.dcm": "its code stream is of another size than its header says"}
"""Objects that cannot be decoded, with why: each is a failed sub-operation."""


def readable_by_dcmtk(originals: list[Original]) -> list[Original]:
    """All but two: what DCMTK, and Orthanc, which is built on it, can send."""
    found = [each for each in originals if not each.path.name.endswith(tuple(ALL_UNKNOWN))]
    assert len(originals) - len(found) <= len(ALL_UNKNOWN)
    return found


def as_file(sent: Sent) -> bytes:
    """The object as a Part 10 file, its file meta information by pydicom."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sent.sop_class), UID(sent.sop_instance)
    meta.TransferSyntaxUID = UID(sent.transfer_syntax)
    made = DicomBytesIO()
    made.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(made, meta)
    return made.getvalue() + sent.data_set


def explicit(file: Path | bytes) -> pydicom.Dataset:
    """The data set as pydicom writes and reads it again in explicit little endian; what is encapsulated is read as it is."""
    read = dcmread(io.BytesIO(file) if isinstance(file, bytes) else file)
    syntax = UID(read.file_meta.TransferSyntaxUID)
    if syntax.is_encapsulated:
        return read
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in read})  # reading each, so that it is converted and not copied
    if syntax == EXPLICIT_BIG_ENDIAN and plain["PixelData"].VR == "OW":
        # pydicom leaves the order of bytes as it is. They are in words of 16 bits, however many bits a pixel has (PS3.5 6.2, 8.1.1).
        plain.PixelData = np.frombuffer(read.PixelData, ">u2").byteswap().tobytes()
    made = io.BytesIO()
    plain.save_as(made, implicit_vr=False, little_endian=True)
    return read_dataset(io.BytesIO(made.getvalue()), is_implicit_VR=False, is_little_endian=True)


def same(ours: pydicom.DataElement, theirs: pydicom.DataElement) -> bool:
    """Equal; pixels of 8 bits may be OB and OW alike, which in little endian is the same (PS3.5 8.2)."""
    if {ours.VR, theirs.VR} == {"OB", "OW"}:
        return ours.tag == theirs.tag and bool(ours.value == theirs.value)
    return bool(ours == theirs)


def differences(received: pydicom.Dataset, expected: pydicom.Dataset) -> list[str]:
    """The keywords of what differs; group lengths and trailing padding, which senders leave out, are not compared."""
    tags = {each.tag for each in (*received, *expected) if each.tag.element} - {TRAILING_PADDING}
    return [
        pydicom.datadict.keyword_for_tag(tag) or str(tag)
        for tag in sorted(tags)
        if tag not in received or tag not in expected or not same(received[tag], expected[tag])
    ]


def assert_same_objects(received: Iterable[Sent], expected: Iterable[Original]) -> None:
    """Every expected object was received, once, and nothing else; each is what it was."""
    by_uid: dict[str, Sent] = {}
    for each in received:
        assert each.sop_instance not in by_uid, each.sop_instance
        by_uid[each.sop_instance] = each
    wanted = {each.uid: each for each in expected}
    names = [each.path.name for uid, each in wanted.items() if uid not in by_uid]
    assert not names, f"not received: {names}"
    assert by_uid.keys() == wanted.keys()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # real files hold values that PS3.5 does not allow
        different = {
            wanted[uid].path.name: found
            for uid, each in by_uid.items()
            if each.data_set != wanted[uid].sent.data_set and (found := differences(explicit(as_file(each)), explicit(wanted[uid].path)))
        }
    assert not different, different
