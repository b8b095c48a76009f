"""The operator's way in: to the process that owns HOME, or by owning it for the length of one command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from leadglass.access.identity import LocalUser
from leadglass.archive.archive import Provenance, Session
from leadglass.assemble.opening import opened
from leadglass.dicom.part10 import FileMeta
from leadglass.errors import HomeInUse
from leadglass.home import Home
from leadglass.vocabulary import Door
from leadglass.wire.control import verbs
from leadglass.wire.control.client import ControlClient
from leadglass.wire.control.frames import Json
from leadglass.wire.files.importing import Deposit


class Operator:
    """Runs verbs and takes in objects, here or at the owner of HOME; the caller cannot tell which."""

    def __init__(self, where: Session | ControlClient) -> None:
        self._where = where

    def rows(self, verb: str, **arguments: object) -> Iterator[Json]:
        """The rows that `verb` gives."""
        if isinstance(self._where, ControlClient):
            return self._where.rows(verb, **arguments)
        return verbs.run(self._where, verb, arguments)

    def one(self, verb: str, **arguments: object) -> Json:
        """The one row that `verb` gives, empty where it gives none."""
        rows = list(self.rows(verb, **arguments))
        return rows[0] if rows else {}

    def deposit(self, meta: FileMeta) -> Deposit:
        """Begin to take in one object."""
        if isinstance(self._where, ControlClient):
            return self._where.deposit(meta)
        # Nothing is announced: the file meta information of real files often names other UIDs than the data set, which alone is kept.
        return self._where.deposit(meta.transfer_syntax, Provenance())


@contextmanager
def operator(home: Home) -> Iterator[Operator]:
    """An operator of the archive at `home`, acting as the uid that runs this process."""
    home.require()
    client = ControlClient.connect(home.control_socket)
    if client is not None:
        with client:
            yield Operator(client)
        return
    try:
        with opened(home) as archive:
            session = archive.archive.enter(Door.CONTROL, LocalUser(os.geteuid()), f"uid:{os.geteuid()}")
            yield Operator(session)
    except HomeInUse:
        raise HomeInUse(
            f"another leadglass process owns {home.path} and does not answer yet: wait until it serves or ends, then try again"
        ) from None


def rebuild_index(home: Home) -> int:
    """Make the index anew from blobs, keys and journal; gives the number of instances. Raises `HomeInUse` while the archive serves."""
    home.require()
    with opened(home, remake_index=True) as archive:
        return archive.archive.counts().instances
