"""Storage commitment's data sets: what pydicom writes is read, what we write pydicom reads, and anything else is refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from leadglass.dicom import commitment
from leadglass.dicom.commitment import CommitmentReport, CommitmentRequest, Reference
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet, BadInput
from tests.dicom_wire import strategies as dicom

syntaxes = st.sampled_from([EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN])
references = st.builds(Reference, dicom.uids, dicom.uids)


def encoded(dataset: Dataset, syntax: str) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = syntax == IMPLICIT_LITTLE_ENDIAN, True
    write_dataset(file, dataset)
    return file.getvalue()


def asked(transaction: str, some: list[Reference]) -> Dataset:
    made = Dataset()
    made.TransactionUID = transaction
    made.ReferencedSOPSequence = []
    for each in some:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = each.sop_class, each.sop_instance
        # What may stand beside them (PS3.4 table J.3-1) is passed over.
        item.StorageMediaFileSetID = "DISK"
        made.ReferencedSOPSequence.append(item)
    return made


@given(dicom.uids, st.lists(references, min_size=1, max_size=5), syntaxes)
def test_a_request_of_pydicom_is_read(transaction: Uid, some: list[Reference], syntax: str) -> None:
    data = encoded(asked(transaction, some), syntax)
    assert commitment.decode_request(data, syntax) == CommitmentRequest(transaction, tuple(some))


@given(dicom.uids, st.lists(references, max_size=3), st.lists(st.tuples(references, st.integers(0, 0xFFFF)), max_size=3), syntaxes)
def test_pydicom_reads_our_report(transaction: Uid, kept: list[Reference], lost: list[tuple[Reference, int]], syntax: str) -> None:
    report = CommitmentReport(transaction, tuple(kept), tuple(lost))
    data = commitment.encode_report(report, syntax)
    read = read_dataset(io.BytesIO(data), is_implicit_VR=syntax == IMPLICIT_LITTLE_ENDIAN, is_little_endian=True)
    assert read.TransactionUID == transaction
    told = [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in read.get("ReferencedSOPSequence", [])]
    assert told == [(each.sop_class, each.sop_instance) for each in kept]
    failed = [
        ((item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID), item.FailureReason) for item in read.get("FailedSOPSequence", [])
    ]
    assert failed == [((each.sop_class, each.sop_instance), reason) for each, reason in lost]
    assert report.event_type == (2 if lost else 1)


@given(st.binary(max_size=300), syntaxes)
def test_what_is_no_request_is_refused(data: bytes, syntax: str) -> None:
    with pytest.raises(BadInput):
        commitment.decode_request(data, syntax)


def test_bounds() -> None:
    one = Reference(Uid("1.2"), Uid("1.3"))
    many = [one] * (commitment.MAX_REFERENCES + 1)
    with pytest.raises(BadDataSet, match="more than"):
        commitment.decode_request(encoded(asked("1.2", many), IMPLICIT_LITTLE_ENDIAN), IMPLICIT_LITTLE_ENDIAN)
    for wrong in (asked("1.2", []), asked("", [one]), asked("1.2", [Reference(Uid("1.2"), "")])):  # type: ignore[arg-type]
        with pytest.raises(BadInput):
            commitment.decode_request(encoded(wrong, EXPLICIT_LITTLE_ENDIAN), EXPLICIT_LITTLE_ENDIAN)
