"""C-FIND and C-GET identifiers (PS3.4 C.4.1, C.4.3): read into a Query or a Selection, and written from a record.

What is asked for beyond the attributes we know is an unsupported optional key: matched universally, not returned, listed in
`Query.unsupported` so that the door can say so (status FF01). Searches are hierarchical, the unique keys above
the level being required, unless something else was negotiated.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from leadglass.dicom.attributes import BY_KEYWORD, BY_TAG, COMPUTED, DOOR, Attribute
from leadglass.dicom.elements import Elements
from leadglass.dicom.levels import ORDER, UNIQUE_KEY, Root, above, levels_of
from leadglass.dicom.matching import DATE_OF, Items, Match, Single, UidList, Universal, combined, items_of, parse_match
from leadglass.dicom.syntax import encoding_of, is_deflated
from leadglass.dicom.text import decode, encode, encodings_of, is_known
from leadglass.dicom.tokens import Kind
from leadglass.dicom.uid import Uid
from leadglass.dicom.vr import CHARSET_DEPENDENT, LONG_FORM_NAMES, SPECIFIC_CHARACTER_SET
from leadglass.errors import BadQuery
from leadglass.vocabulary import Level

MAX_IDENTIFIER_BYTES: Final = 1024 * 1024
"""A UID list of 16,000 entries fits."""

_MAX_KEYS: Final = 1024
_MAX_KEY_BYTES: Final = 512 * 1024
_LEVEL_TAG: Final = 0x00080052
_COUNTED_AT: Final = frozenset(entry.keyword for level in Level for entry in COMPUTED[level])
_BY_DOOR: Final = frozenset(entry.keyword for entry in DOOR)


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for, at which level, and what to give back of each match.

    `keys` holds no Universal; `returns` holds keywords of `attributes` in the order of their tags; `unsupported` the tags we do not know.
    """

    level: Level
    keys: Mapping[str, Match]
    returns: tuple[str, ...]
    limit: int | None = None
    offset: int = 0
    unsupported: tuple[int, ...] = ()
    character_set: bytes = b""
    """The Specific Character Set in which it was asked, in which it is answered too where that can say it."""

    def __repr__(self) -> str:
        return f"Query(level={self.level}, keys={sorted(self.keys)})"  # what is asked for is often a patient's name


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instances a retrieve names; an empty tuple restricts nothing at its level, but something is always named."""

    studies: tuple[Uid, ...] = ()
    series: tuple[Uid, ...] = ()
    instances: tuple[Uid, ...] = ()
    patient_id: str | None = None

    def __post_init__(self) -> None:
        if not (self.studies or self.series or self.instances or self.patient_id):
            raise ValueError("a selection that names nothing would mean the whole archive")

    def __repr__(self) -> str:
        return f"Selection({len(self.studies)} studies, {len(self.series)} series, {len(self.instances)} instances)"


def query_from_identifier(data: bytes, transfer_syntax: str, root: Root, *, relational: bool = False, combine: bool = False) -> Query:
    """The query in a C-FIND request's identifier; BadQuery where PS3.4 C.4.1 does not allow it, BadDataSet where nothing can be read.

    `relational` lets the unique keys above the level be missing, `combine` makes one range of moments of a date's and its time's: both
    only where they were negotiated (PS3.4 C.5.1.1).
    """
    asked = _read(data, transfer_syntax, root)
    level = asked.level
    keys: dict[str, Match] = {}
    for keyword, text in asked.texts.items():
        match = parse_match(keyword, text) if keyword not in _BY_DOOR else Universal()
        if not isinstance(match, Universal) and _searchable(keyword, level):
            keys[keyword] = match
    for keyword, items in asked.items.items():
        inner = tuple((each, match) for each, text in items.items() if not isinstance(match := parse_match(each, text), Universal))
        if inner and _searchable(keyword, level):
            keys[keyword] = Items(inner)
    for time, date in DATE_OF.items():
        if combine and time in keys and date in keys:
            keys[time] = combined(keys[date], keys[time])
    for upper in above(level, root):
        if not isinstance(keys.get(UNIQUE_KEY[upper]), Single) and not relational:
            raise BadQuery(f"one value is needed for {UNIQUE_KEY[upper]}, without wildcards (PS3.4 C.4.1.3.1.1)")
    named = [*asked.texts, *asked.items]
    known = {keyword for keyword in named if keyword in _BY_DOOR or _belongs(keyword, level)}
    returns = tuple(sorted(known, key=lambda keyword: BY_KEYWORD[keyword].tag))
    below = [BY_KEYWORD[keyword].tag for keyword in named if keyword not in known]
    unsupported = tuple(sorted([*asked.unsupported, *below]))
    return Query(level, keys, returns, unsupported=unsupported, character_set=asked.character_set)


def _belongs(keyword: str, level: Level) -> bool:
    # An attribute of a level above describes the entity as well; what lies below would have many values.
    return ORDER.index(BY_KEYWORD[keyword].level) <= ORDER.index(level)


def _searchable(keyword: str, level: Level) -> bool:
    # Of what is counted, only what says what a study holds can be searched for (PS3.4 C.3.4).
    return _belongs(keyword, level) and (keyword not in _COUNTED_AT or keyword in {"ModalitiesInStudy", "SOPClassesInStudy"})


def selection_from_identifier(data: bytes, transfer_syntax: str, root: Root, *, relational: bool = False) -> tuple[Level, Selection]:
    """The level and the instances that a C-GET or C-MOVE identifier names.

    BadQuery where PS3.4 C.4.2.1.4, C.4.3.1.3 do not allow it, BadDataSet where nothing can be read. `relational`: as for a query, the keys
    above the level may be missing.
    """
    asked = _read(data, transfer_syntax, root)
    level, texts = asked.level, asked.texts
    uids: dict[Level, tuple[Uid, ...]] = {}
    patient_id = texts.get(UNIQUE_KEY[Level.PATIENT], "").strip() or None
    for upper in (*above(level, root), level):
        if relational and upper is not level and not texts.get(UNIQUE_KEY[upper], "").strip():
            continue
        if upper is Level.PATIENT:
            if patient_id is None or "\\" in patient_id:
                raise BadQuery("a retrieve in the patient root must name one PatientID (PS3.4 C.4.3.1.3)")
            continue
        match = parse_match(UNIQUE_KEY[upper], texts.get(UNIQUE_KEY[upper], ""))
        if isinstance(match, Single):
            uids[upper] = (Uid(match.value),)
        elif isinstance(match, UidList) and upper is level:
            uids[upper] = tuple(Uid(uid) for uid in match.uids)
        else:
            raise BadQuery(f"a {level} retrieve must name {UNIQUE_KEY[upper]}, a list at its own level alone (PS3.4 C.4.3.1.3)")
    return level, Selection(
        uids.get(Level.STUDY, ()), uids.get(Level.SERIES, ()), uids.get(Level.IMAGE, ()), patient_id if root is Root.PATIENT else None
    )


@dataclass
class _Asked:
    """An identifier's keys: texts of those that we know, of the first item of each sequence that we know, tags of the others."""

    level: Level
    character_set: bytes
    texts: dict[str, str] = field(default_factory=dict)
    items: dict[str, dict[str, str]] = field(default_factory=dict)
    unsupported: list[int] = field(default_factory=list)


