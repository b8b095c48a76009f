"""Command sets as they come from a peer: what is understood means the same when it is said again."""

from leadglass.dicom import dimse
from leadglass.dicom.uid import Uid

CT = Uid("1.2.840.10008.5.1.4.1.1.2")


def target(data: bytes) -> None:
    """Decode, encode, decode: equal; and every malformed request can be refused."""
    command, has_data = dimse.decode(data)
    if isinstance(command, dimse.MalformedRequest):
        dimse.decode(dimse.encode(dimse.refusal(command, command.status), has_data=False))
        return
    again = dimse.decode(dimse.encode(command, has_data=has_data))
    if isinstance(command, dimse.OtherCommand):
        if (again.command.field, again.command.message_id, again.has_data) != (command.field, command.message_id, has_data):
            raise AssertionError(command)
    elif again != (command, has_data):
        raise AssertionError(command)


def seeds() -> list[bytes]:
    """One of each command."""
    commands: list[dimse.Command] = [
        dimse.EchoRequest(1, Uid("1.2.840.10008.1.1")),
        dimse.EchoResponse(1, 0),
        dimse.StoreRequest(2, CT, Uid("1.2.3"), move_originator="ORIGIN", move_originator_message_id=9),
        dimse.StoreResponse(2, 0xA700, CT, Uid("1.2.3"), "no room"),
        dimse.FindRequest(3, CT),
        dimse.FindResponse(3, 0xFF00, CT),
        dimse.GetRequest(4, CT),
        dimse.GetResponse(4, 0xFF00, CT, 1, 2, 3, 4),
        dimse.MoveRequest(5, CT, "DESTINATION"),
        dimse.MoveResponse(5, 0xB000, CT, None, 2, 3, 4),
        dimse.CancelRequest(5),
        dimse.ActionRequest(6, Uid("1.2.840.10008.1.20.1"), Uid("1.2.840.10008.1.20.1.1"), 1),
        dimse.ActionResponse(6, 0, Uid("1.2.840.10008.1.20.1"), Uid("1.2.840.10008.1.20.1.1"), 1, "taken"),
        dimse.EventReportRequest(7, Uid("1.2.840.10008.1.20.1"), Uid("1.2.840.10008.1.20.1.1"), 2),
        dimse.EventReportResponse(7, 0x0110, event_type=2),
        dimse.OtherCommand(0x0120, 6, {0x0003: b"1.2\0", 0x0110: b"\6\0", 0x1001: b"1.2.3\0", 0x1008: b"\1\0"}),
    ]
    needs_data = (dimse.StoreRequest, dimse.FindRequest, dimse.GetRequest, dimse.MoveRequest)
    return [dimse.encode(each, has_data=isinstance(each, needs_data)) for each in commands]
