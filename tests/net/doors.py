"""Doors for the tests: a small service over the engine that stores into a list and answers queries with what it was given."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Offer, negotiate
from leadglass.dicom.dimse import (
    EchoRequest,
    EchoResponse,
    FindRequest,
    FindResponse,
    GetRequest,
    GetResponse,
    StoreRequest,
    StoreResponse,
)
from leadglass.dicom.pdu import AssociateRequest
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.net import tls
from leadglass.net.acceptor import Accept, Acceptor, PeerInfo, Reject, ServerAssociation, serve
from leadglass.net.limits import Limits
from leadglass.net.streams import Message
from tests.certificates import Identity

VERIFICATION = Uid("1.2.840.10008.1.1")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
STUDY_FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
STUDY_GET = Uid("1.2.840.10008.5.1.4.1.2.2.3")
SYNTAXES = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)


def server_context(identity: Identity) -> ssl.SSLContext:
    """A listener's, that shows this identity and asks for one of the same authority."""
    return tls.server_context(tls.Identity(identity.certificate, identity.key), trusted_clients=identity.authority.read_text())


def client_context(identity: Identity) -> ssl.SSLContext:
    """A requestor's, that shows this identity and trusts its authority."""
    return tls.client_context(trusted_servers=identity.authority.read_text(), identity=tls.Identity(identity.certificate, identity.key))


def encoded(dataset: Dataset, transfer_syntax: str) -> bytes:
    """The bytes of a data set without file meta information."""
    file = DicomBytesIO()
    file.is_implicit_VR = transfer_syntax == IMPLICIT_LITTLE_ENDIAN
    file.is_little_endian = True
    write_dataset(file, dataset)
    return file.getvalue()


@dataclass
class Door:
    """What the service was given, and what it answers with; `seen` are the requests that were decided about."""

    records: list[Dataset] = field(default_factory=list)
    instances: list[tuple[Uid, Uid, bytes]] = field(default_factory=list)
    stored: list[tuple[StoreRequest, str, bytes]] = field(default_factory=list)
    seen: list[tuple[AssociateRequest, PeerInfo]] = field(default_factory=list)
    served: int = 0
    ends: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False
    decision: Reject | None = None
    hold: asyncio.Event | None = None
    """If set, nothing is read or answered before it is."""
    waiting: list[Message] = field(default_factory=list)
    """What was taken while `hold` held."""

    async def decide(self, request: AssociateRequest, peer: PeerInfo) -> Accept | Reject:
        self.seen.append((request, peer))
        if self.decision is not None:
            return self.decision
        return Accept(negotiate(request, lambda _: Offer(SYNTAXES, as_scu=True)), self.serve)

    async def serve(self, association: ServerAssociation) -> None:
        self.served += 1
        try:
            async for message in association:
                if self.hold is not None:
                    self.waiting.append(message)
                    await self.hold.wait()
                await self.answer(association, message)
        except Exception as problem:
            self.ends.append(type(problem).__name__)
            self.ended.set()
            raise
        self.ends.append("released")
        self.ended.set()

    async def answer(self, association: ServerAssociation, message: Message) -> None:
        command = message.command
        match command:
            case EchoRequest():
                await association.respond(message, EchoResponse(command.message_id, Status.SUCCESS, command.sop_class))
            case StoreRequest() if message.data is not None:
                data = await message.data.read_all(1 << 30)
                self.stored.append((command, message.context.transfer_syntax, data))
                answer = StoreResponse(command.message_id, Status.SUCCESS, command.sop_class, command.sop_instance)
                await association.respond(message, answer)
            case FindRequest() if message.data is not None:
                await message.data.read_all(1 << 20)
                await self._find(association, message, command)
            case GetRequest() if message.data is not None:
                await message.data.read_all(1 << 20)
                await self._get(association, message, command)
            case _:
                await association.refuse(message, Status.UNRECOGNIZED_OPERATION)

    async def _find(self, association: ServerAssociation, message: Message, command: FindRequest) -> None:
        for record in self.records:
            await asyncio.sleep(0)
            if association.cancelled(command.message_id):
                self.cancelled = True
                await association.respond(message, FindResponse(command.message_id, Status.CANCELLED, command.sop_class))
                return
            answer = FindResponse(command.message_id, Status.PENDING, command.sop_class)
            await association.respond(message, answer, encoded(record, message.context.transfer_syntax))
        await association.respond(message, FindResponse(command.message_id, Status.SUCCESS, command.sop_class))

    async def _get(self, association: ServerAssociation, message: Message, command: GetRequest) -> None:
        done = failed = 0
        for sop_class, sop_instance, data in self.instances:
            contexts = association.contexts_for(sop_class)
            status: int = Status.SOP_CLASS_NOT_SUPPORTED
            if contexts:
                status = (await association.store(contexts[0], sop_instance, pieces(data, 5000))).status
            done, failed = done + (status == Status.SUCCESS), failed + (status != Status.SUCCESS)
            left = len(self.instances) - done - failed
            await association.respond(message, GetResponse(command.message_id, Status.PENDING, command.sop_class, left, done, failed, 0))
        status = Status.SUBOPERATIONS_FAILED if failed else Status.SUCCESS
        await association.respond(message, GetResponse(command.message_id, status, command.sop_class, None, done, failed, 0))


def pieces(data: bytes, size: int) -> Iterable[bytes]:
    """`data` in pieces of `size`."""
    return (data[start : start + size] for start in range(0, len(data), size))


@contextlib.asynccontextmanager
async def opened(door: Door, *, tls: ssl.SSLContext | None = None, limits: Limits | None = None) -> AsyncIterator[Acceptor]:
    """The door, listening on loopback."""
    async with await serve("127.0.0.1", 0, door.decide, tls=tls, limits=limits or Limits()) as acceptor:
        yield acceptor


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run an async test to its end, and fail if it leaves a task behind or takes a minute."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(bounded())
