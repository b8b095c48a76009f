"""The control socket's frames."""

import json
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import BadMessage, PeerFailed
from leadglass.wire.control import frames
from leadglass.wire.control.frames import Frame


@pytest.fixture(name="pair")
def connected_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield ours, theirs


@given(st.lists(st.tuples(st.sampled_from(Frame), st.binary(max_size=5000)), max_size=10))
def test_frames_arrive_as_they_were_sent(sent: list[tuple[Frame, bytes]]) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            for kind, payload in sent:
                frames.send(ours, kind, payload)
        received = []
        while (frame := frames.receive(theirs)) is not None:
            received.append(frame)
    assert received == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(data)
        try:
            while frames.receive(theirs) is not None:
                pass
        except (BadMessage, PeerFailed):
            pass


def test_a_length_over_the_bound_is_refused_before_memory_is_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(struct.pack(">IB", frames.MAX_PAYLOAD + 1, Frame.DATA))
    with pytest.raises(BadMessage):
        frames.receive(theirs)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"nul", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(BadMessage):
        frames.parse_json(payload)


def test_json_comes_back(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    frames.send_json(ours, Frame.ROW, {"a": ["ä", 1, None]})
    received = frames.receive(theirs)
    assert received is not None
    assert json.loads(received[1]) == frames.parse_json(received[1]) == {"a": ["ä", 1, None]}
