"""multipart/related (RFC 2046 5.1, RFC 2387, PS3.18 8.6.1.2), read and written without holding a part in memory.

The reader is sans-I/O: bytes in, events out, at any chunk boundaries, with a bound on everything that has to be kept
between two chunks. The writer makes a boundary nobody can foresee, so that no stored object can contain it.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from leadglass.wire.dicomweb.problems import BadRequest

MAX_BOUNDARY: Final = 70
"""RFC 2046 5.1.1."""
MAX_HEAD: Final = 16 * 1024
"""Bytes of one part's header fields."""
MAX_FIELDS: Final = 32
MAX_PADDING: Final = 256
"""White space after a boundary, which RFC 2046 allows without a limit."""

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]", re.ASCII)
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")


@dataclass(frozen=True)
class PartBegan:
    """A part's header fields, names in lower case."""

    fields: Mapping[str, str]


@dataclass(frozen=True)
class PartData:
    """Some of a part's bytes; never empty."""

    data: bytes


@dataclass(frozen=True)
class PartEnded:
    """The part is whole."""


Event = PartBegan | PartData | PartEnded


class _At(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEAD = auto()
    BODY_BEGIN = auto()
    BODY = auto()
    EPILOGUE = auto()


class Reader:
    """Splits the body of a multipart message; raises `BadRequest` for what is none, before more than its bounds is kept."""

    def __init__(self, boundary: str, max_parts: int) -> None:
        if len(boundary) > MAX_BOUNDARY or not _BOUNDARY.fullmatch(boundary):
            raise BadRequest(400, "the boundary in Content-Type is not one by RFC 2046 5.1.1")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._max_parts = max_parts
        self._parts = 0
        self._at = _At.PREAMBLE
        # The first delimiter may stand at the very beginning, without the line end that belongs to every other.
        self._held = b"\r\n"

    @property
    def ended(self) -> bool:
        """Whether the closing delimiter was met; a body that ends before it was cut off."""
        return self._at is _At.EPILOGUE

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes; must be exhausted before the next call."""
        held = self._held + data if self._held else data
        while True:
            before = self._at
            if before is _At.EPILOGUE:
                held = b""
            elif before is _At.HEAD:
                fields, held = self._head(held)
                if fields is not None:
                    self._at = _At.BODY_BEGIN
                    yield PartBegan(fields)
            elif before is _At.BODY_BEGIN:
                held = self._body_begin(held)
            elif before is _At.DELIMITER:
                held = self._after_delimiter(held)
            else:
                content, held = self._until_delimiter(held)
                if before is _At.BODY:
                    if content:
                        yield PartData(content)
                    if self._at is _At.DELIMITER:
                        yield PartEnded()
            if self._at is before:
                break
        self._held = held

    def _until_delimiter(self, held: bytes) -> tuple[bytes, bytes]:
        """What certainly stands before the next delimiter, and the rest."""
        found = held.find(self._delimiter)
        if found >= 0:
            self._at = _At.DELIMITER
            return held[:found], held[found + len(self._delimiter) :]
        # Only a line end can begin a delimiter, and only in the last bytes can one be incomplete.
        keep = held.rfind(b"\r", max(0, len(held) - len(self._delimiter) + 1))
        if keep < 0:
            keep = len(held)
        return held[:keep], held[keep:]

    def _after_delimiter(self, held: bytes) -> bytes:
        if held.startswith(b"--"):
            self._at = _At.EPILOGUE
            return b""
        rest = held.lstrip(b" \t")
        if rest.startswith(b"\r\n"):
            self._parts += 1
            if self._parts > self._max_parts:
                raise BadRequest(413, f"more than {self._max_parts} parts in one request; send the rest in another")
            self._at = _At.HEAD
            return rest[2:]
        if len(held) > MAX_PADDING or (rest not in {b"", b"\r"} and held != b"-"):
            raise BadRequest(400, "a boundary is followed by something that RFC 2046 5.1.1 does not allow")
        return held

    def _body_begin(self, held: bytes) -> bytes:
        """A part may be empty: the line end before its delimiter is then the one that ended its head."""
        bare = self._delimiter[2:]
        if len(held) < len(bare) and bare.startswith(held):
            return held
        self._at = _At.BODY
        return b"\r\n" + held if held.startswith(bare) else held

    def _head(self, held: bytes) -> tuple[Mapping[str, str] | None, bytes]:
        if held.startswith(b"\r\n"):
            return {}, held[2:]
        end = held.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(held) >= MAX_HEAD:
                raise BadRequest(400, f"a part's header fields are longer than {MAX_HEAD} bytes")
            return None, held
        return _fields(held[:end]), held[end + 4 :]


def _fields(head: bytes) -> Mapping[str, str]:
    lines = re.sub(rb"\r\n[ \t]+", b" ", head).split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise BadRequest(400, f"a part has more than {MAX_FIELDS} header fields")
    fields: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BadRequest(400, "a part's header field is not one by RFC 5322 2.2")
        fields[match[1].decode("ascii").lower()] = match[2].decode("latin-1")
    return fields


def new_boundary() -> str:
    """A boundary that no stored object can contain, since it is drawn after that was stored."""
    return secrets.token_hex(16)


def open_part(boundary: str, fields: Mapping[str, str]) -> bytes:
    """What stands before a part's bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"\r\n--{boundary}\r\n{lines}\r\n".encode("ascii")


def close(boundary: str) -> bytes:
    """What stands after the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
