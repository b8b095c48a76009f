"""Holding somebody, and releasing him: whom a name means, exactly."""

from leadglass.access.grant import AdministerGrant
from leadglass.access.holds import HOLDABLE, Hold
from leadglass.access.identity import Kind
from leadglass.access.registry import Registry
from leadglass.archive.rows import Row, time_text
from leadglass.errors import WrongUsage


def hold_row(hold: Hold | None) -> Row:
    """What a list says of whether somebody is held: since when and by whom, None where he is not."""
    return {"held_since": time_text(hold.since) if hold else None, "held_by": hold.by if hold else None}


def standing(state: str, hold: Hold | None) -> str:
    """The state of somebody who is listed: held, unless he is out for good anyhow."""
    return state if hold is None or state in {"revoked", "disabled", "ended"} else "held"


def hold(registry: Registry, grant: AdministerGrant, name: str) -> Hold:
    """Hold whom the name means; raises `WrongUsage` where that is nobody, or not one alone, and `Refused` for the last administrator."""
    return registry.holds.hold(grant, *_named(registry, name))


def release(registry: Registry, grant: AdministerGrant, name: str) -> Hold:
    """End the hold of whom the name means; raises `WrongUsage` as `hold` does, and where he is not held."""
    return registry.holds.release(grant, *_named(registry, name))


def _named(registry: Registry, name: str) -> tuple[Kind, str]:
    """Whom `name` means: exactly, as peer:AETITLE, user:NAME or token:ID, or by the name alone where it is one's only."""
    # A peer may be called user:anna: what begins like this is exact, and that peer is peer:user:anna.
    kind, colon, rest = name.partition(":")
    exact = [each for each in HOLDABLE if colon and each == kind]
    wanted = rest if exact else name
    known = [each for each in exact or HOLDABLE if _is_known(registry, each, wanted)]
    match known:
        case [only]:
            return only, wanted
        case []:
            whom = f"no {exact[0]} {wanted}" if exact else f"no peer, no user and no token {wanted}"
            raise WrongUsage(f"there is {whom}; `leadglass peer list`, `user list` and `token list` show who is known")
        case _:
            ways = " or ".join(f"{each}:{wanted}" for each in known)
            raise WrongUsage(f"{wanted} is the name of a {' and of a '.join(known)}; say {ways}")


def _is_known(registry: Registry, kind: Kind, name: str) -> bool:
    match kind:
        case Kind.PEER:
            return registry.peers.get(name) is not None
        case Kind.USER:
            return registry.accounts.get(name) is not None
        case _:
            return registry.tokens.get(name) is not None
