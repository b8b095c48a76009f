"""The bounded scan of a data set's header: the indexed attributes, decoded to text, without touching anything behind the last of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from leadglass.dicom.attributes import BY_TAG, INDEXED_ITEMS, INDEXED_TAGS
from leadglass.dicom.push import Push
from leadglass.dicom.text import decode, encodings_of
from leadglass.dicom.tokens import Found
from leadglass.dicom.uid import Uid
from leadglass.dicom.vr import CHARSET_DEPENDENT, SPECIFIC_CHARACTER_SET
from leadglass.errors import BadDataSet, InvalidUid

WANTED: Final = INDEXED_TAGS | {SPECIFIC_CHARACTER_SET}
WANTED_ITEMS: Final = {tag: frozenset(entry.tag for entry in entries) for tag, entries in INDEXED_ITEMS.items()}
LAST_WANTED: Final = max(*WANTED, *WANTED_ITEMS)

MAX_HEADER_BYTES: Final = 4 * 1024 * 1024
"""What lies before the last indexed attribute; icons and private groups of scanners make some 100 KiB of it."""

_NO_CHARSET: Final = ("iso8859",)
_KEYWORD_AND_VR: Final = {tag: (BY_TAG[tag].keyword, BY_TAG[tag].vr) for tag in INDEXED_TAGS} | {
    SPECIFIC_CHARACTER_SET: ("SpecificCharacterSet", "CS")
}


class NeedMore:
    """The prefix ends before the last indexed attribute was passed; its one value is NEED_MORE."""

    __slots__ = ()


NEED_MORE: Final = NeedMore()


@dataclass(frozen=True, slots=True)
class Header:
    """What one object says of itself; `values` maps keywords to text, absent attributes being absent and empty ones "".

    Names keep their groups ("Yamada^Tarou=..."), several values are joined by backslashes, numbers are decimal; a sequence is a JSON array
    of its items, keyword to text each.
    """

    values: Mapping[str, str]
    study: Uid
    series: Uid
    instance: Uid
    sop_class: Uid

    def __repr__(self) -> str:
        return "Header(...)"  # values of a patient: nothing may print them by accident


def header_of(found: Found, *, little: bool) -> Header:
    """Decode what a walk found; BadDataSet if an identifying UID is missing, empty or no UID."""
    raw = found.values
    encodings = encodings_of(raw[SPECIFIC_CHARACTER_SET]) if SPECIFIC_CHARACTER_SET in raw else _NO_CHARSET
    values: dict[str, str] = {}
    for tag, value in raw.items():
        keyword, vr = _KEYWORD_AND_VR[tag]
        if vr == "US":
            values[keyword] = str(int.from_bytes(value[:2], "little" if little else "big")) if value else ""
        elif vr in CHARSET_DEPENDENT:
            values[keyword] = decode(value, encodings, name=vr == "PN")
        else:
            values[keyword] = decode(value, _NO_CHARSET).lstrip(" ")
    values.pop("SpecificCharacterSet", None)
    for tag, items in found.items.items():
        values[BY_TAG[tag].keyword] = _items_text(tag, items, encodings)
    return Header(
        MappingProxyType(values),
        _uid(values, "StudyInstanceUID"),
        _uid(values, "SeriesInstanceUID"),
        _uid(values, "SOPInstanceUID"),
        _uid(values, "SOPClassUID"),
    )


def _items_text(tag: int, items: Sequence[Mapping[int, bytes]], encodings: tuple[str, ...]) -> str:
    texts = [
        {entry.keyword: decode(item[entry.tag], encodings).strip(" ") for entry in INDEXED_ITEMS[tag] if entry.tag in item}
        for item in items
    ]
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":"))


def _uid(values: Mapping[str, str], keyword: str) -> Uid:
    try:
        return Uid(values.get(keyword, ""))
    except InvalidUid:
        raise BadDataSet(
            f"the data set has no {keyword}, or one that is not a UID: it cannot be told from other objects (PS3.5 9.1)"
        ) from None


def scan(prefix: bytes, transfer_syntax: str, *, complete: bool) -> Header | NeedMore:
    """The header of the data set that begins with `prefix` (deflated ones as received); `complete` says that nothing follows.

    BadDataSet as the grammar in `walk` says, or when the header is longer than MAX_HEADER_BYTES.
    """
    push = Push(transfer_syntax, wanted=WANTED, wanted_items=WANTED_ITEMS, stop=LAST_WANTED, only_wanted=True)
    push.feed(prefix)
    if complete and not push.found.passed:
        push.finish()
    if push.found.passed:
        return header_of(push.found, little=push.encoding.little)
    if len(prefix) > MAX_HEADER_BYTES:
        raise BadDataSet(f"the header goes on beyond {MAX_HEADER_BYTES} bytes; no known object has one so long")
    return NEED_MORE
