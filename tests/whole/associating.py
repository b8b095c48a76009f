"""pynetdicom as the peer: any object sent with exactly the bytes of its data set, and every object asked for as it is stored."""

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.uid import UID
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from tests.certificates import Identity
from tests.peers import DimseAddress
from tests.whole.relay import client_context

DEFLATED = "1.2.840.10008.1.2.1.99"
VERIFICATION = UID("1.2.840.10008.1.1")
FIND, GET = UID("1.2.840.10008.5.1.4.1.2.2.1"), UID("1.2.840.10008.5.1.4.1.2.2.3")
MOVES = UID("1.2.840.10008.5.1.4.1.2.2.2"), UID("1.2.840.10008.5.1.4.1.2.1.2")
PATIENT_FIND, PATIENT_GET = UID("1.2.840.10008.5.1.4.1.2.1.1"), UID("1.2.840.10008.5.1.4.1.2.1.3")


@dataclass(frozen=True)
class Sent:
    """One object as it is, or was, on the wire."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data_set: bytes


@contextlib.contextmanager
def associated(
    door: DimseAddress,
    who: Identity | None,
    calling: str = "CT1",
    *,
    storage: Iterable[tuple[str, str]] = (),
    receiving: list[Sent] | None = None,
) -> Iterator[Association]:
    """An association with one context for each pair of `storage`, for sending, or with `receiving` for what C-GET brings.

    Over TLS unless `who` is None.
    """
    pairs = sorted(set(storage))
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
    roles: list[Any] = []
    handlers: list[Any] = []
    if receiving is not None:
        roles = [build_role(sop_class, scp_role=True) for sop_class in sorted({pair[0] for pair in pairs})]
        kept = receiving

        def take(event: evt.Event) -> int:
            asked: Any = event.request
            kept.append(
                Sent(asked.AffectedSOPClassUID, asked.AffectedSOPInstanceUID, event.context.transfer_syntax, asked.DataSet.getvalue())
            )
            return 0x0000

        handlers = [(evt.EVT_C_STORE, take)]
    contexts += [build_context(each) for each in (VERIFICATION, FIND, PATIENT_FIND, GET, PATIENT_GET, *MOVES)]
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    association = entity.associate(
        door.host,
        door.port,
        contexts,
        door.aet,
        ext_neg=roles,
        tls_args=None if who is None else (client_context(who.authority, who), door.host),
        evt_handlers=handlers,
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.join(20)


def send(association: Association, sent: Sent) -> int:
    """C-STORE with exactly these bytes; gives the status."""
    (context,) = [
        each.context_id
        for each in association.accepted_contexts
        if (each.abstract_syntax, each.transfer_syntax[0]) == (sent.sop_class, sent.transfer_syntax)
    ]
    request = C_STORE()
    request.MessageID = 7
    request.AffectedSOPClassUID = sent.sop_class
    request.AffectedSOPInstanceUID = sent.sop_instance
    request.Priority = 2
    request.DataSet = io.BytesIO(sent.data_set)
    # As Association.send_c_store does, which would take the UIDs from the file meta information.
    association._reactor_checkpoint.clear()  # noqa: SLF001
    try:
        association.dimse.send_msg(request, context or 0)
        answer: Any
        _, answer = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()  # noqa: SLF001
    return -1 if answer is None else int(answer.Status)


def find(association: Association, level: str, model: UID = FIND, **keys: str) -> list[pydicom.Dataset]:
    """The matches of a C-FIND that succeeds."""
    query = pydicom.Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    found: list[Any] = []
    final = None
    for status, match in association.send_c_find(query, model):
        final = status.get("Status")
        if final in {0xFF00, 0xFF01}:
            found.append(match)
    assert final == 0x0000, final
    return found


def get_studies(
    door: DimseAddress, who: Identity, studies: Iterable[str], storage: Iterable[tuple[str, str]], failing: int = 0
) -> list[Sent]:
    """Every object of `studies` by one C-GET, with the bytes that came; so many of them may not come, and have to be counted as failed."""
    received: list[Sent] = []
    with associated(door, who, storage=storage, receiving=received) as association, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a long UID list is more than pydicom likes in one value
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID = sorted(studies)
        statuses = [status for status, _ in association.send_c_get(query, GET)]
    assert statuses[-1].Status == (0xB000 if failing else 0x0000), statuses[-1]
    assert statuses[-1].NumberOfFailedSuboperations == failing, statuses[-1]
    return received
