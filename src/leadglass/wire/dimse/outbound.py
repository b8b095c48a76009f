"""The associations that the archive makes itself: with a known peer at its configured address, once its key was looked at."""

import ssl
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from leadglass.archive.archive import Destination
from leadglass.dicom.pdu import AssociateRequest
from leadglass.net.limits import Limits
from leadglass.net.requestor import ClientAssociation, Dial, connect, proven, tcp

CLOSING_SECONDS = 2.0
"""For a destination that was told A-ABORT or A-RELEASE-RP to close too: somebody waits for us meanwhile."""


class Outbound:
    """Makes associations; `tls` shows our certificate and leaves it to us to judge the other side's."""

    def __init__(self, tls: ssl.SSLContext, limits: Limits) -> None:
        self._tls = tls
        self._limits = replace(limits, closing_seconds=min(limits.closing_seconds, CLOSING_SECONDS))

    def associate(self, destination: Destination, request: AssociateRequest) -> AbstractAsyncContextManager[ClientAssociation]:
        """An association with the destination for the length of a block; AssociationFailed as `connect` says."""
        return connect(self._dial(destination), request, limits=self._limits)

    def _dial(self, destination: Destination) -> Dial:
        if destination.unsafe_plaintext:
            return tcp(destination.host, destination.port)
        return proven(
            destination.host,
            destination.port,
            tls=self._tls,
            proves=lambda certificate, chain: destination.is_proven_by(certificate, chain, time.time_ns()),
        )
