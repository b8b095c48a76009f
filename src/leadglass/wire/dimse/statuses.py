"""The one table from our errors to DIMSE statuses (PS3.7 annex C, PS3.4 annexes B and C)."""

from leadglass import errors
from leadglass.dicom.status import Status

STATUS_OF: dict[type[Exception], Status] = {
    errors.NotIdentified: Status.NOT_AUTHORIZED,
    errors.NotAllowed: Status.NOT_AUTHORIZED,
    errors.Refused: Status.NOT_AUTHORIZED,
    errors.UnknownDestination: Status.MOVE_DESTINATION_UNKNOWN,
    errors.InvalidUid: Status.INVALID_ATTRIBUTE_VALUE,
    errors.BadQuery: Status.IDENTIFIER_DOES_NOT_MATCH,
    errors.BadDataSet: Status.CANNOT_UNDERSTAND,
    errors.BadInput: Status.CANNOT_UNDERSTAND,
    errors.TooMuchAtOnce: Status.RESOURCE_LIMITATION,
    errors.NoRoom: Status.OUT_OF_RESOURCES,
    errors.StorageFailed: Status.OUT_OF_RESOURCES,
    errors.LeadglassError: Status.PROCESSING_FAILURE,
}


def status_of(error: BaseException) -> Status:
    """The status that tells a peer of `error`: its own line in the table, or that of the nearest branch above it."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF:
            return STATUS_OF[kind]
    return Status.PROCESSING_FAILURE
