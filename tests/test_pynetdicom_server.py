"""A connection that a peer resets is closed with pynetdicom's server, which would leave it open."""

import socket
import struct
import time
from types import SimpleNamespace
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.transport import AssociationSocket

from leadglass.dicom.sopclasses import VERIFICATION
from tests.pynetdicom_server import serving


def reset(peer: socket.socket) -> None:
    """Close so that the other side is told of a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_pynetdicom_leaves_a_reset_connection_open() -> None:
    """If this fails, pynetdicom is mended and tests/pynetdicom_server.py needs it no longer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            reset(peer)
            time.sleep(0.1)
            AssociationSocket._shutdown_socket(cast(Any, SimpleNamespace(socket=accepted)))  # noqa: SLF001 - it is what is looked at
            assert accepted.fileno() >= 0


def test_what_it_leaves_open_is_closed_with_the_server() -> None:
    accepted: list[socket.socket] = []

    def forget_to_close(event: evt.Event) -> None:
        connection = cast(Any, event.assoc.dul.socket)
        accepted.append(connection.socket)
        connection._shutdown_socket = lambda: None  # noqa: SLF001 - as after a reset

    application = AE()
    application.add_supported_context(VERIFICATION)
    with serving(application, [(evt.EVT_CONN_OPEN, forget_to_close)]) as port:
        peer = socket.create_connection(("127.0.0.1", port))
        until = time.monotonic() + 10
        while not accepted and time.monotonic() < until:
            time.sleep(0.01)
        reset(peer)
        time.sleep(0.5)
        assert [each.fileno() >= 0 for each in accepted] == [True]
    assert [each.fileno() for each in accepted] == [-1]
