"""UIDs as they come in padded fields."""

from leadglass.dicom.uid import Uid


def target(data: bytes) -> None:
    """What is taken for a UID holds nothing that a path, a query or a log could trip over."""
    uid = Uid.from_wire(data)
    if set(uid) - set("0123456789.") or not 0 < len(uid) <= 64:
        raise AssertionError(uid)


def seeds() -> list[bytes]:
    """A usual one, padded ones, and one that never ends."""
    return [b"1.2.840.10008.1.1\0", b"2.25.329800735698586629295641978511506172918", b"1.2 ", b"1." * 40, b"../../etc/passwd"]
