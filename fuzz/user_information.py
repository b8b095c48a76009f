"""The user information of a stranger's A-ASSOCIATE-RQ, and what is negotiated of it."""

from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Offer, negotiate
from leadglass.dicom.extended import OFFERED_QUERY, OFFERED_RETRIEVE
from leadglass.dicom.pdu import AssociateRequest, ProposedContext
from leadglass.dicom.sopclasses import STUDY_ROOT_FIND, STUDY_ROOT_GET
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import (
    AsyncWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    IdentityKind,
    RoleSelection,
    UserIdentity,
    UserInformation,
)

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
CLASSES = (CT, STUDY_ROOT_FIND, STUDY_ROOT_GET)
SECRET = b"lg_secret-of-somebody"


def target(data: bytes) -> None:
    """What is understood means the same when it is said again; an answer is about what was asked; no credential is shown."""
    user = UserInformation.decode(memoryview(data))
    again = UserInformation.decode(memoryview(user.encode()))
    if again.encode() != user.encode() or again.common != user.common or again.extended != user.extended:
        raise AssertionError(user)
    if SECRET.decode() in repr(user):
        raise AssertionError("a credential is shown")
    contexts = tuple(ProposedContext(2 * number + 1, each, (IMPLICIT_LITTLE_ENDIAN,)) for number, each in enumerate(CLASSES))
    negotiated = negotiate(
        AssociateRequest("A", "B", contexts, user), lambda uid: Offer((IMPLICIT_LITTLE_ENDIAN,), as_scu=True, stores=uid == CT)
    )
    asked = {each.sop_class for each in user.extended}
    if not {each.sop_class for each in negotiated.extended} <= asked or (negotiated.async_window is None) != (user.async_window is None):
        raise AssertionError(negotiated)
    queried, retrieved = negotiated.query_options(STUDY_ROOT_FIND), negotiated.retrieve_options(STUDY_ROOT_GET)
    if (queried & OFFERED_QUERY, retrieved & OFFERED_RETRIEVE) != (queried, retrieved):
        raise AssertionError(negotiated)
    UserInformation(extended=negotiated.extended, async_window=negotiated.async_window, roles=negotiated.roles).encode()


def seeds() -> list[bytes]:
    """Each sub-item by itself, and all together."""
    each = [
        UserInformation(16384, "1.2.3", "NAME"),
        UserInformation(async_window=AsyncWindow(8, 0)),
        UserInformation(roles=(RoleSelection(CT, scu=True, scp=True),)),
        UserInformation(extended=(ExtendedNegotiation(STUDY_ROOT_FIND, b"\1\1\1\1\1"), ExtendedNegotiation(STUDY_ROOT_GET, b"\1"))),
        UserInformation(extended=(ExtendedNegotiation(CT, b"\2\0\3\0\1\0"),)),
        UserInformation(common=(CommonExtendedNegotiation(Uid("1.2.3.4"), Uid("1.2.840.10008.4.2"), (CT,)),)),
        *(UserInformation(identity=UserIdentity(kind, response_requested=True, primary=SECRET, secondary=SECRET)) for kind in IdentityKind),
        UserInformation(identity_response=b""),
    ]
    encoded = [one.encode() for one in each]
    return [*encoded, b"".join(encoded)]
