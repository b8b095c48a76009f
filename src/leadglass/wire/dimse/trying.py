"""A C-ECHO of ours to a known peer, and in one word how far it came."""

import asyncio
from typing import Final

from leadglass.archive.archive import Destination, Reached
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.sopclasses import VERIFICATION
from leadglass.dicom.status import Status
from leadglass.net.failures import AssociationFailed, Failure, NotDicom, NotReached, Rejected, TimedOut, TlsFailed
from leadglass.wire.dimse.outbound import Outbound

SECONDS: Final = 20.0
"""Somebody looks at a page and waits."""
NAME_NOT_FOUND: Final = "gaierror"
_BY_USER: Final = 1
_CALLING, _CALLED = 3, 7
"""PS3.8 Table 9-21."""


async def echo(outbound: Outbound, aet: str, destination: Destination) -> Reached:
    """Ask the destination whether it is there; nothing but C-ECHO is proposed."""
    request = propose(aet, destination.ae_title, [(VERIFICATION, (IMPLICIT_LITTLE_ENDIAN,))])
    try:
        async with asyncio.timeout(SECONDS), outbound.associate(destination, request) as association:
            status = await association.echo()
    except TimeoutError:
        return Reached.TOO_SLOW
    except UnicodeError:
        # What can be no host name is not even looked up.
        return Reached.NO_SUCH_HOST
    except LookupError:
        return Reached.NO_ECHO
    except AssociationFailed as failed:
        return reached(failed.failure)
    return Reached.ANSWERED if status == Status.SUCCESS else Reached.STATUS


def reached(failure: Failure) -> Reached:
    """How far an association came that failed so.

    >>> reached(Rejected(1, 1, 7)), reached(NotReached("ECONNREFUSED"))
    (<Reached.CALLED_TITLE: 'called-title'>, <Reached.NOT_REACHED: 'not-reached'>)
    """
    match failure:
        case NotReached(why):
            return Reached.NO_SUCH_HOST if why == NAME_NOT_FOUND else Reached.NOT_REACHED
        case TimedOut():
            return Reached.TOO_SLOW
        case TlsFailed():
            return Reached.TLS
        case NotDicom():
            return Reached.NOT_DICOM
        case Rejected(_, source, reason) if source == _BY_USER and reason in {_CALLING, _CALLED}:
            return Reached.CALLING_TITLE if reason == _CALLING else Reached.CALLED_TITLE
        case Rejected():
            return Reached.REJECTED
        case _:
            return Reached.BROKEN_OFF
