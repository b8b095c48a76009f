"""How an association can fail: values, because to the survey each is a finding and to the door each is ordinary."""

from dataclasses import dataclass, field

from leadglass.errors import PeerFailed


@dataclass(frozen=True, slots=True)
class NotReached:
    """No connection: refused, unreachable, name not found; `why` is the system's word for it (ECONNREFUSED ...)."""

    why: str


@dataclass(frozen=True, slots=True)
class TlsFailed:
    """The TLS handshake, or what TLS 1.3 leaves until after it (a client certificate that was not liked), failed."""

    why: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A-ASSOCIATE-RJ with these three bytes (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer sent A-ABORT with these two bytes (PS3.8 Table 9-26)."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The connection ended without a release or an abort."""


@dataclass(frozen=True, slots=True)
class NotDicom:
    """The first bytes were no PDU; up to 64 of them."""

    first_bytes: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Misbehaved:
    """A DICOM peer sent what PS3.7 or PS3.8 does not allow here; we aborted."""

    why: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nothing, or too little, came while we waited for `during`; we aborted."""

    during: str


@dataclass(frozen=True, slots=True)
class AbortedHere:
    """Our own side aborted: an operator, a revocation, a shutdown."""


Failure = NotReached | TlsFailed | Rejected | Aborted | BrokenOff | NotDicom | Misbehaved | TimedOut | AbortedHere


class AssociationFailed(PeerFailed):
    """An association could not be made or did not last; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(describe(failure))
        self.failure = failure


def describe(failure: Failure) -> str:
    """What happened, and where to look.

    >>> describe(Rejected(1, 1, 7))
    'the peer rejects the association (permanently): it does not know our called AE title'
    """
    match failure:
        case NotReached(why):
            return f"the peer cannot be reached ({why}): check address, port and firewall"
        case TlsFailed(why):
            return f"TLS failed ({why}): check certificates on both sides, and that the port speaks TLS"
        case Rejected(result, source, reason):
            words = _REJECT_WORDS.get((source, reason), f"source {source}, reason {reason}")
            return f"the peer rejects the association ({_RESULT_WORDS.get(result, result)}): {words}"
        case Aborted(source, reason):
            return f"the peer aborted the association (source {source}, reason {reason})"
        case BrokenOff():
            return "the peer closed the connection in the middle of the association"
        case NotDicom():
            return "what answers does not speak DICOM: check the port, and whether it expects TLS"
        case Misbehaved(why):
            return f"aborted, because the peer broke the protocol: {why}"
        case TimedOut(during):
            return f"aborted, because the peer took too long: {during}"
        case AbortedHere():
            return "the association was aborted on our side"


_RESULT_WORDS = {1: "permanently", 2: "for now"}
_REJECT_WORDS = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "it does not know our calling AE title",
    (1, 7): "it does not know our called AE title",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
