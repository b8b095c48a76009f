"""The control socket's frames, as whoever can open the socket may write them."""

import socket

from leadglass.errors import BadMessage, PeerFailed
from leadglass.wire.control import frames


def target(data: bytes) -> None:
    """Every frame that is taken is within its bound, and what it holds is JSON or refused."""
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(data[:65536])
        try:
            while (received := frames.receive(theirs)) is not None:
                kind, payload = received
                if len(payload) > frames.MAX_PAYLOAD:
                    raise AssertionError(kind)
                frames.parse_json(payload)
        except (BadMessage, PeerFailed):
            pass


def seeds() -> list[bytes]:
    """A request, an object in two pieces, and its end."""
    request = b'{"verb":"peer-list","arguments":{}}'
    parts = [(frames.Frame.REQUEST, request), (frames.Frame.DATA, b"\x08\x00"), (frames.Frame.END, b'{"keep":true}')]
    return [b"".join(len(payload).to_bytes(4, "big") + bytes([kind]) + payload for kind, payload in parts)]
