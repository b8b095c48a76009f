"""The report in a real browser: it asks nobody for anything, says nothing on the console, and fits a phone, a desk and paper."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leadglass.survey.report import comparison, html
from tests.architecture.tree import ROOT
from tests.browser import Browser, Page, browser
from tests.survey.invented import world
from tests.survey.test_survey_compare import compared, over_time

PHONE, DESK = 360, 1280
AXE = ROOT / ".venv/npm/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""axe-core's tags: every rule of WCAG 2.2 AA that a program can judge, and its good practice."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("report"), world(systems=24, opened=8, countries=5))


def written(folder: Path, results: Any, **options: Any) -> Path:  # noqa: ANN401 - what html.render takes
    path = folder / "report.html"
    path.write_bytes(html.render(results, **options))
    return path


FREE = "each => !each.closest('.scroll')"
"""Not in a region that scrolls by itself."""


def asks_nobody(page: Page) -> None:
    """No request but the one for the page itself, and nothing on its console: not even something that its policy had to stop."""
    assert [each for each in page.requests if not each.startswith("file:") or not each.endswith("/report.html")] == []
    assert page.console == []


def fits(page: Page) -> None:
    """Nothing makes the page wider than the screen: a phone would show all of it smaller, so its window is no measure."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.width
    reach = f"Math.max(...[...document.querySelectorAll('main *')].filter({FREE}).map(each => each.getBoundingClientRect().right))"
    assert page.evaluate(reach) <= page.width + 1


def violations(page: Page) -> list[str]:
    """What axe-core objects to, with everything unfolded."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: `make peers` installs it")
    page.evaluate(UNFOLD)
    page.evaluate(AXE.read_text() + "; 0")
    found = page.evaluate(f"axe.run({{runOnly: {RULES}}}).then(told => told.violations.map(each => each.id + ': ' + each.nodes[0].html))")
    return list(found)


UNFOLD = """document.querySelectorAll("details").forEach(each => { each.open = true; each.style.contentVisibility = "visible"; })"""


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_report_asks_nobody_and_fits(chromium: Browser, report: Path, width: int) -> None:
    with chromium.open(report, width=width) as page:
        asks_nobody(page)
        fits(page)
        page.evaluate(UNFOLD)
        fits(page)


@contextlib.contextmanager
def listener() -> Iterator[tuple[str, Callable[[], int]]]:
    """The address of something that listens on loopback, and how many have come there by now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        came: list[socket.socket] = []

        def count() -> int:
            with contextlib.suppress(BlockingIOError):
                while True:
                    came.append(server.accept()[0])
            return len(came)

        yield f"http://127.0.0.1:{server.getsockname()[1]}", count
        for each in came:
            each.close()


def test_a_page_that_asks_or_complains_or_does_not_fit_is_seen(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with listener() as (address, came):
        path.write_text(
            f"<meta charset=utf-8><meta name=viewport content='width=device-width'><img src='{address}' alt=''>"
            "<script>console.log('a line')</script><main><p style='width:900px'>wide</p></main>"
        )
        with chromium.open(path, width=PHONE, wait=False) as page:
            page.evaluate("new Promise(done => setTimeout(done, 100))")
            assert came() >= 1
            assert any(each.startswith(address) for each in page.requests)
            assert page.console == ["a line"]
            with pytest.raises(AssertionError):
                asks_nobody(page)


def test_a_page_that_does_not_fit_is_seen(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("<meta charset=utf-8><meta name=viewport content='width=device-width'><main><p style='width:900px'>wide</p></main>")
    with chromium.open(path, width=PHONE) as page, pytest.raises(AssertionError):
        fits(page)


def test_the_policy_of_the_report_stops_what_would_be_slipped_in(chromium: Browser, report: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with listener() as (address, came):
        slipped = (
            f'<img src="{address}/p.png"><link rel="stylesheet" href="{address}/s.css"><object data="{address}"></object>'
            '<script>document.title = "ran"</script><style>h1 { display: none }</style>'
        )
        path.write_text(report.read_text().replace("<main", slipped + "<main", 1))
        with chromium.open(path, width=PHONE) as page:
            assert came() == 0
            assert len(page.console) >= 5
            assert page.evaluate("document.title") == "Exposure of medical-image archives"
            assert page.evaluate("getComputedStyle(document.querySelector('h1')).display") == "block"


def test_the_report_can_be_read_by_everybody(chromium: Browser, tmp_path: Path) -> None:
    with chromium.open(written(tmp_path, world(systems=8, opened=3, countries=2)), width=DESK) as page:
        assert violations(page) == []


def test_runs_side_by_side_ask_nobody_fit_and_can_be_read_by_everybody(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(comparison.render(compared(over_time(tmp_path))))
    with chromium.open(path, width=PHONE) as page:
        asks_nobody(page)
        fits(page)
        assert violations(page) == []


def test_what_somebody_could_not_read_is_seen(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("<meta charset=utf-8><title>t</title><main><p style='color:#aaa'>pale</p><table><tr><th scope=x>a<td>1</table></main>")
    with chromium.open(path, width=DESK) as page:
        assert {each.partition(":")[0] for each in violations(page)} >= {
            "html-has-lang",
            "page-has-heading-one",
            "color-contrast",
            "scope-attr-valid",
        }


def test_on_paper_the_open_doors_are_unfolded(chromium: Browser, report: Path) -> None:
    visible = "each.querySelector('div').checkVisibility({contentVisibilityAuto: false})"
    shown = f"[...document.querySelectorAll('details.system')].map(each => [each.classList.contains('is-open'), {visible}])"
    with chromium.open(report, width=DESK) as page:
        assert sum(is_open and not visible for is_open, visible in page.evaluate(shown)) == 8 - 5
        page.as_printed()
        printed = page.evaluate(shown)
        assert all(visible for is_open, visible in printed if is_open)
        assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


# Slow, and of the size of Greenbone's: also what docs/ shows.


@pytest.mark.long
def test_a_report_of_2300_systems_opens_quickly_and_fits(chromium: Browser, tmp_path: Path) -> None:
    with chromium.open(written(tmp_path, world()), width=PHONE) as page:
        asks_nobody(page)
        # Measuring each element, as `fits` does, would have the browser lay out what it rightly leaves alone.
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        assert page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 5000


@pytest.mark.long
@pytest.mark.parametrize(("name", "width", "height"), [("phone", 390, 844), ("desk", 1280, 900)])
def test_screenshots_for_the_documents(chromium: Browser, tmp_path: Path, name: str, width: int, height: int) -> None:
    path = written(tmp_path, world())
    docs = ROOT / "docs/images"
    docs.mkdir(exist_ok=True)
    with chromium.open(path, width=width, height=height) as page:
        shot = page.screenshot(height=2600)
        assert shot.startswith(b"\x89PNG")
        (docs / f"survey-report-{name}.png").write_bytes(shot)
