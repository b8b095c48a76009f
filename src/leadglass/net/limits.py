"""The bounds on what a peer can make us hold or wait for; every default is the safe one."""

import resource
from dataclasses import dataclass

from leadglass.dicom.contexts import DEFAULT_MAX_PDU


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    max_pdu: int = DEFAULT_MAX_PDU
    max_associations: int = 64
    max_associations_per_address: int = 16
    """Modalities seldom open more than four; a router of a whole site opens a dozen."""

    max_associations_per_peer: int | None = None
    """Of one peer, from wherever; None: as many as from one address."""

    max_connections: int = 512
    """Connections without an association: in the TLS handshake, silent, or being told no."""

    max_connections_per_address: int = 64
    handshake_seconds: float = 10.0
    """For the whole of the TLS handshake."""

    artim_seconds: float = 30.0
    """From the connection, or the end of its TLS handshake, to the whole A-ASSOCIATE-RQ (PS3.8 9.1.5)."""

    idle_seconds: float = 60.0
    """While we wait for the peer, each whole PDU starts this anew; single bytes do not. A peer that takes nothing of what we send for
    this long is gone, whatever it says."""

    slowest_bytes_per_second: int = 1024
    """What a data set must come by, looked at each `idle_seconds`: a few bytes in each PDU do not keep a place for ever."""

    closing_seconds: float = 5.0
    """For the peer to close after we said the last word."""

    backlog: int = 1 << 20
    """Of a data set that nobody has read yet; then reading pauses."""

    max_waiting_messages: int = 64
    """Requests that nobody has taken yet; then reading pauses. Refusals that the peer does not read; then it is aborted."""

    @property
    def for_one_peer(self) -> int:
        """Associations that one peer may have."""
        return self.max_associations_per_address if self.max_associations_per_peer is None else self.max_associations_per_peer


DEFAULT = Limits()


def open_all_descriptors() -> None:
    """Let this process have as many files and connections open as the system allows it; the usual soft limit is a tenth of that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
