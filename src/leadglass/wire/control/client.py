"""The control socket's caller: runs a verb in the process that owns HOME, and pushes objects into it."""

import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from leadglass import errors
from leadglass.dicom.part10 import FileMeta
from leadglass.errors import LeadglassError, PeerFailed
from leadglass.vocabulary import StoreResult
from leadglass.wire.control.frames import MAX_PAYLOAD, Frame, Json, parse_json, receive, send, send_json

_PIECE = MAX_PAYLOAD // 4


def _error(content: Json) -> LeadglassError:
    """The owner's error as ours, so that it ends in the same exit code here as it would there."""
    kind = getattr(errors, str(content.get("type")), LeadglassError)
    if not (isinstance(kind, type) and issubclass(kind, LeadglassError)):
        kind = LeadglassError
    return kind(str(content.get("message")))


class ControlClient:
    """One connection to the owner of HOME; verbs follow one another on it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def connect(cls, path: Path) -> Self | None:
        """A connection to the owner listening at `path`, or None when nobody is."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise PeerFailed(f"{path} cannot be reached: {error.strerror}; run as the owner of the archive") from None
        return cls(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def rows(self, verb: str, **arguments: object) -> Iterator[Json]:
        """Run `verb` over there and give its rows as they come."""
        send_json(self._connection, Frame.REQUEST, {"verb": verb, "arguments": arguments})
        yield from self._answer()

    def deposit(self, meta: FileMeta) -> "RemoteDeposit":
        """Begin to push one object."""
        arguments: Json = {"transfer_syntax": meta.transfer_syntax}
        send_json(self._connection, Frame.REQUEST, {"verb": "deposit", "arguments": arguments})
        return RemoteDeposit(self)

    def push(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            send(self._connection, Frame.DATA, view[start : start + _PIECE])

    def finish(self, *, keep: bool) -> Iterator[Json]:
        send_json(self._connection, Frame.END, {"keep": keep})
        yield from self._answer()

    def _answer(self) -> Iterator[Json]:
        while True:
            received = receive(self._connection)
            if received is None:
                raise PeerFailed("the owner of the archive went away in the middle of an answer; see whether it still serves")
            kind, payload = received
            if kind is Frame.DONE:
                return
            if kind is Frame.ERROR:
                raise _error(parse_json(payload))
            yield parse_json(payload)


class RemoteDeposit:
    """One object on its way through the control socket."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client
        self._open = True

    def write(self, data: bytes) -> None:
        self._client.push(data)

    def commit(self) -> StoreResult:
        self._open = False
        answer = list(self._client.finish(keep=True))
        return StoreResult(str(answer[0]["result"]))

    def abandon(self) -> None:
        if self._open:
            self._open = False
            list(self._client.finish(keep=False))
