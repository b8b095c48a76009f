"""An archive that shuts out whoever asks it anything, between what was found and its answer."""

import os

from leadglass.access.identity import Credentials, LocalUser
from leadglass.archive.archive import Accesses, Archive, Found, Record, Session
from leadglass.dicom.query import Query
from leadglass.dicom.uid import Uid
from leadglass.vocabulary import Door


class HeldWhileAsking(Archive):
    """Gives everybody a session in which whoever asks anything is held before he has the answer."""

    def __init__(self, archive: Archive) -> None:
        vars(self).update(vars(archive))

    def enter(self, door: Door, credentials: Credentials, address: str) -> Session:
        entered, operator = super().enter(door, credentials, address), super().enter(Door.CONTROL, LocalUser(os.geteuid()), "")

        class Asking(Session):
            def _held(self) -> None:
                operator.administration.hold(self.principal.name)

            def find(self, query: Query) -> Found:
                found = super().find(query)
                self._held()
                return found

            def series_of(self, study: Uid, returns: tuple[str, ...]) -> list[Record]:
                found = super().series_of(study, returns)
                self._held()
                return found

            def accesses_to(self, study: Uid) -> Accesses | None:
                found = super().accesses_to(study)
                self._held()
                return found

        entered.__class__ = Asking
        return entered
