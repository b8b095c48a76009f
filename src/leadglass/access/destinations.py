"""Where objects may be sent: a peer at the address that an administrator gave for it, and what proves that it is the one."""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from leadglass.access.clock import NANOSECONDS
from leadglass.access.identity import spki_pin
from leadglass.access.peers import Peer, Pin
from leadglass.errors import NotIdentified


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that objects can be sent to; without `pins` it is one that the operator marked `--unsafe-plaintext`."""

    ae_title: str
    host: str
    port: int
    pins: tuple[Pin, ...]

    @property
    def unsafe_plaintext(self) -> bool:
        return not self.pins

    def is_proven_by(self, certificate: bytes, now: int) -> bool:
        """Whether a certificate (DER), whose key the other side has proven, is this peer's at `now` (nanoseconds since 1970)."""
        try:
            shown = spki_pin(certificate)
            parsed = x509.load_der_x509_certificate(certificate)
        except (NotIdentified, ValueError):
            return False
        if not parsed.not_valid_before_utc <= datetime.fromtimestamp(now / NANOSECONDS, UTC) <= parsed.not_valid_after_utc:
            return False
        return any(hmac.compare_digest(pin.sha256, shown) and pin.not_after >= now for pin in self.pins)


def destination_of(peer: Peer | None, now: int) -> Destination | None:
    """The peer as a destination; None for nobody, a revoked one, one without an address, and one whose every key has ended."""
    if peer is None or peer.revoked or peer.host is None or peer.port is None:
        return None
    pins = tuple(pin for pin in peer.pins if pin.not_after >= now)
    if not pins and not peer.unsafe_plaintext:
        return None
    return Destination(peer.ae_title, peer.host, peer.port, pins)
