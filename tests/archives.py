"""An archive for the tests, made and served by the installed command, as an administrator would."""

import json
import os
import select
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import warm
from tests.certificates import Identity
from tests.peers import DimseAddress

COMMAND = Path(sys.executable).with_name("leadglass")
PASSWORD = "correct horse battery staple"
_READY_SECONDS = 60.0


def leadglass(
    *arguments: str | Path, code: int | None = 0, timeout: float = 120, stdin: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command; fails unless it ends in `code` (None: whatever)."""
    words = [str(argument) for argument in arguments]
    done = warm.run(words, stdin, timeout, {**os.environ, **(environment or {})})
    return _judged(done, words, code)


def installed(
    *arguments: str | Path, code: int | None = 0, timeout: float = 120, stdin: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`leadglass` by the installed command itself, which first has to load."""
    words = [str(argument) for argument in arguments]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run([COMMAND, *words], input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=variables)
    return _judged(done, words, code)


def _judged(done: subprocess.CompletedProcess[str], words: list[str], code: int | None) -> subprocess.CompletedProcess[str]:
    if code is not None and done.returncode != code:
        raise AssertionError(f"leadglass {' '.join(words[:2])} ended in {done.returncode}, not {code}: {done.stdout}{done.stderr}")
    return done


@dataclass
class ArchiveUnderTest:
    """HOME, its root key, and while it serves its process and addresses."""

    home: Path
    root_key: Path
    process: subprocess.Popen[bytes] | None = None
    words: dict[str, str] = field(default_factory=dict)

    @classmethod
    def found(cls, folder: Path, settings: str = "") -> "ArchiveUnderTest":
        """Run `init` in `folder`; `settings` is TOML put after what init wrote."""
        folder.mkdir(parents=True, exist_ok=True)
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        made = cls(folder / "home", folder / "root.key")
        leadglass("init", made.home, "--root-key", made.root_key, "--password-file", password)
        config = made.home / "leadglass.toml"
        text = config.read_text().replace("# reserve_bytes = 1073741824", "reserve_bytes = 1048576")
        config.write_text(text + settings)
        return made

    # Serving

    def start(self, *options: str, program: Sequence[str | Path] = (COMMAND,), environment: Mapping[str, str] | None = None) -> None:
        """Run `serve` on free ports and wait for its ready line; `program` is what to run instead of the installed command."""
        command = [*program, "serve", self.home, "--dimse", "127.0.0.1:0", "--web", "127.0.0.1:0", *options]
        log = self.home.with_name("serve.log").open("ab")
        variables = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=variables)
        log.close()
        assert self.process.stdout is not None
        heard, _, _ = select.select([self.process.stdout], [], [], _READY_SECONDS)
        line = self.process.stdout.readline().decode() if heard else ""
        if not line.startswith("ready "):
            if not heard:
                self.process.kill()
            self.process.wait(10)
            self.process.stdout.close()
            self.process = None
            raise AssertionError(f"not ready: {line!r} {self.log()[-2000:]}")
        self.words = dict(word.split("=", 1) for word in line.split()[1:])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End `serve` by a signal; gives its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    @contextmanager
    def serving(self, *options: str) -> Iterator["ArchiveUnderTest"]:
        """Serve for the length of the block."""
        self.start(*options)
        try:
            yield self
        finally:
            if self.process is not None:
                self.stop()

    def log(self) -> str:
        """What `serve` logged so far."""
        path = self.home.with_name("serve.log")
        return path.read_text() if path.exists() else ""

    # Addresses

    @property
    def dimse(self) -> DimseAddress:
        host, port = self.words["dimse"].rsplit(":", 1)
        return DimseAddress(aet="LEADGLASS", host=host, port=int(port))

    @property
    def plaintext(self) -> DimseAddress:
        host, port = self.words["dimse-plaintext"].rsplit(":", 1)
        return DimseAddress(aet="LEADGLASS", host=host, port=int(port))

    @property
    def web(self) -> str:
        return f"{self.words['web']}/dicom-web"

    @property
    def ca(self) -> Path:
        return self.home / "tls" / "ca.cert.pem"

    def tls_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    # People and peers

    def peer(self, aet: str, may: str = "store,find,get", address: str = "127.0.0.0/8", port: int | None = None) -> Identity:
        """Add a peer with an issued certificate; with a `port` on loopback it is a destination."""
        folder = self.home.with_name(f"peer-{aet}")
        where = () if port is None else ("--host", "127.0.0.1", "--port", str(port))
        leadglass("peer", "add", self.home, aet, "--address", address, "--may", may, "--issue", folder, *where)
        return Identity(certificate=folder / f"{aet}.cert.pem", key=folder / f"{aet}.key.pem", authority=folder / "ca.pem")

    def plaintext_peer(self, aet: str, port: int | None = None) -> None:
        """Add a peer without TLS; with a `port` on loopback it is a destination."""
        where = () if port is None else ("--host", "127.0.0.1", "--port", str(port))
        leadglass("peer", "add", self.home, aet, "--address", "127.0.0.0/8", "--may", "store", "--unsafe-plaintext", *where)

    def token(self, user: str, role: str = "clinician", may: str = "find,get") -> str:
        """Add a user, unless he is there, and make a token of his."""
        password = self.home.with_name("password")
        leadglass("user", "add", self.home, user, "--role", role, "--password-file", password, code=None)
        return leadglass("token", "create", self.home, "--user", user, "--may", may).stdout.strip()

    def trail(self, *options: str) -> list[dict[str, Any]]:
        """The trail's newest entries."""
        return list(json.loads(leadglass("trail", "show", self.home, "--json", "--last", "100000", *options).stdout))

    def take_in(self, paths: Sequence[Path], code: int | None = None) -> dict[str, Any]:
        """Import files; gives the summary."""
        return dict(json.loads(leadglass("import", self.home, "--json", *paths, code=code).stdout))


def copy_of(archive: ArchiveUnderTest, folder: Path) -> ArchiveUnderTest:
    """A cold copy of a founded archive: founding costs a second, copying nothing."""
    shutil.copytree(archive.home.parent, folder, symlinks=True)
    copied = ArchiveUnderTest(folder / "home", folder / "root.key")
    config = copied.home / "leadglass.toml"
    config.write_text(config.read_text().replace(str(archive.root_key), str(copied.root_key)))
    return copied


def wait_until(condition: Any, seconds: float = 10) -> None:  # noqa: ANN401 # any callable
    """Return when `condition()` holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come about in time")
        time.sleep(0.02)
