"""dcmtk against our acceptor, and our requestor against dcmtk: plain, TLS, and TLS with client certificates."""

import asyncio
import contextlib
import ssl
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection
from leadglass.net.acceptor import Reject
from leadglass.net.failures import AssociationFailed, Rejected
from leadglass.net.requestor import connect, tcp
from tests import peers, samples
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
from tests.net.tunnel import tunnel

TRANSPORTS = ["plain", "mutual-tls"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Identity:
    return authority.issue("leadglass")


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Identity:
    return authority.issue("peer")


def ct_small() -> Dataset:
    return dcmread(samples.sample("CT_small.dcm"))


def bare(dataset: Dataset) -> Dataset:
    """As it is without file meta information; dcmtk leaves out trailing padding and group lengths."""
    kept = Dataset()
    kept.update({element.tag: element for element in dataset if element.tag.element != 0 and element.keyword != "DataSetTrailingPadding"})
    return kept


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_dcmtk_asks_us(transport: str, tmp_path: Path, ours: Identity, theirs: Identity) -> None:
    secured = transport != "plain"
    identity = theirs if secured else None
    record = Dataset()
    record.QueryRetrieveLevel, record.StudyInstanceUID, record.PatientID = "STUDY", "1.2.3", "P1"
    image = ct_small()
    sent = encoded(image, EXPLICIT_LITTLE_ENDIAN)
    door = Door(records=[record] * 3, instances=[(CT, Uid(image.SOPInstanceUID), sent)])
    received = tmp_path / "received"
    received.mkdir()

    async def test() -> None:
        async with opened(door, tls=server_context(ours) if secured else None) as acceptor:
            address = peers.DimseAddress(acceptor.address[1])
            keys = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3", "-k", "PatientID")
            files = [samples.sample("CT_small.dcm"), samples.sample("MR_small.dcm")]
            for done in (
                await asyncio.to_thread(peers.scu, "echoscu", address, tls=identity),
                await asyncio.to_thread(peers.scu, "storescu", address, files=files, tls=identity),
            ):
                assert done.returncode == 0, done.stdout
            done = await asyncio.to_thread(peers.scu, "findscu", address, *keys, tls=identity)
            assert done.stdout.count("Find Response:") == 3, done.stdout
            async with contextlib.AsyncExitStack() as stack:
                if secured:
                    # getscu 3.6.7 has no TLS.
                    address = peers.DimseAddress(await stack.enter_async_context(tunnel(address.port, client_context(theirs))))
                done = await asyncio.to_thread(peers.scu, "getscu", address, *keys[:-2], "-od", received)
                assert done.returncode == 0, done.stdout

    run(test)
    assert door.ends == ["released"] * 4
    assert [command.sop_class for command, _, _ in door.stored] == [CT, "1.2.840.10008.5.1.4.1.1.4"]
    assert [dcmread(path).PixelData for path in received.iterdir()] == [image.PixelData]
    assert [peer.certificate is not None for _, peer in door.seen] == [secured] * 4
    if secured:
        assert door.seen[0][1].certificate == ssl.PEM_cert_to_DER_cert(theirs.certificate.read_text())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_we_ask_dcmtks_storescp(transport: str, tmp_path: Path, ours: Identity, theirs: Identity) -> None:
    secured = transport != "plain"
    image = ct_small()
    data = encoded(image, EXPLICIT_LITTLE_ENDIAN)

    async def test(port: int) -> None:
        dial = tcp("127.0.0.1", port, tls=client_context(ours) if secured else None)
        async with connect(dial, propose("LEADGLASS", "STORESCP", [(VERIFICATION, SYNTAXES), (CT, SYNTAXES)])) as association:
            assert association.accept.user.implementation_version_name == "OFFIS_DCMTK_367"
            assert await association.echo() == Status.SUCCESS
            context = association.context(CT)
            assert context.transfer_syntax == EXPLICIT_LITTLE_ENDIAN
            answer = await association.store(context, Uid(image.SOPInstanceUID), data)
            assert answer.status == Status.SUCCESS
            in_pieces = [data[:100], data[100:101], data[101:]]
            assert (await association.store(context, Uid("1.2.3.4"), in_pieces)).status == Status.SUCCESS

    with peers.storescp(tmp_path, tls=theirs if secured else None) as address:
        run(lambda: test(address.port))
    assert [path.read_bytes().endswith(data) for path in (tmp_path / "received").iterdir()] == [True, True]


def test_we_ask_dcmqrscp(tmp_path: Path) -> None:
    image = ct_small()
    data = encoded(image, EXPLICIT_LITTLE_ENDIAN)
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID, query.PatientID = "STUDY", image.StudyInstanceUID, ""
    proposal = propose(
        "LEADGLASS",
        "DCMQRSCP",
        [(CT, [EXPLICIT_LITTLE_ENDIAN]), (STUDY_FIND, [IMPLICIT_LITTLE_ENDIAN]), (STUDY_GET, [IMPLICIT_LITTLE_ENDIAN])],
        roles=[RoleSelection(CT, scu=True, scp=True)],
    )

    async def test(port: int) -> None:
        async with connect(tcp("127.0.0.1", port), proposal) as association:
            assert (await association.store(association.context(CT), Uid(image.SOPInstanceUID), data)).status == Status.SUCCESS
            identifier = encoded(query, IMPLICIT_LITTLE_ENDIAN)
            found = [pair async for pair in association.find(association.context(STUDY_FIND), identifier)]
            assert [response.status for response, _ in found] == [Status.PENDING, Status.SUCCESS]
            assert found[0][1] is not None
            assert image.PatientID.encode() in found[0][1]
            fetched = []
            async for message in association.get(association.context(STUDY_GET), identifier):
                if message.data is not None and message.context.abstract_syntax == CT:
                    fetched.append(await message.data.read_all(1 << 20))
                    await association.refuse(message, Status.SUCCESS)
            # dcmqrscp writes the data set anew, so its elements are compared.
            assert [read_dataset(BytesIO(each), is_implicit_VR=False, is_little_endian=True) for each in fetched] == [bare(image)]

    with peers.dcmqrscp(tmp_path) as address:
        run(lambda: test(address.port))


def test_a_rejection_by_dcmtk_is_a_value(tmp_path: Path) -> None:
    async def test(port: int) -> None:
        with pytest.raises(AssociationFailed) as caught:
            async with connect(tcp("127.0.0.1", port), propose("LEADGLASS", "NOBODY", [(VERIFICATION, SYNTAXES)])):
                raise AssertionError("there is no such archive")
        assert caught.value.failure == Rejected(1, 1, 7)

    with peers.dcmqrscp(tmp_path) as address:
        run(lambda: test(address.port))


def test_dcmtk_is_told_why_it_is_rejected() -> None:
    door = Door(decision=Reject.CALLING_TITLE_NOT_RECOGNIZED)

    async def test() -> None:
        async with opened(door) as acceptor:
            done = await asyncio.to_thread(peers.scu, "echoscu", peers.DimseAddress(acceptor.address[1]))
            assert done.returncode != 0
            assert "Calling AE Title Not Recognized" in done.stdout

    run(test)
    assert door.served == 0


@pytest.mark.parametrize("how", ["none", "foreign", "expired", "plaintext"])
def test_without_a_good_certificate_nobody_is_even_asked(how: str, tmp_path: Path, authority: Authority, ours: Identity) -> None:
    door = Door()
    foreign = make_authority(tmp_path / "foreign", "Another CA")
    certificates = {"none": None, "foreign": foreign.issue("foreign"), "expired": authority.issue("expired", days=-1), "plaintext": None}
    trusted = None if how == "plaintext" else authority.file

    async def test() -> None:
        async with opened(door, tls=server_context(ours)) as acceptor:
            address = peers.DimseAddress(acceptor.address[1])
            done = await asyncio.to_thread(peers.scu, "echoscu", address, tls=certificates[how], authority=trusted)
            assert done.returncode != 0, done.stdout
            # And the door is none the worse for it.
            async with connect(
                tcp("127.0.0.1", address.port, tls=client_context(ours)), propose("A", "B", [(VERIFICATION, SYNTAXES)])
            ) as good:
                assert await good.echo() == Status.SUCCESS

    run(test)
    assert [request.calling for request, _ in door.seen] == ["A"]
