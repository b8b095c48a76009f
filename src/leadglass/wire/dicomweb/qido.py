"""Search (PS3.18 10.6): the query parameters as one `Query`, one page of matches as DICOM JSON.

A page is made whole before its first byte is sent: it is bounded by the largest limit, and whether it was cut stands in a header field.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.responses import Response

from leadglass.dicom.attributes import BY_KEYWORD, BY_TAG, COMPUTED, INDEXED, UNIQUE_KEY, Attribute, attribute
from leadglass.dicom.dictionary import tag_of
from leadglass.dicom.jsonmodel import record_to_json
from leadglass.dicom.levels import ORDER
from leadglass.dicom.matching import Items, Match, Universal, parse_match
from leadglass.dicom.query import Query
from leadglass.errors import BadQuery, NotIdentified
from leadglass.vocabulary import Level
from leadglass.wire.dicomweb.accept import DICOM_JSON, require_json
from leadglass.wire.dicomweb.call import Call
from leadglass.wire.dicomweb.problems import BadRequest

MAX_PARAMETERS: Final = 200
MAX_OFFSET: Final = 2**31 - 1

_PATH: Final = {Level.STUDY: "study", Level.SERIES: "series", Level.IMAGE: "instance"}
_SEARCHED: Final = (Level.STUDY, Level.SERIES, Level.IMAGE)
_MATCHED_THOUGH_COMPUTED: Final = frozenset({"ModalitiesInStudy", "SOPClassesInStudy"})

_RETURNED: Final[Mapping[Level, tuple[str, ...]]] = {
    Level.STUDY: (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesDescription",
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
    ),
    Level.IMAGE: ("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"),
}
"""What is returned unasked (PS3.18 Tables 10.6.3-3 to 10.6.3-5)."""


def _down_to(level: Level, table: Mapping[Level, tuple[Attribute, ...]]) -> tuple[Attribute, ...]:
    return tuple(entry for each in ORDER[: ORDER.index(level) + 1] for entry in table[each])


_DESCRIBING: Final = {
    # What counts over a patient's studies is left to the patient root, which DICOMweb does not have.
    level: _down_to(level, INDEXED) + tuple(entry for entry in _down_to(level, COMPUTED) if entry.level is not Level.PATIENT)
    for level in _SEARCHED
}
"""What can be returned at each level."""
_MATCHED: Final = {
    level: frozenset(
        (*_down_to(level, INDEXED), *(entry for entry in _DESCRIBING[level] if entry.keyword in _MATCHED_THOUGH_COMPUTED)),
    )
    for level in _SEARCHED
}
"""What can be searched for at each level."""


async def search_studies(call: Call) -> Response:
    """GET /studies."""
    return await _search(call, Level.STUDY)


async def search_series(call: Call) -> Response:
    """GET /series and /studies/{study}/series."""
    return await _search(call, Level.SERIES)


async def search_instances(call: Call) -> Response:
    """GET /instances and below a study or a series."""
    return await _search(call, Level.IMAGE)


async def _search(call: Call, level: Level) -> Response:
    require_json(call.accepted())
    given = {each: str(uid) for each in _SEARCHED if (uid := call.uid(_PATH[each])) is not None}
    asked = parse(call.request.url.query, level, given, call.settings.default_limit, call.settings.largest_limit)
    records, cut = await call.workers.run(lambda: _page(call, asked.query))
    if not call.session.is_current():
        # Found for somebody who was shut out meanwhile: a long search is work under way as well.
        raise NotIdentified("no longer identified")
    warnings = list(asked.warnings)
    if cut:
        warnings.append("There are additional results that can be requested; repeat the query with a larger offset.")
    fields = {"Warning": ", ".join(f'299 {call.base}: "{warning}"' for warning in warnings)} if warnings else {}
    if not records:
        return Response(status_code=204, headers=fields)
    return Response(records, media_type=DICOM_JSON, headers=fields)


def _page(call: Call, query: Query) -> tuple[bytes, bool]:
    """The matches as one JSON array, empty bytes if there are none; and whether there are more."""
    rows = []
    with call.session.find(query) as found:
        for record in found:
            row = record_to_json(record) | _door_says(call.base, query.level, record)
            rows.append(json.dumps(dict(sorted(row.items())), ensure_ascii=False, separators=(",", ":")).encode())
        cut = found.cut
    return (b"[" + b",".join(rows) + b"]" if rows else b""), cut


def _door_says(base: str, level: Level, record: Mapping[str, str]) -> dict[str, Any]:
    url = base
    for each, name in ((Level.STUDY, "studies"), (Level.SERIES, "series"), (Level.IMAGE, "instances")):
        url += f"/{name}/{record[UNIQUE_KEY[each]]}"
        if each is level:
            break
    return {"00080056": {"vr": "CS", "Value": ["ONLINE"]}, "00081190": {"vr": "UR", "Value": [url]}}


@dataclass(frozen=True)
class Asked:
    """A search's parameters, understood: the query, and what is to be said about it."""

    query: Query
    warnings: list[str]


