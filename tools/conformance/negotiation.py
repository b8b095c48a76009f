"""Extended negotiation: what is answered to a request that asks for all there is."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Final

from leadglass.dicom import sopclasses
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, Negotiated, negotiate, propose
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import AsyncWindow, ExtendedNegotiation, RoleSelection
from tools.conformance.markdown import code, table
from tools.conformance.services import named, offer_to_all

_CT: Final = Uid("1.2.840.10008.5.1.4.1.1.2")
_ASKED: Final = {
    _CT: bytes((2, 0, 3, 0, 1, 0)),  # PS3.4 Table B.3-1
    sopclasses.PATIENT_ROOT_FIND: bytes((1, 1, 1, 1, 1)),  # PS3.4 C.5.1.1.1
    sopclasses.STUDY_ROOT_FIND: bytes((1, 1, 1, 1, 1)),
    sopclasses.STUDY_ROOT_MOVE: bytes((1, 1)),  # PS3.4 C.5.2.1
    sopclasses.STUDY_ROOT_GET: bytes((1, 1)),
}
_WINDOW: Final = AsyncWindow(0, 0)


@cache
def _answered() -> Negotiated:
    request = propose("PEER", "LEADGLASS", [(each, [EXPLICIT_LITTLE_ENDIAN]) for each in _ASKED])
    asked = replace(
        request.user,
        roles=(RoleSelection(_CT, scu=True, scp=True),),
        extended=tuple(ExtendedNegotiation(sop_class, raw) for sop_class, raw in _ASKED.items()),
        async_window=_WINDOW,
    )
    return negotiate(replace(request, user=asked), offer_to_all)


def extended_negotiation() -> str:
    """Each kind of negotiation with what was asked and what is answered."""
    return table(("Negotiation", "Asked", "Answered"), _rows())


def _rows() -> Iterator[tuple[str, str, str]]:
    negotiated = _answered()
    (role,) = negotiated.roles
    yield "SCU/SCP role selection, storage", "SCU and SCP", " and ".join(["SCU"] * role.scu + ["SCP"] * role.scp)
    window = negotiated.async_window
    told = "nothing: one at a time" if window is None else f"{window.invoked} invoked, {window.performed} performed"
    yield "Asynchronous operations window", "any number", told
    answers = {each.sop_class: each.information for each in negotiated.extended}
    for sop_class, asked in _ASKED.items():
        name = "Storage (CT Image Storage)" if sop_class == _CT else named(sop_class)
        yield f"SOP class extended negotiation, {name}", _bytes(asked), _bytes(answers[sop_class]) if sop_class in answers else "nothing"


def _bytes(raw: bytes) -> str:
    return code(" ".join(f"{byte:02X}" for byte in raw))
