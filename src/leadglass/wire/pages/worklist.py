"""The worklist: the studies that one may see, newest first, a page at a time."""

import re
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from leadglass.archive.archive import Record, Session
from leadglass.dicom.attributes import BY_KEYWORD
from leadglass.dicom.matching import Match, parse_match
from leadglass.dicom.query import Query
from leadglass.errors import BadInput, BadQuery
from leadglass.vocabulary import Action, Level
from leadglass.wire.pages.visit import Visit, elsewhere

PAGE: Final = 50
MOST_PAGES: Final = 100_000
MOST_LETTERS: Final = 128
TEMPLATE: Final = "worklist.html.j2"
SCRIPTS: Final = ("worklist.js",)
"""It searches as one types; where it does not run, a button does."""
FIELDS: Final = ("name", "patient", "accession", "since", "until", "modality")
RETURNS: Final = tuple(
    sorted(
        (
            "StudyDate",
            "AccessionNumber",
            "ModalitiesInStudy",
            "StudyDescription",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyInstanceUID",
            "NumberOfStudyRelatedSeries",
            "NumberOfStudyRelatedInstances",
        ),
        key=lambda keyword: BY_KEYWORD[keyword].tag,
    )
)


async def show(visit: Visit) -> Response:
    """GET /: what was last searched for in this session, or everything."""
    session = visit.known
    if not session.may(Action.FIND):
        if session.may(Action.READ_TRAIL):
            return elsewhere("/trail")
        if session.may(Action.ADMINISTER):
            return elsewhere("/people")
        return visit.page("said.html.j2", title=visit.words.worklist, sentence=visit.words.nothing_to_see)
    return await _answer(visit, session, visit.house.remembered.get(session.principal.credential))


async def search(visit: Visit) -> Response:
    """POST /: what is searched for is kept with the session, not in an address; then the worklist shows it."""
    session = visit.known
    before = visit.house.remembered.get(session.principal.credential)
    if "clear" in visit.form:
        asked: Mapping[str, str] = {}
    elif "page" in visit.form:
        asked = {**before, "page": visit.form["page"]}
    else:
        asked = {name: visit.form.get(name, "").strip() for name in FIELDS}
    try:
        query_of(asked)
    except BadInput:
        return visit.page(
            TEMPLATE, 400, scripts=SCRIPTS, asked=_filled(asked), rows=[], first=0, page=0, more=False, said=visit.words.bad_search
        )
    visit.house.remembered.put(session.principal.credential, asked)
    return elsewhere("/")


async def _answer(visit: Visit, session: Session, asked: Mapping[str, str]) -> Response:
    query = query_of(asked)
    rows, more = await visit.house.workers.run(lambda: _rows(session, query))
    page = query.offset // PAGE
    return visit.page(TEMPLATE, scripts=SCRIPTS, asked=_filled(asked), rows=rows, first=query.offset + 1, page=page, more=more, said="")


def _rows(session: Session, query: Query) -> tuple[list[Record], bool]:
    with session.find(query) as found:
        return list(found), found.cut


def _filled(asked: Mapping[str, str]) -> dict[str, str]:
    return {name: asked.get(name, "") for name in FIELDS}


def query_of(asked: Mapping[str, str]) -> Query:
    """The query that the fields of the form mean; raises `BadInput` and repeats no value.

    >>> query_of({"name": "doe john", "since": "2024-01-31"}).keys
    {'PatientName': Wildcard(pattern='doe*john*'), 'StudyDate': Range(low='20240131', high=None)}
    """
    if any(len(value) > MOST_LETTERS or "\0" in value for value in asked.values()):
        raise BadInput(f"a field has {MOST_LETTERS} characters at most")
    page = asked.get("page") or "0"
    if not re.fullmatch(r"[0-9]{1,6}", page, re.ASCII) or int(page) > MOST_PAGES:
        raise BadInput(f"a page is a number up to {MOST_PAGES}")
    keys: dict[str, Match] = {}
    if name := asked.get("name"):
        # A caret parts family and given name, an equals sign the groups: neither is typed. What parts words here matches both there.
        words = re.sub(r"[\s,^=\\]+", "*", name).strip("*") if name.strip("* ") else ""
        start = "*" if name.startswith("*") else ""
        keys["PatientName"] = _match("PatientName", f"{start}{words}*" if words else "*")
    for field, keyword in (("patient", "PatientID"), ("accession", "AccessionNumber")):
        if value := asked.get(field):
            keys[keyword] = _match(keyword, value if value.endswith("*") else f"{value}*")
    since, until = (_day(asked.get(field, "")) for field in ("since", "until"))
    if since or until:
        keys["StudyDate"] = _match("StudyDate", f"{since}-{until}")
    if modality := asked.get("modality"):
        keys["ModalitiesInStudy"] = _match("ModalitiesInStudy", modality.upper().replace(",", "\\").replace(" ", ""))
    narrowing = {keyword: match for keyword, match in keys.items() if match != parse_match(keyword, "")}
    return Query(Level.STUDY, narrowing, RETURNS, limit=PAGE, offset=int(page) * PAGE)


def _match(keyword: str, text: str) -> Match:
    if "\\" in text and keyword != "ModalitiesInStudy":
        raise BadQuery(f"{keyword} holds no backslash")
    return parse_match(keyword, text)


def _day(text: str) -> str:
    if text and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        raise BadQuery("a date is given as YYYY-MM-DD")
    return text.replace("-", "")
