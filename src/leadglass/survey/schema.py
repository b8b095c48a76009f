"""The JSON Schema of results.json (draft 2020-12), made from the types of results; published as `data/results.schema.json`."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from importlib import resources
from typing import Any

from leadglass.survey.addresses import RefusedTarget
from leadglass.survey.control import ProvenControl
from leadglass.survey.findings import Finding
from leadglass.survey.observations import ExposureLevel, Field, Observation, Protocol, RecordCounts, RejectionMeaning, Transport, Write
from leadglass.survey.results import DETAIL_AS_TEXT, NAMED_ELSEWHERE, Stopped, Sums
from leadglass.survey.scope import ExposureLimit

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
MOMENT: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d"}


def published() -> bytes:
    """The schema as the package ships it; `docs/results.schema.json` is the same."""
    return resources.files("leadglass.survey").joinpath("data", "results.schema.json").read_bytes()


def render() -> bytes:
    """The schema as the types have it now; `make conformance` writes it."""
    return (json.dumps(document(), indent=1, ensure_ascii=False) + "\n").encode()


def document() -> Schema:
    """The schema; every object is closed, so that a key that is not told of here is seen."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:leadglass:survey:results",
        "title": "results.json of a leadglass survey",
        "description": "What a stranger reaches at each system, by country and in all. Counts and enumerations; nothing of a patient.",
        **_object(
            {
                "survey": _survey(),
                "targets": _list(_target()),
                "countries": _list(_object({"country": TEXT, **_fields(Sums)})),
                "totals": of(Sums),
            }
        ),
    }


def _survey() -> Schema:
    authority = dict.fromkeys(("owner", "authorised_by", "contact", "unsafe_mandate"), TEXT) | {"valid_until": MOMENT}
    told = {
        "method": TEXT,
        "started": MOMENT,
        "seconds": {"type": "number", "minimum": 0},
        "run": TEXT,
        "complete": {"type": "boolean"},
        "left": COUNT,
        "stopped": _or_null(of(Stopped)),
        "shard": {"type": ["string", "null"], "pattern": r"^\d+/\d+$"},
        "scope": TEXT,
        "ranges": _list(_object({"name": TEXT, "host": TEXT, "ports": _list(PORT)})),
        "authority": _object(authority, optional=["unsafe_mandate"]),
        "level": of(ExposureLimit),
        "addresses": _object({"asked": COUNT, "silent": COUNT}),
        "refused": _list(of(RefusedTarget)),
        "proven": _list(of(ProvenControl)),
    }
    return _object(told)


def _target() -> Schema:
    product = ("name", "toolkit", "version", "toolkit_version", "confidence", "evidence")
    return _object(
        {
            "name": TEXT,
            "host": TEXT,
            "country": TEXT,
            "site": TEXT,
            "level": of(ExposureLevel),
            "write": of(Write),
            "transport": _or_null(of(Transport)),
            "records": _or_null(of(RecordCounts)),
            "fields": _list(of(Field)),
            "doors": _list(_door()),
            "product": _object({name: _or_null(TEXT) for name in product}),
            "open_viewers": COUNT,
            "findings": _list(of(Finding)),
        }
    )


def _door() -> Schema:
    details = [_detail(kind) for kind in typing.get_args(Observation)]
    return _object({"port": PORT, "protocol": of(Protocol), "level": of(ExposureLevel), "detail": {"anyOf": details}})


def _detail(kind: type) -> Schema:
    """A detail leaves out what is not so and not known: no key is always there."""
    told = {name: TEXT if name in DETAIL_AS_TEXT else schema for name, schema in _fields(kind).items() if name not in NAMED_ELSEWHERE}
    if "rejection" in told:
        rejection = dict(told["rejection"]["anyOf"][0])
        rejection["properties"] = {**rejection["properties"], "meaning": of(RejectionMeaning)}
        told["rejection"] = {**rejection, "required": list(rejection["properties"])}
    return _object(told, optional=list(told))


def of(kind: Any) -> Schema:  # noqa: ANN401 - any type that a result holds
    """The schema of a type: enums, numbers, texts, tuples of them, and dataclasses.

    >>> of(tuple[int, ...] | None)
    {'anyOf': [{'type': 'array', 'items': {'type': 'integer'}}, {'type': 'null'}]}
    """
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        return {"anyOf": [of(each) for each in typing.get_args(kind)]}
    if typing.get_origin(kind) is tuple:
        return _list(of(typing.get_args(kind)[0]))
    if dataclasses.is_dataclass(kind):
        return _object(_fields(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [each.value for each in kind]}
    return {"type": {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}[kind]}


def _fields(kind: Any) -> Mapping[str, Schema]:  # noqa: ANN401 - a dataclass
    hints = typing.get_type_hints(kind)
    return {field.name: of(hints[field.name]) for field in dataclasses.fields(kind)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
