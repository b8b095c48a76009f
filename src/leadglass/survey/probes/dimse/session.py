"""The associations of one visit to a port: a new one where the last question could only be ended by an abort."""

import asyncio
import contextlib
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from leadglass.dicom.contexts import Context
from leadglass.dicom.pdu import AssociateRequest
from leadglass.survey.addresses import System
from leadglass.survey.briefing import Briefing
from leadglass.survey.dialer import NoConnection, Slowness
from leadglass.survey.observations import Service, Tls
from leadglass.survey.probes.dimse.asking import ANY_CALLED_AET, context_of, first_request
from leadglass.survey.probes.dimse.conversation import Conversation, NoAssociation, associated
from leadglass.survey.transport import stranger_context

MAX_ASSOCIATIONS = 8
"""For one visit; an archive that ignores keys and C-CANCEL takes the most."""


@dataclass(frozen=True, slots=True)
class Line:
    """How one port is spoken to."""

    system: System
    port: int
    briefing: Briefing
    tls: Tls | None
    called: str = ANY_CALLED_AET


class Session:
    """One association at a time with one port."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._stack = AsyncExitStack()
        self._conversation: Conversation | None = None
        self._left = MAX_ASSOCIATIONS
        self._slowness = Slowness()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.end()

    async def open(self, request: AssociateRequest) -> Conversation | NoAssociation | NoConnection:
        """End what stands and ask for a new association."""
        await self.end()
        self._left -= 1
        line = self.line
        link = await self._stack.enter_async_context(line.briefing.dialer.connection(line.system.address, line.port))
        if isinstance(link, NoConnection):
            return link
        began = time.monotonic()
        answer = await self._associate(link, request)
        self.observe("association", time.monotonic() - began)
        self._conversation = answer if isinstance(answer, Conversation) else None
        return answer

    async def _associate(self, link: socket.socket, request: AssociateRequest) -> Conversation | NoAssociation:
        tls = stranger_context() if self.line.tls else None
        name = self.line.system.server_name
        return await self._stack.enter_async_context(
            associated(link, request, tls=tls, server_name=name, seconds=self.line.briefing.timeout)
        )

    async def conversation(self) -> Conversation | None:
        """An association that another question can be put in; None where there is none any more."""
        if (self._conversation is None or not self._conversation.is_usable) and self._left:
            await self.open(first_request(self.line.briefing.calling_aet, self.line.called))
        return self._conversation if self._conversation is not None and self._conversation.is_usable else None

    async def standing(self) -> tuple[Conversation, Context] | None:
        """An association in which a query can be put, as soon as this host may be asked again, and its context; None where none stands."""
        conversation = await self.conversation()
        if conversation is not None:
            await self.line.briefing.dialer.pause(self.line.system.address)
        context = query_context(conversation) if conversation is not None else None
        return None if conversation is None or context is None else (conversation, context)

    def observe(self, kind: str, seconds: float) -> None:
        """Learn how long an answer took, so that a host whose answers get slower is asked more rarely."""
        self.line.briefing.dialer.observe(self.line.system.address, self._slowness.of(kind, seconds))

    async def end(self) -> None:
        """Release what stands; a peer that talks on instead of agreeing is cut off."""
        self._conversation = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * self.line.briefing.timeout):
                await self._stack.aclose()

    async def cut(self) -> None:
        """Abort what stands."""
        if self._conversation is not None:
            self._conversation.abort()
        await self.end()


def query_context(conversation: Conversation) -> Context | None:
    """The accepted context for queries; study root before patient root."""
    contexts = list(conversation.contexts)
    return context_of(contexts, Service.STUDY_ROOT_FIND) or context_of(contexts, Service.PATIENT_ROOT_FIND)