def parse(text: str, level: Level, path: Mapping[Level, str], default_limit: int, largest_limit: int) -> Asked:
    """The query string of a search at `level` below the UIDs of `path`; raises `BadQuery` and never repeats a value."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise BadRequest(400, f"the query is not percent-encoded UTF-8, or has more than {MAX_PARAMETERS} parameters") from None
    warnings: list[str] = []
    keys: dict[str, Match] = {UNIQUE_KEY[each]: parse_match(UNIQUE_KEY[each], uid) for each, uid in path.items()}
    items: dict[str, dict[str, Match]] = {}
    single: dict[str, str] = {}
    included: list[str] = []
    for name, value in pairs:
        if name == "includefield":
            included.extend(_included(value, level))
        elif name in {"limit", "offset", "fuzzymatching", "accept"}:
            if name in single:
                raise BadQuery(f"{name} is given twice")
            single[name] = value
        else:
            keyword, _, inner = name.partition(".")
            keyword = _key(keyword, level)
            if BY_KEYWORD[keyword].items:
                _add_to_items(items.setdefault(keyword, {}), BY_KEYWORD[keyword], inner, value)
                continue
            if inner:
                raise BadQuery(f"{keyword} is no sequence: nothing in it can be asked for")
            if keyword in keys:
                raise BadQuery(f"{keyword} is given twice, or by the path and by the query; give it once")
            keys[keyword] = _match(keyword, value)
    for keyword, inner_keys in items.items():
        wanted_items = tuple((inner, match) for inner, match in inner_keys.items() if not isinstance(match, Universal))
        keys[keyword] = Items(wanted_items) if wanted_items else Universal()
    if single.get("fuzzymatching", "false") not in {"true", "false"}:
        raise BadQuery("fuzzymatching is true or false")
    if single.get("fuzzymatching") == "true":
        warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    limit = min(_number("limit", single.get("limit"), default_limit), largest_limit)
    offset = _number("offset", single.get("offset"), 0)
    wanted = {*_returned(level, path), *included, *keys}
    returns = tuple(sorted(wanted, key=lambda keyword: BY_KEYWORD[keyword].tag))
    narrowing = {keyword: match for keyword, match in keys.items() if not isinstance(match, Universal)}
    return Asked(Query(level=level, keys=narrowing, returns=returns, limit=limit, offset=offset), warnings)


def _returned(level: Level, path: Mapping[Level, str]) -> list[str]:
    """Levels between the one named by the path and the one searched are described too (PS3.18 10.6.3.3.2)."""
    levels = _SEARCHED[: _SEARCHED.index(level) + 1]
    described = [keyword for each in levels if each is level or each not in path for keyword in _RETURNED[each]]
    return described + [UNIQUE_KEY[each] for each in levels]


def _lookup(name: str) -> Attribute | None:
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return BY_TAG.get(int(name, 16))
    return BY_KEYWORD.get(name)


def _key(name: str, level: Level) -> str:
    entry = _lookup(name)
    if entry is None or entry not in _MATCHED[level]:
        known = ", ".join(sorted(entry.keyword for entry in _MATCHED[level]))
        raise BadQuery(f"a parameter is none that is searched for here: {known}, includefield, limit, offset, fuzzymatching")
    return entry.keyword


def _add_to_items(keys: dict[str, Match], sequence: Attribute, name: str, value: str) -> None:
    """One key of a sequence's item, as in `RequestAttributesSequence.RequestedProcedureID=4711` (PS3.18 8.3.4.1)."""
    found = next((each for each in sequence.items if name in {each.keyword, f"{each.tag:08X}", f"{each.tag:08x}"}), None)
    if found is None:
        known = ", ".join(each.keyword for each in sequence.items)
        raise BadQuery(f"in {sequence.keyword} can be searched for {known}; write {sequence.keyword}.KEYWORD=VALUE")
    if found.keyword in keys:
        raise BadQuery(f"{sequence.keyword}.{found.keyword} is given twice")
    keys[found.keyword] = _match(found.keyword, value)


def _match(keyword: str, value: str) -> Match:
    if "\0" in value:
        # In a data set it is padding; here it would be taken off, and what is left would match everything.
        raise BadQuery(f"{keyword} holds a NUL; leave it out")
    # PS3.18 8.3.4.1 parts UIDs with commas, PS3.4 with backslashes; a code (PS3.5 6.2) can hold neither.
    return parse_match(keyword, value.replace(",", "\\") if attribute(keyword).vr in {"UI", "CS"} else value)


def _included(value: str, level: Level) -> list[str]:
    """Attributes that we do not index are left out, as PS3.18 8.3.4.3 has it; what DICOM does not know is an error."""
    keywords: list[str] = []
    for name in value.split(","):
        if name == "all":
            keywords.extend(entry.keyword for entry in _DESCRIBING[level])
            continue
        entry = _lookup(name)
        if entry is not None:
            if entry in _DESCRIBING[level]:
                keywords.append(entry.keyword)
        elif not re.fullmatch(r"[0-9A-Fa-f]{8}", name) and tag_of(name) is None:
            raise BadQuery("includefield is `all`, or DICOM keywords or tags of eight hexadecimal digits, parted by commas")
    return keywords


def _number(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) > MAX_OFFSET:
        raise BadQuery(f"{name} is a whole number from 0 to {MAX_OFFSET}")
    return int(text)
