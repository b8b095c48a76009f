"""Opening an archive: from HOME and the root key to the `Archive` that the doors use."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from leadglass import logs
from leadglass.access.anchor import Keeper, digest_of
from leadglass.access.authority import Authority
from leadglass.access.gate import Gate
from leadglass.access.identity import LocalUser
from leadglass.access.policy import REPAIR, Policy, load_policy, parse_policy
from leadglass.access.registry import Registry
from leadglass.access.sessions import SessionLimits
from leadglass.archive.archive import Archive, Limits, Parts
from leadglass.archive.commitment import Promises
from leadglass.assemble import rootkeys
from leadglass.config import Settings, load_settings
from leadglass.dicom.sopclasses import storage_with
from leadglass.dicom.uid import Uid
from leadglass.errors import ConfigurationError, LeadglassError
from leadglass.home import Home
from leadglass.pixels.pool import Decoders, DecodingLimits
from leadglass.seal.rootkey import RootKey
from leadglass.trail.log import TrailLog
from leadglass.vault.keys import Keys
from leadglass.vault.outbox import Outbox
from leadglass.vault.room import Room
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Door, Outcome


def settings_of(home: Home) -> dict[str, str]:
    """The digests of the two files that administrators edit, by their names."""
    return {path.name: digest_of(path) for path in (home.policy, home.config)}


def origin(keys: Keys) -> str:
    """The name of an archive's trail in every checkpoint (C2SP tlog-checkpoint), for ever."""
    return f"leadglass/{keys.archive_id.hex()}"


@dataclass(frozen=True)
class Opened:
    """An open archive with what its doors need beside it."""

    archive: Archive
    authority: Authority
    settings: Settings
    registry: Registry
    storage: frozenset[Uid]
    """The SOP classes that are stored."""

    def trusted_clients(self) -> str:
        """What a handshake accepts a chain to (PEM): our CA, certificates that were handed in, and the outside CAs of peers of now."""
        return self.authority.trust_file.read_text() + self.registry.authorities()


@contextmanager
def opened(home: Home, *, root: RootKey | None = None, remake_index: bool = False, deny_all: bool = False) -> Iterator[Opened]:
    """Own HOME and open the archive in it; raises `HomeInUse`, `KeyUnavailable`, `Damaged` or `ConfigurationError`.

    `root` is the root key where it is known already; `remake_index` makes the index anew before it is opened, for when it is damaged
    or missing. With `deny_all` a policy that cannot be read is told in the log, and one that lets nobody reach a patient is in force.
    """
    home.require()
    settings = load_settings(home.config)
    policy = _policy_of(home, deny_all=deny_all)
    storage = _storage_of(settings)
    root = root or rootkeys.read(settings)
    with home.owned(), ExitStack() as undo:
        keys = Keys.open(home.keys, root)
        undo.callback(keys.close)
        trail = TrailLog.open(home.trail, keys.named("trail-seal"), keys.named("trail-signing"), origin(keys))
        undo.callback(trail.close)
        registry = Registry.open(home.access, keys.named("access"), keys.archive_id, time.time_ns, sessions=_session_limits(settings))
        authority = Authority.open(home.tls, keys.named("access"), keys.archive_id, time.time_ns)
        anchor = Keeper.open(home.access, keys.named("access"), keys.archive_id, registry, trail, time.time_ns)
        for sentence in anchor.configured(settings_of(home)):
            logs.event(logging.WARNING, sentence)
        undo.callback(anchor.renew)
        gate = Gate(policy, registry, trail)
        undo.callback(gate.close)
        undo.callback(_save_seen, registry)
        if remake_index:
            _remake_index(home, keys, gate)
        vault = Vault.open(home.path, keys, reserve_bytes=settings.storage.reserve_bytes)
        undo.callback(vault.close)
        room = Room(home.path, settings.storage.reserve_bytes)
        promises = Promises(Outbox.open(home.commitments, keys.named("access"), keys.archive_id, room))
        decoders = Decoders(_decoding_limits(settings))
        undo.callback(decoders.close)
        parts = Parts(
            gate=gate,
            vault=vault,
            keys=keys,
            registry=registry,
            anchor=anchor,
            authority=authority,
            trail=trail,
            promises=promises,
            decoders=decoders,
            policy_file=home.policy,
            aet=settings.archive.aet,
        )
        yield Opened(Archive(parts, Limits(settings.storage.max_object_bytes)), authority, settings, registry, storage)


def _save_seen(registry: Registry) -> None:
    try:
        registry.seen.save()
    except (LeadglassError, OSError) as error:
        logs.fault("when each was last seen is not kept", error)


def _policy_of(home: Home, *, deny_all: bool) -> Policy:
    try:
        return load_policy(home.policy)
    except ConfigurationError as error:
        if not deny_all:
            raise
        logs.event(logging.ERROR, f"{error}. Everybody is denied everything until `leadglass policy apply HOME` puts a valid one in force")
        return parse_policy(REPAIR)


def _storage_of(settings: Settings) -> frozenset[Uid]:
    try:
        return storage_with(settings.dimse.additional_storage_classes)
    except ConfigurationError as error:
        raise ConfigurationError(f"leadglass.toml: dimse.additional_storage_classes: {error}") from None


def _session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(idle_seconds=60 * settings.pages.idle_minutes, longest_seconds=3600 * settings.pages.longest_hours)


def _decoding_limits(settings: Settings) -> DecodingLimits:
    return DecodingLimits(
        processes=settings.pixels.processes,
        seconds_per_frame=settings.pixels.seconds_per_frame,
        frame_bytes=settings.pixels.max_frame_bytes,
        memory_bytes=settings.pixels.process_memory_bytes,
    )


def _remake_index(home: Home, keys: Keys, gate: Gate) -> None:
    address = f"uid:{os.geteuid()}"
    operator = gate.identify(Door.CONTROL, LocalUser(os.geteuid()))
    with gate.admit_administer(operator, Door.CONTROL, address, detail={"verb": "index-rebuild"}) as grant:
        count = Vault.remake_index(home.path, keys)
        grant.settle(Outcome.DONE, count=count)
