"""Reading a data set element by element from a source, in bounded memory: values over INLINE bytes come in pieces, when asked for."""

import io
from collections.abc import Iterator
from typing import Final

from leadglass.dicom.inflate import Inflater
from leadglass.dicom.syntax import ByteSource, encoding_of, is_deflated
from leadglass.dicom.tokens import MAX_OBJECT_BYTES, Kind, Token
from leadglass.dicom.walk import Walker
from leadglass.errors import BadDataSet

BLOCK: Final = 64 * 1024
"""What is read at once, and the largest piece of a value."""

__all__ = ["BLOCK", "Elements", "InflatingSource", "Kind", "Token", "data_set_source"]


class InflatingSource:
    """A deflated source read as what it inflates to. Going forward inflates and drops, going back begins anew."""

    def __init__(self, source: ByteSource, *, max_bytes: int = MAX_OBJECT_BYTES) -> None:
        self._source = source
        self._origin = source.tell()
        self._max_bytes = max_bytes
        self._pieces = self._begin()
        self._piece = b""
        self._position = 0

    def _begin(self) -> Iterator[bytes]:
        self._source.seek(self._origin)
        inflater = Inflater(max_bytes=self._max_bytes)
        while chunk := self._source.read(BLOCK):
            yield from inflater.feed(chunk)
        inflater.finish()

    def read(self, size: int, /) -> bytes:
        """Up to `size` inflated bytes, at least one before the end; BadDataSet as the inflater says."""
        if not self._piece:
            self._piece = next(self._pieces, b"")
        given, self._piece = self._piece[:size], self._piece[size:]
        self._position += len(given)
        return given

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset of the inflated bytes (whence 0 or 1)."""
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("how long a deflated source is, is known at its end only")
        if offset < self._position:
            self._pieces, self._piece, self._position = self._begin(), b"", 0
        while self._position < offset and self.read(offset - self._position):
            pass
        return self._position

    def tell(self) -> int:
        """The offset in the inflated bytes."""
        return self._position


def data_set_source(source: ByteSource, transfer_syntax: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> ByteSource:
    """`source`, inflated if its transfer syntax is the deflated one."""
    return InflatingSource(source, max_bytes=max_bytes) if is_deflated(transfer_syntax) else source


class Elements:
    """The tokens of the data set that begins at the source's position; iterate once.

    `offset` of a token counts from there. BadDataSet as `walk` says, in the middle of iterating.
    """

    def __init__(self, source: ByteSource, transfer_syntax: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> None:
        self._source = data_set_source(source, transfer_syntax, max_bytes=max_bytes)
        self._origin = self._source.tell()
        self._walk = Walker(encoding_of(transfer_syntax), emit=True, max_bytes=max_bytes).run()
        self._block = b""
        self._start = 0

    def __iter__(self) -> Iterator[Token]:
        reply: bytes | None = None
        while True:
            try:
                got = self._walk.send(reply)
            except StopIteration:
                return
            if isinstance(got, Token):
                yield got
                reply = None
            else:
                reply = self._at(got)

    def chunks(self, token: Token) -> Iterator[bytes]:
        """The value of the token that was just taken, in pieces of at most BLOCK bytes; BadDataSet if the source ends within it."""
        if token.value is not None:
            if token.value:
                yield token.value
            return
        yield from self.pieces(token.offset, token.length)

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """Any run of the data set's bytes, in pieces of at most BLOCK bytes; BadDataSet if the source ends within it."""
        at, end = offset, offset + length
        while at < end:
            piece = self._at(at)[: end - at]
            if not piece:
                raise BadDataSet("the data set ends in the middle of a value: it was cut off")
            at += len(piece)
            yield piece

    def value(self, token: Token, limit: int) -> bytes:
        """The whole value; BadDataSet if it is longer than `limit` bytes."""
        if token.length > limit:
            raise BadDataSet(f"the element {token.tag:08X} is longer than the {limit} bytes that are read at once")
        return b"".join(self.chunks(token))

    def _at(self, offset: int) -> bytes:
        # The bytes from `offset` on, as many as are at hand, b"" at the end exactly.
        within = offset - self._start
        if not 0 <= within < len(self._block):
            # One byte before `offset` shows that the data set reaches as far as an element claimed.
            first = max(offset - 1, 0)
            self._source.seek(self._origin + first)
            block = self._source.read(BLOCK)
            if offset and not block:
                raise BadDataSet("the data set ends in the middle of a value: it was cut off")
            self._block, self._start = block, first
            within = offset - first
            if within == len(block) and block:
                more = self._source.read(BLOCK)
                self._block, self._start, within = more, offset, 0
        return self._block[within:] if within else self._block
