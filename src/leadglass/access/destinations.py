"""Where objects may be sent: a peer at the address that an administrator gave for it, and what proves that it is the one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from leadglass.access.peers import Peer

Others: TypeAlias = Callable[[], Iterable[Peer]]


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that objects can be sent to, at its configured address."""

    peer: Peer
    host: str
    port: int
    others: Others = field(repr=False, compare=False)
    """All other peers, as they are when it is asked whether a certificate is this one's."""

    @property
    def ae_title(self) -> str:
        return self.peer.ae_title

    @property
    def unsafe_plaintext(self) -> bool:
        """Whether it is called without TLS: marked so by the operator, and never known by a key or a CA."""
        return not self.peer.pins and not self.peer.vouchers

    def is_proven_by(self, certificate: bytes, chain: tuple[bytes, ...], now: int) -> bool:
        """Whether a certificate (DER), whose key the other side has proven, is this peer's at `now` (nanoseconds since 1970).

        `chain` is what else it sent (DER), unverified.
        """
        return self.peer.identified_by(certificate, now, chain, self.others())


def destination_of(peer: Peer | None, now: int, others: Others = tuple) -> Destination | None:
    """The peer, beside all `others`, as a destination.

    None for nobody, a revoked one, one without an address, and one whose every key and CA has ended.
    """
    if peer is None or peer.revoked or peer.host is None or peer.port is None:
        return None
    known = bool(peer.pins or peer.vouchers)
    if (known and peer.ends < now) or not (known or peer.unsafe_plaintext):
        return None
    return Destination(peer, peer.host, peer.port, others)
