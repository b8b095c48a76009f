"""Driving a walk from bytes that arrive: what the walk does not ask for passes by untouched."""

from collections.abc import Mapping
from typing import Final

from leadglass.dicom.inflate import Inflater
from leadglass.dicom.syntax import encoding_of, is_deflated
from leadglass.dicom.tokens import MAX_OBJECT_BYTES, Found
from leadglass.dicom.walk import Walker
from leadglass.errors import BadDataSet

_NOTHING_MORE: Final = 1 << 62


class Push:
    """One walk for its top-level `wanted` attributes; feed it the bytes of one data set, as received, and finish it.

    After BadDataSet it is of no further use: every later call raises the same.
    """

    def __init__(
        self,
        transfer_syntax: str,
        *,
        wanted: frozenset[int],
        wanted_items: Mapping[int, frozenset[int]],
        stop: int,
        only_wanted: bool = False,
        max_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        self.encoding = encoding_of(transfer_syntax)
        walker = Walker(self.encoding, wanted=wanted, wanted_items=wanted_items, stop=stop, only_wanted=only_wanted, max_bytes=max_bytes)
        self.found: Found = walker.found
        self._inflater = Inflater(max_bytes=max_bytes) if is_deflated(transfer_syntax) else None
        self._max_bytes = max_bytes
        self._walk = walker.run()
        self._fed = 0
        self._wants = 0
        self._broken: BadDataSet | None = None
        next(self._walk)

    def feed(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; BadDataSet as soon as they can be no data set."""
        if self._inflater is None:
            self._take(chunk)
            return
        for piece in self._inflater.feed(chunk):
            self._take(piece)

    def finish(self) -> None:
        """The data set ends here; BadDataSet if it cannot."""
        if self._inflater is not None:
            self._inflater.finish()
        while self._wants <= self._fed:
            self._send(b"")
        if self._wants != _NOTHING_MORE:
            raise BadDataSet("the data set ends in the middle of a value: it was cut off; send it again")

    def _take(self, chunk: bytes | memoryview) -> None:
        start = self._fed
        self._fed += len(chunk)
        if self._fed > self._max_bytes:
            raise BadDataSet(f"the data set is longer than {self._max_bytes} bytes, the largest that is taken")
        if self._wants < self._fed:
            self._send(bytes(chunk[self._wants - start :]))

    def _send(self, piece: bytes) -> None:
        if self._broken is not None:
            raise self._broken
        try:
            wants = self._walk.send(piece)
        except StopIteration:
            self._wants = _NOTHING_MORE
        except BadDataSet as broken:
            self._broken = broken
            raise
        else:
            if isinstance(wants, int):  # a walk that emits no tokens asks for offsets alone
                self._wants = wants
