"""What hypothesis draws of the DICOM upper layer: every PDU, every item, every command."""

import string

from hypothesis import strategies as st

from leadglass.dicom import dimse
from leadglass.dicom.dimse import Command
from leadglass.dicom.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    DataTransfer,
    Pdu,
    Pdv,
    ProposedContext,
    ReleaseRequest,
    ReleaseResponse,
)
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import (
    AsyncWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    RoleSelection,
    UnknownItem,
    UserIdentity,
    UserInformation,
)

BYTE = st.integers(0, 255)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)

uids = st.lists(st.integers(0, 99999), min_size=1, max_size=10).map(lambda parts: Uid(".".join(map(str, parts))))
_visible = string.ascii_letters + string.digits + "_-.^!~"
titles = st.text(_visible + " ", min_size=1, max_size=16).map(lambda text: text.strip(" ")).filter(bool)
names = st.text(_visible, max_size=16)

user_identities = st.builds(
    UserIdentity, kind=BYTE, response_requested=st.booleans(), primary=st.binary(max_size=40), secondary=st.binary(max_size=20)
)
unknown_items = st.builds(UnknownItem, kind=st.sampled_from([0x00, 0x50, 0x5A, 0xFF]), data=st.binary(max_size=30))
user_informations = st.builds(
    UserInformation,
    maximum_length=st.none() | U32,
    implementation_class_uid=st.none() | uids,
    implementation_version_name=st.none() | names,
    async_window=st.none() | st.builds(AsyncWindow, U16, U16),
    roles=st.lists(st.builds(RoleSelection, uids, scu=st.booleans(), scp=st.booleans()), max_size=4).map(tuple),
    extended=st.lists(st.builds(ExtendedNegotiation, uids, st.binary(max_size=20)), max_size=4).map(tuple),
    common=st.lists(st.builds(CommonExtendedNegotiation, uids, uids, st.lists(uids, max_size=4).map(tuple)), max_size=3).map(tuple),
    identity=st.none() | user_identities,
    identity_response=st.none() | st.binary(max_size=40),
    unknown=st.lists(unknown_items, max_size=3).map(tuple),
)
_ids = st.lists(st.integers(0, 127).map(lambda number: number * 2 + 1), unique=True, max_size=8)
_proposed = _ids.flatmap(
    lambda ids: st.tuples(
        *(st.builds(ProposedContext, st.just(each), uids, st.lists(uids, min_size=1, max_size=4).map(tuple)) for each in ids)
    )
)
_results = _ids.flatmap(
    lambda ids: st.tuples(
        *(
            st.builds(ContextResult, st.just(each), st.just(0), uids) | st.builds(ContextResult, st.just(each), st.integers(1, 255))
            for each in ids
        )
    )
)
requests = st.builds(AssociateRequest, titles, titles, _proposed, user_informations, uids, U16)
accepts = st.builds(AssociateAccept, titles, titles, _results, user_informations, uids, U16)
pdvs = st.builds(Pdv, BYTE, st.booleans(), st.booleans(), st.binary(max_size=50))
pdus: st.SearchStrategy[Pdu] = st.one_of(
    requests,
    accepts,
    st.builds(AssociateReject, BYTE, BYTE, BYTE),
    st.builds(DataTransfer, st.lists(pdvs, min_size=1, max_size=5).map(tuple)),
    st.just(ReleaseRequest()),
    st.just(ReleaseResponse()),
    st.builds(Abort, BYTE, BYTE),
)

_optional_u16 = st.none() | U16
_comments = st.none() | st.text(_visible, min_size=1, max_size=64)
_counts = {"remaining": _optional_u16, "completed": _optional_u16, "failed": _optional_u16, "warning": _optional_u16}
requests_to_serve: st.SearchStrategy[Command] = st.one_of(
    st.builds(dimse.EchoRequest, U16, uids),
    st.builds(dimse.StoreRequest, U16, uids, uids, U16, move_originator=st.none() | titles, move_originator_message_id=_optional_u16),
    st.builds(dimse.FindRequest, U16, uids, U16),
    st.builds(dimse.GetRequest, U16, uids, U16),
    st.builds(dimse.MoveRequest, U16, uids, titles, U16),
    st.builds(dimse.ActionRequest, U16, uids, uids, U16),
    st.builds(dimse.EventReportRequest, U16, uids, uids, U16),
)
commands: st.SearchStrategy[Command] = st.one_of(
    requests_to_serve,
    st.builds(dimse.EchoResponse, U16, U16, st.none() | uids),
    st.builds(dimse.StoreResponse, U16, U16, st.none() | uids, st.none() | uids, _comments),
    st.builds(dimse.FindResponse, U16, U16, st.none() | uids, _comments),
    st.builds(dimse.GetResponse, U16, U16, st.none() | uids, comment=_comments, **_counts),
    st.builds(dimse.MoveResponse, U16, U16, st.none() | uids, comment=_comments, **_counts),
    st.builds(dimse.ActionResponse, U16, U16, st.none() | uids, st.none() | uids, _optional_u16, _comments),
    st.builds(dimse.EventReportResponse, U16, U16, st.none() | uids, st.none() | uids, _optional_u16, _comments),
    st.builds(dimse.CancelRequest, U16),
)
