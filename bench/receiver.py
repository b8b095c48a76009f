"""Asks for a study by C-GET, or has it sent elsewhere by C-MOVE, in a process of its own: blocking sockets, and nothing is kept.

`python -m bench.receiver` reads an `Errand` as JSON from stdin and prints what came of it as JSON. `ask(errand)` runs it.
"""

import json
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from bench.objects import CT, study_identifier
from bench.sender import ROOT
from leadglass.dicom.association import Accepted, Association, Event
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, Context, propose
from leadglass.dicom.dimse import GetRequest, GetResponse, MoveRequest, MoveResponse, StoreRequest, StoreResponse
from leadglass.dicom.messages import DataArrived, MessageStarted
from leadglass.dicom.sopclasses import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from leadglass.dicom.status import StatusKind, kind_of
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection

_BUFFER = 1 << 20


@dataclass(frozen=True)
class Errand:
    """What to ask of whom; without a `destination` it is a C-GET."""

    host: str
    port: int
    called: str
    calling: str
    study: str
    destination: str = ""
    certificate: str = ""
    """PEM files; empty for no TLS."""
    key: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Came:
    """Seconds from the request to the last response; objects that arrived (C-GET) or were counted as sent (C-MOVE), and their bytes."""

    seconds: float
    count: int
    size: int


def ask(errand: Errand) -> Came:
    """Run it in a process of its own."""
    command = [sys.executable, "-m", "bench.receiver"]
    done = subprocess.run(command, input=json.dumps(asdict(errand)), capture_output=True, text=True, cwd=ROOT, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"the receiver failed: {done.stderr[-2000:]}")
    return Came(**json.loads(done.stdout))


class _Asking:
    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        model = STUDY_ROOT_MOVE if errand.destination else STUDY_ROOT_GET
        syntaxes = [EXPLICIT_LITTLE_ENDIAN]
        roles = [] if errand.destination else [RoleSelection(CT, scu=False, scp=True)]
        wanted = [(model, syntaxes)] if errand.destination else [(model, syntaxes), (CT, syntaxes)]
        self._machine = Association(propose(errand.calling, errand.called, wanted, roles=roles))
        self._buffer = memoryview(bytearray(_BUFFER))
        self._socket = self._connect()
        self._flush()
        (event,) = self._events()
        if not isinstance(event, Accepted) or len(self._machine.contexts) != len(wanted):
            raise RuntimeError(f"the association was not accepted: {event}")
        self._model = next(each for each in self._machine.contexts.values() if each.abstract_syntax == model)
        self._storing: tuple[Context, StoreRequest] | None = None
        self._count = self._size = 0

    def _connect(self) -> socket.socket:
        errand = self._errand
        connection = socket.create_connection((errand.host, errand.port), timeout=120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not errand.certificate:
            return connection
        context = ssl.create_default_context(cafile=errand.authority)
        context.load_cert_chain(errand.certificate, errand.key)
        return context.wrap_socket(connection, server_hostname=errand.host)

    def _flush(self) -> None:
        if data := self._machine.data_to_send():
            self._socket.sendall(data)

    def _events(self) -> list[Event]:
        while True:
            length = self._socket.recv_into(self._buffer)
            if not length:
                raise RuntimeError("the archive ended the connection")
            if events := self._machine.receive(self._buffer[:length]):
                return events

    def __call__(self) -> Came:
        errand = self._errand
        request = MoveRequest(1, STUDY_ROOT_MOVE, errand.destination) if errand.destination else GetRequest(1, STUDY_ROOT_GET)
        started = time.perf_counter()
        self._machine.send_message(self._model, request, study_identifier(errand.study))
        self._flush()
        while not any([self._is_last(event) for event in self._events()]):  # noqa: C419 - each is to be looked at
            pass
        came = Came(time.perf_counter() - started, self._count, self._size)
        self._machine.release()
        self._flush()
        self._events()
        self._socket.close()
        return came

    def _is_last(self, event: Event) -> bool:
        match event:
            case MessageStarted(context, StoreRequest() as command):
                self._storing = context, command
            case DataArrived(fragment, is_last):
                self._size += len(fragment)
                if is_last and self._storing is not None:
                    context, command = self._storing
                    self._storing = None
                    self._count += 1
                    self._machine.send_message(context, StoreResponse(command.message_id, 0, command.sop_class, Uid(command.sop_instance)))
                    self._flush()
            case MessageStarted(_, (GetResponse() | MoveResponse()) as response) if kind_of(response.status) is not StatusKind.PENDING:
                if response.status:
                    raise RuntimeError(f"it ended in {response.status:#06x}: {response}")
                if isinstance(response, MoveResponse):
                    self._count = response.completed or 0
                return True
            case MessageStarted() | DataArrived():
                pass
            case _:
                raise RuntimeError(f"the archive did something else: {event}")
        return False


if __name__ == "__main__":
    print(json.dumps(asdict(_Asking(Errand(**json.load(sys.stdin)))())))
