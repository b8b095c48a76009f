"""The control socket's frames: a length, a kind, a payload; JSON where it is structured, bytes where it is an object's.

`u32 length (big endian) | u8 kind | payload`; a frame over the bound is refused before memory is taken.
"""

import json
import socket
import struct
from enum import IntEnum

from leadglass.errors import BadMessage, PeerFailed

MAX_PAYLOAD = 4 * 1024 * 1024
_HEADER = struct.Struct(">IB")

Json = dict[str, object]


class Frame(IntEnum):
    """What a frame carries; REQUEST and DATA go to the owner of HOME, the others come back."""

    REQUEST = 1
    DATA = 2
    END = 3
    ROW = 4
    DONE = 5
    ERROR = 6


def send(connection: socket.socket, kind: Frame, payload: bytes | memoryview = b"") -> None:
    """Write one frame; raises `PeerFailed` when the other side is gone."""
    try:
        connection.sendall(_HEADER.pack(len(payload), kind) + payload)
    except OSError as error:
        raise PeerFailed(f"the control connection broke ({type(error).__name__}); ask again") from None


def send_json(connection: socket.socket, kind: Frame, content: Json) -> None:
    """Write one frame of JSON."""
    send(connection, kind, json.dumps(content, separators=(",", ":")).encode())


def receive(connection: socket.socket) -> tuple[Frame, bytes] | None:
    """The next frame, or None at the end of the connection; raises `BadMessage` for what is no frame."""
    header = _exactly(connection, _HEADER.size)
    if header is None:
        return None
    length, kind = _HEADER.unpack(header)
    if length > MAX_PAYLOAD or kind not in Frame.__members__.values():
        raise BadMessage(f"not a control frame (kind {kind}, {length} bytes; at most {MAX_PAYLOAD})")
    payload = _exactly(connection, length)
    if payload is None:
        raise PeerFailed("the control connection ended inside a frame; ask again")
    return Frame(kind), payload


def parse_json(payload: bytes) -> Json:
    """The JSON object in a payload."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        raise BadMessage("the control frame does not hold JSON") from None
    if not isinstance(content, dict):
        raise BadMessage("the control frame does not hold a JSON object")
    return content


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        try:
            piece = connection.recv(min(count - len(received), 1 << 20))
        except OSError as error:
            raise PeerFailed(f"the control connection broke ({type(error).__name__}); ask again") from None
        if not piece:
            if received:
                raise PeerFailed("the control connection ended inside a frame; ask again")
            return None
        received += piece
    return bytes(received)
