"""The rules that hold for every test are enforced."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = ("192.0.2.1", 104)
"""Of the addresses that documents may use (RFC 5737): nobody is there, should the test fail."""


def test_a_socket_connects_to_this_machine_only() -> None:
    with socket.socket() as client:
        client.settimeout(0.01)
        with pytest.raises(AssertionError, match="this machine only"):
            client.connect(ELSEWHERE)
        with pytest.raises(AssertionError, match="this machine only"):
            client.connect_ex(ELSEWHERE)


def test_nor_does_asyncio_connect_elsewhere() -> None:
    with pytest.raises(AssertionError, match="this machine only"):
        asyncio.run(asyncio.wait_for(asyncio.open_connection(*ELSEWHERE), 0.1))


def test_a_socket_connects_to_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "with workers"])
def test_a_skip_is_named_and_fails_in_ci(tmp_path: Path, ci: str, code: int, workers: list[str]) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\ndef test_passes():\n    pass\n\ndef test_skips():\n    pytest.skip('the moon is not full')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", *workers, "test_it.py"]
    environment = {**os.environ, "CI": ci}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert "NOT TESTED" in done.stdout
    assert "test_it.py::test_skips: the moon is not full" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("1 passed, 1 skipped")