def _read(data: bytes, transfer_syntax: str, root: Root) -> _Asked:
    if len(data) > MAX_IDENTIFIER_BYTES:
        raise BadQuery(f"the identifier is longer than {MAX_IDENTIFIER_BYTES} bytes; ask in several queries")
    raw, items = _elements_of(data, transfer_syntax)
    little = encoding_of(transfer_syntax).little
    character_set = raw.pop(SPECIFIC_CHARACTER_SET, b"").strip(b"\0 ")
    encodings = encodings_of(character_set)
    raw.pop(0x00080201, None)  # TimezoneOffsetFromUTC: times are compared as they stand
    text = raw.pop(_LEVEL_TAG, b"").strip(b"\0 ").decode("ascii", "replace")
    if text not in {level.value for level in levels_of(root)}:
        raise BadQuery(f"QueryRetrieveLevel is not one of {', '.join(levels_of(root))} (PS3.4 C.6)")
    asked = _Asked(Level(text), character_set)
    for tag, value in raw.items():
        entry = BY_TAG.get(tag)
        if entry is None:
            if tag & 0xFFFF:  # a group length asks for nothing
                asked.unsupported.append(tag)
        elif entry.items:
            known = {inner.tag: inner.keyword for inner in entry.items}
            found = items.get(tag, {})
            asked.items[entry.keyword] = {known[inner]: decode(text, encodings) for inner, text in found.items() if inner in known}
            asked.unsupported += [tag] if found.keys() - known else []
        elif entry.vr == "US":
            asked.texts[entry.keyword] = str(int.from_bytes(value[:2], "little" if little else "big")) if value else ""
        else:
            asked.texts[entry.keyword] = decode(value, encodings, name=entry.vr == "PN")
    return asked


def _elements_of(data: bytes, transfer_syntax: str) -> tuple[dict[int, bytes], dict[int, dict[int, bytes]]]:
    # The values at the top, those of sequences being empty, and the values in the first item of each sequence at the top.
    raw: dict[int, bytes] = {}
    items: dict[int, dict[int, bytes]] = {}
    if is_deflated(transfer_syntax):
        raise BadQuery("a deflated identifier; no query is large enough for that")
    elements = Elements(io.BytesIO(_without_file_header(data, transfer_syntax)), transfer_syntax)
    opened = 0
    for count, token in enumerate(elements):
        if count > _MAX_KEYS:
            raise BadQuery("the identifier holds more keys than anybody can mean; ask for less")
        if token.depth == 0 and token.kind in {Kind.ELEMENT, Kind.SEQUENCE}:
            if token.tag in raw:
                raise BadQuery("a key stands twice in the identifier")
            raw[token.tag] = elements.value(token, _MAX_KEY_BYTES) if token.kind is Kind.ELEMENT else b""
            opened = token.tag
        elif token.kind is Kind.ITEM and token.depth == 0:
            if opened in items:
                raise BadQuery("a sequence to be matched has more than one item (PS3.4 C.2.2.2.6)")
            items[opened] = {}
        elif token.kind is Kind.ELEMENT and token.depth == _IN_AN_ITEM and opened in items:
            items[opened][token.tag] = elements.value(token, _MAX_KEY_BYTES)
    return raw, items


