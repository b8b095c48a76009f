"""The Store Instances Response Module (PS3.18 annex I) in the DICOM JSON model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import Response

from leadglass import errors
from leadglass.dicom.uid import Uid
from leadglass.errors import LeadglassError
from leadglass.wire.dicomweb.accept import DICOM_JSON
from leadglass.wire.dicomweb.problems import BadRequest

NOT_AUTHORISED: Final = 0x0124
PROCESSING_FAILURE: Final = 0x0110
OUT_OF_RESOURCES: Final = 0xA700
OTHER_STUDY: Final = 0xA901
"""Ours, of the class "data set does not match": the object belongs to another study than the URL names."""
CANNOT_UNDERSTAND: Final = 0xC000

_REASONS: Final[Mapping[type[LeadglassError], int]] = {
    errors.NotAllowed: NOT_AUTHORISED,
    errors.NoRoom: OUT_OF_RESOURCES,
    errors.StorageFailed: PROCESSING_FAILURE,
    errors.BadInput: CANNOT_UNDERSTAND,
}


def reason_for(error: LeadglassError) -> int:
    """The Failure Reason (0008,1197) that `error` is (PS3.18 Table I.2-2)."""
    if isinstance(error, BadRequest) and error.status == 413:
        return OUT_OF_RESOURCES
    return next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), PROCESSING_FAILURE)


@dataclass(frozen=True)
class Stored:
    """An object that is kept, also when it was there already or conflicts with what was: no sender learns what exists."""

    sop_class: Uid
    sop_instance: Uid
    study: Uid
    series: Uid


@dataclass(frozen=True)
class Failure:
    """A part that was not kept, and as much of its identity as could be read."""

    reason: int
    sop_class: Uid | None = None
    sop_instance: Uid | None = None


@dataclass
class Report:
    """What became of the parts of one request."""

    base: str
    study: Uid | None
    stored: list[Stored] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    @property
    def status(self) -> int:
        """PS3.18 Table 10.5.3-1."""
        if self.failed:
            return 202 if self.stored else 409
        return 200 if self.stored else 400

    def as_json(self) -> dict[str, Any]:
        """The module's attributes."""
        named = [failure for failure in self.failed if failure.sop_class and failure.sop_instance]
        unnamed = [failure for failure in self.failed if not (failure.sop_class and failure.sop_instance)]
        studies = {stored.study for stored in self.stored} or ({self.study} - {None})
        result: dict[str, Any] = {"00081190": _urls([f"{self.base}/studies/{study}" for study in studies] if len(studies) == 1 else [])}
        if named:
            result["00081198"] = {"vr": "SQ", "Value": [_reference(one.sop_class, one.sop_instance) | _reason(one.reason) for one in named]}
        if self.stored:
            result["00081199"] = {
                "vr": "SQ",
                "Value": [_reference(one.sop_class, one.sop_instance) | self._where(one) for one in self.stored],
            }
        if unnamed:
            result["0008119A"] = {"vr": "SQ", "Value": [_reason(one.reason) for one in unnamed]}
        return result

    def response(self) -> Response:
        return Response(json.dumps(self.as_json(), separators=(",", ":")), self.status, media_type=DICOM_JSON)

    def _where(self, stored: Stored) -> dict[str, Any]:
        return {"00081190": _urls([f"{self.base}/studies/{stored.study}/series/{stored.series}/instances/{stored.sop_instance}"])}


def _urls(urls: list[str]) -> dict[str, Any]:
    return {"vr": "UR", "Value": urls} if urls else {"vr": "UR"}


def _reference(sop_class: Uid | None, sop_instance: Uid | None) -> dict[str, Any]:
    return {"00081150": {"vr": "UI", "Value": [sop_class]}, "00081155": {"vr": "UI", "Value": [sop_instance]}}


def _reason(reason: int) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [reason]}}
