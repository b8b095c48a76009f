"""The DICOM JSON model (PS3.18 Annex F), written as it is read: one object of any size in bounded memory.

A value becomes a BulkDataURI when it is pixel data, or binary and over MAX_INLINE_BINARY bytes, or anything else over MAX_INLINE_VALUE;
its path names the attributes and items that lead to it, as in "54000100/0/54001010". Text is UTF-8, and Specific Character Set says so.
Numbers that JSON cannot hold (NaN, infinities, 64-bit integers over 2^53, malformed DS and IS) are strings.
"""

import base64
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from leadglass.dicom.attributes import BY_KEYWORD, Attribute
from leadglass.dicom.convert import little_endian
from leadglass.dicom.elements import Elements
from leadglass.dicom.matching import items_of
from leadglass.dicom.resolve import Resolver
from leadglass.dicom.syntax import ByteSource
from leadglass.dicom.text import decode, encodings_of
from leadglass.dicom.tokens import Kind, Token
from leadglass.dicom.vr import CHARSET_DEPENDENT, PIXEL_DATA, SPECIFIC_CHARACTER_SET, TEXT, TRAILING_PADDING
from leadglass.errors import BadQuery

MAX_INLINE_BINARY: Final = 1024
MAX_INLINE_VALUE: Final = 64 * 1024

_PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})
"""Text in which a backslash is a character (PS3.5 6.2)."""

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_EXACT: Final = 1 << 53
_DEFAULT_CHARSET: Final[tuple[str, ...]] = ("iso8859",)
_BLOCK: Final = 32 * 1024

Json = dict[str, "Json"] | list["Json"] | str | int | float | None


def json_chunks(source: ByteSource, transfer_syntax: str, bulk_uri: Callable[[str], str]) -> Iterator[bytes]:
    """The data set at the source's position as one JSON object; `bulk_uri` turns a path into the URI that serves it (`bulk_value`)."""
    block: list[str] = []
    size = 0
    for text in _Writer(Elements(source, transfer_syntax), bulk_uri).texts():
        block.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield "".join(block).encode()
            block.clear()
            size = 0
    yield "".join(block).encode()


class _Path:
    """Where a walk is: the attributes and item numbers that lead to the current token."""

    def __init__(self) -> None:
        self._open: list[list[int]] = []

    def follow(self, token: Token) -> None:
        if token.kind is Kind.SEQUENCE:
            self._open.append([token.tag, -1])
        elif token.kind is Kind.ITEM:
            self._open[-1][1] += 1
        elif token.kind is Kind.SEQUENCE_END:
            self._open.pop()

    def to(self, tag: int) -> str:
        return "".join(f"{outer:08X}/{index}/" for outer, index in self._open) + f"{tag:08X}"


class _Writer:
    def __init__(self, elements: Elements, bulk_uri: Callable[[str], str]) -> None:
        self._elements = elements
        self._bulk_uri = bulk_uri
        self._path = _Path()
        self._resolver = Resolver(name_unknown=True)
        # One entry per open data set and sequence: whether a comma is due, and, per data set, the character sets in force.
        self._comma = [False]
        self._encodings = [_DEFAULT_CHARSET]

    def texts(self) -> Iterator[str]:
        yield "{"
        for token in self._elements:
            vr = self._resolver.vr(token)
            match token.kind:
                case Kind.ELEMENT:
                    if token.tag & 0xFFFF and token.tag != TRAILING_PADDING:
                        yield f'{self._separator()}"{token.tag:08X}":{self._element(token, vr)}'
                case Kind.SEQUENCE:
                    yield f'{self._separator()}"{token.tag:08X}":{{"vr":"SQ"'
                    self._comma.append(False)
                case Kind.ITEM:
                    yield "," if self._comma[-1] else ',"Value":['
                    yield "{"
                    self._comma[-1] = True
                    self._comma.append(False)
                    self._encodings.append(self._encodings[-1])
                case Kind.ITEM_END:
                    self._comma.pop()
                    self._encodings.pop()
                    yield "}"
                case Kind.SEQUENCE_END:
                    yield "]}" if self._comma.pop() else "}"
                case Kind.FRAGMENTS:
                    yield f'{self._separator()}"{token.tag:08X}":{self._bulk(token, "OB")}'
                case _:
                    pass
            self._path.follow(token)
        yield "}"

    def _separator(self) -> str:
        due, self._comma[-1] = self._comma[-1], True
        return "," if due else ""

    def _bulk(self, token: Token, vr: str) -> str:
        return json.dumps({"vr": vr, "BulkDataURI": self._bulk_uri(self._path.to(token.tag))}, ensure_ascii=False)

    def _element(self, token: Token, vr: str) -> str:
        binary = vr in _BINARY or (vr not in TEXT and vr not in _NUMBERS and vr != "AT")
        if token.length and (token.tag in _PIXELS or token.length > (MAX_INLINE_BINARY if binary else MAX_INLINE_VALUE)):
            return self._bulk(token, vr)
        raw = b"".join(little_endian(self._elements, token, vr))
        if token.tag == SPECIFIC_CHARACTER_SET:
            self._encodings[-1] = encodings_of(raw)
            return '{"vr":"CS","Value":["ISO_IR 192"]}'
        if not raw:
            return f'{{"vr":"{vr}"}}'
        if binary:
            return json.dumps({"vr": vr, "InlineBinary": base64.b64encode(raw).decode()})
        values = _values(vr, raw, self._encodings[-1])
        return json.dumps({"vr": vr, "Value": values} if values else {"vr": vr}, ensure_ascii=False, allow_nan=False)


