"""The control socket's owner: the caller's uid is the principal, each connection a bounded thread."""

import collections
import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from leadglass import logs
from leadglass.access.identity import LocalUser
from leadglass.archive.archive import Archive, Session
from leadglass.errors import BadMessage, HomeInUse, LeadglassError, NotIdentified, PeerFailed
from leadglass.vocabulary import Door
from leadglass.wire.control import verbs
from leadglass.wire.control.frames import Frame, Json, parse_json, receive, send_json

MAX_CONNECTIONS = 16
PAUSE_SECONDS = 0.1
IDLE_SECONDS = 600.0
"""A stopped command may not hold its place for ever: sixteen of them would shut the administrator out."""
STOP_SECONDS = 10
"""A verb whose connection is cut ends at its next row; only a whole `check` has none for longer."""
_UCRED = struct.Struct("3i")


class ControlServer:
    """Listens at HOME/control.sock (0600) until stopped."""

    def __init__(self, archive: Archive, path: Path) -> None:
        self._archive = archive
        self._path = path
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._live: dict[socket.socket, threading.Thread] = {}
        self._stopping = False
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(self) -> None:
        """Bind and serve; the caller owns HOME's lock, so a socket that is already there is a dead one's."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        before = os.umask(0o177)
        try:
            self._listener.bind(str(self._path))
        finally:
            os.umask(before)
        self._listener.listen(MAX_CONNECTIONS)
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def stop(self) -> None:
        """Stop listening, cut every connection, and wait for the verbs at work: nothing may be done behind the trail's last entry."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            live = dict(self._live)
        for connection in live:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in live.values():
            thread.join(STOP_SECONDS)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._stopping:
                    return
                # Out of descriptors, or the caller is gone already: either passes.
                logs.fault("control accept", error)
                time.sleep(PAUSE_SECONDS)
                continue
            if not self._places.acquire(blocking=False):
                with connection, contextlib.suppress(PeerFailed):
                    send_json(
                        connection,
                        Frame.ERROR,
                        _as_json(HomeInUse(f"{MAX_CONNECTIONS} commands are at work already; try again when one ends")),
                    )
                continue
            thread = threading.Thread(target=self._converse, args=(connection,), name="control-connection", daemon=True)
            with self._lock:
                self._live[connection] = thread
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._serve(connection)
        except LeadglassError as error:
            logs.fault("control", error)
        except OSError as error:
            logs.fault("control", error)
        finally:
            with self._lock:
                self._live.pop(connection, None)
            self._places.release()

    def _serve(self, connection: socket.socket) -> None:
        _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        try:
            session = self._archive.enter(Door.CONTROL, LocalUser(uid), f"uid:{uid}")
        except NotIdentified as error:
            send_json(connection, Frame.ERROR, _as_json(error))
            return
        connection.settimeout(IDLE_SECONDS)
        while (received := receive(connection)) is not None:
            kind, payload = received
            if kind is not Frame.REQUEST:
                raise BadMessage("a control conversation begins with a request")
            self._answer(connection, session, parse_json(payload))

    def _answer(self, connection: socket.socket, session: Session, request: Json) -> None:
        verb = str(request.get("verb"))
        arguments = request.get("arguments")
        pieces = _pieces(connection) if verb == "deposit" else iter(())
        try:
            if not isinstance(arguments, dict):
                raise BadMessage("a control request has arguments")
            rows = verbs.deposit(session, arguments, pieces) if verb == "deposit" else verbs.run(session, verb, arguments)
            for row in rows:
                send_json(connection, Frame.ROW, row)
        except LeadglassError as error:
            # A refused object's pieces are still on their way: they are read to their end so that the conversation goes on.
            collections.deque(pieces, maxlen=0)
            send_json(connection, Frame.ERROR, _as_json(error))
        except Exception as error:  # noqa: BLE001 - a fault of one verb must not end the owner of HOME
            logs.fault("control", error)
            send_json(connection, Frame.ERROR, {"type": "LeadglassError", "message": "our fault; the archive's log says where"})
        else:
            send_json(connection, Frame.DONE, {})


def _pieces(connection: socket.socket) -> Iterator[bytes | None]:
    """The pieces of an object; a final None when its sender wants it kept, nothing when it gave up."""
    while True:
        received = receive(connection)
        if received is None:
            return
        kind, payload = received
        if kind is Frame.DATA:
            yield payload
        elif kind is Frame.END:
            if parse_json(payload).get("keep") is True:
                yield None
            return
        else:
            raise BadMessage("an object's pieces are followed by its end, nothing else")


def _as_json(error: LeadglassError) -> Json:
    return {"type": type(error).__name__, "message": str(error)}
