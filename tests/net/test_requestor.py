"""Whatever a server does to our requestor ends in a value that says what it was, in bounded time and memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from leadglass.dicom import dimse, pdu
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context, propose
from leadglass.dicom.dimse import EchoResponse, StoreRequest
from leadglass.dicom.messages import Fragmenter
from leadglass.dicom.pdu import AssociateAccept, ContextOutcome, ContextResult
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection, UserInformation
from leadglass.errors import BadMessage
from leadglass.net import tls
from leadglass.net.failures import (
    Aborted,
    AssociationFailed,
    BrokenOff,
    Failure,
    Misbehaved,
    NotDicom,
    NotReached,
    Rejected,
    TimedOut,
    TlsFailed,
    describe,
)
from leadglass.net.limits import Limits
from leadglass.net.requestor import MAX_IDENTIFIER, ClientAssociation, ProtocolFactory, connect, tcp
from tests import peers
from tests.certificates import make_authority
from tests.net.doors import CT, STUDY_FIND, STUDY_GET, VERIFICATION, Door, opened, run

QUICK = Limits(handshake_seconds=0.5, idle_seconds=0.3, closing_seconds=0.3)
REQUEST = propose("SURVEY", "ANY-SCP", [(each, [IMPLICIT_LITTLE_ENDIAN]) for each in (VERIFICATION, CT, STUDY_FIND, STUDY_GET)])
RESULTS = tuple(ContextResult(each.id, 0, IMPLICIT_LITTLE_ENDIAN) for each in REQUEST.contexts)
ACCEPT = pdu.encode(AssociateAccept("ANY-SCP", "SURVEY", RESULTS))

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncIterator[int]:
    """A server that reads one A-ASSOCIATE-RQ and then behaves as told."""

    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            header = await reader.readexactly(6)
            await reader.readexactly(int.from_bytes(header[2:], "big"))
            await behaviour(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    listening = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


def says(*answers: bytes, then_stays: bool = False) -> Behaviour:
    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, answer in enumerate(answers):
            if number:
                await reader.readexactly(6)
            writer.write(answer)
            await writer.drain()
        if then_stays:
            await reader.read()

    return behaviour


def outcome(behaviour: Behaviour, use: Callable[[ClientAssociation], Awaitable[object]] | None = None) -> Failure:
    """How an association with such a server fails."""
    failures: list[Failure] = []

    async def test() -> None:
        async with server(behaviour) as port:
            try:
                async with connect(tcp("127.0.0.1", port), REQUEST, limits=QUICK) as association:
                    if use is not None:
                        await use(association)
            except AssociationFailed as problem:
                failures.append(problem.failure)

    run(test)
    assert describe(failures[0])
    return failures[0]


def message(command: dimse.Command, data: bytes | None = None, *, context: int = 1) -> bytes:
    return Fragmenter(1024).message(Context(context, VERIFICATION, IMPLICIT_LITTLE_ENDIAN), command, data)


async def echo(association: ClientAssociation) -> int:
    return await association.echo()


@pytest.mark.parametrize("triple", [(1, 1, 3), (1, 1, 7), (2, 3, 2), (9, 200, 255)])
def test_a_rejection_with_its_three_bytes(triple: tuple[int, int, int]) -> None:
    assert outcome(says(pdu.encode(pdu.AssociateReject(*triple)))) == Rejected(*triple)


def test_an_abort_instead_of_an_answer() -> None:
    assert outcome(says(pdu.encode(pdu.Abort(2, 1)))) == Aborted(2, 1)


def test_a_connection_closed_instead_of_an_answer() -> None:
    assert outcome(says()) == BrokenOff()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"\x15\x03\x01\x00\x02\x02\x50", b"\x00"])
def test_what_does_not_speak_dicom(answer: bytes) -> None:
    assert outcome(says(answer, then_stays=True)) == NotDicom(answer)


def test_an_answer_of_four_gigabytes() -> None:
    assert outcome(says(b"\x02\x00\xff\xff\xff\xff" + bytes(1000), then_stays=True)) == NotDicom(
        (b"\x02\x00\xff\xff\xff\xff" + bytes(1000))[:64]
    )


def test_silence() -> None:
    assert outcome(says(then_stays=True)) == TimedOut("the answer to our A-ASSOCIATE-RQ")


def test_an_answer_byte_by_byte_that_takes_for_ever() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for byte in ACCEPT:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.05)

    assert outcome(drip) == TimedOut("the answer to our A-ASSOCIATE-RQ")


def test_a_pdu_that_has_no_place_there() -> None:
    assert isinstance(outcome(says(pdu.encode(pdu.ReleaseResponse()), then_stays=True)), Misbehaved)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (pdu.encode(pdu.Abort(0, 0)), Aborted(0, 0)),
        (b"", TimedOut("the answer to a C-ECHO")),
        (message(EchoResponse(77, 0)), TimedOut("the answer to a C-ECHO")),
        (b"\x04\x00\xff\xff\xff\xff", Misbehaved("a PDU of type 0x04 and 4294967295 bytes: longer or shorter than it may be")),
        (message(dimse.FindResponse(1, 0)), Misbehaved("a C-ECHO was answered by another response")),
        (pdu.encode(pdu.ReleaseRequest()), Misbehaved("the peer asked to release while it owed an answer")),
    ],
)
def test_what_can_happen_after_the_association(answer: bytes, failure: Failure) -> None:
    assert outcome(says(ACCEPT, answer, then_stays=True), echo) == failure


@pytest.mark.parametrize("broken", [(dimse.EchoResponse(1, 0), None), (dimse.FindResponse(1, 0xFF00), bytes(MAX_IDENTIFIER + 2))])
def test_matches_before_a_broken_one_are_not_lost(broken: tuple[dimse.Command, bytes | None]) -> None:
    """All of it comes at once; three matches with the same command set, each with a data set of its own."""
    matches = [message(dimse.FindResponse(1, 0xFF00), text, context=5) for text in (b"one ", b"two ", b"four")]
    found: list[bytes | None] = []

    async def find(association: ClientAssociation) -> None:
        async for batch in association.find_many(association.context(STUDY_FIND), b""):
            found.extend(identifier for _, identifier in batch)

    with contextlib.suppress(BadMessage):
        outcome(says(ACCEPT, b"".join(matches) + message(*broken, context=5), then_stays=True), find)
    assert found == [b"one ", b"two ", b"four"]


def test_the_connection_lost_while_an_answer_is_owed() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPT)
        await reader.readexactly(6)

    assert outcome(hang_up, echo) == BrokenOff()


def test_a_server_that_asks_to_release_at_the_same_time() -> None:
    heard = []

    async def collide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPT)
        heard.append(await reader.readexactly(10))
        writer.write(pdu.encode(pdu.ReleaseRequest()))
        heard.append(await reader.readexactly(10))
        writer.write(pdu.encode(pdu.ReleaseResponse()))

    async def test() -> None:
        async with server(collide) as port, connect(tcp("127.0.0.1", port), REQUEST, limits=QUICK) as association:
            await association.release()
            assert association.failure is None

    run(test)
    assert heard == [pdu.encode(pdu.ReleaseRequest()), pdu.encode(pdu.ReleaseResponse())]


def test_nothing_listens() -> None:
    async def test() -> None:
        with pytest.raises(AssociationFailed) as caught:
            async with connect(tcp("127.0.0.1", peers.free_port()), REQUEST, limits=QUICK):
                raise AssertionError("nothing listens there")
        assert caught.value.failure == NotReached("ECONNREFUSED")

    run(test)


def test_a_dialer_that_takes_too_long() -> None:
    async def dial(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        await asyncio.sleep(30)
        raise AssertionError("cancelled before")

    async def test() -> None:
        with pytest.raises(AssociationFailed) as caught:
            async with connect(dial, REQUEST, limits=QUICK):
                raise AssertionError("there is no connection")
        assert caught.value.failure == TimedOut("the connection")

    run(test)


def test_tls_with_a_server_that_nobody_vouches_for_and_with_none_at_all(tmp_path: Path) -> None:
    trusted, other = make_authority(tmp_path / "one"), make_authority(tmp_path / "two")
    identity = other.issue("server")
    server_side = tls.server_context(tls.Identity(identity.certificate, identity.key), trusted_clients=None)
    ours = tls.client_context(trusted_servers=trusted.file.read_text())

    async def test() -> None:
        for context in (server_side, None):
            async with opened(Door(), tls=context, limits=QUICK) as acceptor:
                with pytest.raises(AssociationFailed) as caught:
                    async with connect(tcp("127.0.0.1", acceptor.address[1], tls=ours), REQUEST, limits=QUICK):
                        raise AssertionError("the certificate is not to be trusted")
                assert isinstance(caught.value.failure, TlsFailed)

    run(test)


def test_a_server_that_wants_a_client_certificate_may_say_so_only_later(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    identity = authority.issue("server")
    port = peers.free_port()
    files: list[str | Path] = ["-cert", identity.certificate, "-key", identity.key, "-CAfile", authority.file]
    command = [
        peers.require("openssl"),
        "s_server",
        "-accept",
        f"127.0.0.1:{port}",
        "-tls1_3",
        "-Verify",
        "1",
        "-verify_return_error",
        "-www",  # else it reads its standard input while it talks, and ends when that does
        *files,
    ]

    async def test() -> None:
        context = tls.client_context(trusted_servers=authority.file.read_text(), check_hostname=False)
        with pytest.raises(AssociationFailed) as caught:
            async with connect(tcp("127.0.0.1", port, tls=context), REQUEST) as association:
                await association.echo()
        # The alert arrives, unless the reset of the connection, into which we were already talking, overtakes it.
        assert isinstance(caught.value.failure, TlsFailed | BrokenOff)

    with peers.started(command, [port], tmp_path / "openssl.log"):
        run(test)


def test_the_answer_is_kept_as_it_came() -> None:
    results = (
        ContextResult(1, 0, IMPLICIT_LITTLE_ENDIAN),
        ContextResult(3, ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED),
        ContextResult(5, 200),
        ContextResult(99, 0, IMPLICIT_LITTLE_ENDIAN),
    )

    async def test() -> None:
        answer = pdu.encode(AssociateAccept("x\x01", "", results))
        async with server(says(answer, then_stays=True)) as port, connect(tcp("127.0.0.1", port), REQUEST, limits=QUICK) as association:
            assert association.accept.contexts == results
            assert association.accept.called == "x?"
            assert association.accept.user.implementation_class_uid is None
            assert list(association.contexts) == [1]
            with pytest.raises(LookupError):
                association.context(CT)

    run(test)


def test_a_get_can_be_aborted_at_the_first_byte_of_an_image() -> None:
    role = RoleSelection(CT, scu=False, scp=True)
    asking = propose("SURVEY", "ANY-SCP", [(each, [IMPLICIT_LITTLE_ENDIAN]) for each in (CT, STUDY_GET)], roles=[role], max_pdu=1024)
    results = tuple(ContextResult(each.id, 0, IMPLICIT_LITTLE_ENDIAN) for each in asking.contexts)
    image = message(StoreRequest(1, CT, Uid("1.2.3")), bytes(1 << 20), context=1)
    sent = 0

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(pdu.encode(AssociateAccept("A", "B", results, UserInformation(roles=(role,)))))
        await reader.readexactly(6)
        while sent < len(image) and not writer.is_closing() and not reader.at_eof():
            writer.write(image[sent : sent + 1000])
            await writer.drain()
            sent += 1000
            await asyncio.sleep(0.001)

    async def test() -> None:
        async with server(give) as port, connect(tcp("127.0.0.1", port), asking, limits=QUICK) as association:
            async for each in association.get(association.context(STUDY_GET), b""):
                assert isinstance(each.command, StoreRequest)
                assert each.data is not None
                assert 0 < each.data.received <= 1024
                association.abort()
                break

    run(test)
    assert sent < len(image) // 2