_IN_AN_ITEM: Final = 1
_DATA_SETS_BEGIN: Final = 0x0004


def _without_file_header(data: bytes, transfer_syntax: str) -> bytes:
    # Orthanc 1.10.1 begins an identifier of level IMAGE with an empty element of group 0002, which belongs to files alone.
    encoding = encoding_of(transfer_syntax)
    order = "<" if encoding.little else ">"
    at = 0
    while len(data) >= at + 12 and struct.unpack_from(order + "H", data, at)[0] < _DATA_SETS_BEGIN:
        if not encoding.explicit:
            at += 8 + int(struct.unpack_from(order + "I", data, at + 4)[0])
        elif data[at + 4 : at + 6].decode("latin-1") in LONG_FORM_NAMES:
            at += 12 + int(struct.unpack_from(order + "I", data, at + 8)[0])
        else:
            at += 8 + int(struct.unpack_from(order + "H", data, at + 6)[0])
    return data[at:]


class IdentifierWriter:
    """Writes matches as identifiers of C-FIND responses (PS3.4 C.4.1.1.3.2): what was asked for, empty where the record has nothing.

    Characters are in the set in which the query was asked where that can say the record, else in UTF-8 (ISO_IR 192), which can say all.
    """

    def __init__(self, query: Query, transfer_syntax: str) -> None:
        encoding = encoding_of(transfer_syntax)
        self._explicit, self._little = encoding.explicit, encoding.little
        self._asked = query.character_set if is_known(query.character_set) else b"ISO_IR 192"
        unique = (UNIQUE_KEY[level] for level in ORDER if level is not Level.PATIENT and ORDER.index(level) <= ORDER.index(query.level))
        entries = sorted((BY_KEYWORD[keyword] for keyword in {*query.returns, *unique}), key=lambda entry: entry.tag)
        level = self._element(_LEVEL_TAG, "CS", query.level.encode())
        self._before = [entry for entry in entries if entry.tag < _LEVEL_TAG]
        self._after = [entry for entry in entries if entry.tag > _LEVEL_TAG]
        self._level = level

    def write(self, record: Mapping[str, str]) -> bytes:
        """One match, keyword to text, as an identifier."""
        try:
            return self._written(record, self._asked)
        except UnicodeEncodeError:
            return self._written(record, b"ISO_IR 192")

    def _written(self, record: Mapping[str, str], character_set: bytes) -> bytes:
        fields = [self._element(SPECIFIC_CHARACTER_SET, "CS", character_set)] if character_set else []
        fields += [self._field(entry, record.get(entry.keyword, ""), character_set) for entry in self._before]
        fields.append(self._level)
        fields += [self._field(entry, record.get(entry.keyword, ""), character_set) for entry in self._after]
        return b"".join(fields)

    def _field(self, entry: Attribute, text: str, character_set: bytes) -> bytes:
        if entry.items:
            return self._element(entry.tag, "SQ", b"".join(self._item(entry, item, character_set) for item in items_of(text)))
        if entry.vr == "US":
            value = struct.pack("<H" if self._little else ">H", int(text) & 0xFFFF) if text.strip().isdecimal() else b""
        elif text.isascii():
            value = text.encode("ascii")
        elif entry.vr in CHARSET_DEPENDENT:
            value = encode(text, character_set, name=entry.vr == "PN")
        else:
            value = text.encode("ascii", "replace")
        return self._element(entry.tag, entry.vr, value)

    def _item(self, entry: Attribute, item: Mapping[str, str], character_set: bytes) -> bytes:
        inner = b"".join(self._field(each, item[each.keyword], character_set) for each in entry.items if each.keyword in item)
        return struct.pack("<HHI" if self._little else ">HHI", 0xFFFE, 0xE000, len(inner)) + inner

    def _element(self, tag: int, vr: str, value: bytes) -> bytes:
        if len(value) % 2:
            value += b"\0" if vr == "UI" else b" "
        order = "<" if self._little else ">"
        head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if not self._explicit:
            return head + struct.pack(order + "I", len(value)) + value
        if vr in LONG_FORM_NAMES:
            return head + vr.encode() + b"\0\0" + struct.pack(order + "I", len(value)) + value
        return head + vr.encode() + struct.pack(order + "H", len(value)) + value
