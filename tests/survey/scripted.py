"""A DIMSE archive that answers every query as a test says: one connection, any rows, any last status."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from leadglass.dicom.association import Association, ReleaseAsked, RequestArrived
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Context, Offer, negotiate
from leadglass.dicom.dimse import CancelRequest, FindRequest, FindResponse
from leadglass.dicom.messages import DataArrived, MessageStarted
from leadglass.dicom.pdu import AssociateAccept
from leadglass.dicom.user_information import UserInformation
from leadglass.survey.probes.dimse import identifier
from leadglass.vocabulary import Level

QUERIES = "1.2.840.10008.5.1.4.1.2."

Row = Mapping[str, str]


@dataclass
class Question:
    """A C-FIND as it came: its level, and the keys that have a value."""

    level: str
    keys: Mapping[str, str]
    moment: float = field(default_factory=time.monotonic)

    @property
    def is_for_nobody(self) -> bool:
        """Whether this is the survey's first question, which matches nobody."""
        return any(value.startswith("2.25.") for value in self.keys.values())


Answer = Callable[[Question], tuple[Sequence[Row], int]]
"""The rows of an answer and its last status."""


def row(**values: str) -> bytes:
    """An identifier of a match, at whatever level."""
    return identifier.encode(Level.STUDY, values)


class Scripted:
    """Give it to `talking`; `questions` is what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.questions: list[Question] = []

    def __call__(self, link: socket.socket) -> None:
        machine = Association()
        asked: tuple[Context, int] | None = None
        raw = b""
        while data := link.recv(65536):
            for event in machine.receive(data):
                if isinstance(event, RequestArrived):
                    agreed = negotiate(event.request, lambda uid: Offer((IMPLICIT_LITTLE_ENDIAN,)) if uid.startswith(QUERIES) else None)
                    user = UserInformation(maximum_length=16384, implementation_class_uid="1.2.3.4")
                    machine.accept(AssociateAccept("ANY-SCP", "X", agreed.results, user), agreed.contexts)
                elif isinstance(event, MessageStarted) and not isinstance(event.command, CancelRequest):
                    if isinstance(event.command, FindRequest):
                        asked, raw = (event.context, event.command.message_id), b""
                elif isinstance(event, DataArrived) and asked is not None:
                    raw += event.fragment
                    if event.is_last:
                        self._reply(machine, *asked, raw)
                elif isinstance(event, ReleaseAsked):
                    machine.confirm_release()
            link.sendall(machine.data_to_send())

    def _reply(self, machine: Association, context: Context, number: int, raw: bytes) -> None:
        keys = {name: value for name, value in identifier.decode(raw).items() if value}
        question = Question(keys.pop("QueryRetrieveLevel", ""), keys)
        self.questions.append(question)
        rows, status = self._answer(question)
        for each in rows:
            machine.send_message(context, FindResponse(number, 0xFF00), row(**each))
        machine.send_message(context, FindResponse(number, status))