def _values(vr: str, raw: bytes, encodings: tuple[str, ...]) -> list[Json]:
    if vr in _NUMBERS:
        code = _NUMBERS[vr]
        whole = len(raw) - len(raw) % struct.calcsize(code)
        return [_number(number) for (number,) in struct.iter_unpack("<" + code, raw[:whole])]
    if vr == "AT":
        return [f"{group:04X}{element:04X}" for group, element in struct.iter_unpack("<HH", raw[: len(raw) - len(raw) % 4])]
    return text_values(vr, decode(raw, encodings if vr in CHARSET_DEPENDENT else _DEFAULT_CHARSET, name=vr == "PN"))


def _number(number: float) -> Json:
    if isinstance(number, int):
        return number if abs(number) <= _EXACT else str(number)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def text_values(vr: str, text: str) -> list[Json]:
    """A text value as the members of a Value array, empty ones null; without any, nothing (PS3.18 F.2.5)."""
    parts = [text] if vr in _ONE_VALUE else [part.rstrip(" ") if vr == "UC" else part.strip(" ") for part in text.split("\\")]
    values = [_text_value(vr, part) for part in parts]
    return values if any(value is not None for value in values) else []


def _text_value(vr: str, text: str) -> Json:
    if vr == "PN":
        groups: Json = {name: group.rstrip(" ") for name, group in zip(_GROUPS, text.split("="), strict=False) if group.rstrip(" ")}
        return groups or None
    if not text:
        return None
    if vr in {"DS", "IS"}:
        try:
            number = int(text) if vr == "IS" else float(text)
        except ValueError:
            return text
        return _number(
            int(number) if isinstance(number, float) and "." not in text and "e" not in text.lower() and math.isfinite(number) else number
        )
    return text


def bulk_value(source: ByteSource, transfer_syntax: str, path: str) -> Iterator[bytes]:
    """The value behind a path of a BulkDataURI, its numbers in little endian; BadQuery if the data set has none there.

    Encapsulated pixel data are frames, not one value: they have no bytes here (PS3.18 8.7.3 serves them by frame).
    """
    elements, here, resolver = Elements(source, transfer_syntax), _Path(), Resolver(name_unknown=True)
    for token in elements:
        vr = resolver.vr(token)
        if token.kind is Kind.ELEMENT and here.to(token.tag) == path:
            return little_endian(elements, token, vr)
        here.follow(token)
    raise BadQuery("the object has no value at this path")


def _items_to_json(entry: Attribute, text: str) -> Json:
    items: list[Json] = [
        {
            f"{inner.tag:08X}": {"vr": inner.vr, "Value": members}
            if (members := text_values(inner.vr, item[inner.keyword]))
            else {"vr": inner.vr}
            for inner in entry.items
            if inner.keyword in item
        }
        for item in items_of(text)
    ]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def record_to_json(values: Mapping[str, str]) -> dict[str, Json]:
    """A record (keyword to text) as one row of a search's result (PS3.18 10.6.3.3), in the order of tags."""
    row: dict[str, Json] = {}
    for entry in sorted((BY_KEYWORD[keyword] for keyword in values), key=lambda entry: entry.tag):
        text = values[entry.keyword]
        if entry.items:
            row[f"{entry.tag:08X}"] = _items_to_json(entry, text)
            continue
        members: list[Json] = text_values(entry.vr, text)
        if entry.vr == "US":
            members = [int(part) for part in text.split("\\") if part.strip().isdecimal()]
        row[f"{entry.tag:08X}"] = {"vr": entry.vr, "Value": members} if members else {"vr": entry.vr}
    return row
