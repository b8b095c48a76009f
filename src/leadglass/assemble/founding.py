"""Founding an archive: everything in HOME, the root key outside it, and the first administrator."""

import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from leadglass.access.accounts import generate_password, require_name
from leadglass.access.anchor import Keeper
from leadglass.access.authority import Authority
from leadglass.access.gate import Gate
from leadglass.access.identity import LocalUser
from leadglass.access.policy import DEFAULT_POLICY, parse_policy
from leadglass.access.registry import Registry
from leadglass.access.secret import Secret
from leadglass.assemble.opening import origin, settings_of
from leadglass.config import parse_settings
from leadglass.durable import replace_file, sync_folder
from leadglass.errors import KeyUnavailable, Refused
from leadglass.home import Home, user_data_folder
from leadglass.seal.keytable import decode_versions_by_recovery
from leadglass.seal.rootkey import RecoveryKey, RootKey, write_root_key
from leadglass.trail.log import TrailLog
from leadglass.vault.keys import Keys
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Door, Outcome, Role


@dataclass(frozen=True)
class Founding:
    """What somebody decided about a new archive."""

    home: Home
    hostnames: tuple[str, ...] = ()
    aet: str = "LEADGLASS"
    administrator: str = "admin"
    password: str | None = field(default=None, repr=False)
    root_key: Path | None = None
    passphrase: str | None = field(default=None, repr=False)
    unsafe_key_beside_data: bool = False


@dataclass(frozen=True)
class Founded:
    """What the founder must be told, once."""

    home: Home
    root_key: Path
    trail_key: str
    recovery_key: str = field(repr=False)
    password: str | None = field(repr=False)

    def proves(self, typed: str) -> bool:
        """Whether what was typed opens the archive: the key versions are unwrapped with it, not compared with a copy."""
        try:
            decode_versions_by_recovery((self.home.keys / "versions").read_bytes(), RecoveryKey.from_text(typed))
        except KeyUnavailable:
            return False
        return True


def found(founding: Founding) -> Founded:
    """Make an archive; raises `Refused` for a folder in use, and leaves nothing behind when anything fails."""
    home = founding.home
    text = settings_text(founding, _root_key_path(founding))
    settings = parse_settings(text, "the options")
    require_name(founding.administrator)
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        raise Refused(f"{home.path} is in use: name a folder that does not exist yet, or an empty one")
    existed = home.path.exists()
    root_path = Path(settings.keys.root_key)
    written_root = False
    try:
        home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.path.chmod(0o700)
        root_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = RootKey.generate()
        write_root_key(root_path, root, founding.passphrase.encode() if founding.passphrase is not None else None)
        written_root = True
        founded = _fill(founding, text, root, root_path)
        sync_folder(home.path)
    except BaseException:
        if written_root:
            root_path.unlink(missing_ok=True)
        shutil.rmtree(home.path, ignore_errors=True)
        if existed:
            home.path.mkdir(mode=0o700)
        raise
    return founded


def _root_key_path(founding: Founding) -> Path:
    if founding.unsafe_key_beside_data:
        return (founding.home.path / "root.key").absolute()
    if founding.root_key is not None:
        path = founding.root_key.absolute()
        if path.resolve().is_relative_to(founding.home.path.resolve()):
            raise Refused(
                "the root key may not lie in HOME, where a thief of HOME finds it; name another place, or say --unsafe-key-beside-data"
            )
        return path
    return user_data_folder() / f"{founding.home.path.name}-{secrets.token_hex(4)}.root.key"


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def settings_text(founding: Founding, root_key: Path) -> str:
    """leadglass.toml as `init` writes it: what was decided, and every other default as a comment."""
    names = ", ".join(_toml(name) for name in founding.hostnames)
    beside = "unsafe_key_beside_data = true" if founding.unsafe_key_beside_data else "# unsafe_key_beside_data = false"
    return f"""# leadglass.toml: what is not said here is its default, and every default is the safe one. Unknown keys are refused.
# It is read when the archive is opened: after a change, restart `leadglass serve`.

[archive]
aet = {_toml(founding.aet)}
hostnames = [{names}]

[keys]
root_key = {_toml(str(root_key))}
{beside}

[dimse]
listen = "127.0.0.1:2762"
# unsafe_plaintext_listen = "127.0.0.1:104"     # no listener without TLS unless it is named here
# max_associations = 200
# max_associations_per_address = 32
# max_associations_per_peer = 32                 # as many as from one address, unless it is set
# max_connections = 512
# max_connections_per_address = 64
# handshake_timeout_seconds = 10.0
# idle_timeout_seconds = 60.0
# artim_timeout_seconds = 15.0
# additional_storage_classes = ["1.2.3.4"]        # private SOP classes that are stored like the standard's

[web]
listen = "127.0.0.1:8443"
# max_request_bytes = 17179869184
# default_limit = 100
# largest_limit = 1000

[pages]
# idle_minutes = 15.0             # without a request; then whoever was signed in has to sign in again
# longest_hours = 10.0

[storage]
# reserve_bytes = 1073741824      # below this much free space nothing is stored, and everything else goes on
# max_object_bytes = 8589934592

[pixels]
# processes = 0                   # that decode compressed pixels; 0: as many as cores
# seconds_per_frame = 30.0
# max_frame_bytes = 134217728
# process_memory_bytes = 1073741824
"""


def _fill(founding: Founding, text: str, root: RootKey, root_path: Path) -> Founded:
    home = founding.home
    policy = parse_policy(DEFAULT_POLICY)
    recovery = RecoveryKey.generate()
    keys = Keys.create(home.keys, root, recovery)
    archive_id = keys.archive_id
    trail = TrailLog.create(home.trail, keys.named("trail-seal"), keys.named("trail-signing"), origin(keys))
    replace_file(home.policy, DEFAULT_POLICY.encode())
    replace_file(home.config, text.encode())
    registry = Registry.create(home.access, keys.named("access"), archive_id, time.time_ns)
    anchor = Keeper.create(home.access, keys.named("access"), archive_id, registry, trail, time.time_ns, settings_of(home))
    Authority.create(home.tls, keys.named("access"), archive_id, founding.hostnames, time.time_ns)
    gate = Gate(policy, registry, trail)
    founder = gate.identify(Door.CONTROL, LocalUser(os.geteuid()))
    generated = None
    with gate.admit_administer(
        founder, Door.CONTROL, f"uid:{os.geteuid()}", detail={"verb": "init", "user": founding.administrator}
    ) as grant:
        if founding.password is None:
            generated = generate_password()
        password = generated or Secret(founding.password or "")
        registry.accounts.add(grant, founding.administrator, [Role.ADMINISTRATOR], password)
        grant.settle(Outcome.DONE, count=1)
    Vault.create(home.path, keys).close()
    gate.close()
    anchor.renew()
    verifier = trail.verifier_text
    trail.close()
    founded = Founded(
        home=home,
        root_key=root_path,
        trail_key=verifier,
        recovery_key=recovery.text(),
        password=generated.reveal() if generated is not None else None,
    )
    if not founded.proves(founded.recovery_key):
        raise KeyUnavailable("the recovery key does not open what was just made; nothing was kept")
    return founded
