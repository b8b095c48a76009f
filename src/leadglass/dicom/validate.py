"""Judging a data set while it streams in: its structure to the end, and its header as soon as that is complete, in one pass.

What is refused and what is tolerated: see `walk`. A valid object has SOPClassUID, SOPInstanceUID, StudyInstanceUID and SeriesInstanceUID,
and its data set ends where its last element ends.
"""

from typing import Final

from leadglass.dicom.header import LAST_WANTED, WANTED, WANTED_ITEMS, Header, header_of
from leadglass.dicom.push import Push
from leadglass.dicom.syntax import ByteSource
from leadglass.dicom.tokens import MAX_OBJECT_BYTES

_CHUNK: Final = 256 * 1024


class Validator:
    """Feed it the bytes of one data set as they come, then finish it; BadDataSet as soon as they can be no valid object.

    Big values pass untouched, so that judging costs by the element and not by the byte.
    """

    def __init__(self, transfer_syntax: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> None:
        self._push = Push(transfer_syntax, wanted=WANTED, wanted_items=WANTED_ITEMS, stop=LAST_WANTED, max_bytes=max_bytes)
        self._header: Header | None = None

    def feed(self, chunk: bytes | memoryview) -> None:
        """Judge the next bytes, in the form in which they were received."""
        self._push.feed(chunk)
        if self._header is None and self._push.found.passed:
            self._header = header_of(self._push.found, little=self._push.encoding.little)

    @property
    def header(self) -> Header | None:
        """The header, once the last indexed attribute has been passed; it does not change afterwards."""
        return self._header

    def finish(self) -> Header:
        """The data set ends here: its header, or BadDataSet if it cannot end here."""
        self._push.finish()
        if self._header is None:
            self._header = header_of(self._push.found, little=self._push.encoding.little)
        return self._header


def validate(source: ByteSource, transfer_syntax: str) -> Header:
    """Judge a whole data set from the source's position to its end."""
    validator = Validator(transfer_syntax)
    while chunk := source.read(_CHUNK):
        validator.feed(chunk)
    return validator.finish()
