"""Query strings of searches: a bounded query or a refusal that repeats nothing of what was asked."""

from leadglass.errors import BadInput
from leadglass.vocabulary import Level
from leadglass.wire.dicomweb import qido

MARK = "zqxj"


def target(data: bytes) -> None:
    """The first byte chooses the level."""
    text = data[1:].decode("utf-8", errors="replace")
    level = (Level.STUDY, Level.SERIES, Level.IMAGE)[(data[0] if data else 0) % 3]
    try:
        query = qido.parse(text, level, {}, 100, 1000).query
    except BadInput as refused:
        if MARK in str(refused):
            raise AssertionError(str(refused)) from refused
        raise
    if query.limit is None or not 0 <= query.limit <= 1000 or len(query.returns) > 100:
        raise AssertionError(query)


def seeds() -> list[bytes]:
    """What viewers ask, and what they had better not."""
    return [
        b"0PatientName=DOE%5E*&StudyDate=20200101-&limit=5&offset=10&includefield=all",
        b"100100020=zqxj&00080060=CT,MR&includefield=00081030,zqxj&fuzzymatching=true",
        b"2SOPInstanceUID=1.2.3,1.2.4%5C1.2.5&InstanceNumber=zqxj&StudyDate=zqxj",
        b"0zqxj=1&limit=-1&limit=zqxj&accept=application/dicom+json",
    ]
