"""A whole association as it comes from a peer, to an acceptor and to a requestor: the first byte says which, and how it is cut."""

from leadglass.dicom import pdu
from leadglass.dicom.association import AbortedByUs, Association, ReleaseAsked, RequestArrived
from leadglass.dicom.contexts import IMPLICIT_LITTLE_ENDIAN, Offer, negotiate, propose
from leadglass.dicom.dimse import EchoRequest, StoreRequest
from leadglass.dicom.messages import DataArrived, Fragmenter
from leadglass.dicom.pdu import AssociateAccept
from leadglass.dicom.uid import Uid

VERIFICATION = Uid("1.2.840.10008.1.1")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
REQUEST = propose("FUZZ", "LEADGLASS", [(VERIFICATION, [IMPLICIT_LITTLE_ENDIAN]), (CT, [IMPLICIT_LITTLE_ENDIAN])])
MAX_PDU = 4096


def target(data: bytes) -> None:
    """The machine raises nothing, keeps less than a PDU, and never speaks after its last word."""
    how, rest = data[:1] or b"\0", data[1:]
    machine = Association(REQUEST if how[0] & 1 else None, max_pdu=MAX_PDU)
    machine.data_to_send()
    step = how[0] >> 1 or len(rest) or 1
    delivered = 0
    for start in range(0, len(rest), step):
        was_over = machine.is_over
        events = machine.receive(memoryview(rest)[start : start + step])
        if was_over and events:
            raise AssertionError("events after the end")
        for event in events:
            match event:
                case RequestArrived(request):
                    negotiated = negotiate(request, lambda _: Offer((IMPLICIT_LITTLE_ENDIAN,)))
                    if not machine.is_over:
                        machine.accept(AssociateAccept("A", "B", negotiated.results), negotiated.contexts)
                case ReleaseAsked():
                    if not machine.is_over:
                        machine.confirm_release()
                case DataArrived(fragment):
                    delivered += len(fragment)
                case AbortedByUs():
                    if not machine.is_over:
                        raise AssertionError("alive after an abort")
                case _:
                    pass
        machine.data_to_send()
    if delivered > len(rest):
        raise AssertionError("more came out than went in")
    machine.connection_lost()


def seeds() -> list[bytes]:
    """A store, an echo and a release; an acceptor's answers; each whole and in small pieces."""
    fragmenter = Fragmenter(MAX_PDU)
    negotiated = negotiate(REQUEST, lambda _: Offer((IMPLICIT_LITTLE_ENDIAN,)))
    echo, store = negotiated.contexts
    peer = (
        pdu.encode(REQUEST)
        + fragmenter.message(echo, EchoRequest(1, VERIFICATION), None)
        + fragmenter.message(store, StoreRequest(2, CT, Uid("1.2.3")), bytes(9000))
        + pdu.encode(pdu.ReleaseRequest())
    )
    acceptor = pdu.encode(AssociateAccept("A", "B", negotiated.results)) + pdu.encode(pdu.ReleaseRequest())
    rejection, abort = pdu.encode(pdu.AssociateReject(1, 1, 7)), pdu.encode(pdu.Abort(2, 1))
    return [b"\0" + peer, b"\x0e" + peer, b"\1" + acceptor, b"\x0f" + acceptor, b"\1" + rejection, b"\1" + abort]
