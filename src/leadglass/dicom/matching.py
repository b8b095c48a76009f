"""The matching of PS3.4 C.2.2.2 as values and one reference meaning; the index must give the same answers in SQL.

Both sides are brought into one normal form first, so that comparing is comparing strings: see `normalise` and `name_groups`.

Where the standard leaves a choice: person names match without regard to case and accents, everything else exactly; times and
date-times match by the point in time, an imprecise end of a range reaches to the end of what it leaves open ("10-11" holds 11:59).
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from leadglass.dicom.attributes import attribute
from leadglass.dicom.uid import Uid
from leadglass.errors import BadQuery, InvalidUid

MAX_KEY_LENGTH: Final = 64 * 1024
"""Longer than any list of UIDs that PS3.8 peers send; a key beyond it is refused."""

MAX_STARS: Final = 16
"""Matching costs the length of the value once per asterisk; no name or id has so many parts."""

_WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""PS3.4 C.2.2.2.4: no dates, times, numbers or UIDs."""

_MIDNIGHT, _LAST_MOMENT = "000000.000000", "235959.999999"


@dataclass(frozen=True, slots=True)
class Universal:
    """Everything matches, also what is absent (PS3.4 C.2.2.2.3)."""


@dataclass(frozen=True, slots=True)
class Single:
    """The one value (PS3.4 C.2.2.2.1)."""

    value: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    r"""One of several codes, as viewers ask for `CT\MR` (PS3.4 C.2.2.2.7)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UidList:
    """One of several UIDs (PS3.4 C.2.2.2.2)."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`*` is any run of characters, `?` any one (PS3.4 C.2.2.2.4)."""

    pattern: str

    def like(self) -> str:
        r"""The pattern of SQL's LIKE, to be used with ESCAPE '\'.

        >>> print(Wildcard("50%_a*b?").like())
        50\%\_a%b_
        """
        escaped = re.sub(r"([\\%_])", r"\\\1", self.pattern)
        return escaped.replace("*", "%").replace("?", "_")

    @property
    def prefix(self) -> str:
        """What every match begins with."""
        return re.split(r"[*?]", self.pattern, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Range:
    """Between two points, both inclusive, one of them possibly open (PS3.4 C.2.2.2.5)."""

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class NameGroups:
    """A person name asked for by more than one of its component groups: each must match its own (PS3.5 6.2.1)."""

    groups: tuple["Match", "Match", "Match"]


@dataclass(frozen=True, slots=True)
class Items:
    """One item of a sequence in which every key matches (PS3.4 C.2.2.2.6); `keys` holds no Universal."""

    keys: tuple[tuple[str, "Match"], ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """The time beside a range of dates, where both are one range of moments (PS3.4 C.2.2.2.5, combined date-time matching).

    `low` and `high` are a date and a time each, None where the range is open; the range of dates is tested on its own.
    """

    low: tuple[str, str] | None
    high: tuple[str, str] | None

    def hold(self, date: str, time: str) -> bool:
        """Whether a moment, in normal form, is within; of a day that is within altogether the time does not matter."""
        moment = date, time
        return bool(date) and (self.low is None or moment >= self.low) and (self.high is None or moment <= self.high)


Match = Universal | Single | AnyOf | UidList | Wildcard | Range | NameGroups | Items | Moments

UNIVERSAL: Final = Universal()


def name_groups(value: str) -> tuple[str, str, str]:
    """A person name as (alphabetic, ideographic, phonetic), each case-folded, without accents and trailing empty components.

    >>> name_groups("Müller^Jürgen^^^=")
    ('muller^jurgen', '', '')
    """
    parts = [_fold_name(part) for part in value.split("=")[:3]]
    parts += [""] * (3 - len(parts))
    return parts[0], parts[1], parts[2]


def _fold_name(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.strip(" \0"))
    # Classes from 200 up are marks above and below a letter: accents. The voicing marks of kana and the vowel signs of Indic scripts are
    # below that, and part of the spelling.
    bare = "".join(letter for letter in decomposed if unicodedata.combining(letter) < 200)
    folded = unicodedata.normalize("NFC", bare.casefold())
    return "^".join(" ".join(component.split()) for component in folded.split("^")).rstrip("^ ")


def normalise(keyword: str, value: str) -> str:
    """One stored component in the form that is compared; person names by their alphabetic group (all: `name_groups`).

    >>> normalise("StudyDate", "2004.01.19"), normalise("StudyTime", "0727"), normalise("SeriesNumber", " +01")
    ('20040119', '072700.000000', '1')
    """
    vr = attribute(keyword).vr
    text = value.strip(" \0")
    if vr == "PN":
        return name_groups(text)[0]
    if vr == "DA":
        return text.replace(".", "") if re.fullmatch(r"\d{4}\.\d\d\.\d\d", text) else text
    if vr == "TM":
        return _point_of_time(text) or text
    if vr in {"IS", "US"}:
        return str(int(text)) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text
    return text


def parse_match(keyword: str, text: str) -> Match:
    r"""What a key's text asks for; BadQuery if PS3.4 C.2.2.2 knows no such matching for its VR.

    >>> parse_match("StudyDate", "20200101-")
    Range(low='20200101', high=None)
    >>> parse_match("PatientName", "DOE^J*")
    Wildcard(pattern='doe^j*')
    """
    if len(text) > MAX_KEY_LENGTH:
        raise BadQuery(f"the key {keyword} is longer than {MAX_KEY_LENGTH} characters; ask in several queries")
    vr = attribute(keyword).vr
    text = text.strip(" \0")
    if not text.strip("*"):
        return UNIVERSAL
    if vr == "UI":
        return _parse_uids(keyword, text)
    if vr in {"DA", "TM"}:
        return _parse_moment(keyword, vr, text)
    if vr == "PN":
        return _parse_name(text)
    if "\\" in text:
        if vr != "CS":
            raise BadQuery(f"the key {keyword} has several values; only UIDs and codes can be asked for so (PS3.4 C.2.2.2)")
        return _parse_codes(keyword, text)
    return _parse_text(vr, normalise(keyword, text))


def _parse_text(vr: str, text: str) -> Match:
    if vr not in _WILDCARD_VRS or not ("*" in text or "?" in text):
        return Single(text)
    pattern = re.sub(r"\*+", "*", text)
    if pattern.count("*") > MAX_STARS:
        raise BadQuery(f"a key holds more than {MAX_STARS} asterisks; ask for less, or for everything with one")
    return Wildcard(pattern)


def _parse_codes(keyword: str, text: str) -> Match:
    codes = tuple(dict.fromkeys(code.strip() for code in text.split("\\") if code.strip()))
    if any("*" in code or "?" in code for code in codes):
        raise BadQuery(f"the key {keyword} mixes a list with wildcards; give one or the other (PS3.4 C.2.2.2)")
    return AnyOf(codes) if len(codes) > 1 else Single(codes[0]) if codes else UNIVERSAL


def _parse_uids(keyword: str, text: str) -> Match:
    try:
        uids = tuple(dict.fromkeys(Uid(part.strip(" \0")) for part in text.split("\\") if part.strip(" \0")))
    except InvalidUid:
        raise BadQuery(f"the key {keyword} holds something that is not a UID; wildcards do not match UIDs (PS3.4 C.2.2.2.4)") from None
    if not uids:
        return UNIVERSAL
    return UidList(uids) if len(uids) > 1 else Single(uids[0])


def _parse_name(text: str) -> Match:
    groups = name_groups(text)
    if not "".join(groups).strip("*"):
        return UNIVERSAL
    if "=" not in text:
        return _parse_text("PN", groups[0])
    alphabetic, ideographic, phonetic = (_parse_text("PN", group) if group.strip("*") else UNIVERSAL for group in groups)
    return NameGroups((alphabetic, ideographic, phonetic))


def _parse_moment(keyword: str, vr: str, text: str) -> Match:
    first, last = (_date, _date) if vr == "DA" else (_point_of_time, _end_of_time)
    low, hyphen, high = (part.strip() for part in text.partition("-"))
    if not hyphen:
        point = first(low)
        if point is None:
            raise _not_a_moment(keyword)
        return Single(point)
    start, end = first(low), last(high)
    if (low and start is None) or (high and end is None) or not (low or high):
        raise _not_a_moment(keyword)
    return Range(start, end)


DATE_OF: Final = {
    "StudyTime": "StudyDate",
    "SeriesTime": "SeriesDate",
    "ContentTime": "ContentDate",
    "PerformedProcedureStepStartTime": "PerformedProcedureStepStartDate",
}
"""The date to which each time belongs."""


def combined(date: Match, time: Match) -> Match:
    """What a key of time means beside one of date when both are combined (PS3.4 C.2.2.2.5): one range of moments where both are ranges.

    >>> combined(Range("20200101", "20200103"), Range("100000.000000", None))
    Moments(low=('20200101', '100000.000000'), high=None)
    """
    if not isinstance(date, Range) or not isinstance(time, Range):
        return time
    low = (date.low, time.low) if date.low is not None and time.low is not None else None
    high = (date.high, time.high) if date.high is not None and time.high is not None else None
    return Moments(low, high)


def _not_a_moment(keyword: str) -> BadQuery:
    return BadQuery(f"the key {keyword} is neither a date or time nor a range of them; write YYYYMMDD or HHMMSS, with a hyphen for ranges")


def _date(text: str) -> str | None:
    digits = normalise("StudyDate", text)
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    # 19000230 is kept: days that do not exist stand in real headers, and comparing digits needs no calendar.
    return digits


_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII)


def _point_of_time(text: str) -> str | None:
    return _filled_time(text, _MIDNIGHT)


def _end_of_time(text: str) -> str | None:
    return _filled_time(text, _LAST_MOMENT)


@lru_cache(maxsize=4096)
def _filled_time(text: str, fill: str) -> str | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    digits = hour + (minute or "") + (second or "")
    if fraction is None:
        return digits + fill[len(digits) :]
    return f"{digits}.{fraction}{fill[7 + len(fraction) :]}"


def matches(keyword: str, match: Match, value: str) -> bool:
    """Whether a stored text matches: the reference meaning. Absent and empty values match universally only.

    >>> matches("PatientName", parse_match("PatientName", "muller*"), "MÜLLER^JÜRGEN")
    True
    """
    if isinstance(match, Universal):
        return True
    if isinstance(match, Items):
        return any(all(matches(inner, wanted, item.get(inner, "")) for inner, wanted in match.keys) for item in items_of(value))
    if attribute(keyword).vr == "PN":
        return any(_name_matches(match, component) for component in value.split("\\"))
    return any(_matches_text(match, normalise(keyword, component)) for component in value.split("\\"))


def items_of(value: str) -> list[dict[str, str]]:
    """The items of a sequence's text, as `dicom.header` writes it.

    >>> items_of('[{"CodeValue":"X"}]'), items_of("")
    ([{'CodeValue': 'X'}], [])
    """
    items: list[dict[str, str]] = json.loads(value) if value else []
    return items


def _name_matches(match: Match, value: str) -> bool:
    groups = name_groups(value)
    if isinstance(match, NameGroups):
        return all(
            isinstance(wanted, Universal) or _matches_text(wanted, group) for wanted, group in zip(match.groups, groups, strict=True)
        )
    return any(_matches_text(match, group) for group in groups)


def _matches_text(match: Match, text: str) -> bool:
    if not text:
        return False
    match match:
        case Single(value):
            return text == value
        case AnyOf(values) | UidList(values):
            return text in values
        case Wildcard(pattern):
            return _glob(pattern, text)
        case Range(low, high):
            return (low is None or low <= text) and (high is None or text <= high)
        case _:
            return True


def _glob(pattern: str, text: str) -> bool:
    # Greedy with one point of return: at most len(pattern) * len(text) steps, where a regular expression may backtrack for ever.
    at = position = mark = 0
    star = -1
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in {"?", text[position]}:
            at += 1
            position += 1
        elif star >= 0:
            mark += 1
            at, position = star + 1, mark
        else:
            return False
    return not pattern[at:].strip("*")
