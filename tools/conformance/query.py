"""The keys of a query and how each is matched: found by asking, in an identifier, for every attribute at every level in every way."""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Final

from pydicom.charset import python_encoding

from leadglass.dicom.attributes import BY_KEYWORD, DOOR, Attribute
from leadglass.dicom.convert import element_header
from leadglass.dicom.levels import UNIQUE_KEY, Root, above
from leadglass.dicom.query import Query, query_from_identifier
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.dicom.text import encodings_of
from leadglass.errors import BadQuery
from leadglass.vocabulary import Level
from tools.conformance.markdown import code, table

REQUIRED: Final = frozenset(
    "StudyDate StudyTime AccessionNumber PatientName StudyID Modality SeriesNumber InstanceNumber".split()  # noqa: SIM905 # as it stands in the standard
)
"""The required keys of PS3.4 Tables C.6-1 to C.6-5, both roots together."""

_KINDS: Final = {
    "Single": "single value",
    "AnyOf": "list of values",
    "UidList": "list of UIDs",
    "Wildcard": "wildcard",
    "Range": "range",
    "NameGroups": "component groups",
    "Items": "sequence",
}
_PROBES: Final = ("1.2.3", "1.2.3\\1.2.4", "ABC", "AB\\CD", "A*C", "A=B", "20200102", "20200102-20200203", "1011", "1011-1213", "7")


class RequiredKeyMissingError(ValueError):
    """A required key of PS3.4 C.6 is not matched by single value at its level."""


def _element(entry: Attribute, text: str) -> bytes:
    if entry.items:
        inner = _element(entry.items[0], text)
        return element_header(entry.tag, "SQ", len(inner) + 8) + struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    value = int(text or "0").to_bytes(2, "little") if entry.vr == "US" and text.isdigit() else text.encode("ascii")
    value += b"\0" * (len(value) % 2) if entry.vr == "UI" else b" " * (len(value) % 2)
    return element_header(entry.tag, entry.vr, len(value)) + value


def _asked(level: Level, root: Root, entry: Attribute, text: str) -> Query | None:
    """The query of an identifier that asks for `text`; None where that is refused."""
    keys = {BY_KEYWORD[UNIQUE_KEY[upper]].tag: _element(BY_KEYWORD[UNIQUE_KEY[upper]], "1.2.3") for upper in above(level, root)}
    keys[0x00080052] = element_header(0x00080052, "CS", 8) + f"{level:8}".encode()
    keys[entry.tag] = _element(entry, text)
    try:
        return query_from_identifier(b"".join(keys[tag] for tag in sorted(keys)), EXPLICIT_LITTLE_ENDIAN, root)
    except BadQuery:
        return None


@cache
def kinds_at(level: Level, root: Root, keyword: str) -> frozenset[str] | None:
    """The kinds of matching of a key at a level; None where it is not supported there."""
    entry = BY_KEYWORD[keyword]
    universal = _asked(level, root, entry, "")
    if universal is None or keyword not in universal.returns:
        return None
    found = set()
    for probe in _PROBES:
        if entry.vr == "US" and len(probe) > 1:
            continue
        query = _asked(level, root, entry, probe)
        if query is not None and keyword in query.keys:
            found.add(_KINDS[type(query.keys[keyword]).__name__])
    return frozenset(found)


def keys() -> str:
    """Every key with its level, its type by PS3.4 C.6, and how it is matched at its own level in the model that has it."""
    rows = []
    for keyword, entry in sorted(BY_KEYWORD.items(), key=lambda item: (list(Level).index(item[1].level), item[1].tag)):
        kinds = kinds_at(entry.level, Root.PATIENT, keyword)
        if kinds is None:
            continue
        unique = UNIQUE_KEY[entry.level] == keyword
        if (unique or keyword in REQUIRED) and _KINDS["Single"] not in kinds:
            raise RequiredKeyMissingError(keyword)
        kind = "U" if unique else "R" if keyword in REQUIRED else "O"
        level = "any" if entry in DOOR else entry.level.value
        inner = f" ({', '.join(each.keyword for each in entry.items)})" if entry.items else ""
        rows.append((keyword + inner, f"({entry.tag >> 16:04X},{entry.tag & 0xFFFF:04X})", entry.vr, level, kind, _told(kinds)))
    return table(("Attribute", "Tag", "VR", "Level", "Key", "Matching, beside universal"), rows)


def _told(kinds: frozenset[str]) -> str:
    return ", ".join(each for each in _KINDS.values() if each in kinds) or "returned only"


def matching() -> str:
    """The kinds of matching by value representation."""
    by_vr: dict[str, set[str]] = {}
    for keyword, entry in BY_KEYWORD.items():
        kinds = kinds_at(entry.level, Root.PATIENT, keyword)
        if kinds:
            by_vr.setdefault(entry.vr, set()).update(kinds)
    return table(("VR", "Matching, beside universal"), [(vr, _told(frozenset(kinds))) for vr, kinds in sorted(by_vr.items())])


def character_sets() -> str:
    """The defined terms of Specific Character Set that are read."""
    default = encodings_of(b"")[0]
    terms = [term for term in python_encoding if term and (encodings_of(term.encode())[0] != default or term.endswith("IR 6"))]
    return table(("Specific Character Set", "Without code extensions", "With code extensions"), list(_paired(terms)))


def _paired(terms: list[str]) -> Iterator[tuple[str, str, str]]:
    numbers = sorted({term.rpartition(" ")[2] for term in terms if "IR" in term}, key=int)
    for number in numbers:
        alone, extended = f"ISO_IR {number}", f"ISO 2022 IR {number}"
        yield number, code(alone) if alone in terms else "", code(extended) if extended in terms else ""
    for term in terms:
        if "IR" not in term and not term.startswith("ISO 2022"):
            yield term, code(term), ""
