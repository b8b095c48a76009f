"""Inflating deflated data sets (PS3.5 A.5) in bounded pieces, with a ceiling on how much may come out of how little."""

import zlib
from collections.abc import Iterator
from typing import Final

from leadglass.errors import BadDataSet

PIECE: Final = 64 * 1024
FREE_BYTES: Final = 16 * 1024 * 1024
MAX_RATIO: Final = 100
"""Images deflate some 2 to 5 times; an empty one nearly the 1,032 times that deflate can, which FREE_BYTES leaves room for."""


class Inflater:
    """Bytes as received in, pieces of at most PIECE bytes out; BadDataSet on a bomb or on what is no deflate stream."""

    def __init__(self, *, max_bytes: int) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._max_bytes = max_bytes
        self._taken = 0
        self._given = 0

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Inflate one more chunk. Bytes after the end of the stream are padding to even length and nothing else."""
        self._taken += len(chunk)
        rest = chunk
        while not self._stream.eof:
            try:
                piece = self._stream.decompress(rest, PIECE)
            except zlib.error:
                raise BadDataSet(
                    "the deflated data set is no deflate stream (PS3.5 A.5): it was damaged or is of another transfer syntax"
                ) from None
            rest = self._stream.unconsumed_tail
            self._given += len(piece)
            if self._given > min(self._max_bytes, FREE_BYTES + MAX_RATIO * self._taken):
                raise BadDataSet(f"the deflated data set grows more than {MAX_RATIO} times or beyond the largest object that is taken")
            if piece:
                yield piece
            elif not rest:
                return

    def finish(self) -> None:
        """BadDataSet if the stream has not come to its end."""
        if not self._stream.eof:
            raise BadDataSet("the deflated data set ends in the middle: it was cut off; send it again")
