"""Coming back without the root key: the recovery key opens the versions, and a new root wraps them."""

import os
import re
from pathlib import Path

from leadglass.access.identity import LocalUser
from leadglass.assemble.opening import opened
from leadglass.config import load_settings, parse_settings
from leadglass.durable import replace_file
from leadglass.errors import Refused
from leadglass.home import Home
from leadglass.seal.keytable import decode_versions_by_recovery
from leadglass.seal.rootkey import RecoveryKey, RootKey, write_root_key
from leadglass.vault.keys import Keys
from leadglass.vocabulary import Door


def recover(home: Home, typed: str, root_key: Path) -> None:
    """Put the archive's keys under a new root key at `root_key`; raises `KeyUnavailable` when `typed` is not its recovery key."""
    home.require()
    settings = load_settings(home.config)
    target = root_key.absolute()
    if target.resolve().is_relative_to(home.path.resolve()):
        raise Refused("the root key may not lie in HOME, where a thief of HOME finds it; name another place")
    recovery = RecoveryKey.from_text(typed)
    text = home.config.read_text(encoding="utf-8")
    line = re.compile(r"^root_key\s*=.*$", re.MULTILINE)
    named = f'root_key = "{target}"'
    changed = line.sub(lambda _: named, text, count=1) if line.search(text) else f"{text}\n[keys]\n{named}\n"
    if parse_settings(changed) == settings and settings.keys.root_key != str(target):
        raise Refused("leadglass.toml could not be pointed at the new root key: set keys.root_key by hand, then try again")
    with home.owned():
        # Judged before anything is written: from the moment the versions lie under the new root, that root is needed.
        decode_versions_by_recovery((home.keys / "versions").read_bytes(), recovery)
        root = RootKey.generate()
        write_root_key(target, root)
        Keys.recover(home.keys, recovery, root).close()
        replace_file(home.config, changed.encode())
    # A copy may lack the index; without it the archive does not open, and the trail would not tell of the recovery.
    with opened(home, root=root, remake_index=not (home.index / "index.db").exists()) as archive:
        session = archive.archive.enter(Door.CONTROL, LocalUser(os.geteuid()), f"uid:{os.geteuid()}")
        session.administration.note_recovery()
