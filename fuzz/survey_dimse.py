"""The whole DIMSE ladder, up to the first byte of an image, against an archive that says the same in every association."""

import asyncio

from fuzz._canned import BETWEEN, InTurn, briefing, system
from leadglass.dicom import pdu
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Offer, negotiate
from leadglass.dicom.dimse import EchoResponse, FindResponse
from leadglass.dicom.messages import Fragmenter
from leadglass.dicom.pdu import AssociateAccept
from leadglass.dicom.user_information import UserInformation
from leadglass.survey.probes.dimse import identifier
from leadglass.survey.probes.dimse.asking import first_request
from leadglass.survey.probes.dimse.probe import DimseProbe
from leadglass.vocabulary import Level

PORT = 104
MUTATIONS = 50
"""In `make test`: each is several associations."""


def target(data: bytes) -> None:
    """The probe comes to an end, with counts that it could have counted."""
    door = asyncio.run(DimseProbe().run(system(PORT), PORT, briefing(InTurn(data[:32_768]))))
    assert door.records is None or door.records.studies <= 20


def seeds() -> list[bytes]:
    """A rejection, an abort, a TLS alert, and acceptances: silent, answering, and full of rows."""
    agreed = negotiate(first_request("A", "B"), lambda _: Offer((IMPLICIT_LITTLE_ENDIAN,)))
    user = UserInformation(16384, "1.2.276.0.7230010.3.0.3.6.7", "OFFIS_DCMTK_367")
    accepted = pdu.encode(AssociateAccept("A", "B", agreed.results, user))
    fragmenter = Fragmenter(16384)
    echo, find = agreed.contexts[0], agreed.contexts[1]
    row = identifier.encode(Level.STUDY, {"StudyInstanceUID": "1.2.3", "PatientID": "P", "NumberOfStudyRelatedInstances": "2"})
    echoed = fragmenter.message(echo, EchoResponse(1, 0), None)

    def found(number: int, rows: int) -> bytes:
        return fragmenter.message(find, FindResponse(number, 0xFF00), row) * rows + fragmenter.message(find, FindResponse(number, 0), None)

    released = pdu.encode(pdu.ReleaseResponse())
    return [
        pdu.encode(pdu.AssociateReject(1, 1, 7)),
        pdu.encode(pdu.Abort(2, 1)),
        b"\x15\x03\x03\0\2\2\x28",
        accepted,
        accepted + echoed,
        BETWEEN.join([accepted, echoed, found(2, 0), found(3, 2), found(4, 1), found(5, 1), found(6, 1), released]),
        BETWEEN.join([accepted, echoed, found(2, 0), found(3, 30), released]),
    ]
