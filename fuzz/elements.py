"""Whole data sets pulled from a source: tokens, digest, JSON and frames of what is valid, and nothing but refusals of the rest."""

import io
import json

from fuzz import header
from leadglass.dicom.content import content_digest
from leadglass.dicom.elements import Elements, Kind
from leadglass.dicom.frames import Frames
from leadglass.dicom.jsonmodel import json_chunks
from leadglass.errors import BadDataSet


def target(data: bytes) -> None:
    """The first byte chooses the transfer syntax."""
    transfer_syntax = (*header.SYNTAXES, "1.2.840.10008.1.2.4.50")[(data[0] if data else 0) % 5]
    data = data[2:]
    elements = Elements(io.BytesIO(data), transfer_syntax)
    depth = 0
    for token in elements:
        depth += {Kind.SEQUENCE: 1, Kind.SEQUENCE_END: -1, Kind.FRAGMENTS: 1, Kind.FRAGMENTS_END: -1}.get(token.kind, 0)
        if token.kind in {Kind.ELEMENT, Kind.FRAGMENT} and sum(map(len, elements.chunks(token))) != token.length:
            raise AssertionError("a value of another length")
    if depth:
        raise AssertionError("a sequence is left open")
    if content_digest(io.BytesIO(data), transfer_syntax) != content_digest(io.BytesIO(data), transfer_syntax):
        raise AssertionError("two digests of one object")
    json.loads(b"".join(json_chunks(io.BytesIO(data), transfer_syntax, lambda path: path)))
    try:
        frames = Frames.locate(io.BytesIO(data), transfer_syntax)
    except BadDataSet:
        return
    for number in range(1, min(frames.count, 4) + 1):
        sum(map(len, frames.read(number)))


def seeds() -> list[bytes]:
    """The same objects as the header's."""
    return [*header.seeds(), b"\x04" + header.seeds()[0][1:]]
