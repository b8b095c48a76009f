"""Storage commitment requests as they come from a peer: understood, or refused as bad input."""

from leadglass.dicom import commitment
from leadglass.dicom.commitment import CommitmentReport
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid

_SYNTAXES = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)


def target(data: bytes) -> None:
    """The first byte chooses the transfer syntax; what is understood is answered, and the answer refers to the same objects."""
    syntax = _SYNTAXES[data[:1] > b"\x7f"]
    request = commitment.decode_request(data[1:], syntax)
    report = CommitmentReport(request.transaction, request.references, ())
    again = commitment.decode_request(commitment.encode_report(report, syntax), syntax)
    if again != request:
        raise AssertionError(request)


def seeds() -> list[bytes]:
    """One in each transfer syntax."""
    references = tuple(commitment.Reference(Uid("1.2.840.10008.5.1.4.1.1.2"), Uid(f"1.2.{each}")) for each in range(3))
    report = CommitmentReport(Uid("1.2.3"), references, ())
    return [head + commitment.encode_report(report, syntax) for head, syntax in zip((b"\0", b"\xff"), _SYNTAXES, strict=True)]
