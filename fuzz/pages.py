"""What a browser sends to the pages: cookies, forms, searches, languages; read within bounds, or refused without repeating any of it."""

import re

from starlette.datastructures import Headers

from leadglass.errors import BadInput
from leadglass.wire.pages import entrance, forms, words, worklist
from leadglass.wire.pages.visit import SESSION

MARK = "zqxj"
_SHOWN = re.compile(rf"(?:^|[;\n])\s*__Host-{SESSION}(?:=|\s*(?=[;\n]|$))")
_LANGUAGE = re.compile(r"en|fr")


def target(data: bytes) -> None:
    """The first byte chooses the reader."""
    text = data[1:].decode("latin-1")
    reader = (_cookies, _form, _search, _language, _origin, _back)[(data[0] if data else 0) % 6]
    try:
        reader(text)
    except BadInput as refused:
        if MARK in str(refused):
            raise AssertionError(str(refused)) from refused
        raise


def _cookies(text: str) -> None:
    fields = Headers(raw=[(b"cookie", part.encode("latin-1")) for part in text.split("\n")])
    shown = forms.cookie_of(fields, SESSION)
    if shown is not None and (not shown.isascii() or len(shown) > 128 or len(_SHOWN.findall(text)) != 1):
        raise AssertionError(shown)


def _form(text: str) -> None:
    found = forms.read_pairs(text.encode("latin-1").decode("ascii", "replace"))
    if len(found) > forms.MAX_FIELDS:
        raise AssertionError(found)


def _search(text: str) -> None:
    query = worklist.query_of(forms.read_pairs(text))
    if (
        query.limit != worklist.PAGE
        or not 0 <= query.offset <= worklist.PAGE * worklist.MOST_PAGES
        or len(query.keys) > len(worklist.FIELDS)
    ):
        raise AssertionError(query)


def _language(text: str) -> None:
    cookie, _, accept = text.partition("\n")
    if not _LANGUAGE.fullmatch(words.chosen(cookie, accept).code):
        raise AssertionError(text)


def _origin(text: str) -> None:
    """Nothing but our own address in the field, or the browser's word that it is our own page, lets a change through."""
    host, origin, site = [*text.split("\n"), "", ""][:3]
    given = {"host": host, "origin": origin, "sec-fetch-site": site}
    fields = Headers({name: value for name, value in given.items() if value})
    forms.require_our_own("POST", fields)
    if not (origin == f"https://{host}" or (not origin and site == "same-origin")) or site not in {"", "same-origin"}:
        raise AssertionError(given)


def _back(text: str) -> None:
    """Where a switch of the language leads is a path of ours, which no browser takes for another host's."""
    back = entrance.back_to(text)
    if back not in {text, "/"} or not re.fullmatch(r"/([a-z0-9.-][a-z0-9./-]*)?", back):
        raise AssertionError(text)


def seeds() -> list[bytes]:
    """What browsers send, and what they had better not."""
    return [
        b"\0__Host-session=abcDEF_-0123456789; __Host-form=xyz; __Host-language=fr\nother=1",
        b"\0__Host-session=a; __Host-session=zqxj",
        b"\1token=0123abcd&user=anna&password=correct+horse%20battery&code=123456",
        b"\1user=zqxj&user=zqxj&%ff=%zz&" + b"a=&" * 33,
        b"\2name=doe+john&patient=1CT*&accession=A1&since=2024-01-31&until=2024-02-01&modality=CT%2CMR&page=2",
        b"\2name=*%5E%3D%5Czqxj&since=zqxj&modality=C*%5CT&page=999999999",
        b"\3en\nfr-CA, en;q=0.5, *;q=0.1",
        b"\3zqxj\nfr;q=1e9, de;q=\xb2, en;q=0..5",
        b"\4archive.example:8443\nhttps://archive.example:8443\nsame-origin",
        b"\4archive.example\nhttps://zqxj.example\ncross-site",
        b"\5/studies/1.2.840.1/accesses",
        b"\5//zqxj.example/",
    ]
