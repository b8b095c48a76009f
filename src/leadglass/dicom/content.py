"""A digest of what a data set says, the same however it is encoded: it tells "already there" from a conflict.

Equal, because nothing is lost between them: native transfer syntaxes, defined and undefined lengths, group lengths, trailing padding, the
padding of text, empty sequences and empty elements, VRs (implicit encodings do not carry them), sequences that somebody wrote as UN.
Not equal: anything else, above all other pixels, other order of elements, another character set. Compressed pixels count as they lie,
with their transfer syntax: two codings of the same pixels differ until they can be decoded.

The canonical form that is hashed (SHA-256): for each element E, its tag, length and little endian value (text up to INLINE bytes without
trailing spaces and NULs); S and its tag for a sequence that is not empty, I and i around its items, s at its end; P, tag, length and name
of the transfer syntax for encapsulated pixels, F, length and bytes for each fragment, p at their end. Numbers are little endian, tags 4
bytes, lengths 8.
"""

import hashlib
import io
import struct
from typing import Final

from leadglass.dicom.convert import little_endian
from leadglass.dicom.elements import Elements
from leadglass.dicom.syntax import IMPLICIT_LITTLE_ENDIAN, ByteSource
from leadglass.dicom.tokens import MAX_DEPTH, UNDEFINED, Kind, Token
from leadglass.dicom.vr import TEXT, TRAILING_PADDING, dictionary_vr
from leadglass.errors import BadDataSet

_LENGTH_TO_END: Final = 0x00080001
_LONGEST_HIDDEN_SEQUENCE: Final = 1024 * 1024
_FIRST_ITEM: Final = struct.pack("<HH", 0xFFFE, 0xE000)
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_MARK: Final = {Kind.ITEM: b"I", Kind.ITEM_END: b"i", Kind.SEQUENCE_END: b"s", Kind.FRAGMENTS_END: b"p"}


def content_digest(source: ByteSource, transfer_syntax: str) -> bytes:
    """32 bytes that are equal for equal content; BadDataSet if the source's data set is none."""
    digest = _Digest(transfer_syntax)
    digest.take(Elements(source, transfer_syntax), 0)
    return digest.result()


class _Digest:
    def __init__(self, transfer_syntax: str) -> None:
        self._hash = hashlib.sha256(b"leadglass content v1\n")
        self._transfer_syntax = transfer_syntax.encode()

    def result(self) -> bytes:
        return self._hash.digest()

    def take(self, elements: Elements, hidden_depth: int) -> None:
        update = self._hash.update
        begun: Token | None = None  # a sequence of which no item was seen: empty, it counts as an empty element
        for token in elements:
            if begun is not None:
                update(struct.pack("<cI", b"S", begun.tag) if token.kind is Kind.ITEM else struct.pack("<cIQ", b"E", begun.tag, 0))
                ended, begun = token.kind is not Kind.ITEM, None
                if ended:
                    continue
            if token.kind is Kind.ELEMENT:
                self._element(elements, token, hidden_depth)
            elif token.kind is Kind.SEQUENCE:
                begun = token
            elif token.kind is Kind.FRAGMENTS:
                update(struct.pack("<cIQ", b"P", token.tag, len(self._transfer_syntax)) + self._transfer_syntax)
            elif token.kind is Kind.FRAGMENT:
                update(struct.pack("<cQ", b"F", token.length))
                for piece in elements.chunks(token):
                    update(piece)
            else:
                update(_MARK[token.kind])

    def _element(self, elements: Elements, token: Token, hidden_depth: int) -> None:
        if not is_counted(token.tag):
            return
        known = dictionary_vr(token.tag)
        if known in TEXT and token.value is not None:
            value = b"".join(little_endian(elements, token)).rstrip(b"\0 ")
            self._hash.update(struct.pack("<cIQ", b"E", token.tag, len(value)) + value)
        elif hidden_depth < MAX_DEPTH and (hidden := as_sequence(elements, token)) is not None:
            self.take(Elements(io.BytesIO(hidden), IMPLICIT_LITTLE_ENDIAN), hidden_depth + 1)
        else:
            self._hash.update(struct.pack("<cIQ", b"E", token.tag, token.length))
            for piece in little_endian(elements, token):
                self._hash.update(piece)


def is_counted(tag: int) -> bool:
    """Whether an element is content: group lengths and trailing padding are not."""
    return bool(tag & 0xFFFF) and tag not in {TRAILING_PADDING, _LENGTH_TO_END}


def as_sequence(elements: Elements, token: Token) -> bytes | None:
    """The token just taken, as a data set in implicit little endian that holds it as a sequence; None where its value is none.

    A private sequence of defined length is told from opaque bytes in explicit encodings alone: so wherever the value reads as one, it
    is taken for one. In implicit encodings, and in UN, its items are implicit little endian (PS3.5 6.2.2).
    """
    if dictionary_vr(token.tag) not in {"UN", "SQ"} or not 0 < token.length <= _LONGEST_HIDDEN_SEQUENCE:
        return None
    value = b"".join(little_endian(elements, token))
    if not value.startswith(_FIRST_ITEM):
        return None
    tag = token.tag
    wrapped = struct.pack("<HHI", tag >> 16, tag & 0xFFFF, UNDEFINED) + value + _SEQUENCE_END
    try:
        tops = [found.kind for found in Elements(io.BytesIO(wrapped), IMPLICIT_LITTLE_ENDIAN) if found.depth == 0]
    except BadDataSet:
        return None
    return wrapped if tops.count(Kind.SEQUENCE_END) == 1 and tops[-1] is Kind.SEQUENCE_END else None
