"""The judge of results.json: jsonschema, by the file that the package ships."""

import functools
import json

import jsonschema

from leadglass.survey import schema


@functools.cache
def _judge() -> jsonschema.Draft202012Validator:
    published = json.loads(schema.published())
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


def faults(results: bytes) -> list[str]:
    """What in these results is not by the schema."""
    return [f"{error.json_path}: {error.message[:200]}" for error in _judge().iter_errors(json.loads(results))]
