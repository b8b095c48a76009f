"""pynetdicom against our acceptor, and our requestor against pynetdicom: plain, and TLS with client certificates."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.presentation import build_role

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.dimse import GetResponse, StoreRequest, StoreResponse
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection, UserIdentity
from leadglass.net.requestor import connect, tcp
from tests import samples
from tests.certificates import Authority, Identity, make_authority
from tests.net.doors import (
    CT,
    STUDY_FIND,
    STUDY_GET,
    SYNTAXES,
    VERIFICATION,
    Door,
    client_context,
    encoded,
    opened,
    run,
    server_context,
)
from tests.pynetdicom_server import serving

TRANSPORTS = ["plain", "mutual-tls"]
JWT = 5
"""User identity type of PS3.7 D.3.3.7.1."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue("both")


def image() -> Dataset:
    dataset = dcmread(samples.sample("CT_small.dcm"))
    del dataset.DataSetTrailingPadding
    return dataset


def record(patient: str) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel, dataset.StudyInstanceUID, dataset.PatientID = "STUDY", "1.2.3", patient
    return dataset


def ask_with_pynetdicom(port: int, context: ssl.SSLContext | None, sent: Dataset) -> dict[str, object]:
    """Every service that pynetdicom can ask for, one association; what it was answered."""
    application = AE("PYNETDICOM")
    application.acse_timeout = application.dimse_timeout = application.network_timeout = 20
    for abstract in (VERIFICATION, CT, STUDY_FIND, STUDY_GET):
        application.add_requested_context(abstract, list(SYNTAXES))
    user = UserIdentityNegotiation()
    user.user_identity_type, user.primary_field = JWT, b"a.b.c"
    got: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        got.append(event.dataset)
        return 0

    association = application.associate(
        "127.0.0.1",
        port,
        ext_neg=[build_role(CT, scu_role=True, scp_role=True), user],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
        tls_args=None if context is None else (context, "localhost"),
    )
    assert association.is_established
    answers = {
        "echo": association.send_c_echo().Status,
        "store": association.send_c_store(sent).Status,
        "find": [(status.Status, found and found.PatientID) for status, found in association.send_c_find(record(""), STUDY_FIND)],
        "get": [
            (status.Status, status.get("NumberOfCompletedSuboperations")) for status, _ in association.send_c_get(record(""), STUDY_GET)
        ],
        "got": got,
    }
    association.release()
    return answers


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_pynetdicom_asks_us(transport: str, identity: Identity) -> None:
    secured = transport != "plain"
    sent = image()
    door = Door(records=[record("P1"), record("P2")], instances=[(CT, Uid("1.2.3.4"), encoded(sent, EXPLICIT_LITTLE_ENDIAN))] * 3)

    async def test() -> None:
        async with opened(door, tls=server_context(identity) if secured else None) as acceptor:
            context = client_context(identity) if secured else None
            answers = await asyncio.to_thread(ask_with_pynetdicom, acceptor.address[1], context, sent)
        assert (answers["echo"], answers["store"]) == (0, 0)
        assert answers["find"] == [(0xFF00, "P1"), (0xFF00, "P2"), (0, None)]
        assert answers["get"] == [(0xFF00, 1), (0xFF00, 2), (0xFF00, 3), (0, 3)]
        assert isinstance(answers["got"], list)
        assert [each.PixelData for each in answers["got"]] == [sent.PixelData] * 3

    run(test)
    ((request, _),) = door.seen
    assert request.user.identity == UserIdentity(JWT, response_requested=False, primary=b"a.b.c")
    ((_, _, data),) = door.stored
    assert read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True).PixelData == sent.PixelData
    assert door.ends == ["released"]


@contextlib.contextmanager
def pynetdicom_archive(context: ssl.SSLContext | None, held: Dataset, kept: list[Dataset]) -> Iterator[int]:
    application = AE("PYNETDICOM")
    application.network_timeout = 20
    for abstract in (VERIFICATION, STUDY_FIND, STUDY_GET):
        application.add_supported_context(abstract, list(SYNTAXES))
    application.add_supported_context(CT, list(SYNTAXES), scu_role=True, scp_role=True)

    def store(event: evt.Event) -> int:
        kept.append(event.dataset)
        return 0

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for patient in ("P1", "P2", "P3"):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, record(patient)

    def get(event: evt.Event) -> Iterator[object]:
        yield 2
        yield 0xFF00, held
        yield 0xFF00, held

    handlers: list[Any] = [(evt.EVT_C_ECHO, lambda _: 0), (evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    with serving(application, handlers, context=context) as port:
        yield port


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_we_ask_pynetdicom(transport: str, identity: Identity) -> None:
    secured = transport != "plain"
    held, kept = image(), list[Dataset]()
    data = encoded(held, EXPLICIT_LITTLE_ENDIAN)
    proposal = propose(
        "LEADGLASS",
        "PYNETDICOM",
        [(VERIFICATION, SYNTAXES), (CT, SYNTAXES), (STUDY_FIND, SYNTAXES), (STUDY_GET, [IMPLICIT_LITTLE_ENDIAN])],
        roles=[RoleSelection(CT, scu=True, scp=True)],
    )

    async def test(port: int) -> None:
        dial = tcp("127.0.0.1", port, tls=client_context(identity) if secured else None)
        async with connect(dial, proposal) as association:
            assert association.accept.user.implementation_class_uid is not None
            assert association.accept.user.implementation_class_uid.startswith("1.2.826.0.1.3680043.9.3811")
            assert await association.echo() == Status.SUCCESS
            stored = await association.store(association.context(CT), Uid(held.SOPInstanceUID), iter([data[:7000], data[7000:]]))
            assert stored.status == Status.SUCCESS
            find = association.context(STUDY_FIND)
            found = [pair async for pair in association.find(find, encoded(record(""), find.transfer_syntax))]
            assert [response.status for response, _ in found] == [0xFF00, 0xFF00, 0xFF00, 0]
            assert [b"P%d" % number in (identifier or b"") for number, (_, identifier) in enumerate(found[:3], 1)] == [True] * 3
            got, last = list[bytes](), None
            async for message in association.get(association.context(STUDY_GET), encoded(record(""), IMPLICIT_LITTLE_ENDIAN)):
                command = message.command
                if isinstance(command, StoreRequest) and message.data is not None:
                    got.append(await message.data.read_all(1 << 20))
                    await association.respond(message, StoreResponse(command.message_id, 0, command.sop_class, command.sop_instance))
                else:
                    last = command
            assert got == [data, data]
            assert isinstance(last, GetResponse)
            assert (last.status, last.completed) == (0, 2)

    with pynetdicom_archive(server_context(identity) if secured else None, held, kept) as port:
        run(lambda: test(port))
    assert [each.PixelData for each in kept] == [held.PixelData]
