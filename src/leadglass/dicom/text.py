"""Characters: values to text by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1), never failing and never warning.

A byte that its character set does not have becomes U+FFFD, an unknown character set is read as Latin-1: what a device sends wrongly is
kept as it came, and still found by its other characters.
"""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final

_DEFAULT: Final = "iso8859"
_ESCAPE = 0x1B
# Defined Terms of (0008,0005) by the part of their escape sequences, with the codec that reads them (PS3.3 Tables C.12-2 to C.12-5).
_SINGLE_BYTE: Final = {
    "100": "latin_1", "101": "iso8859_2", "109": "iso8859_3", "110": "iso8859_4", "126": "iso_ir_126", "127": "iso_ir_127",
    "138": "iso_ir_138", "144": "iso_ir_144", "148": "iso_ir_148", "166": "iso_ir_166", "13": "shift_jis", "6": _DEFAULT,
}  # fmt: skip
_MULTI_BYTE: Final = {"87": "iso2022_jp", "159": "iso2022_jp_2", "149": "euc_kr", "58": "iso_ir_58"}
CODECS: Final = MappingProxyType(
    {
        "": _DEFAULT,
        **{f"ISO_IR {number}": codec for number, codec in _SINGLE_BYTE.items()},
        **{f"ISO 2022 IR {number}": codec for number, codec in (_SINGLE_BYTE | _MULTI_BYTE).items()},
        "ISO_IR 192": "UTF8",
        "GB18030": "GB18030",
        "GBK": "GBK",
        # As CP 1234 met them in the field.
        "ISO 2022 GBK": "GBK",
        "ISO 2022 58": "GB2312",
    }
)
"""Python's codec of every Defined Term of Specific Character Set."""
CODEC_AFTER: Final = MappingProxyType(
    {
        b"\x1b(B": _DEFAULT, b"\x1b(J": "shift_jis", b"\x1b)I": "shift_jis",
        b"\x1b-A": "latin_1", b"\x1b-B": "iso8859_2", b"\x1b-C": "iso8859_3", b"\x1b-D": "iso8859_4",
        b"\x1b-F": "iso_ir_126", b"\x1b-G": "iso_ir_127", b"\x1b-H": "iso_ir_138", b"\x1b-L": "iso_ir_144", b"\x1b-M": "iso_ir_148",
        b"\x1b-T": "iso_ir_166",
        b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2", b"\x1b$)C": "euc_kr", b"\x1b$)A": "iso_ir_58",
    }
)  # fmt: skip
"""The codec that an escape sequence switches to (PS3.3 Tables C.12-3, C.12-4)."""
_FRAGMENT = re.compile(rb"\x1b[^\x1b]*|[^\x1b]+")
# Before these, a value goes back to the character set it began in (PS3.5 6.1.2.5.3).
_DELIMITERS = re.compile(rb"[\\\r\n\f\t]")
_NAME_DELIMITERS = re.compile(rb"[\\\r\n\f\t^=]")
# The two sets with two bytes in G0, whose characters may look like delimiters: Python's codecs read the escape sequences themselves.
_READ_BY_CODEC: Final = frozenset({"iso2022_jp", "iso2022_jp_2"})


@lru_cache(maxsize=256)
def encodings_of(specific_character_set: bytes) -> tuple[str, ...]:
    """Python's names of the character sets in a raw value of (0008,0005); the first is the one in force at the start."""
    terms = [term.strip(b" \0").decode("ascii", "replace") for term in specific_character_set.split(b"\\")]
    return tuple(CODECS.get(_tidy(term), _DEFAULT) for term in terms) or (_DEFAULT,)


def _tidy(term: str) -> str:
    # Met in the field: "ISO-IR 100", "ISO IR 192", "ISO_2022_IR_87".
    match = re.fullmatch(r"ISO[ _-](2022[ _-])?IR[ _-]?(\d+)", term)
    if match is None:
        return term
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"


def decode(raw: bytes, encodings: tuple[str, ...], *, name: bool = False) -> str:
    """Text of a value, without NULs and without the spaces that pad it at its end; `name` for the VR PN."""
    if raw.isascii() and _ESCAPE not in raw:
        text = raw.rstrip(b"\0 ").decode("ascii")
        return text.replace("\0", "") if "\0" in text else text
    if _ESCAPE in raw:
        delimiters = _NAME_DELIMITERS if name else _DELIMITERS
        text = "".join(_decode_fragment(fragment, encodings[0], delimiters) for fragment in _FRAGMENT.findall(raw))
    else:
        text = raw.decode(encodings[0], "replace")
    return text.replace("\0", "").rstrip(" ")


def _decode_fragment(fragment: bytes, initial: str, delimiters: re.Pattern[bytes]) -> str:
    length = 4 if fragment.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODEC_AFTER.get(fragment[:length])
    if encoding is None:
        return fragment.decode(initial, "replace")
    if encoding in _READ_BY_CODEC:
        return fragment.decode(encoding, "replace")
    body = fragment[length:]
    cut = delimiters.search(body)
    end = cut.start() if cut else len(body)
    return body[:end].decode(encoding, "replace") + body[end:].decode(initial, "replace")


_ASCII: Final = "ascii"
_ESCAPE_TO: Final = {encoding: code for code, encoding in CODEC_AFTER.items() if code not in {b"\x1b(J", b"\x1b(B"}}


@lru_cache(maxsize=256)
def is_known(specific_character_set: bytes) -> bool:
    """Whether every term of a raw value of (0008,0005) is one that we can write."""
    terms = [_tidy(term.strip(b" \0").decode("ascii", "replace")) for term in specific_character_set.split(b"\\")]
    return all(term in CODECS for term in terms)


def encode(text: str, specific_character_set: bytes, *, name: bool = False) -> bytes:
    """The bytes of a text in a Specific Character Set that `is_known`; UnicodeEncodeError if it cannot say all of it.

    With code extensions each run between delimiters is written in the first of the sets that has all of its characters.
    """
    encodings = encodings_of(specific_character_set)
    first = _ASCII if not specific_character_set.split(b"\\")[0].strip() else encodings[0]
    written = (
        _encode_single(text, first)
        if len(encodings) == 1
        else b"".join(_encode_run(run, first, encodings[1:]) for run in _RUNS[name].split(text))
    )
    if decode(written, encodings, name=name) != text.rstrip(" "):
        # Some codecs write what another reader of the set does not know: a yen sign for a backslash, a two-byte character in a set of one.
        raise UnicodeEncodeError(first, text, 0, len(text), "does not come back")
    return written


_RUNS: Final = {False: re.compile(r"([\\\r\n\f\t])"), True: re.compile(r"([\\\r\n\f\t^=])")}


def _encode_single(text: str, encoding: str) -> bytes:
    written = text.encode(encoding)
    if encoding == "shift_jis" and len(written) != len(text):
        raise UnicodeEncodeError(encoding, text, 0, len(text), "not in JIS X 0201")
    return written


def _encode_run(run: str, first: str, others: tuple[str, ...]) -> bytes:
    try:
        return _encode_single(run, first)
    except UnicodeEncodeError:
        for encoding in others:
            try:
                written = _encode_single(run, encoding)
            except UnicodeEncodeError:
                continue
            return written if encoding in _READ_BY_CODEC else _ESCAPE_TO.get(encoding, b"") + written
        raise
