"""The associations that the archive makes itself: with a known peer at its configured address, once its key was looked at."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from leadglass.archive.archive import Destination
from leadglass.dicom.pdu import AssociateRequest
from leadglass.net.limits import Limits
from leadglass.net.requestor import ClientAssociation, Dial, ProtocolFactory, connect, proven, tcp

CLOSING_SECONDS = 2.0
"""For a destination that was told A-ABORT or A-RELEASE-RP to close too: somebody waits for us meanwhile."""


@dataclass(eq=False)
class _Live:
    """An association from its dialling on, and what the other side showed (the certificate and what else it sent, DER)."""

    destination: Destination
    shown: tuple[bytes, tuple[bytes, ...]] | None = None
    transport: asyncio.BaseTransport | None = None
    association: ClientAssociation | None = None
    is_cut: bool = False

    def cut(self) -> None:
        self.is_cut = True
        if self.association is not None:
            self.association.abort()
        elif self.transport is not None:
            self.transport.close()


class Outbound:
    """Makes associations; `tls` shows our certificate and leaves it to us to judge the other side's.

    `current` gives the destination that has an AE title now.
    """

    def __init__(self, tls: ssl.SSLContext, limits: Limits, current: Callable[[str], Destination | None]) -> None:
        self._tls = tls
        self._limits = replace(limits, closing_seconds=min(limits.closing_seconds, CLOSING_SECONDS))
        self._current = current
        self._live: set[_Live] = set()

    @asynccontextmanager
    async def associate(self, destination: Destination, request: AssociateRequest) -> AsyncIterator[ClientAssociation]:
        """An association with the destination for the length of a block; AssociationFailed as `connect` says, and once it is revoked."""
        live = _Live(destination)
        self._live.add(live)
        try:
            async with connect(self._dial(live), request, limits=self._limits) as association:
                live.association = association
                if live.is_cut:
                    association.abort()
                    association.raise_failure()
                yield association
        finally:
            self._live.discard(live)

    def cut_outdated(self) -> None:
        """Abort every association whose other side is no destination any more: revoked, held, with another key, elsewhere."""
        for live in tuple(self._live):
            if not self._is_current(live):
                live.cut()

    def _is_current(self, live: _Live) -> bool:
        was, now = live.destination, self._current(live.destination.ae_title)
        if now is None or (now.host, now.port, now.unsafe_plaintext) != (was.host, was.port, was.unsafe_plaintext):
            return False
        return live.shown is None or now.is_proven_by(*live.shown, time.time_ns())

    def _dial(self, live: _Live) -> Dial:
        def proves(certificate: bytes, chain: tuple[bytes, ...]) -> bool:
            live.shown = certificate, chain
            return self._is_current(live)

        host, port = live.destination.host, live.destination.port
        opener = tcp(host, port) if live.destination.unsafe_plaintext else proven(host, port, tls=self._tls, proves=proves)

        async def dial(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
            live.transport, protocol = await opener(factory)
            return live.transport, protocol

        return dial
