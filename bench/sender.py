"""The sender of the bench, in a process of its own: blocking sockets, messages encoded once, as little work for an object as there can be.

`python -m bench.sender` reads a `Task` as JSON from stdin, sends, and prints what it took as JSON. `send(task)` runs it.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.objects import CT, PLACEHOLDERS, Identifiers, Template, template
from leadglass.dicom.association import Accepted, Association, Event
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.dimse import StoreRequest, StoreResponse
from leadglass.dicom.messages import MessageStarted
from leadglass.dicom.uid import Uid

ROOT = Path(__file__).parents[1]
_NUMBERS_EACH = 10_000_000
"""Objects that one association may number before it meets the next one's."""


@dataclass(frozen=True)
class Task:
    """What to send and where."""

    host: str
    port: int
    called: str
    calling: str
    size: int
    associations: int
    seconds: float
    most: int
    """Objects on each association at most, whatever the time."""
    run: int
    per_study: int = 250
    certificate: str = ""
    """PEM files; empty for no TLS."""
    key: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Sent:
    """What came of it; `seconds` from when every association stood to the last acknowledgement."""

    count: int
    seconds: float
    cpu: float
    """Seconds of CPU that the sender took."""

    @property
    def rate(self) -> float:
        """Objects acknowledged in a second."""
        return self.count / self.seconds


def send(task: Task) -> Sent:
    """Send in a process of its own."""
    command = [sys.executable, "-m", "bench.sender"]
    limit = 120 + 3 * task.seconds
    done = subprocess.run(command, input=json.dumps(asdict(task)), capture_output=True, text=True, cwd=ROOT, timeout=limit, check=False)
    if done.returncode:
        raise RuntimeError(f"the sender failed: {done.stderr[-2000:]}")
    return Sent(**json.loads(done.stdout))


class _Sending:
    """One association, and the message that it sends again and again."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._machine = Association(propose(task.calling, task.called, [(CT, [EXPLICIT_LITTLE_ENDIAN])]))
        self._socket = self._connect()
        self._socket.sendall(self._machine.data_to_send())
        event = self._next_event()
        if not isinstance(event, Accepted) or len(self._machine.contexts) != 1:
            raise RuntimeError(f"the association was not accepted: {event}")
        (context,) = self._machine.contexts.values()
        self._machine.send_message(context, StoreRequest(1, CT, Uid(PLACEHOLDERS.instance)), template(task.size))
        self._message = Template(self._machine.data_to_send())

    def _connect(self) -> socket.socket:
        task = self._task
        connection = socket.create_connection((task.host, task.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not task.certificate:
            return connection
        context = ssl.create_default_context(cafile=task.authority)
        context.load_cert_chain(task.certificate, task.key)
        return context.wrap_socket(connection, server_hostname=task.host)

    def _next_event(self) -> Event:
        while not (events := self._machine.receive(self._socket.recv(65536) or _ended())):
            pass
        return events[0]

    def store(self, identifiers: Identifiers) -> None:
        """Send one object, and wait until it is acknowledged."""
        self._socket.sendall(self._message.fill(identifiers))
        event = self._next_event()
        if not (isinstance(event, MessageStarted) and isinstance(event.command, StoreResponse) and event.command.status == 0):
            raise RuntimeError(f"an object was not stored: {event}")

    def release(self) -> None:
        """End the association."""
        self._machine.release()
        self._socket.sendall(self._machine.data_to_send())
        self._next_event()
        self._socket.close()


def _ended() -> bytes:
    raise RuntimeError("the peer ended the connection")


class _Run:
    """All associations of one task, a thread each, that begin together."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sendings = [_Sending(task) for _ in range(task.associations)]
        self._counts = [0] * task.associations
        self._failed: list[BaseException] = []
        self._deadline = 0.0

    def __call__(self) -> Sent:
        """Send until the time is over."""
        threads = [threading.Thread(target=self._keep_sending, args=(index,)) for index in range(self._task.associations)]
        cpu, started = time.process_time(), time.perf_counter()
        self._deadline = started + self._task.seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sent = Sent(sum(self._counts), time.perf_counter() - started, time.process_time() - cpu)
        if self._failed:
            raise self._failed[0]
        for sending in self._sendings:
            sending.release()
        return sent

    def _keep_sending(self, index: int) -> None:
        sending, task, first = self._sendings[index], self._task, index * _NUMBERS_EACH
        try:
            while self._counts[index] < task.most and time.perf_counter() < self._deadline:
                sending.store(Identifiers.of(task.run, first + self._counts[index], task.per_study))
                self._counts[index] += 1
        except (OSError, RuntimeError) as problem:
            self._failed.append(problem)


def main() -> None:
    """Do the task on stdin."""
    print(json.dumps(asdict(_Run(Task(**json.load(sys.stdin)))())))


if __name__ == "__main__":
    os.environ["TCP_NODELAY"] = "1"
    main()
