"""A relay between a peer that speaks no TLS (getscu, dcmsend) and a door over TLS, which records what went over it."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Identity
from tests.peers import LOOPBACK, DimseAddress

_DATA, _COMMAND, _LAST = 4, 1, 2


@dataclass
class Relay:
    """Listens in plaintext at `address`; what it read from peers and doors is kept, one pair of streams for each connection."""

    address: DimseAddress
    sent: list[bytearray] = field(default_factory=list)
    answered: list[bytearray] = field(default_factory=list)

    def messages(self) -> list[tuple[bytes, bytes]]:
        """Every command set with a data set that a peer sent, byte for byte, in order."""
        return [message for stream in self.sent for message in messages(bytes(stream))]


def messages(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Command sets with their data sets in one direction of an association (PS3.8 9.3.5 and annex E), read without any code of ours."""
    found: list[tuple[bytes, bytes]] = []
    command, pending, position = bytearray(), bytearray(), 0
    while position + 6 <= len(stream):
        kind, length = stream[position], int.from_bytes(stream[position + 2 : position + 6], "big")
        body, position = stream[position + 6 : position + 6 + length], position + 6 + length
        at = 0
        while kind == _DATA and at < len(body):
            size, flags = int.from_bytes(body[at : at + 4], "big"), body[at + 5]
            (command if flags & _COMMAND else pending).extend(body[at + 6 : at + 4 + size])
            if flags & _LAST and not flags & _COMMAND:
                found.append((bytes(command), bytes(pending)))
                command.clear()
                pending.clear()
            at += 4 + size
    return found


def client_context(authority: Path, identity: Identity | None = None) -> ssl.SSLContext:
    """What trusts `authority`, and shows `identity`."""
    context = ssl.create_default_context(cafile=str(authority))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


@contextlib.contextmanager
def relay(door: DimseAddress, context: ssl.SSLContext) -> Iterator[Relay]:
    """A relay to `door` while the context lasts."""
    listener = socket.create_server((LOOPBACK, 0))
    made = Relay(DimseAddress(listener.getsockname()[1], door.aet))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=_join, args=(near, door, context, made))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [accepting, *threads]:
            thread.join(30)


def _join(near: socket.socket, door: DimseAddress, context: ssl.SSLContext, made: Relay) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
        undo.enter_context(near)
        plain = undo.enter_context(socket.create_connection((door.host, door.port), timeout=60))
        far = undo.enter_context(context.wrap_socket(plain, server_hostname=door.host))
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent, answered = bytearray(), bytearray()
        made.sent.append(sent)
        made.answered.append(answered)
        backwards = threading.Thread(target=_pump, args=(far, near, answered))
        backwards.start()
        _pump(near, far, sent)
        backwards.join(30)


def _pump(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            record += data
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
