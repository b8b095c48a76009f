"""Move: what a fetch gives, to be sent to a known destination.

Who moves which studies to whom is durable in the trail before a byte leaves.
"""

from leadglass.access.destinations import Destination
from leadglass.access.gate import Gate
from leadglass.access.grant import NOTHING, MoveGrant
from leadglass.access.identity import Kind, Principal
from leadglass.access.registry import Registry
from leadglass.archive.fetch import Fetched
from leadglass.dicom.query import Selection
from leadglass.errors import UnknownDestination
from leadglass.pixels.pool import Decoders
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Door, Outcome, Refusal

UNKNOWN = "unknown"
"""What the trail calls a destination that is none: what a peer makes up has no place there."""


class Moved(Fetched):
    """The objects that are to be sent to `destination`."""

    def __init__(
        self, grant: MoveGrant, vault: Vault, selection: Selection, decoders: Decoders, destination: Destination, registry: Registry
    ) -> None:
        super().__init__(grant, vault, selection, decoders)
        self.destination = destination
        self._registry = registry

    def current_destination(self) -> Destination | None:
        """The destination as it is known now; None once it is revoked or held, or is to be reached elsewhere."""
        now = self._registry.destination(self.destination.ae_title)
        return now if now is not None and (now.host, now.port) == (self.destination.host, self.destination.port) else None


def begin_move(
    gate: Gate, vault: Vault, decoders: Decoders, who: tuple[Principal, Door, str], selection: Selection, ae_title: str
) -> Moved:
    """The objects of a selection that the caller may have moved; NotAllowed, UnknownDestination.

    Nothing that is stored is looked up for who may not move, nor for a destination that is none.
    """
    known = gate.registry.destination(ae_title)
    is_held = gate.registry.holds.get(Kind.PEER, ae_title) is not None
    grant = gate.admit_move(*who, detail={"destination": ae_title if known is not None or is_held else UNKNOWN})
    try:
        if known is None:
            grant.settle(Outcome.REFUSED, detail={"reason": Refusal.HELD_PEER} if is_held else NOTHING)
            raise UnknownDestination("no peer that objects can be sent to has this AE title; `leadglass peer add --host --port` makes one")
        moved = Moved(grant, vault, selection, decoders, known, gate.registry)
        grant.announce(sorted({row.study for row in moved.rows}))
    except BaseException:
        if not grant.settled:
            grant.settle(Outcome.FAILED)
        raise
    return moved
