"""Peers that are slow, silent, half gone or greedy: each ends by its timer or its limit, and whoever behaves is served meanwhile."""

import asyncio
import contextlib
import socket
import ssl
import statistics
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from leadglass.dicom import dimse, pdu
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.dimse import EchoRequest, StoreRequest
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.net.acceptor import Acceptor
from leadglass.net.failures import AssociationFailed, Rejected, TlsFailed
from leadglass.net.limits import Limits
from leadglass.net.places import Patience
from leadglass.net.requestor import ClientAssociation, connect, tcp
from tests.certificates import make_authority
from tests.net.doors import CT, VERIFICATION, Door, client_context, opened, run, server_context
from tests.net.test_acceptor import QUICK, REQUEST, RQ, Stranger, client, store_command, stranger, transfer

ECHO = transfer(1, 3, dimse.encode(EchoRequest(1, VERIFICATION), has_data=False))
MALFORMED = transfer(3, 3, store_command.replace(b"1.2.3\0", b"../../")) + transfer(3, 2, b"xx")
ABORT = pdu.encode(pdu.Abort(2, 0))
PATIENT = replace(QUICK, artim_seconds=60, handshake_seconds=60, idle_seconds=60)


async def associated(them: Stranger) -> None:
    await them.says(RQ)
    assert (await them.hears_pdu())[0] == pdu.PduType.ASSOCIATE_AC


async def drip(them: Stranger, pieces: list[bytes], acceptor: Acceptor) -> float:
    """Say the pieces, one every 20 ms, until the association is cut; the seconds that took."""
    began = time.monotonic()
    for piece in pieces:
        await them.says(piece)
        await asyncio.sleep(0.02)
        if not acceptor.associations:
            break
    return time.monotonic() - began


def test_a_data_set_that_crawls_in_whole_pdus_is_cut_off() -> None:
    door = Door()
    crawl = [transfer(3, 0, b"ab")] * 250

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await associated(them)
            await them.says(transfer(3, 3, store_command))
            assert await drip(them, crawl, acceptor) < 3
            assert await them.hears_rest() in {ABORT, b""}

    run(test)
    assert door.stored == []


def test_a_data_set_that_comes_slowly_but_comes_is_taken() -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await associated(them)
            await them.says(transfer(3, 3, store_command))
            assert await drip(them, [transfer(3, 0, bytes(200))] * 60, acceptor) > 1.2
            await them.says(transfer(3, 2, b"") + pdu.encode(pdu.ReleaseRequest()))
            assert (await them.hears_pdu())[0] == pdu.PduType.P_DATA_TF

    run(test)
    assert [len(data) for _, _, data in door.stored] == [60 * 200]


@pytest.mark.parametrize("asked", [ECHO, MALFORMED], ids=["answered by the service", "refused before it"])
def test_a_peer_that_asks_for_ever_and_never_reads_ends_and_costs_little(asked: bytes) -> None:
    door = Door()

    async def test() -> None:
        process = psutil.Process()
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor, deaf=True) as them:
            await associated(them)
            before, said = process.memory_info().rss, 0
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                while acceptor.associations and time.monotonic() - began < 45:
                    async with asyncio.timeout(0.2):
                        await them.says(asked * 500)
                    said += len(asked) * 500
            assert not acceptor.associations or await gone(acceptor)
            assert process.memory_info().rss - before < 60 << 20

    run(test)
    assert door.ends == ["AssociationFailed"]


async def gone(acceptor: Acceptor) -> bool:
    """Whether the last association ends within some time limits."""
    for _ in range(100):
        if not acceptor.associations:
            return True
        await asyncio.sleep(0.05)
    return False


def test_one_peer_has_a_limit_wherever_it_comes_from() -> None:
    limits = Limits(max_associations_per_peer=2)
    other = propose("OTHER", "LEADGLASS", [(VERIFICATION, [IMPLICIT_LITTLE_ENDIAN])])

    async def test() -> None:
        async with opened(Door(), limits=limits) as acceptor, client(acceptor), client(acceptor):
            with pytest.raises(AssociationFailed) as caught:
                async with client(acceptor):
                    raise AssertionError("there is no room")
            assert caught.value.failure == Rejected(2, 3, 2)
            async with client(acceptor, other) as association:
                assert await association.echo() == Status.SUCCESS

    run(test)


def connection_from(address: str, acceptor: Acceptor) -> socket.socket:
    return socket.create_connection(acceptor.address, source_address=(address, 0))


