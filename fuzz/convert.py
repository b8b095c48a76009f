"""Converting: what comes out is a data set of the same content, or nothing does."""

import io

from fuzz import header
from leadglass.dicom.content import content_digest
from leadglass.dicom.convert import to_little_endian
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.errors import BadDataSet


def target(data: bytes) -> None:
    """The first byte chooses the transfer syntax."""
    transfer_syntax = header.SYNTAXES[(data[0] if data else 0) % 4]
    data = data[2:]
    ours = b"".join(to_little_endian(io.BytesIO(data), transfer_syntax))
    before = content_digest(io.BytesIO(data), transfer_syntax)  # BadDataSet where identity passed on what is none
    try:
        after = content_digest(io.BytesIO(ours), EXPLICIT_LITTLE_ENDIAN)
    except BadDataSet as broken:
        raise AssertionError("what was converted cannot be read") from broken
    if after != before:
        raise AssertionError("converting changed the content")


def seeds() -> list[bytes]:
    """The same objects as the header's."""
    return header.seeds()
