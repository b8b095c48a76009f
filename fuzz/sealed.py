"""Sealed messages as somebody may have changed them: whatever opens is exactly what was sealed."""

from leadglass.dicom.uid import Uid
from leadglass.errors import SealBroken
from leadglass.seal.chunked import UnsealingReader, seal, unseal
from leadglass.vault.sealedblob import Descriptor

KEY = b"K" * 32
MESSAGES = [b"", b"a message", bytes(16383), bytes(16384), bytes(40000)]
SEALED = {seal(KEY, b"context", message): message for message in MESSAGES}
DESCRIPTOR = Descriptor(Uid("1.2.3"), Uid("1.2.4"), Uid("1.2.5"), Uid("1.2.840.10008.1.2"), 10**18, "import", {"aet": "CT1"})


def target(data: bytes) -> None:
    """As a sealed message, and, sealed by us, as what may lie inside a blob."""
    try:
        message = unseal(KEY, b"context", data)
    except SealBroken:
        pass
    else:
        if SEALED.get(data) != message:
            raise AssertionError(data)
    read_descriptor(data)


def read_descriptor(plain: bytes) -> None:
    """A descriptor that is understood means the same when it is written again."""
    sealed = seal(KEY, b"", plain)
    reader = UnsealingReader(lambda length, offset: sealed[offset : offset + length], len(sealed), KEY, b"")
    try:
        descriptor = Descriptor.read(reader)
    except SealBroken:
        return
    again = seal(KEY, b"", descriptor.encode())
    reread = UnsealingReader(lambda length, offset: again[offset : offset + length], len(again), KEY, b"")
    if Descriptor.read(reread) != descriptor:
        raise AssertionError(descriptor)


def seeds() -> list[bytes]:
    """Whole messages of every length that matters, and a descriptor with the beginning of a data set."""
    return [*SEALED, DESCRIPTOR.encode() + b"\x08\0\x05\0CS"]
