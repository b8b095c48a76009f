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

    max_connections: int = 512
    """Connections without an association yet: in the TLS handshake, silent, or being told no."""

    max_connections_per_address: int = 64
    handshake_seconds: float = 10.0
    artim_seconds: float = 30.0
    """From the connection to the whole A-ASSOCIATE-RQ (PS3.8 9.1.5)."""

    idle_seconds: float = 60.0
    """While we wait for the peer, each whole PDU starts this anew; single bytes do not."""

    closing_seconds: float = 5.0
    """For the peer to close after we said the last word."""

    backlog: int = 1 << 20
    """Of a data set that nobody has read yet; then reading pauses."""

    max_waiting_messages: int = 64
    """Requests that nobody has taken yet; then reading pauses."""


DEFAULT = Limits()


def open_all_descriptors() -> None:
    """Let this process have as many files and connections open as the system allows it; the usual soft limit is a tenth of that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
