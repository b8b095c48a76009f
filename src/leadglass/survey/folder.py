"""The folder that a survey writes: 0700, its files 0600 and replaced whole; encrypted to age recipients where that is asked for.

An encrypted folder holds nothing in clear: each file is `NAME.age` (age-encryption.org/v1), and the journal one age file for each line.
"""

import base64
import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyrage

from leadglass import durable
from leadglass.errors import ConfigurationError, WrongUsage

SUFFIX = ".age"
MOST_BYTES = 1 << 30
"""Of one file that is read back."""


class Seal:
    """How the files of one folder are written: to these recipients, or in clear where there are none."""

    def __init__(self, recipients: Sequence[str] = ()) -> None:
        self._recipients = [_recipient(text) for text in recipients]

    @property
    def is_on(self) -> bool:
        return bool(self._recipients)

    def close(self, content: bytes) -> bytes:
        return pyrage.encrypt(content, self._recipients) if self._recipients else content


def _recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError:
        # Not quoted: it may be an identity that was given by mistake.
        raise WrongUsage("--encrypt-to wants an age recipient (age1..., as age-keygen prints it), not an identity or a file") from None


class Identities:
    """The age identities that open encrypted folders; empty where none was named."""

    def __init__(self, path: Path | None = None) -> None:
        self._identities = [] if path is None else _identities(path)

    def __bool__(self) -> bool:
        return bool(self._identities)

    def open(self, content: bytes, what: Path) -> bytes:
        """The clear bytes of an age file; raises `ConfigurationError`."""
        if not self._identities:
            raise ConfigurationError(f"{what} is encrypted: name the file of an age identity that it was encrypted to (--identity FILE)")
        try:
            return bytes(pyrage.decrypt(content, self._identities))
        except pyrage.DecryptError:
            raise ConfigurationError(
                f"{what} does not open with this identity, or is damaged: name the identity it was encrypted to"
            ) from None


def _identities(path: Path) -> list[pyrage.x25519.Identity]:
    try:
        lines = path.read_text("utf-8").splitlines()
        found = [pyrage.x25519.Identity.from_str(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    except OSError as error:
        raise WrongUsage(f"--identity {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, pyrage.IdentityError):
        found = []
    if not found:
        raise WrongUsage(f"--identity {path} holds no age identity (AGE-SECRET-KEY-1..., as age-keygen writes it)")
    return found


class Folder:
    """One survey's folder."""

    def __init__(self, path: Path, seal: Seal | None = None, identities: Identities | None = None) -> None:
        self.path = path
        self.seal = seal or Seal()
        self.identities = identities or Identities()

    def make(self) -> None:
        """Create it, or close the one that is there to everybody else."""
        self.path.mkdir(mode=durable.PRIVATE_FOLDER, parents=True, exist_ok=True)
        self.path.chmod(durable.PRIVATE_FOLDER)

    def write(self, name: str, content: bytes) -> None:
        """Put `content` there as `name`, or encrypted as `name`.age; whole or not at all."""
        durable.replace_file(self.path / (name + SUFFIX if self.seal.is_on else name), self.seal.close(content))

    def mark(self, name: str) -> None:
        """Leave an empty file there."""
        (self.path / name).touch(mode=durable.PRIVATE_FILE)

    def unmark(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def is_marked(self, name: str) -> bool:
        return (self.path / name).exists()

    def has(self, name: str) -> bool:
        return self._found(name) is not None

    def is_encrypted(self, name: str) -> bool:
        """Whether `name` lies there encrypted."""
        found = self._found(name)
        return found is not None and found.name.endswith(SUFFIX)

    def read(self, name: str) -> bytes:
        """What `write` put there; raises `ConfigurationError` where there is no such file, or no identity that opens it."""
        path = self._found(name)
        if path is None:
            raise ConfigurationError(f"{self.path} holds no {name}: name the folder of a survey")
        content = read_bounded(path)
        return self.identities.open(content, path) if path.name.endswith(SUFFIX) else content

    def path_of(self, name: str) -> Path:
        """Where `name` lies, encrypted or not."""
        return self._found(name) or self.path / name

    def _found(self, name: str) -> Path | None:
        return next((path for path in (self.path / name, self.path / (name + SUFFIX)) if path.is_file()), None)

    def lines(self, name: str) -> Iterator[bytes]:
        """The whole lines of an appended file; one that a kill cut off is not there."""
        path = self._found(name)
        if path is None:
            raise ConfigurationError(f"{self.path} holds no {name}: name the folder of a survey of this version")
        sealed = path.name.endswith(SUFFIX)
        for line in read_bounded(path).split(b"\n")[:-1]:
            yield self.identities.open(_from_base64(line, path), path) if sealed else line

    @contextlib.contextmanager
    def appending(self, name: str, *, anew: bool) -> "Iterator[Lines]":
        """The appended file `name`, ours alone while it is open; without `anew` what it holds stays, but for a line that was cut off."""
        path = self.path / (name + SUFFIX if self.seal.is_on else name)
        if anew and (old := self._found(name)) is not None and old != path:
            old.unlink()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, durable.PRIVATE_FILE)
        try:
            _lock(descriptor, self.path)
            os.fchmod(descriptor, durable.PRIVATE_FILE)
            os.ftruncate(descriptor, 0 if anew else _whole_lines(read_bounded(path)))
            yield Lines(descriptor, self.seal)
            durable.sync_file(descriptor)
        finally:
            os.close(descriptor)


class Lines:
    """A file that lines are appended to: what was added is there after a kill."""

    def __init__(self, descriptor: int, seal: Seal) -> None:
        self._descriptor = descriptor
        self._seal = seal

    def add(self, line: bytes) -> None:
        """Append one line, in a single write."""
        written = base64.b64encode(self._seal.close(line)) if self._seal.is_on else line
        durable.write_all(self._descriptor, written + b"\n")


def stay_encrypted(out: Folder, encrypted: Sequence[Folder]) -> None:
    """Refuse to write in clear what was encrypted."""
    if encrypted and not out.seal.is_on:
        raise WrongUsage(f"{encrypted[0].path} is encrypted: say to whom {out.path} is to be (--encrypt-to RECIPIENT)")


def read_bounded(path: Path) -> bytes:
    """What is in the file; raises `ConfigurationError` where it is more than a survey writes."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigurationError(f"{path} is larger than {MOST_BYTES} bytes: not of a survey")
    return content


def _whole_lines(content: bytes) -> int:
    return content.rfind(b"\n") + 1


def _from_base64(line: bytes, path: Path) -> bytes:
    try:
        return base64.b64decode(line.strip(), validate=True)
    except ValueError:
        raise ConfigurationError(f"{path} is damaged: survey again, into a new folder") from None


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(f"another survey is writing into {path}: wait for its end, or name another folder") from None
