"""PDUs as they come from a stranger: what is understood means the same when it is said again."""

from pathlib import Path

from leadglass.dicom import pdu

VECTORS = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "pdu"
MAX_DATA = 16384


def target(data: bytes) -> None:
    """Decode, encode, decode: equal, unless the sender's titles or texts were such as cannot be said."""
    if len(data) < pdu.HEADER_SIZE:
        return
    kind, length = pdu.read_header(data)
    pdu.check_header(kind, length, MAX_DATA)
    value = pdu.decode(kind, memoryview(data)[pdu.HEADER_SIZE :][:length])
    again = pdu.encode(value)
    if pdu.decode(again[0], memoryview(again)[pdu.HEADER_SIZE :]) != value:
        raise AssertionError(value)


def seeds() -> list[bytes]:
    """The requests of real peers, and one of each other PDU."""
    from_peers = [bytes.fromhex(path.read_text()) for path in sorted(VECTORS.glob("*.hex"))]
    decoded = [pdu.decode(raw[0], memoryview(raw)[pdu.HEADER_SIZE :]) for raw in from_peers]
    request = next(value for value in decoded if isinstance(value, pdu.AssociateRequest))
    results = tuple(pdu.ContextResult(each.id, 0, each.transfer_syntaxes[0]) for each in request.contexts)
    others: list[pdu.Pdu] = [
        pdu.AssociateAccept(request.called, request.calling, results, request.user),
        pdu.AssociateReject(1, 1, 7),
        pdu.DataTransfer((pdu.Pdv(1, is_command=True, is_last=True, data=b"abc"), pdu.Pdv(1, is_command=False, is_last=True, data=b""))),
        pdu.ReleaseRequest(),
        pdu.ReleaseResponse(),
        pdu.Abort(2, 6),
    ]
    return [*from_peers, *map(pdu.encode, others)]
