"""The one table from our errors to HTTP statuses (RFC 9110 section 15, PS3.18 8.5); a test proves it complete.

What the caller could do otherwise is told in the error's own words, which never hold a value; of our own faults, only that there was one.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from starlette.responses import Response

from leadglass import errors
from leadglass.errors import BadInput, LeadglassError


class BadRequest(BadInput):
    """An HTTP request that PS3.18 or our bounds do not allow; it knows its status, and the header fields that go with it."""

    def __init__(self, status: int, message: str, fields: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.status = status
        self.fields = fields


class Answer(NamedTuple):
    """`text` None: the error's own message."""

    status: int
    text: str | None = None
    fields: Mapping[str, str] = MappingProxyType({})


_FAULT: Final = Answer(500, "something is broken here; the administrator finds it in the log")
_LATER: Final = MappingProxyType({"Retry-After": "60"})

ANSWERS: Final[Mapping[type[LeadglassError], Answer]] = MappingProxyType(
    {
        LeadglassError: _FAULT,
        errors.WrongUsage: _FAULT,
        errors.ConfigurationError: _FAULT,
        errors.Refused: Answer(403, "not allowed"),
        errors.NotIdentified: Answer(401, "a bearer token is needed", MappingProxyType({"WWW-Authenticate": "Bearer"})),
        errors.UserNotIdentified: Answer(401, "a bearer token is needed", MappingProxyType({"WWW-Authenticate": "Bearer"})),
        errors.TooOften: Answer(429, "not now"),
        errors.NotAllowed: Answer(403, "your rights do not include this"),
        errors.UnknownDestination: Answer(403, "not allowed"),
        errors.HomeInUse: _FAULT,
        errors.OutOfScope: _FAULT,
        BadInput: Answer(400),
        BadRequest: Answer(400),
        errors.InvalidUid: Answer(400),
        errors.BadDataSet: Answer(400),
        errors.BadPdu: Answer(400),
        errors.BadMessage: Answer(400),
        errors.BadQuery: Answer(400),
        errors.BadArchiveFile: Answer(400),
        errors.CannotConvert: Answer(406),
        errors.GivenUp: Answer(503, "it was given up; ask again", _LATER),
        errors.TooMuchAtOnce: Answer(503, "too much is waiting; try again later", _LATER),
        errors.NoRoom: Answer(503, "there is no room to store anything; try again later", _LATER),
        errors.StorageFailed: Answer(503, "it could not be stored and was not kept; try again later", _LATER),
        errors.Damaged: _FAULT,
        errors.SealBroken: _FAULT,
        errors.KeyTableDamaged: _FAULT,
        errors.TrailDamaged: _FAULT,
        errors.KeyUnavailable: Answer(503, "the archive is locked", _LATER),
        errors.TrailUnwritable: Answer(503, "nothing is served until the record of accesses can be written again", _LATER),
        errors.PeerFailed: _FAULT,
    }
)

SAFE_FIELDS: Final = MappingProxyType({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
"""With every answer: nothing of a patient stays in a cache, and nothing is taken for what it does not say it is."""


def answer_to(error: LeadglassError) -> Answer:
    """What `error` is to its caller; an error defined elsewhere is what the branch of the tree above it is."""
    if isinstance(error, BadRequest):
        return Answer(error.status, str(error), error.fields)
    answer = next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)
    return answer if answer.text is not None else answer._replace(text=str(error))


def response_to(error: LeadglassError) -> Response:
    """`error` as an HTTP response; what may not be seen and what does not exist are the same bytes."""
    return refusal(answer_to(error))


def refusal(answer: Answer) -> Response:
    """An answer without content: a sentence in JSON."""
    body = json.dumps({"error": answer.text}).encode()
    return Response(body, answer.status, {**SAFE_FIELDS, **answer.fields}, "application/json")


NOT_FOUND: Final = Answer(404, "there is nothing here that you may see")
