"""What a stranger with a socket can do to our acceptor: nothing that lasts, and nothing to the others."""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from pydicom import Dataset

from leadglass.dicom import dimse, pdu
from leadglass.dicom.association import State
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context, Offer, negotiate, propose
from leadglass.dicom.dimse import EchoRequest, StoreRequest, StoreResponse
from leadglass.dicom.messages import Fragmenter
from leadglass.dicom.pdu import AbortReason
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection
from leadglass.net import tls
from leadglass.net.acceptor import Accept, Acceptor, PeerInfo, Reject, ServerAssociation, serve
from leadglass.net.failures import Aborted, AssociationFailed, Rejected
from leadglass.net.limits import Limits, open_all_descriptors
from leadglass.net.places import Patience
from leadglass.net.requestor import ClientAssociation, connect, tcp
from leadglass.net.streams import OVERHEAD
from tests.certificates import make_authority
from tests.net.doors import CT, STUDY_FIND, STUDY_GET, VERIFICATION, Door, opened, run

QUICK = Limits(handshake_seconds=0.4, artim_seconds=0.4, idle_seconds=0.4, closing_seconds=0.3)
REQUEST = propose("TESTSCU", "LEADGLASS", [(each, [IMPLICIT_LITTLE_ENDIAN]) for each in (VERIFICATION, CT, STUDY_FIND, STUDY_GET)])
RQ = pdu.encode(REQUEST)
ECHO, STORE = Context(1, VERIFICATION, IMPLICIT_LITTLE_ENDIAN), Context(3, CT, IMPLICIT_LITTLE_ENDIAN)


