"""The pages in a real browser: by keyboard alone, nothing on the console, no request elsewhere, readable by everybody."""

import base64
import hashlib
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.archives import PASSWORD, ArchiveUnderTest
from tests.browser import Browser, Page, browser
from tests.pages.test_pages import CT
from tests.pages.visitor import Person
from tests.survey.test_survey_browser import AXE, RULES, fits

pytestmark = pytest.mark.xdist_group("browser")

PHONE, DESK = 360, 1280


@pytest.fixture(scope="module")
def chromium(served: ArchiveUnderTest) -> Iterator[Browser]:
    """It believes the archive's key and no other: our CA is in no browser."""
    certificate = x509.load_pem_x509_certificate((served.home / "tls" / "server.cert.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(key).digest()).decode()
    with browser(f"--ignore-certificate-errors-spki-list={pin}", "--lang=en") as started:
        yield started


def tab_to(page: Page, name: str, *, most: int = 40) -> None:
    """Press Tab until the element of that selector has the focus, which must show."""
    for _ in range(most):
        page.press("Tab")
        if page.evaluate(f"document.activeElement.matches({name!r})"):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"{name} is not reached by Tab")


def fill(page: Page, **values: str) -> None:
    for name, text in values.items():
        tab_to(page, f"#{name}")
        page.type(text)


def violations(page: Page) -> list[str]:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: `make peers` installs it")
    # The policy of our pages lets no script in; the protocol of the tests puts it there from outside.
    page.evaluate(AXE.read_text() + "; 0")
    found = page.evaluate(f"axe.run({{runOnly: {RULES}}}).then(told => told.violations.map(each => each.id + ': ' + each.nodes[0].html))")
    return list(found)


def look(page: Page) -> None:
    """What every page must be, on a desk and on a phone."""
    assert violations(page) == []
    for width in (PHONE, DESK):
        page.resize(width, 800)
        fits(page)


def test_sign_in_search_look_and_sign_out_by_keyboard(chromium: Browser, served: ArchiveUnderTest, clara: Person) -> None:
    ours = served.words["web"]
    with chromium.open(f"{ours}/", width=DESK) as page:
        page.wait_for("location.pathname === '/sign-in'")
        look(page)
        fill(page, user="clara", password="wrong horse battery", code="000000")
        page.press("Enter")
        page.wait_for("document.querySelector('.said')")
        assert page.evaluate("document.querySelector('#password').value") == ""
        look(page)
        refusals, page.console = page.console, []
        assert all("403" in line for line in refusals)
        fill(page, user="clara", password=PASSWORD, code=clara.code())
        page.press("Enter")
        page.wait_for("location.pathname === '/' && document.querySelectorAll('tbody tr').length === 3")
        look(page)
        page.evaluate("window.sameDocument = true")
        fill(page, name="*nobody")
        page.wait_for("!document.querySelector('tbody') && document.querySelector('#count').textContent.startsWith('No study')")
        for _ in "nobody":
            page.press("Backspace")
        page.type("ct1")
        page.wait_for("document.querySelectorAll('tbody tr').length === 1")
        assert page.evaluate("window.sameDocument && location.href.endsWith('/')"), "found as it was typed, on the page that was there"
        assert violations(page) == []
        page.press("ArrowDown")
        assert page.evaluate("document.activeElement.matches('tbody a')")
        page.press("Escape")
        assert page.evaluate("document.activeElement.id") == "name"
        page.press("ArrowDown")
        page.press("Enter")
        page.wait_for(f"location.pathname === '/studies/{CT}'")
        look(page)
        tab_to(page, "main a[href$=accesses]")
        page.press("Enter")
        page.wait_for("location.pathname.endsWith('/accesses')")
        look(page)
        page.evaluate("history.back()")
        page.wait_for(f"location.pathname === '/studies/{CT}'")
        tab_to(page, "form[action='/language'] button")
        page.press("Space")
        page.wait_for("document.documentElement.lang === 'fr'")
        tab_to(page, "form[action='/sign-out'] button")
        page.press("Enter")
        page.wait_for("location.pathname === '/sign-in'")
        page.evaluate("history.back()")
        page.evaluate("new Promise(done => setTimeout(done, 300))")
        page.wait_for("location.pathname === '/sign-in'")
        assert "CompressedSamples" not in page.evaluate("document.documentElement.outerHTML")
        assert page.console == []
        # The browser's own picture beside a field for a date is a data URI.
        assert {each for each in page.requests if not each.startswith((f"{ours}/", "data:"))} == set()


def test_the_auditors_page_is_for_everybody(chromium: Browser, served: ArchiveUnderTest, otto: Person) -> None:
    with chromium.open(f"{served.words['web']}/sign-in", width=DESK) as page:
        fill(page, user="otto", password=PASSWORD, code=otto.code())
        page.press("Enter")
        page.wait_for("location.pathname === '/trail' && document.querySelector('tbody tr')")
        look(page)
        tab_to(page, "form[action='/trail'][method=post] button")
        page.press("Enter")
        # In English or French, as the walk before left it.
        page.wait_for("document.querySelector('main p[role=status]') && !document.querySelector('.said')")
        look(page)
        assert page.console == []


def test_what_is_slipped_into_a_page_does_nothing(chromium: Browser, served: ArchiveUnderTest) -> None:
    with chromium.open(f"{served.words['web']}/sign-in", width=DESK) as page:
        slipped = '<img src=https://127.0.0.1:9/x onerror="document.title = 1"><p style="color:red">'
        page.evaluate(f"document.body.insertAdjacentHTML('beforeend', '{slipped}')")
        page.evaluate("new Promise(done => setTimeout(done, 100))")
        assert len(page.console) >= 2
        assert "leadglass" in page.evaluate("document.title")
