"""What a peer needs to be set up and tried out: our authority's certificate, and a C-ECHO to where it is configured."""

from enum import StrEnum

from leadglass.access.destinations import Destination
from leadglass.access.grant import AdministerGrant
from leadglass.access.identity import Principal
from leadglass.archive.administration import Parts
from leadglass.errors import BadInput, WrongUsage
from leadglass.vocabulary import Door, Outcome


class Reached(StrEnum):
    """How far a C-ECHO to a peer came."""

    ANSWERED = "answered"
    NO_SUCH_HOST = "no-such-host"
    NOT_REACHED = "not-reached"
    TOO_SLOW = "too-slow"
    TLS = "tls"
    """No TLS, or none that proves the peer."""
    NOT_DICOM = "not-dicom"
    CALLING_TITLE = "calling-title"
    CALLED_TITLE = "called-title"
    REJECTED = "rejected"
    NO_ECHO = "no-echo"
    """It takes the association, and not the Verification SOP Class."""
    BROKEN_OFF = "broken-off"
    STATUS = "status"
    """It answers with another status than success."""


class Trial:
    """One C-ECHO that may be sent, to `destination` alone; `end` it with how far it came."""

    def __init__(self, grant: AdministerGrant, destination: Destination) -> None:
        self._grant = grant
        self.destination = destination

    def end(self, reached: Reached | None) -> None:
        """Into the trail; None where it was given up."""
        outcome = {None: Outcome.CANCELLED, Reached.ANSWERED: Outcome.DONE}.get(reached, Outcome.FAILED)
        self._grant.settle(outcome, detail={} if reached is None else {"reached": reached})


class Peering:
    """What one caller may ask in order to set up a peer; each call asks the gate for itself."""

    def __init__(self, parts: Parts, principal: Principal, door: Door, address: str) -> None:
        self._parts = parts
        self._who = (principal, door, address)

    def authority(self) -> str:
        """The certificate (PEM) of our own CA, which everybody may have who is to know us by it."""
        with self._parts.gate.admit_administer(*self._who, detail={"verb": "authority-show"}) as grant:
            grant.settle(Outcome.DONE)
            return self._parts.authority.ca_file.read_text()

    def trial(self, ae_title: str) -> Trial:
        """A C-ECHO to the address that was configured for a peer; `WrongUsage` for one that has none, is revoked or held."""
        try:
            grant = self._parts.gate.admit_administer(*self._who, detail={"verb": "peer-echo", "peer": ae_title})
        except BadInput:
            raise WrongUsage("no peer has such an AE title") from None
        destination = self._parts.registry.destination(ae_title)
        if destination is None:
            grant.settle(Outcome.REFUSED)
            raise WrongUsage(f"peer {ae_title} cannot be called: it is revoked, held or past its time, or has no host and port")
        return Trial(grant, destination)
