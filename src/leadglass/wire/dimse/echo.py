"""C-ECHO (PS3.7 9.1.5, PS3.4 annex A)."""

from leadglass.dicom.dimse import EchoRequest, EchoResponse
from leadglass.dicom.status import Status
from leadglass.wire.dimse.call import Call


async def serve(call: Call, command: EchoRequest) -> None:
    """Answer that we are here."""
    await call.workers.run(call.session.echo)
    await call.association.respond(call.message, EchoResponse(command.message_id, Status.SUCCESS, command.sop_class))
