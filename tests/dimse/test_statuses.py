"""The table from errors to DIMSE statuses is complete, and says the right things."""

import inspect

import pytest

from leadglass import errors
from leadglass.dicom.status import Status, StatusKind, kind_of
from leadglass.errors import LeadglassError
from leadglass.wire.dimse.statuses import STATUS_OF, status_of

EVERY = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, LeadglassError)]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_is_a_failure_to_the_peer(kind: type[LeadglassError]) -> None:
    assert kind_of(status_of(kind("why"))) is StatusKind.FAILURE


def test_the_table_names_no_error_twice_removed() -> None:
    assert set(STATUS_OF) <= set(EVERY)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NoRoom("full"), Status.OUT_OF_RESOURCES),
        (errors.StorageFailed("fsync"), Status.OUT_OF_RESOURCES),
        (errors.NotAllowed("no"), Status.NOT_AUTHORIZED),
        (errors.BadQuery("what"), Status.IDENTIFIER_DOES_NOT_MATCH),
        (errors.BadDataSet("cut"), Status.CANNOT_UNDERSTAND),
        (errors.TrailUnwritable("full"), Status.PROCESSING_FAILURE),
        (errors.SealBroken("changed"), Status.PROCESSING_FAILURE),
        (ValueError("ours"), Status.PROCESSING_FAILURE),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_a_peer_is_told(error: Exception, status: Status) -> None:
    assert status_of(error) is status