def test_a_few_addresses_cannot_take_every_place() -> None:
    limits = Limits(max_connections=8, max_connections_per_address=4, artim_seconds=60)

    async def test() -> None:
        async with opened(Door(), limits=limits) as acceptor:
            with contextlib.ExitStack() as greedy:
                held = [greedy.enter_context(connection_from(f"127.0.0.{2 + number % 2}", acceptor)) for number in range(8)]
                await asyncio.sleep(0.2)
                async with client(acceptor) as association:
                    assert await association.echo() == Status.SUCCESS
                # It was the oldest who had to go, and was told.
                held[0].settimeout(2)
                assert held[0].recv(100) in {pdu.encode(pdu.Abort(0, 0)), ABORT}

    run(test)


# TLS ---------------------------------------------------------------------------------------------


def test_whoever_shows_no_certificate_is_told_so_by_an_alert(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    context = server_context(authority.issue("server"))
    nobody = ssl.create_default_context(cafile=str(authority.file))

    async def test() -> None:
        async with opened(Door(), tls=context, limits=QUICK) as acceptor:
            with pytest.raises(AssociationFailed) as caught:
                async with connect(tcp(*acceptor.address, tls=nobody), REQUEST):
                    raise AssertionError("nobody is let in")
            assert caught.value.failure == TlsFailed("TLSV13_ALERT_CERTIFICATE_REQUIRED")

    run(test)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 65536, 1_000_003])
