"""Every exception leadglass raises, drawn as a tree.

LeadglassError                  exit 3: our fault, unless a branch below says otherwise
├── WrongUsage                  exit 2: the command line or the configuration is wrong; says what would be right
│   └── ConfigurationError          leadglass.toml, policy.toml or a scope file
├── Refused                     exit 1: an answer, not a fault
│   ├── NotIdentified               nobody we know; a door says nothing more than that
│   │   └── UserNotIdentified           a peer that we know, and with it a token that is nobody's
│   ├── TooOften                    somebody tries to sign in too often; knows how long to wait
│   ├── NotAllowed                  known, but the policy does not give this
│   ├── UnknownDestination          nobody to whom objects can be sent has this AE title
│   ├── HomeInUse                   another process owns HOME
│   └── OutOfScope                  the survey's scope does not name it
├── BadInput                    exit 1: what came in is not what it claims to be; nothing was kept
│   ├── InvalidUid
│   ├── BadDataSet                  not a data set by PS3.5, or over a bound
│   ├── BadPdu                      not a PDU by PS3.8, or over a bound
│   ├── BadMessage                  a DIMSE message that PS3.7 does not allow
│   ├── BadQuery                    a query or retrieve identifier that PS3.4 does not allow
│   └── BadArchiveFile              an import source (zip, file) that cannot be taken
├── CannotConvert               exit 1: stored, but not in the form asked for
├── GivenUp                     exit 1: whoever asked has left, or wants it no more; nothing is wrong
├── TooMuchAtOnce               exit 1: more than is taken on at the same time; ask again later
├── NoRoom                      exit 1: below the low-water mark; serving goes on
├── StorageFailed               exit 3: the disk did not take what it was given; not acknowledged, nothing half kept
├── Damaged                     exit 1: stored bytes are not what we wrote
│   ├── SealBroken                  a seal does not open: changed, swapped, truncated, or another key
│   ├── KeyTableDamaged
│   └── TrailDamaged
├── KeyUnavailable              exit 1: the root key or passphrase is missing or not this archive's
├── TrailUnwritable             nothing is served until the trail can be written again
└── PeerFailed                  exit 1: the other side of a connection broke off, timed out or refused
    └── AssociationFailed           an association did; defined beside its values in net.failures

A message says what happened, to what, and what to do next; it never holds an element's value.
"""

from typing import ClassVar


class LeadglassError(Exception):
    """Root of the tree; `exit_code` is what the command line ends in."""

    exit_code: ClassVar[int] = 3


class WrongUsage(LeadglassError):
    exit_code = 2


class ConfigurationError(WrongUsage):
    pass


class Refused(LeadglassError):
    exit_code = 1


class NotIdentified(Refused):
    pass


class UserNotIdentified(NotIdentified):
    pass


class TooOften(Refused):
    """`seconds` to wait before the next try."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many tries to sign in; wait {seconds} seconds")
        self.seconds = seconds


class NotAllowed(Refused):
    pass


class UnknownDestination(Refused):
    pass


class HomeInUse(Refused):
    pass


class OutOfScope(Refused):
    pass


class BadInput(LeadglassError):
    exit_code = 1


class InvalidUid(BadInput):
    pass


class BadDataSet(BadInput):
    pass


class BadPdu(BadInput):
    """`reason` is what an A-ABORT to its sender says (PS3.8 Table 9-26); 0 is "not specified"."""

    def __init__(self, message: str, reason: int = 0) -> None:
        super().__init__(message)
        self.reason = reason


class BadMessage(BadInput):
    pass


class BadQuery(BadInput):
    pass


class BadArchiveFile(BadInput):
    pass


class CannotConvert(LeadglassError):
    exit_code = 1


class GivenUp(LeadglassError):
    exit_code = 1


class TooMuchAtOnce(LeadglassError):
    exit_code = 1


class NoRoom(LeadglassError):
    exit_code = 1


class StorageFailed(LeadglassError):
    pass


class Damaged(LeadglassError):
    exit_code = 1


class SealBroken(Damaged):
    pass


class KeyTableDamaged(Damaged):
    pass


class TrailDamaged(Damaged):
    pass


class KeyUnavailable(LeadglassError):
    exit_code = 1


class TrailUnwritable(LeadglassError):
    pass


class PeerFailed(LeadglassError):
    exit_code = 1
