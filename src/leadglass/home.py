"""HOME: where everything of one archive lies, and the lock that says which process owns it; and where a user's own files go."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leadglass.errors import ConfigurationError, HomeInUse, Refused


def user_data_folder() -> Path:
    """Our part of the user's data folder, by the XDG base directory specification; not made here."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "leadglass"


@dataclass(frozen=True)
class Home:
    """The folder of an archive; every path in it is named here and nowhere else."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "leadglass.toml"

    @property
    def policy(self) -> Path:
        return self.path / "policy.toml"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def tls(self) -> Path:
        return self.path / "tls"

    @property
    def access(self) -> Path:
        return self.path / "access"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def index(self) -> Path:
        return self.path / "index"

    @property
    def commitments(self) -> Path:
        return self.path / "commitments"

    @property
    def trail(self) -> Path:
        return self.path / "trail"

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    def require(self) -> None:
        """Raise `ConfigurationError` unless this is the folder of an archive that only its owner can enter."""
        if not self.config.is_file():
            raise ConfigurationError(f"{self.path} is not an archive: it holds no leadglass.toml; `leadglass init {self.path}` makes one")
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise ConfigurationError(f"{self.path} can be entered by others (mode {mode:o}); `chmod 700 {self.path}` closes it")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own HOME for the block; raises `HomeInUse` when another process does, `Refused` when it is another account's.

        The lock is on the folder itself: no lock file to be left behind, copied or deleted.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            owner = os.fstat(descriptor).st_uid
            if owner != os.geteuid():
                # What another account wrote here, root above all, the archive's own could not read any more.
                raise Refused(f"{self.path} belongs to uid {owner}: run this as that account, or while the archive serves")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeInUse(f"another leadglass process owns {self.path}; stop it, or let it do the work") from None
            yield
        finally:
            os.close(descriptor)
