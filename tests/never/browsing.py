"""Everything that can be asked at the pages by whoever has signed in, and every byte that comes back."""

import re
from collections.abc import Iterator
from urllib.parse import urlencode

from tests.archives import PASSWORD, ArchiveUnderTest
from tests.never import canary
from tests.never.asking import MISSING_UID, Exchange, Web
from tests.never.canary import CANARY, CANARY_UID, VISIBLE, VISIBLE_UID
from tests.never.house import House

TOKEN = re.compile(rb'name="token" value="([0-9a-f]{64})"')
_MOMENT = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_sessions: dict[tuple[int, str], tuple[str, str]] = {}
"""The cookie and the token of a session, by process and name: a recovery code is good once."""

SEARCHES: tuple[dict[str, str], ...] = (
    {"clear": "1"},
    {"name": canary.CANARY_NAME.replace("^", " ")},
    {"name": "*Xav"},
    {"name": "Offenbarer"},
    {"patient": canary.CANARY_ID},
    {"patient": canary.VISIBLE_ID},
    {"accession": canary.CANARY_ACCESSION},
    {"accession": "*"},
    {"until": "1960-01-01"},
    {"since": "1952-06-17", "until": "1952-06-17"},
    {"since": "2018-12-01"},
    {"modality": "MR"},
    {"modality": "CT,MR"},
    {"modality": "*"},
    {"page": "1"},
    {"since": "x"},
)

ADMINISTRATION = ("/people", "/people/anna", "/people/adam", "/people/nobody", "/peers", "/peers/STORER", "/peers/NOBODY", "/authority.pem")
CHANGES: tuple[dict[str, str], ...] = (
    {"do": "hold"},
    {"do": "roles", "role-clinician": "1"},
    {"do": "attribute", "attribute": "modality", "values": "MR"},
    {"do": "factor"},
    {"do": "nothing"},
    {"do": "revoke"},
    {"name": "MALLORY", "addresses": "127.0.0.0/8", "proof": "nothing"},
    {"name": "mallory", "role": "nothing"},
)
"""Of people and peers; an administrator only asks for them and does not agree, so that nothing is changed for who comes after."""


def _signed_in(house: House, archive: ArchiveUnderTest, web: Web, name: str) -> tuple[str, str]:
    assert archive.process is not None
    kept = _sessions.get((archive.process.pid, name))
    if kept is None:
        entrance = web.ask("GET", "/sign-in")
        form, (token,) = re.findall(rb"(__Host-form=[^;]+);", entrance)[0].decode(), TOKEN.findall(entrance)[:1]
        codes, answer = house.recovery[name], b""
        for code in (codes[0], codes[1]):
            # Each copy of the house knows all of them; the first may be used up where the archive was stopped and started.
            fields = {"user": name, "password": PASSWORD, "code": code, "token": token.decode()}
            answer = web.ask("POST", "/sign-in", _posting(archive, form), urlencode(fields).encode())
            if cookie := re.search(rb"(__Host-session=[^;]+); Path=/; Secure; HttpOnly; SameSite=Strict\r", answer):
                break
        else:
            raise AssertionError(answer[:300])
        shown = cookie[1].decode()
        page = web.ask("GET", "/nothing", {"Cookie": shown})
        kept = _sessions[archive.process.pid, name] = shown, TOKEN.findall(page)[0].decode()
    return kept


def _posting(archive: ArchiveUnderTest, cookie: str) -> dict[str, str | None]:
    return {"Cookie": cookie, "Origin": archive.words["web"], "Content-Type": "application/x-www-form-urlencoded"}


def plain(received: bytes) -> bytes:
    """An answer without what is another at another time."""
    return _MOMENT.sub(b"MOMENT", TOKEN.sub(b"TOKEN", received))


def by_pages(house: House, archive: ArchiveUnderTest) -> Iterator[Exchange]:
    """The requests of everyone who has signed in; whoever searches for a patient has said himself what the form repeats."""
    web = Web(archive)
    uids = [f"{CANARY_UID}.{study}" for study in (1, 2, 3, 4)] + [f"{MISSING_UID}.1", f"{VISIBLE_UID}.1", f"{VISIBLE_UID}.2", "x", "1..2"]
    studies = [f"/studies/{uid}{below}" for uid in uids for below in ("", "/accesses", "/series")]
    for name in ("anna", "bert", "tessa", "adam", "udo"):
        cookie, token = _signed_in(house, archive, web, name)
        sees = name in {"anna", "bert"}
        forbidden = (CANARY,) if sees else (CANARY, VISIBLE)
        for path in ("/", *studies, "/trail/", "/sign-in", "/language", "/nothing"):
            yield Exchange(f"{name} pages GET {path}", plain(web.ask("GET", path, {"Cookie": cookie})), forbidden)
        for method in ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
            asked = web.ask(method, studies[0], {**_posting(archive, cookie), "Sec-Fetch-Site": "same-origin"})
            yield Exchange(f"{name} pages {method}", plain(asked), forbidden)
        for path in ADMINISTRATION:
            shown = plain(web.ask("GET", path, {"Cookie": cookie}))
            # What to enter at a device is the door of this one archive of the two.
            port = archive.words["dimse"].rpartition(":")[2].encode()
            yield Exchange(f"{name} pages GET {path}", shown.replace(b"<code>" + port, b"<code>PORT"), forbidden)
            for change in CHANGES if name == "adam" else (*CHANGES, *({**each, "sure": "1"} for each in CHANGES)):
                body = urlencode({"token": token, **change}).encode()
                yield Exchange(f"{name} pages {path} {change}", plain(web.ask("POST", path, _posting(archive, cookie), body)), forbidden)
        for search in SEARCHES:
            said = frozenset(text for patient in forbidden for text in patient.texts if any(text in value for value in search.values()))
            body = urlencode({"token": token, **search}).encode()
            for answer in (web.ask("POST", "/", _posting(archive, cookie), body), web.ask("GET", "/", {"Cookie": cookie})):
                yield Exchange(f"{name} pages {search}", plain(answer), forbidden, said)
    web.close()
