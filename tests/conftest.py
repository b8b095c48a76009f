"""What holds for every test: the internet is out of reach, and nothing is skipped silently."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

# How long an example takes says how busy the machine is: two workers share two cores. pytest-timeout ends what hangs.
_UNTIMED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True)
hypothesis.settings.register_profile("usual", _UNTIMED)
hypothesis.settings.register_profile("long", _UNTIMED, max_examples=2000)
hypothesis.settings.load_profile("usual")


class InternetReachedError(AssertionError):
    """A test opened a connection that would leave this machine."""


def _stays_here(address: object) -> bool:
    if not isinstance(address, tuple):  # AF_UNIX, AF_NETLINK
        return True
    host = address[0]
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _LoopbackSocket(socket.socket):
    def connect(self, address: Any, /) -> None:  # noqa: ANN401 # as socket.socket declares it
        self._refuse_others(address)
        super().connect(address)

    def connect_ex(self, address: Any, /) -> int:  # noqa: ANN401 # as socket.socket declares it
        self._refuse_others(address)
        return super().connect_ex(address)

    def _refuse_others(self, address: object) -> None:
        if not _stays_here(address):
            raise InternetReachedError(f"a test may connect to this machine only, not to {address!r}")


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Every socket made by Python code in the test process refuses to connect elsewhere."""
    original = socket.socket
    socket.socket = _LoopbackSocket  # type: ignore[misc] # a subclass of what it replaces
    yield
    socket.socket = original  # type: ignore[misc]


def _skips(reporter: pytest.TerminalReporter) -> list[tuple[str, str]]:
    reports = [report for report in reporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)]
    return sorted((str(report.longrepr[2]).removeprefix("Skipped: "), report.nodeid) for report in reports)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every skipped test with its reason."""
    if skips := _skips(terminalreporter):
        terminalreporter.section("NOT TESTED", red=True, bold=True)
        for reason, test in skips:
            terminalreporter.line(f"{test}: {reason}")
        if os.environ.get("CI") == "true":
            terminalreporter.line("CI=true: a skipped test is a failure", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true a skip fails the run; xdist's workers leave the judgement to their controller."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and isinstance(reporter, pytest.TerminalReporter) and _skips(reporter) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
