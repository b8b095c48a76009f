"""The command line from a process that has loaded it already: loading costs a second and a half, and the tests run hundreds of commands.

`python -m tests.warm SOCKET` loads `leadglass.cli` and forks for every command that is asked for at SOCKET; `run` asks.
"""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(arguments: Sequence[str], stdin: str, timeout: float, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command as `subprocess.run(..., capture_output=True, text=True)` would run the installed one."""
    with tempfile.TemporaryDirectory(prefix="warm-") as name, socket.socket(socket.AF_UNIX) as connection:
        folder = Path(name)
        (folder / "in").write_text(stdin)
        connection.settimeout(timeout)
        connection.connect(_listening())
        request = {"arguments": list(arguments), "folder": name, "cwd": str(Path.cwd()), "environment": dict(environment)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        answers = connection.makefile("r")
        process = int(answers.readline())
        try:
            code = int(answers.readline())
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), timeout) from None
        finally:
            answers.close()
        return subprocess.CompletedProcess(list(arguments), code, (folder / "out").read_text(), (folder / "err").read_text())


@functools.cache
def _listening() -> str:
    """Start the server of this test process; it ends with it."""
    path = Path(tempfile.mkdtemp(prefix="warm-")) / "socket"
    command = [sys.executable, "-m", "tests.warm", str(path), str(os.getpid())]
    search = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.posix_spawn(sys.executable, command, {**os.environ, "PYTHONPATH": search})
    end = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError("the command line could not be loaded")
        time.sleep(0.02)
    return str(path)


def _serve(path: str, client: int) -> None:
    import leadglass.cli  # noqa: PLC0415 - in this process alone

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(64)
    Path(path + ".new").rename(path)
    listener.settimeout(1)
    while os.getppid() == client:
        with contextlib.suppress(TimeoutError):
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _conduct(connection, leadglass.cli.main)
    listener.close()
    Path(path).unlink()
    Path(path).parent.rmdir()


def _conduct(connection: socket.socket, main: object) -> None:
    """Fork once more: this process waits for the command and tells its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    request = json.loads(connection.makefile("r").readline())
    child = os.fork()
    if child == 0:
        connection.close()
        _become(request, main)
    connection.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, object], main: object) -> None:
    folder = Path(str(request["folder"]))
    os.chdir(str(request["cwd"]))
    environment = request["environment"]
    assert isinstance(environment, dict)
    assert callable(main)
    os.environ.clear()
    os.environ.update(environment)
    for number, name, flags in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY | os.O_CREAT), (2, "err", os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(folder / name, flags, 0o600), number)
    arguments = request["arguments"]
    assert isinstance(arguments, list)
    sys.argv = ["leadglass", *arguments]
    sys.modules["__main__"].__package__ = ""  # it would be called "python -m tests.leadglass"
    code = 0
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
