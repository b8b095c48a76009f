"""Identifiers of C-FIND and C-GET: a query, a selection, or a refusal that repeats nothing of what was asked."""

from fuzz import header
from leadglass.dicom.levels import Root
from leadglass.dicom.query import IdentifierWriter, query_from_identifier, selection_from_identifier
from leadglass.errors import BadDataSet, BadQuery
from leadglass.vocabulary import Level

MARK = "zqxj"
RECORD = {"PatientName": "A^B", "StudyInstanceUID": "1.2", "Rows": "5", "StudyDate": "20200101"}


def target(data: bytes) -> None:
    """The first byte chooses the transfer syntax, the second the model."""
    transfer_syntax = header.SYNTAXES[(data[0] if data else 0) % 4]
    root = (Root.STUDY, Root.PATIENT)[(data[1] if len(data) > 1 else 0) % 2]
    try:
        selection_from_identifier(data[2:], transfer_syntax, root)
    except (BadQuery, BadDataSet) as refused:
        _repeats_nothing(refused)
    try:
        query = query_from_identifier(data[2:], transfer_syntax, root)
    except (BadQuery, BadDataSet) as refused:
        _repeats_nothing(refused)
        return
    answer = IdentifierWriter(query, transfer_syntax).write(RECORD)
    if query.level is Level.STUDY and query_from_identifier(answer, transfer_syntax, Root.STUDY).level is not Level.STUDY:
        raise AssertionError("the answer is of another level")


def _repeats_nothing(refused: BadQuery | BadDataSet) -> None:
    if MARK in str(refused):
        raise AssertionError(str(refused)) from refused


def seeds() -> list[bytes]:
    """A study, a series and an image query, one of them in implicit little endian."""
    level = b"\x08\0\x52\0CS"
    study = b"\x20\0\x0d\0UI\x06\x001.2.3\0"
    return [
        b"\0\0\x08\0\x20\0DA\x0a\x0020200101- " + level + b"\x06\0STUDY \x10\0\x10\0PN\x06\0zqxj*^" + study[:4] + b"UI\0\0",
        b"\0\x01" + level + b"\x08\0PATIENT \x10\0\x20\0LO\x04\0zqxj",
        b"\0\0" + level + b"\x06\0SERIES" + study + b"\x20\0\x0e\0UI\0\0",
        b"\x01\0\x08\0\x52\0\x06\0\0\0STUDY \x20\0\x0d\0\x0c\0\0\x001.2.3\\1.2.4\0",
    ]
