"""Destinations of C-MOVE for the tests: pynetdicom as receiver, well-behaved or not, and one that never says anything."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.certificates import Identity
from tests.peers import free_port
from tests.whole.associating import Sent
from tests.whole.relay import server_context

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


@dataclass
class Receiver:
    """What a destination received, and what it was told of where it came from."""

    port: int
    received: list[Sent] = field(default_factory=list)
    originators: list[tuple[str | None, int | None]] = field(default_factory=list)
    associations: int = 0
    callers: list[tuple[str, str]] = field(default_factory=list)
    contexts: list[int] = field(default_factory=list)


@contextlib.contextmanager
def receiver(
    aet: str,
    *,
    tls: Identity | None = None,
    port: int | None = None,
    syntaxes: Sequence[str] = (),
    answer: Callable[[Receiver, Any], int] = lambda _, __: 0x0000,
    accepted: Sequence[str] | None = None,
) -> Iterator[Receiver]:
    """pynetdicom listening: `answer` gives the status of each object, and may do worse; `syntaxes`, `accepted` narrow what it accepts."""
    entity = AE(ae_title=aet)
    entity.maximum_associations = 50
    entity.require_called_aet = True
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    every = [str(each) for context in AllStoragePresentationContexts[:1] for each in context.transfer_syntax or ()]
    compressed = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91))
    more = ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", *compressed]
    offered = list(syntaxes) or [*every, *more, "1.2.840.10008.1.2.5"]
    for context in AllStoragePresentationContexts:
        if accepted is None or context.abstract_syntax in accepted:
            entity.add_supported_context(context.abstract_syntax or "", offered)
    made = Receiver(port or free_port())

    def take(event: evt.Event) -> int:
        status = answer(made, event)
        request: Any = event.request
        if status in {0x0000, 0xB000}:
            data = request.DataSet.getvalue()
            made.received.append(Sent(request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, event.context.transfer_syntax, data))
            made.originators.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return status

    def note(event: evt.Event) -> None:
        made.associations += 1
        asked: Any = event.assoc.requestor.primitive
        made.callers.append((asked.calling_ae_title, asked.called_ae_title))
        made.contexts.append(len(event.assoc.requestor.requested_contexts))

    server = entity.start_server(
        ("127.0.0.1", made.port),
        block=False,
        ssl_context=None if tls is None else server_context(tls),
        evt_handlers=[(evt.EVT_C_STORE, take), (evt.EVT_REQUESTED, note)],
    )
    try:
        yield made
    finally:
        assert server is not None
        server.shutdown()


@contextlib.contextmanager
def silent(port: int) -> Iterator[threading.Event]:
    """Takes connections and never says a word; the event is set when somebody connected."""
    connected = threading.Event()
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(listener.accept()[0])
                    connected.set()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield connected
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in held:
                each.close()
