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

    def data_sets(self) -> list[bytes]:
        """Every data set that a peer sent, byte for byte, in order."""
        return [data for stream in self.sent for data in data_sets(bytes(stream))]


def data_sets(stream: bytes) -> list[bytes]:
    """The data sets in one direction of an association (PS3.8 9.3.5 and annex E), read without any code of ours."""
    found, pending, position = [], bytearray(), 0
    while position + 6 <= len(stream):
        kind, length = stream[position], int.from_bytes(stream[position + 2 : position + 6], "big")
        body, position = stream[position + 6 : position + 6 + length], position + 6 + length
        at = 0
        while kind == _DATA and at < len(body):
            size, flags = int.from_bytes(body[at : at + 4], "big"), body[at + 5]
            if not flags & _COMMAND:
                pending += body[at + 6 : at + 4 + size]
                if flags & _LAST:
                    found.append(bytes(pending))
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
    with near, contextlib.suppress(OSError), socket.create_connection((door.host, door.port), timeout=60) as plain:
        with context.wrap_socket(plain, server_hostname=door.host) as far:
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
