"""Differences: what has another content is told, and a data set never differs from itself, whatever its bytes."""

import io

from fuzz import header
from leadglass.dicom.content import content_digest
from leadglass.dicom.differences import Differences


def target(data: bytes) -> None:
    """The first byte chooses the transfer syntax, the second where a byte of the copy is changed."""
    transfer_syntax = header.SYNTAXES[(data[0] if data else 0) % 4]
    change, data = data[1:2], data[2:]
    other = bytearray(data)
    if change and other:
        other[len(other) * change[0] // 256] ^= 1
    same = Differences(io.BytesIO(data), transfer_syntax, io.BytesIO(data), transfer_syntax)
    if list(same) or (same.result.pixels is not None and not same.result.pixels.equal):
        raise AssertionError("a data set differs from itself")
    told = Differences(io.BytesIO(data), transfer_syntax, io.BytesIO(bytes(other)), transfer_syntax)
    differs = bool(list(told)) or (told.result.pixels is not None and not told.result.pixels.equal)
    digests = {content_digest(io.BytesIO(each), transfer_syntax) for each in (data, bytes(other))}
    if not differs and len(digests) > 1:
        raise AssertionError("what differs is not told")


def seeds() -> list[bytes]:
    """The same objects as the header's."""
    return header.seeds()
