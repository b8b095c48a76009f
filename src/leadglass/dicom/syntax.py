"""Transfer syntaxes: how the bytes of a data set are to be read (PS3.5 section 10)."""

from typing import Final, NamedTuple, Protocol

from leadglass.dicom.uid import Uid

IMPLICIT_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2")
EXPLICIT_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2.1")
DEFLATED_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2.1.99")
EXPLICIT_BIG_ENDIAN: Final = Uid("1.2.840.10008.1.2.2")

_NATIVE = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN})


class ByteSource(Protocol):
    """A seekable run of bytes: a file, `io.BytesIO`, the unsealing reader of a stored object."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...


class Encoding(NamedTuple):
    """Whether elements carry their VR, and the order of bytes."""

    explicit: bool
    little: bool


def encoding_of(transfer_syntax: str) -> Encoding:
    """How elements are encoded; whatever is not native is explicit little endian (PS3.5 A.4)."""
    if transfer_syntax == IMPLICIT_LITTLE_ENDIAN:
        return Encoding(explicit=False, little=True)
    return Encoding(explicit=True, little=transfer_syntax != EXPLICIT_BIG_ENDIAN)


def is_native(transfer_syntax: str) -> bool:
    """Whether pixels lie in it as they are, so that the object can be converted without decoding."""
    return transfer_syntax in _NATIVE


def is_deflated(transfer_syntax: str) -> bool:
    """Whether the data set's bytes must be inflated before they are elements (PS3.5 A.5)."""
    return transfer_syntax == DEFLATED_LITTLE_ENDIAN
