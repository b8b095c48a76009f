"""A person at a peer, by pynetdicom over TLS: who may what, what both are told, and that no token is kept anywhere."""

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from leadglass.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from tests.archives import ArchiveUnderTest, leadglass, wait_until
from tests.certificates import Identity
from tests.whole.associating import FIND, GET, VERIFICATION
from tests.whole.relay import client_context
from tests.whole.stock import FEW

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE_CLASS, PRIVATE_SYNTAX = "1.3.12.2.1107.5.9.1", "1.2.840.113619.5.2"
USERNAME, PASSCODE, KERBEROS, SAML, JWT = range(1, 6)
STRANGER, WRONG_USER = (1, 1, 3), (1, 2, 1)


def identity(kind: int, primary: str, secondary: str = "", *, answer: bool = True) -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type = kind
    item.primary_field = primary.encode()
    if secondary:
        item.secondary_field = secondary.encode()
    item.positive_response_requested = answer
    return item


@contextlib.contextmanager
def associated(
    archive: ArchiveUnderTest, who: Identity | None, *negotiation: object, calling: str = "CT1", handlers: Sequence[Any] = ()
) -> Iterator[Any]:
    """An association, whatever became of it."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    contexts = [build_context(each) for each in (VERIFICATION, FIND, GET, CT, PRIVATE_CLASS)] + [build_context(CT, PRIVATE_SYNTAX)]
    door = archive.plaintext if who is None else archive.dimse
    association = entity.associate(
        door.host,
        door.port,
        contexts,
        "LEADGLASS",
        ext_neg=list(negotiation),  # type: ignore[arg-type]
        evt_handlers=list(handlers),
        tls_args=None if who is None else (client_context(archive.ca, who), "localhost"),
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(20)


def rejection(archive: ArchiveUnderTest, who: Identity | None, *negotiation: object, calling: str = "CT1") -> tuple[int | None, ...] | None:
    """Result, source and reason of the A-ASSOCIATE-RJ, or None where it was accepted.

    Read from the PDU as it came: pynetdicom forgets a rejection whose connection has closed before its own thread looks.
    """
    came: list[evt.Event] = []
    with associated(archive, who, *negotiation, calling=calling, handlers=[(evt.EVT_PDU_RECV, came.append)]) as association:
        if association.is_established:
            return None
        wait_until(lambda: came)
    (answer,) = [event.pdu for event in came]
    assert isinstance(answer, A_ASSOCIATE_RJ)
    return answer.result, answer.source, answer.reason_diagnostic


def studies(association: Association) -> int:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = ""
    statuses = [status.Status for status, _ in association.send_c_find(query, FIND)]
    return sum(status in {0xFF00, 0xFF01} for status in statuses) if statuses[-1] == 0 else -statuses[-1]


@pytest.fixture(scope="module")
def token(stocked: ArchiveUnderTest) -> str:
    return stocked.token("anna")


@pytest.fixture
def me(peers_of: dict[str, Identity]) -> Identity:
    return peers_of["CT1"]


@pytest.mark.parametrize(("kind", "answer"), [(JWT, True), (JWT, False), (PASSCODE, True), (PASSCODE, False)])
def test_a_person_is_let_in_with_the_peer_and_both_are_in_the_trail(
    stocked: ArchiveUnderTest, me: Identity, token: str, kind: int, answer: bool
) -> None:
    shown = identity(kind, token, answer=answer) if kind == JWT else identity(kind, "anna", token, answer=answer)
    with associated(stocked, me, shown) as association:
        assert association.is_established
        assert studies(association) == len(FEW)
        response = association.acceptor.user_identity
        assert (response is not None) == answer
        assert {str(each.abstract_syntax) for each in association.accepted_contexts} == {VERIFICATION, FIND, GET}, "she may not store"
    names = {entry["who"] for entry in stocked.trail("--who", "user:anna") if entry["action"] == "find"}
    assert all(name.startswith("token:") and name.endswith("@anna+peer:CT1") for name in names)
    assert names <= {entry["who"] for entry in stocked.trail("--who", "peer:CT1")}
    assert names


def test_her_rights_do_not_widen_the_peers(stocked: ArchiveUnderTest, peers_of: dict[str, Identity], token: str) -> None:
    with associated(stocked, peers_of["STORER"], identity(JWT, token), calling="STORER") as association:
        assert [str(each.abstract_syntax) for each in association.accepted_contexts] == [VERIFICATION]


@pytest.mark.parametrize("answer", [True, False])
def test_what_holds_no_token_of_ours_is_passed_over_and_not_answered(stocked: ArchiveUnderTest, me: Identity, answer: bool) -> None:
    for kind in (USERNAME, KERBEROS, SAML):
        with associated(stocked, me, identity(kind, "anna", answer=answer)) as association:
            assert association.is_established
            assert association.acceptor.user_identity is None
            assert studies(association) == len(FEW)


def test_a_wrong_token_is_rejected_and_a_wrong_peer_learns_nothing_of_it(
    stocked: ArchiveUnderTest, me: Identity, peers_of: dict[str, Identity], token: str
) -> None:
    for shown in (
        identity(JWT, token[:-1] + "x"),
        identity(JWT, "eyJhbGciOiJub25lIn0.e30."),
        identity(PASSCODE, "anna", "correct horse battery staple"),
        identity(PASSCODE, "berta", token),
    ):
        assert rejection(stocked, me, shown) == WRONG_USER
        assert rejection(stocked, peers_of["FINDER"], shown) == STRANGER, "another peer's title"
    assert rejection(stocked, me, identity(JWT, token)) is None


def test_a_revoked_token_and_a_disabled_or_held_user_are_cut(archive: ArchiveUnderTest, me: Identity) -> None:
    with archive.serving():
        for end in ("hold", "token", "user"):
            leadglass("release", archive.home, "anna", code=None)
            text = archive.token("anna")
            with associated(archive, me, identity(JWT, text)) as association, associated(archive, me) as alone:
                assert association.is_established
                assert alone.is_established
                if end == "hold":
                    leadglass("hold", archive.home, "anna")
                elif end == "token":
                    *_, row = json.loads(leadglass("token", "list", archive.home, "--json").stdout)
                    leadglass("token", "revoke", archive.home, row["id"])
                else:
                    leadglass("user", "disable", archive.home, "anna")
                wait_until(lambda gone=association: gone.is_aborted)
                assert alone.send_c_echo().Status == 0
            assert rejection(archive, me, identity(JWT, text)) == WRONG_USER


def test_a_token_is_kept_nowhere_and_refused_without_tls(archive: ArchiveUnderTest, me: Identity, tmp_path: Path) -> None:
    leadglass("peer", "add", archive.home, "OLD1", "--address", "127.0.0.0/8", "--may", "store", "--unsafe-plaintext")
    with archive.serving("--unsafe-dimse-plaintext", "127.0.0.1:0"):
        text = archive.token("anna", "technologist", "find,store")
        assert rejection(archive, None, calling="OLD1") is None
        assert rejection(archive, None, identity(USERNAME, "anna"), calling="OLD1") is None
        for shown in (identity(JWT, text), identity(PASSCODE, "anna", text)):
            assert rejection(archive, None, shown, calling="OLD1") == WRONG_USER
            assert rejection(archive, me, shown) is None
        assert rejection(archive, me, identity(JWT, text[:-1])) == WRONG_USER
        with socket.create_connection((archive.plaintext.host, archive.plaintext.port)) as hostile:
            hostile.sendall(b"\1\0\0\0\0\x60" + bytes(68) + b"\x50\0\0\x18" + b"\x58\0\0\x14\5\1\0\x40" + text.encode()[:16])
            hostile.settimeout(10)
            hostile.recv(64)
    for place in [archive.home.with_name("serve.log"), *(path for path in archive.home.rglob("*") if path.is_file())]:
        data = place.read_bytes()
        assert text.encode() not in data, place
        assert text[:16].encode() not in data, place
    told = json.dumps(archive.trail())
    assert text[3:20] not in told
    denials = [entry["detail"] for entry in archive.trail() if entry["kind"] == "unidentified"]
    assert {name: sum(each.get(name, 0) for each in denials) for name in ("token-without-tls", "unknown-token")} == {
        "token-without-tls": 2,
        "unknown-token": 1,
    }


def test_a_peer_that_needs_a_person_only_echoes_alone(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    issued = tmp_path / "ws1"
    leadglass(
        "peer", "add", archive.home, "WS1", "--address", "127.0.0.0/8", "--may", "find,get", "--issue", issued, "--needs-user"
    )  # fmt: skip
    who = Identity(issued / "WS1.cert.pem", issued / "WS1.key.pem", issued / "ca.pem")
    with archive.serving():
        text = archive.token("anna")
        with associated(archive, who, calling="WS1") as association:
            assert [str(each.abstract_syntax) for each in association.accepted_contexts] == [VERIFICATION]
            assert association.send_c_echo().Status == 0
        with associated(archive, who, identity(JWT, text), calling="WS1") as association:
            assert studies(association) == 0


def test_every_other_negotiation_is_answered(stocked: ArchiveUnderTest, me: Identity) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 16, 8
    extended = []
    for sop_class, information in ((FIND, b"\1\1\1\1\1"), (CT, b"\2\0\3\0\1\0"), (VERIFICATION, b"\1")):
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = sop_class, information
        extended.append(item)
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = PRIVATE_CLASS, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = [CT]
    with associated(stocked, me, window, *extended, common) as association:
        assert association.is_established
        acceptor = association.acceptor
        assert acceptor.asynchronous_operations == (1, 1)
        assert acceptor.sop_class_extended[CT] == b"\2\0\3\0\1\0"
        assert len(acceptor.sop_class_extended[FIND]) == 5
        assert VERIFICATION not in acceptor.sop_class_extended
        assert acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
        assert acceptor.implementation_version_name == IMPLEMENTATION_VERSION_NAME
        assert association.send_c_echo().Status == 0
    with associated(stocked, me) as association:
        assert association.acceptor.asynchronous_operations == (1, 1), "the default where nothing is negotiated (PS3.7 D.3.3.3)"
        assert association.acceptor.sop_class_extended == {}


def test_private_classes_are_stored_when_named_and_private_transfer_syntaxes_never(archive: ArchiveUnderTest, me: Identity) -> None:
    def outcomes() -> dict[tuple[str, str], int | None]:
        with associated(archive, me) as association:
            return {
                (str(each.abstract_syntax), str(each.context_id)): each.result
                for each in [*association.accepted_contexts, *association.rejected_contexts]
            }

    def of(sop_class: str) -> set[int | None]:
        return {result for (abstract, _), result in outcomes().items() if abstract == sop_class}

    with archive.serving():
        assert of(PRIVATE_CLASS) == {3}
        assert of(CT) == {0, 4}, "transfer syntaxes not supported (PS3.8 Table 9-18)"
    config = archive.home / "leadglass.toml"
    before = config.read_text()
    config.write_text(before.replace('# additional_storage_classes = ["1.2.3.4"]', f'additional_storage_classes = ["{PRIVATE_CLASS}"]'))
    with archive.serving():
        assert of(PRIVATE_CLASS) == {0}
    config.write_text(before.replace('# additional_storage_classes = ["1.2.3.4"]', f'additional_storage_classes = ["{PRIVATE_SYNTAX}x"]'))
    assert "additional_storage_classes" in leadglass("peer", "list", archive.home, code=2).stderr
    config.write_text(
        before.replace('# additional_storage_classes = ["1.2.3.4"]', 'additional_storage_classes = ["1.2.840.10008.1.2.4.50"]')
    )
    assert "Transfer Syntax" in leadglass("peer", "list", archive.home, code=2).stderr
