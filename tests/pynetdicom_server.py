"""pynetdicom as a server that leaves nothing open.

pynetdicom 3.0.4 does not close a connection that its peer reset: shutdown() fails, and what comes after it, close(), is passed over
(`AssociationSocket._shutdown_socket`). The socket would be found open by whichever test runs when it is collected.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from pynetdicom import AE, evt


@contextmanager
def serving(application: AE, handlers: list[Any], *, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port on which it listens for the length of the block."""
    accepted: list[Any] = []

    def remember(event: evt.Event) -> None:
        accepted.append(cast(Any, event.assoc.dul.socket).socket)

    server = application.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[*handlers, (evt.EVT_CONN_OPEN, remember)], ssl_context=context
    )
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        for each in accepted:
            each.close()
