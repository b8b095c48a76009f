"""Where the root key of an archive is, and how it is read."""

import os
import sys
from getpass import getpass
from pathlib import Path

from leadglass.config import Settings
from leadglass.errors import KeyUnavailable
from leadglass.seal.rootkey import RootKey, read_root_key

ENVIRONMENT = "LEADGLASS_ROOT_KEY"
"""Names the root key file and wins over leadglass.toml: for systemd credentials and other unattended unlocks."""


def read(settings: Settings) -> RootKey:
    """The root key of the archive with these settings; raises `KeyUnavailable` that says where it was looked for."""
    named = os.environ.get(ENVIRONMENT) or settings.keys.root_key
    if not named:
        raise KeyUnavailable(f"no root key is named: set keys.root_key in leadglass.toml, or {ENVIRONMENT}")
    path = Path(named)
    if not path.exists():
        raise KeyUnavailable(f"the root key is not at {path}: bring it back, or run `leadglass keys recover` with the recovery key")
    return read_root_key(path, _ask)


def _ask() -> bytes:
    if not sys.stdin.isatty():
        raise KeyUnavailable("the root key is sealed by a passphrase and there is no terminal to ask at")
    return getpass("passphrase of the root key: ").encode()
