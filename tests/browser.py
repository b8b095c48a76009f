"""Debian's Chromium without a window, spoken to over two pipes in the DevTools protocol: no driver, no port, nothing to install but it.

`browser()` starts one and ends it; `Browser.open(file, width, height)` gives a `Page`, which has kept every request it made and every
line of its console.
"""

import base64
import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from tests.peers import require

KEYS: Final = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Space": (32, " "),
    "Backspace": (8, ""),
    "Escape": (27, ""),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
}
"""What a key is to the protocol: its number and the text that it writes."""
ANSWER_SECONDS = 60

_SWITCHES = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # tests run as root, and what is shown is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-features=LocalNetworkAccessChecks,Translate",  # else a page that asks for something on loopback would not be seen to
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no test may reach the internet, a browser neither
    "--no-proxy-server",
)


class BrowserError(RuntimeError):
    """The browser refused a command, ended or fell silent."""


class Browser:
    """One running Chromium."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._unread = b""
        self._last = 0
        self._events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Say `method` and wait for its answer; events that come meanwhile are kept."""
        assert self._process.stdin is not None
        self._last += 1
        said: dict[str, object] = {"id": self._last, "method": method, "params": parameters}
        if session:
            said["sessionId"] = session
        self._process.stdin.write(json.dumps(said).encode() + b"\0")
        self._process.stdin.flush()
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            heard = self._hear(deadline)
            if heard.get("id") == self._last:
                if "error" in heard:
                    raise BrowserError(f"{method}: {heard['error']}")
                result: dict[str, Any] = heard["result"]
                return result
            self._events.append(heard)

    def events(self, session: str) -> Iterator[dict[str, Any]]:
        """The events of `session` as they come, those that waited first."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            waiting, self._events = self._events, []
            for number, event in enumerate(waiting):
                if event.get("sessionId") == session:
                    self._events += waiting[number + 1 :]
                    yield event
                    break
                self._events.append(event)
            else:
                self._events.append(self._hear(deadline))

    def waiting_events(self, session: str) -> list[dict[str, Any]]:
        """The events of `session` that came with the answers so far."""
        mine = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return mine

    def _hear(self, deadline: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\0" not in self._unread:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"no answer within {ANSWER_SECONDS} s")
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                raise BrowserError("the browser has ended")
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        heard: dict[str, Any] = json.loads(message)
        return heard

    def open(self, where: Path | str, *, width: int, height: int = 800, wait: bool = True) -> "Page":
        """The page in a file or at an address, at `width` pixels; loaded, unless it is not to be waited for."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, target, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Network", "Log", "Runtime", "Page"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.load(where, wait=wait)
        return page


class Page:
    """One page; closed by leaving it as a context."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self.width = 0
        self.requests: list[str] = []
        """Where it asked for something, itself first."""
        self.console: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        answer = self._browser.call(method, self._session, **parameters)
        for event in self._browser.waiting_events(self._session):
            self._note(event)
        return answer

    def resize(self, width: int, height: int) -> None:
        self.width = width
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def load(self, where: Path | str, *, wait: bool = True) -> None:
        url = where if isinstance(where, str) else where.resolve().as_uri()
        answer = self._browser.call("Page.navigate", self._session, url=url)
        assert "errorText" not in answer, answer
        if not wait:
            return
        for event in self._browser.events(self._session):
            self._note(event)
            if event["method"] == "Page.loadEventFired":
                break
        # What a page asks for late, and what its console says late, has come once a frame has been drawn.
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Log.entryAdded":
                self.console.append(told["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.console.append(" ".join(str(each.get("value", "")) for each in told["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(told["exceptionDetails"]["text"])

    def evaluate(self, script: str) -> Any:  # noqa: ANN401 - whatever the script gives
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str, *, shift: bool = False) -> None:
        """One of `KEYS`, as a hand presses it."""
        number, text = KEYS[key]
        name = " " if key == "Space" else key
        about = {"key": name, "code": key, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def wait_for(self, condition: str) -> None:
        """Return when the script `condition` is true, through any change of page; fails after a while."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(BrowserError):
                if self.evaluate(f"document.readyState === 'complete' && Boolean({condition})"):
                    return
            time.sleep(0.02)
        raise BrowserError(f"it did not come about: {condition}")

    def as_printed(self) -> None:
        self.call("Emulation.setEmulatedMedia", media="print")

    def screenshot(self, *, height: int | None = None, top: int = 0) -> bytes:
        """A PNG of the page: of its window, or of `height` pixels from `top` on."""
        clip = {} if height is None else {"clip": {"x": 0, "y": top, "width": self.width, "height": height, "scale": 1}}
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=height is not None, **clip)
        return base64.b64decode(taken["data"])

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextlib.contextmanager
def browser(*switches: str) -> Iterator[Browser]:
    """A Chromium with an empty profile of its own, and these switches beside ours."""
    program = require("chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # It reads commands from descriptor 3 and answers at 4.
        process = subprocess.Popen(
            [
                "sh",
                "-c",
                'exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null',
                program,
                *_SWITCHES,
                *switches,
                f"--user-data-dir={profile}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "HOME": profile, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
        started = Browser(process)
        try:
            started.call("Browser.getVersion")
            yield started
        finally:
            with contextlib.suppress(BrowserError, OSError):
                started.call("Browser.close")
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
