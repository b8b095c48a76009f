"""Bodies of STOW requests: their parts are the same wherever the network cuts them, and nothing is kept beyond its bound."""

from collections.abc import Iterable

from leadglass.wire.dicomweb.multipart import MAX_HEAD, Event, PartBegan, PartData, Reader, close, open_part
from leadglass.wire.dicomweb.problems import BadRequest

BOUNDARY = "b"
MAX_PARTS = 20


def _joined(chunks: Iterable[bytes]) -> tuple[list[Event | bytes], bool, int | None]:
    """What was read, with the data of each part in one; whether it ended; the status in which it was refused."""
    reader = Reader(BOUNDARY, MAX_PARTS)
    read: list[Event | bytes] = []
    try:
        for chunk in chunks:
            for event in reader.feed(chunk):
                if not isinstance(event, PartData):
                    read.append(event)
                elif read and isinstance(read[-1], bytes):
                    read[-1] += event.data
                else:
                    read.append(event.data)
            if len(reader._held) > MAX_HEAD + 2:  # noqa: SLF001 # what is kept is what this is about
                raise AssertionError(len(reader._held))  # noqa: SLF001
    except BadRequest as refused:
        return read, False, refused.status
    return read, reader.ended, None


def target(data: bytes) -> None:
    """The first byte says how the rest is cut."""
    size, body = (data[0] if data else 0) + 1, data[1:]
    whole = _joined([body])
    pieces = _joined(body[start : start + size] for start in range(0, len(body), size))
    if whole != pieces and whole[2] is None:
        raise AssertionError((whole, pieces))
    if sum(isinstance(event, PartBegan) for event in whole[0]) > MAX_PARTS:
        raise AssertionError(whole)


def seeds() -> list[bytes]:
    """Well-formed bodies, and near misses of a delimiter."""
    part = open_part(BOUNDARY, {"content-type": "application/dicom"})
    return [
        b"\x05" + part + b"DICM" + part + close(BOUNDARY),
        b"\x00preamble\r\n--b \t\r\n\r\n--b\r\nx: y\r\n z\r\n\r\n\r\n--\r\n--b--epilogue",
        b"\x20" + part + b"\r\n--" * 30 + close(BOUNDARY),
        b"\xff--b\r\n\r\n" * 30,
    ]