class Stranger:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def says(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def hears_pdu(self) -> bytes:
        header = await self._reader.readexactly(6)
        return header + await self._reader.readexactly(int.from_bytes(header[2:], "big"))

    async def hears_rest(self) -> bytes:
        """Everything until the other side closes."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := await self._reader.read(1 << 16):
                parts.append(part)
        return b"".join(parts)


@contextlib.asynccontextmanager
async def stranger(acceptor: Acceptor, source: str = "127.0.0.1", *, deaf: bool = False) -> AsyncIterator[Stranger]:
    """A connection from this address; a deaf one has hardly room for what it is told."""
    raw = socket.socket()
    if deaf:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.bind((source, 0))
    raw.connect(acceptor.address)
    reader, writer = await asyncio.open_connection(sock=raw)
    try:
        yield Stranger(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def client(acceptor: Acceptor, request: pdu.AssociateRequest = REQUEST) -> AsyncIterator[ClientAssociation]:
    async with connect(tcp(*acceptor.address), request) as association:
        yield association


def transfer(context: int, flags: int, data: bytes) -> bytes:
    return pdu.frame(4, struct.pack(">IBB", len(data) + 2, context, flags) + data)


store_command = dimse.encode(StoreRequest(1, CT, Uid("1.2.3")), has_data=True)

BEFORE_AN_ASSOCIATION = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", AbortReason.UNRECOGNIZED_PDU),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", AbortReason.UNRECOGNIZED_PDU),
    "4 GiB request": (b"\x01\0\xff\xff\xff\xff" + bytes(4096), AbortReason.INVALID_PARAMETER),
    "4 GiB data": (b"\x04\0\xff\xff\xff\xff" + bytes(4096), AbortReason.INVALID_PARAMETER),
    "echo before the request": (transfer(1, 3, dimse.encode(EchoRequest(1, VERIFICATION), has_data=False)), AbortReason.UNEXPECTED_PDU),
    "release before the request": (pdu.encode(pdu.ReleaseRequest()), AbortReason.UNEXPECTED_PDU),
    "accept instead of a request": (pdu.encode(pdu.AssociateAccept("A", "B", ())), AbortReason.UNEXPECTED_PDU),
    "AE title with control bytes": (RQ.replace(b"TESTSCU", b"TEST\x1b\n\x00"), AbortReason.INVALID_PARAMETER),
    "blank AE title": (RQ.replace(b"TESTSCU", b"       "), AbortReason.INVALID_PARAMETER),
    "request with an echo on its heels": (
        RQ + transfer(1, 3, dimse.encode(EchoRequest(1, VERIFICATION), has_data=False)),
        AbortReason.UNEXPECTED_PDU,
    ),
}


@pytest.mark.parametrize("attack", BEFORE_AN_ASSOCIATION)
def test_nothing_but_a_request_begins_an_association(attack: str) -> None:
    door = Door()
    data, reason = BEFORE_AN_ASSOCIATION[attack]

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(data)
            assert await them.hears_rest() == pdu.encode(pdu.Abort(2, reason))
            async with client(acceptor) as good:
                assert await good.echo() == Status.SUCCESS

    run(test)
    assert door.served == 1


WITHIN_AN_ASSOCIATION = {
    "4 GiB": b"\x04\0\xff\xff\xff\xff",
    "longer than announced": struct.pack(">BxI", 4, Limits().max_pdu + 1),
    "second request": RQ,
    "context that was not accepted": transfer(99, 3, store_command),
    "data before a command": transfer(3, 2, b"data"),
    "another context's data within a command": transfer(3, 1, store_command[:9]) + transfer(1, 2, b"data"),
    "PDV without room for its header": pdu.frame(4, b"\0\0\0\1\1\3"),
    "command set that is none": transfer(1, 3, b"nonsense"),
    "garbage": b"\xff" * 100,
}


@pytest.mark.parametrize("attack", WITHIN_AN_ASSOCIATION)
def test_an_association_ends_at_the_first_thing_that_is_not_allowed(attack: str) -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            assert (await them.hears_pdu())[0] == pdu.PduType.ASSOCIATE_AC
            await them.says(WITHIN_AN_ASSOCIATION[attack])
            rest = await them.hears_rest()
            assert (rest[0], len(rest), rest[8]) == (pdu.PduType.ABORT, 10, 2)

    run(test)
    assert door.ends == ["AssociationFailed"]
    assert door.stored == []


def test_a_malformed_uid_is_refused_and_the_association_goes_on() -> None:
    door = Door()
    bad = store_command.replace(b"1.2.3\0", b"../../")

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            await them.hears_pdu()
            await them.says(transfer(3, 3, bad) + transfer(3, 2, b"data"))
            answer = await them.hears_pdu()
            command = dimse.decode(answer[12:]).command
            assert isinstance(command, dimse.StoreResponse)
            assert command.status == Status.INVALID_ATTRIBUTE_VALUE
            await them.says(transfer(3, 3, store_command) + transfer(3, 2, b"data"))
            command = dimse.decode((await them.hears_pdu())[12:]).command
            assert isinstance(command, dimse.StoreResponse)
            assert command.status == Status.SUCCESS
            await them.says(pdu.encode(pdu.ReleaseRequest()))
            assert await them.hears_rest() == pdu.encode(pdu.ReleaseResponse())

    run(test)
    assert [data for _, _, data in door.stored] == [b"data"]


def test_a_request_outside_what_was_negotiated_never_reaches_the_service() -> None:
    door = Door()
    roles = [RoleSelection(CT, scu=False, scp=True)]
    request = replace(REQUEST, user=replace(REQUEST.user, roles=tuple(roles)))

    async def test() -> None:
        async with opened(door) as acceptor, client(acceptor, request) as association:
            # We proposed to be SCP alone in the storage context.
            answer = await association.store(STORE, Uid("1.2.3"), b"data")
            assert answer.status == Status.NOT_AUTHORIZED
            # The SOP class of the command is another than that of its context.
            inbox = association.expect(7)
            await association.send(ECHO, StoreRequest(7, CT, Uid("1.2.3")), b"data")
            answered = (await association.take(inbox, "an answer")).command
            assert isinstance(answered, dimse.StoreResponse)
            assert answered.status == Status.SOP_CLASS_NOT_SUPPORTED
            # And what the service does not know it refuses itself.
            inbox = association.expect(8)
            await association.send(ECHO, dimse.OtherCommand(0x0140, 8, {0x0110: b"\x08\0"}))
            answered = (await association.take(inbox, "an answer")).command
            assert isinstance(answered, dimse.OtherCommand)
            assert answered.values[0x0900] == struct.pack("<H", Status.UNRECOGNIZED_OPERATION)

    run(test)
    assert door.stored == []


@pytest.mark.parametrize(
    ("request_pdu", "expected"),
    [
        (replace(REQUEST, protocol_version=2), Rejected(1, 2, 2)),
        (replace(REQUEST, application_context=Uid("1.2.3")), Rejected(1, 1, 2)),
    ],
)
def test_another_protocol_is_rejected_before_anybody_decides(request_pdu: pdu.AssociateRequest, expected: Rejected) -> None:
    door = Door()

    async def test() -> None:
        async with opened(door) as acceptor:
            with pytest.raises(AssociationFailed) as caught:
                async with client(acceptor, request_pdu):
                    raise AssertionError("rejected before")
            assert caught.value.failure == expected

    run(test)
    assert door.seen == []


@pytest.mark.parametrize("reason", list(Reject))
def test_every_rejection_arrives_with_its_bytes_and_starts_no_service(reason: Reject) -> None:
    door = Door(decision=reason)

    async def test() -> None:
        async with opened(door) as acceptor:
            with pytest.raises(AssociationFailed) as caught:
                async with client(acceptor):
                    raise AssertionError("rejected before")
            assert caught.value.failure == Rejected(*reason.to_bytes(3, "big"))

    run(test)
    assert door.served == 0


def test_a_decision_that_fails_is_an_abort_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def decide(request: pdu.AssociateRequest, peer: PeerInfo) -> Accept:
        raise ValueError("SECRET^PATIENT")

    async def test() -> None:
        async with await serve("127.0.0.1", 0, decide, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            assert await them.hears_rest() == pdu.encode(pdu.Abort(0, 0))

    run(test)
    assert "ValueError" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("limits", [Limits(max_associations=3), Limits(max_associations_per_address=3)])
def test_beyond_the_limit_is_rejected_for_now_and_room_is_room_again(limits: Limits) -> None:
    async def test() -> None:
        async with opened(Door(), limits=limits) as acceptor:
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(3):
                    await stack.enter_async_context(client(acceptor))
                with pytest.raises(AssociationFailed) as caught:
                    async with client(acceptor):
                        raise AssertionError("there is no room")
                assert caught.value.failure == Rejected(2, 3, 2)
            async with client(acceptor) as again:
                assert await again.echo() == Status.SUCCESS

    run(test)


def test_more_connections_than_allowed_are_closed_at_once_and_the_others_live() -> None:
    limits = Limits(max_connections_per_address=3)

    async def test() -> None:
        async with (
            opened(Door(), limits=limits) as acceptor,
            client(acceptor) as good,
            stranger(acceptor) as _first,
            stranger(acceptor) as _second,
            stranger(acceptor) as _third,
            stranger(acceptor) as fourth,
        ):
            async with asyncio.timeout(2):
                assert await fourth.hears_rest() == b""
            assert await good.echo() == Status.SUCCESS

    run(test)


def test_silence_ends_by_the_artim_timer() -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=replace(QUICK, idle_seconds=60)) as acceptor, stranger(acceptor) as them:
            async with asyncio.timeout(5):
                assert await them.hears_rest() == pdu.encode(pdu.Abort(2, 0))

    run(test)
    assert door.seen == []


def test_a_request_byte_by_byte_does_not_restart_the_artim_timer() -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=replace(QUICK, idle_seconds=60)) as acceptor, stranger(acceptor) as them:
            started = asyncio.get_running_loop().time()
            for byte in RQ:
                await them.says(bytes((byte,)))
                await asyncio.sleep(0.02)
                if asyncio.get_running_loop().time() - started > 1.5:
                    break
            assert await them.hears_rest() in {pdu.encode(pdu.Abort(2, 0)), b""}

    run(test)
    assert door.seen == []


@pytest.mark.parametrize("said", [b"", transfer(3, 3, store_command), transfer(3, 3, store_command) + transfer(3, 0, b"da")])
def test_a_peer_that_falls_silent_in_the_middle_is_aborted(said: bytes) -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            await them.hears_pdu()
            await them.says(said)
            async with asyncio.timeout(5):
                assert await them.hears_rest() == pdu.encode(pdu.Abort(2, 0))

    run(test)
    assert door.ends == ["AssociationFailed"]
    assert door.stored == []


def test_a_data_set_byte_by_byte_within_one_pdu_does_not_keep_us_waiting() -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            await them.hears_pdu()
            await them.says(transfer(3, 3, store_command))
            started = asyncio.get_running_loop().time()
            for byte in transfer(3, 2, bytes(1000)):
                await them.says(bytes((byte,)))
                await asyncio.sleep(0.02)
                if not acceptor.associations or asyncio.get_running_loop().time() - started > 3:
                    break
            assert asyncio.get_running_loop().time() - started < 2

    run(test)
    assert door.stored == []


def test_a_peer_that_never_reads_is_aborted_and_costs_a_bounded_amount() -> None:
    record = Dataset()
    record.PatientComments = "x" * 10000
    door = Door(records=[record] * 10000)
    request = propose("TESTSCU", "LEADGLASS", [(STUDY_FIND, [IMPLICIT_LITTLE_ENDIAN])])
    ask = Fragmenter(None).message(Context(1, STUDY_FIND, IMPLICIT_LITTLE_ENDIAN), dimse.FindRequest(1, STUDY_FIND), b"")

    async def test() -> None:
        before = psutil.Process().memory_info().rss
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(pdu.encode(request))
            await them.hears_pdu()
            await them.says(ask)
            async with asyncio.timeout(20):
                await door.ended.wait()
        assert psutil.Process().memory_info().rss - before < 40 << 20

    run(test)
    assert door.ends == ["AssociationFailed"]


def test_what_nobody_reads_waits_at_the_sender() -> None:
    size = 64 << 20

    async def test() -> None:
        door = Door(hold=asyncio.Event())
        assert door.hold is not None
        async with opened(door, limits=Limits(backlog=1 << 20)) as acceptor, client(acceptor) as association:
            pieces = (bytes(1 << 16) for _ in range(size >> 16))
            sending = asyncio.create_task(association.store(association.context(CT), Uid("1.2.3"), pieces))
            await asyncio.sleep(0.5)
            (message,) = door.waiting
            assert message.data is not None
            # The backlog, and what one more read may bring. What the kernels hold is not ours.
            assert message.data.received < (1 << 20) + (1 << 19)
            door.hold.set()
            assert (await sending).status == Status.SUCCESS
        assert [len(data) for _, _, data in door.stored] == [size]

    run(test)


def test_a_data_set_in_pieces_of_one_byte_counts_what_they_cost() -> None:
    async def test() -> None:
        door = Door(hold=asyncio.Event())
        async with opened(door, limits=Limits(backlog=100 * OVERHEAD)) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            await them.hears_pdu()
            await them.says(transfer(3, 3, store_command))
            for _ in range(90):
                await them.says(transfer(3, 0, b"x") * 10)
                await asyncio.sleep(0.005)
            (message,) = door.waiting
            assert message.data is not None
            assert 90 < message.data.received < 400

    run(test)


def test_a_data_set_in_pieces_of_one_byte_is_soon_aborted() -> None:
    async def test() -> None:
        door = Door()
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            await them.hears_pdu()
            await them.says(transfer(3, 3, store_command) + transfer(3, 0, b"x") * 2000)
            assert await them.hears_rest() == pdu.encode(pdu.Abort(2, AbortReason.INVALID_PARAMETER))
            await door.ended.wait()
        assert (door.ends, door.stored) == (["AssociationFailed"], [])

    run(test)


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Every descriptor that this process may have is taken."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def test_connections_that_cannot_be_accepted_are_told_once_with_their_count(caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "could not be accepted" in record.getMessage()]

    async def test() -> None:
        async with opened(Door()) as acceptor:
            with socket.create_connection(acceptor.address), no_more_descriptors():
                await asyncio.sleep(0.7)
            assert told() == [f"connections could not be accepted count=1 errno={errno.EMFILE}"]
            async with client(acceptor) as association:
                assert await association.echo() == Status.SUCCESS

    with caplog.at_level(logging.WARNING):
        run(test)
    _, rest = told()
    assert int(rest.split("count=")[1].split()[0]) >= 3


def test_the_soft_limit_on_descriptors_is_raised() -> None:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual[1] - 1, usual[1]))
        open_all_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (usual[1], usual[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def test_what_a_service_leaves_unread_is_dropped_and_the_next_request_served() -> None:
    async def ignore(association: ServerAssociation) -> None:
        async for message in association:
            command = message.command
            if isinstance(command, StoreRequest):
                await association.respond(message, StoreResponse(command.message_id, Status.OUT_OF_RESOURCES))
            else:
                await Door().answer(association, message)

    def decide(request: pdu.AssociateRequest, peer: PeerInfo) -> Accept:
        return Accept(negotiate(request, lambda _: Offer([IMPLICIT_LITTLE_ENDIAN])), ignore)

    async def test() -> None:
        async with await serve("127.0.0.1", 0, decide) as acceptor, client(acceptor) as association:
            answer = await association.store(association.context(CT), Uid("1.2.3"), (bytes(1 << 16) for _ in range(200)))
            assert answer.status == Status.OUT_OF_RESOURCES
            assert await association.echo() == Status.SUCCESS

    run(test)


def test_a_find_is_cancelled_in_the_middle() -> None:
    record = Dataset()
    record.PatientID = "P"
    door = Door(records=[record] * 5000)

    async def test() -> None:
        async with opened(door) as acceptor, client(acceptor) as association:
            context, message_id = association.context(STUDY_FIND), association.new_message_id()
            statuses = []
            async for response, _ in association.find(context, b"", message_id=message_id):
                statuses.append(response.status)
                if len(statuses) == 3:
                    await association.cancel(context, message_id)
            assert statuses[-1] == Status.CANCELLED
            assert len(statuses) < 5000
            # A cancel of what is not under way means nothing.
            await association.cancel(context, 999)
            assert await association.echo() == Status.SUCCESS

    run(test)
    assert door.cancelled


def test_both_ask_to_release_at_once() -> None:
    ended = []

    async def leave(association: ServerAssociation) -> None:
        await anext(association)
        association.machine.release()
        association.flush()
        async for _ in association:
            raise AssertionError("nothing more comes")
        ended.append(association.machine.state)

    def decide(request: pdu.AssociateRequest, peer: PeerInfo) -> Accept:
        return Accept(negotiate(request, lambda _: Offer([IMPLICIT_LITTLE_ENDIAN])), leave)

    async def test() -> None:
        async with await serve("127.0.0.1", 0, decide, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await them.says(RQ)
            await them.hears_pdu()
            await them.says(transfer(1, 3, dimse.encode(EchoRequest(1, VERIFICATION), has_data=False)))
            assert await them.hears_pdu() == pdu.encode(pdu.ReleaseRequest())
            await them.says(pdu.encode(pdu.ReleaseRequest()))
            await them.says(pdu.encode(pdu.ReleaseResponse()))
            assert await them.hears_rest() == pdu.encode(pdu.ReleaseResponse())

    run(test)
    assert ended == [State.COLLISION_ACCEPTOR_TO_CONFIRM]


def test_an_operator_can_cut_an_association() -> None:
    door = Door()

    async def test() -> None:
        async with opened(door) as acceptor, client(acceptor) as association:
            assert await association.echo() == Status.SUCCESS
            (live,) = acceptor.associations
            assert live.request.calling == "TESTSCU"
            live.abort()
            with pytest.raises(AssociationFailed) as caught:
                await association.echo()
            assert caught.value.failure == Aborted(0, 0)

    run(test)
    assert door.ends == ["AssociationFailed"]


def test_tls_plaintext_and_a_handshake_that_never_ends(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    identity = authority.issue("server")
    context = tls.server_context(tls.Identity(identity.certificate, identity.key), trusted_clients=authority.file.read_text())
    door = Door()

    async def test() -> None:
        async with opened(door, tls=context, limits=QUICK) as acceptor, asyncio.timeout(10):
            async with stranger(acceptor) as plain:
                await plain.says(RQ)
                # A TLS alert at most: not a byte of DICOM.
                assert (await plain.hears_rest())[:1] in {b"", b"\x15"}
            async with stranger(acceptor) as slow:
                await slow.says(b"\x16\x03\x01")
                assert await slow.hears_rest() == b""

    run(test)
    assert door.seen == []


def test_closing_the_door_ends_what_is_under_way() -> None:
    door = Door()

    async def test() -> None:
        acceptor = await serve("127.0.0.1", 0, door.decide)
        address = acceptor.address
        async with client(acceptor) as association, stranger(acceptor) as _silent:
            assert await association.echo() == Status.SUCCESS
            async with asyncio.timeout(3):
                await acceptor.close()
            with pytest.raises(AssociationFailed):
                await association.echo()
        with pytest.raises(AssociationFailed):
            async with connect(tcp(*address), REQUEST):
                raise AssertionError("nobody listens")

    run(test)


@pytest.mark.long
def test_thousands_of_connects_leave_nothing_behind() -> None:
    async def test() -> None:
        async with opened(Door(), limits=replace(QUICK, idle_seconds=60)) as acceptor:
            process = psutil.Process()
            async with client(acceptor) as good:
                before = process.num_fds(), process.memory_info().rss
                for _ in range(3000):
                    async with stranger(acceptor) as them:
                        await them.says(b"\x01\0\0\0\xff\xff")
                assert await good.echo() == Status.SUCCESS
                # The last of them are not listened to before this.
                await asyncio.sleep(Patience.LONGEST + 1.5)
                assert process.num_fds() <= before[0] + 5
                assert process.memory_info().rss < before[1] + (20 << 20)

    run(test)
