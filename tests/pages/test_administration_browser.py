"""Administration in a real browser: by keyboard alone, nothing on the console, readable by everybody."""

import pytest

from tests.archives import PASSWORD, ArchiveUnderTest, leadglass
from tests.browser import Browser
from tests.pages.test_pages_browser import DESK, chromium, fill, look, tab_to
from tests.pages.visitor import Person
from tests.peers import free_port

pytestmark = pytest.mark.xdist_group("browser")
__all__ = ["chromium"]


def test_hold_somebody_and_try_a_peer_by_keyboard(chromium: Browser, served: ArchiveUnderTest) -> None:
    boss = Person.added(served, "boss", "administrator")
    leadglass("user", "add", served.home, "wanda", "--role", "clinician", "--password-file", served.home.with_name("password"))
    served.plaintext_peer("SILENT", free_port())
    served.peer("CT7", port=free_port())
    ours = served.words["web"]
    with chromium.open(f"{ours}/sign-in", width=DESK) as page:
        fill(page, user="boss", password=PASSWORD, code=boss.code())
        page.press("Enter")
        page.wait_for("location.pathname === '/people'")
        look(page)
        tab_to(page, "tbody a[href='/people/wanda']")
        page.press("Enter")
        page.wait_for("location.pathname === '/people/wanda'")
        look(page)
        tab_to(page, "button[value=hold]")
        page.press("Enter")
        page.wait_for("document.querySelector('button[name=sure]')")
        look(page)
        tab_to(page, "button[name=sure]")
        page.press("Enter")
        page.wait_for("document.querySelector('button[value=release]')")
        tab_to(page, "nav a[href='/peers']")
        page.press("Enter")
        page.wait_for("location.pathname === '/peers'")
        look(page)
        tab_to(page, "tbody a[href='/peers/CT7']", most=60)
        page.press("Enter")
        page.wait_for("location.pathname === '/peers/CT7'")
        look(page)
        tab_to(page, "button[value=echo]")
        page.press("Enter")
        page.wait_for("document.querySelector('[role=status]')")
        look(page)
        assert "Nothing can be reached" in page.evaluate("document.querySelector('[role=status]').textContent")
        assert page.console == []
        assert {each for each in page.requests if not each.startswith(f"{ours}/")} == set()