def test_every_size_comes_through_tls_both_ways(tmp_path: Path, size: int) -> None:
    authority = make_authority(tmp_path)
    context = server_context(authority.issue("server"))
    data = bytes(range(251)) * (size // 251) + bytes(size % 251)
    door = Door(instances=[(CT, Uid("1.2.3"), data)])

    async def test() -> None:
        async with (
            opened(door, tls=context) as acceptor,
            connect(tcp(*acceptor.address, tls=client_context(authority.issue("client"))), REQUEST) as association,
        ):
            answer = await association.store(association.context(CT), Uid("1.2.3"), data)
            assert answer.status == Status.SUCCESS
            assert door.seen[0][1].certificate

    run(test)
    assert [stored for _, _, stored in door.stored] == [data]


def tls_records(context: ssl.SSLContext) -> bytes:
    """A ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


BROKEN_HANDSHAKES: dict[str, Callable[[bytes], list[bytes]]] = {
    "silence": lambda _hello: [],
    "plain DICOM": lambda _hello: [RQ],
    "half a hello": lambda hello: [hello[: len(hello) // 2]],
    "byte by byte": lambda hello: [hello[at : at + 1] for at in range(40)],
    "a hello, then garbage": lambda hello: [hello, b"\xff" * 4096],
    "a hello, then silence": lambda hello: [hello],
    "records without end": lambda _hello: [b"\x16\x03\x01\x40\x00" + bytes(16384)] * 8,
    "a record too long": lambda _hello: [b"\x16\x03\x03\xff\xff" + bytes(65535)],
}


@pytest.mark.parametrize("attack", BROKEN_HANDSHAKES)
def test_a_handshake_that_comes_to_nothing_ends_in_time_and_leaves_nothing(tmp_path: Path, attack: str) -> None:
    authority = make_authority(tmp_path)
    context, ours = server_context(authority.issue("server")), client_context(authority.issue("client"))
    pieces = BROKEN_HANDSHAKES[attack](tls_records(ours))

    async def test() -> None:
        async with opened(Door(), tls=context, limits=QUICK) as acceptor:
            descriptors = psutil.Process().num_fds()
            async with stranger(acceptor) as them, asyncio.timeout(5):
                for piece in pieces:
                    await them.says(piece)
                    await asyncio.sleep(0.02)
                await them.hears_rest()
            async with connect(tcp(*acceptor.address, tls=ours), REQUEST) as association:
                assert await association.echo() == Status.SUCCESS
            await asyncio.sleep(0.05)
            assert psutil.Process().num_fds() <= descriptors + 1

    run(test)


# Meanwhile ---------------------------------------------------------------------------------------


async def silent(them: Stranger, _: int) -> None:
    await them.hears_rest()


async def dripping(them: Stranger, _: int) -> None:
    for byte in RQ:
        await them.says(bytes((byte,)))
        await asyncio.sleep(0.05)


async def hanging_up(them: Stranger, _: int) -> None:
    await them.says(RQ[:20])


async def not_reading(them: Stranger, number: int) -> None:
    await them.says(RQ.replace(b"TESTSCU ", f"DEAF{number % 10:<4}".encode()))
    await them.hears_pdu()
    for _ in range(5):
        await them.says(ECHO * 100)
        await asyncio.sleep(0.1)


ATTACKS: dict[str, Callable[[Stranger, int], Awaitable[None]]] = {
    "silent": silent,
    "one byte at a time": dripping,
    "connecting for ever": hanging_up,
    "asking and not reading": not_reading,
}
ATTACKERS = 20


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_behaves_is_served_through_it_all(attack: str) -> None:
    """That it is served, each time and within a second; how much slower it gets is measured by `python -m bench hostile`."""
    door = Door()
    limits = replace(PATIENT, max_associations=100, max_associations_per_address=50, max_connections_per_address=ATTACKERS + 5)
    waits: list[float] = []

    async def attacker(acceptor: Acceptor, number: int) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError):
                async with stranger(acceptor, "127.0.0.2") as them:
                    await ATTACKS[attack](them, number)

    async def test() -> None:
        async with opened(door, limits=limits) as acceptor:
            attackers = [asyncio.create_task(attacker(acceptor, number)) for number in range(ATTACKERS)]
            try:
                await asyncio.sleep(0.3)
                for _ in range(10):
                    async with client(acceptor) as association:
                        await asked(association, waits)
            finally:
                for each in attackers:
                    each.cancel()
                await asyncio.gather(*attackers, return_exceptions=True)

    run(test)
    assert len(waits) == 100
    assert statistics.median(waits) < 1


def test_an_address_that_breaks_off_for_ever_is_listened_to_seldom_and_others_at_once() -> None:
    async def test() -> None:
        async with opened(Door(), limits=PATIENT) as acceptor:

            async def told(address: str) -> float:
                began = time.monotonic()
                async with stranger(acceptor, address) as them:
                    await them.says(b"GET / HTTP/1.1\r\n\r\n")
                    await them.hears_pdu()
                return time.monotonic() - began

            await asyncio.gather(*(told("127.0.0.2") for _ in range(Patience.FREE)))
            slow = [await told("127.0.0.2") for _ in range(10)]
            quick = [await told("127.0.0.3") for _ in range(10)]
            # Each of them owes a twentieth of a second; the time that they took is made up for.
            assert sum(slow) > 5 / Patience.A_SECOND
            assert statistics.median(quick) < statistics.median(slow)
            async with client(acceptor) as association:
                assert await association.echo() == Status.SUCCESS

    run(test)


async def asked(association: ClientAssociation, waits: list[float]) -> None:
    for _ in range(10):
        began = time.monotonic()
        assert await association.echo() == Status.SUCCESS
        waits.append(time.monotonic() - began)


def test_much_in_few_bytes_keeps_the_event_loop_for_milliseconds_only() -> None:
    """A peer that fills every read with requests gets shorter reads."""
    door = Door()
    sizes: list[int] = []

    async def test() -> None:
        async with opened(door) as acceptor, stranger(acceptor) as them:
            await associated(them)
            (association,) = acceptor.associations
            whole = len(association.get_buffer(-1))
            told = asyncio.create_task(them.says(ECHO * 6000))
            while len(sizes) < 50:
                await asyncio.sleep(0.01)
                sizes.append(len(association.get_buffer(-1)))
            told.cancel()
            await asyncio.gather(told, return_exceptions=True)
            assert min(sizes) < whole / 10

    run(test)


def test_the_command_set_that_begins_and_never_ends_is_timed() -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor, stranger(acceptor) as them:
            await associated(them)
            assert await drip(them, [struct.pack(">BxIIBB", 4, 8, 4, 1, 1) + b"ab"] * 250, acceptor) < 3

    run(test)
    assert door.ends == ["AssociationFailed"]


def test_what_was_sent_before_a_half_close_is_still_answered_or_dropped_in_peace() -> None:
    door = Door()

    async def test() -> None:
        async with opened(door, limits=QUICK) as acceptor:
            with socket.create_connection(acceptor.address) as raw:
                raw.sendall(RQ)
                await asyncio.sleep(0.1)
                raw.sendall(transfer(3, 3, store_command) + transfer(3, 0, b"half"))
                raw.shutdown(socket.SHUT_WR)
                assert await gone(acceptor)
            async with client(acceptor) as association:
                assert await association.echo() == Status.SUCCESS

    run(test)
    assert door.stored == []


def test_the_store_command_is_what_these_tests_think() -> None:
    assert isinstance(dimse.decode(store_command).command, StoreRequest)
