"""What a client accepts (RFC 9110 12.5.1, PS3.18 8.7.5 to 8.7.9), and which of our forms that means."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from leadglass.archive.archive import outgoing_syntax
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN, is_native
from leadglass.dicom.uid import Uid
from leadglass.errors import CannotConvert
from leadglass.wire.dicomweb.problems import BadRequest

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
OCTETS: Final = "application/octet-stream"
MULTIPART: Final = "multipart/related"
AS_STORED: Final = "*"
MAX_LENGTH: Final = 8 * 1024
MAX_RANGES: Final = 64

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_WORD})[ \t]*=[ \t]*(?:({_WORD}(?:/{_WORD})?)|"((?:[^"\\]|\\.)*)"))?', re.ASCII)
_TYPE = re.compile(rf"[ \t]*({_WORD}/{_WORD})", re.ASCII)
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)

IMAGE_TYPES: Final[Mapping[str, str]] = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70)), "image/jpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)), "image/jls"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (90, 91)), "image/jp2"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (92, 93)), "image/jpx"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112)), "image/jxl"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203)), "image/jphc"),
}
"""PS3.18 Table 8.7.3-5: the media type of one frame in each encapsulated transfer syntax."""


@dataclass(frozen=True)
class MediaType:
    """A media type or range; names in lower case."""

    name: str
    parameters: Mapping[str, str]
    quality: float = 1.0

    @property
    def content(self) -> str:
        """The type of what is inside, for multipart/related (RFC 2387 3.1); else itself."""
        return self.parameters.get("type", "").lower() if self.name == MULTIPART else self.name

    @property
    def transfer_syntax(self) -> str | None:
        return self.parameters.get("transfer-syntax")


def parse_media_type(text: str) -> MediaType:
    """One media type, as in Content-Type; raises `BadRequest`."""
    found, end = _parse_one(text, 0)
    if text[end:].strip(" \t"):
        raise _malformed()
    return found


def parse_accept(text: str) -> tuple[MediaType, ...]:
    """The media ranges of an Accept field, best first; what is not wanted (q=0) is left out; raises `BadRequest`.

    >>> [range.name for range in parse_accept("*/*;q=0.1, application/dicom+json")]
    ['application/dicom+json', '*/*']
    """
    if len(text) > MAX_LENGTH:
        raise BadRequest(400, f"Accept is longer than {MAX_LENGTH} characters")
    ranges: list[MediaType] = []
    position = 0
    while position < len(text):
        rest = text[position:]
        if rest.lstrip(" \t").startswith(",") or not rest.strip(" \t"):
            position += len(rest) - len(rest.lstrip(" \t")) + 1
            continue
        found, position = _parse_one(text, position)
        ranges.append(found)
        tail = text[position:].lstrip(" \t")
        if (tail and not tail.startswith(",")) or len(ranges) > MAX_RANGES:
            raise _malformed()
        position = len(text) - len(tail) + 1
    return tuple(sorted((one for one in ranges if one.quality > 0), key=lambda one: -one.quality))


def _parse_one(text: str, position: int) -> tuple[MediaType, int]:
    match = _TYPE.match(text, position)
    if match is None:
        raise _malformed()
    name, position = match[1].lower(), match.end()
    parameters: dict[str, str] = {}
    while (match := _PARAMETER.match(text, position)) is not None:
        position = match.end()
        if match[1]:
            parameters[match[1].lower()] = match[2] or re.sub(r"\\(.)", r"\1", match[3] or "")
    quality = parameters.pop("q", "1")
    if not _QUALITY.fullmatch(quality):
        raise _malformed()
    return MediaType(name, parameters, float(quality)), position


def _malformed() -> BadRequest:
    return BadRequest(400, 'not a media type by RFC 9110 8.3.1; as in multipart/related; type="application/dicom"; transfer-syntax=*')


def _not_acceptable(forms: str) -> BadRequest:
    return BadRequest(406, f"none of the media types accepted is one of ours here: {forms}")


@dataclass(frozen=True)
class ObjectForm:
    """How objects are to be sent: in parts or a single one bare, and the transfer syntaxes accepted, best first."""

    multipart: bool
    syntaxes: tuple[str, ...]

    def choose(self, stored: Uid) -> Uid:
        """The transfer syntax in which to send an object stored in `stored`; raises `CannotConvert` where there is none."""
        refused: CannotConvert | None = None
        for syntax in self.syntaxes:
            try:
                return stored if syntax == AS_STORED else outgoing_syntax(stored, (syntax,))
            except CannotConvert as error:
                refused = error
        raise refused or CannotConvert("no transfer syntax is accepted")


def object_form(ranges: Iterable[MediaType], *, single: bool) -> ObjectForm:
    """The form in which a client accepts whole objects (PS3.18 8.7.3.1); `single` when the resource is one instance."""
    multipart: bool | None = None
    syntaxes: list[str] = []
    for accepted in ranges:
        if accepted.name in {"*/*", "multipart/*"} or (accepted.name == MULTIPART and accepted.content in {DICOM, "", "*/*"}):
            parts = True
        elif single and accepted.name in {DICOM, "application/*"}:
            parts = False
        else:
            continue
        if multipart in {None, parts}:
            multipart = parts
            syntaxes.append(accepted.transfer_syntax or EXPLICIT_LITTLE_ENDIAN)
    if multipart is None:
        raise _not_acceptable('multipart/related; type="application/dicom"' + (", application/dicom" if single else ""))
    return ObjectForm(multipart, tuple(syntaxes))


@dataclass(frozen=True)
class FrameForm:
    """How frames are to be sent: media type, whether in parts, and whether in the stored transfer syntax or as native little endian."""

    media_type: str
    multipart: bool
    transfer_syntax: str


def frame_form(ranges: Iterable[MediaType], stored: Uid, *, single: bool) -> FrameForm:
    """The form in which a client accepts frames stored in `stored` (PS3.18 8.7.3.3.2); `single` when it asked for one frame.

    Octets have a default transfer syntax: native little endian (PS3.18 Table 8.7.3-5), for which compressed frames are decoded.
    """
    native = is_native(stored)
    own = FrameForm(OCTETS if native else IMAGE_TYPES.get(stored, OCTETS), multipart=True, transfer_syntax=_sent_in(stored))
    for accepted in ranges:
        multipart = accepted.name in {"*/*", "multipart/*", MULTIPART}
        if not multipart and not single:
            continue
        content = accepted.content if accepted.name == MULTIPART else accepted.name
        syntax = accepted.transfer_syntax
        anything = content in {"*/*", "multipart/*", ""}
        if syntax in {None, AS_STORED, stored, own.transfer_syntax}:
            octets_by_default = content == OCTETS and syntax is None
            fits = anything or content == own.media_type or (content == "image/*" and own.media_type != OCTETS)
            if fits and (native or not octets_by_default):
                return replace(own, multipart=multipart)
            if content == OCTETS and syntax is not None:
                return FrameForm(OCTETS, multipart, own.transfer_syntax)
        if (anything or content == OCTETS) and syntax in {None, EXPLICIT_LITTLE_ENDIAN} and _can_be_native(stored):
            return FrameForm(OCTETS, multipart, EXPLICIT_LITTLE_ENDIAN)
    raise _not_acceptable(f'multipart/related; type="{own.media_type}"; transfer-syntax={own.transfer_syntax}')


def _sent_in(stored: Uid) -> str:
    return EXPLICIT_LITTLE_ENDIAN if is_native(stored) else stored


def _can_be_native(stored: Uid) -> bool:
    try:
        return outgoing_syntax(stored, (EXPLICIT_LITTLE_ENDIAN,)) == EXPLICIT_LITTLE_ENDIAN
    except CannotConvert:
        return False


def require_json(ranges: Iterable[MediaType]) -> None:
    """Refuse a client that does not accept the DICOM JSON model (PS3.18 8.7.3.2, PS3.18 F); raises `BadRequest` 406."""
    if not any(accepted.name in {"*/*", "application/*", DICOM_JSON, "application/json"} for accepted in ranges):
        raise _not_acceptable(DICOM_JSON)


def bulk_form(ranges: Iterable[MediaType]) -> bool:
    """Whether bulk data is to be sent in a part (PS3.18 8.7.3.3.3), else bare."""
    for accepted in ranges:
        if accepted.name in {"*/*", "multipart/*"} or (accepted.name == MULTIPART and accepted.content in {OCTETS, "", "*/*"}):
            return True
        if accepted.name in {OCTETS, "application/*"}:
            return False
    raise _not_acceptable(f'multipart/related; type="{OCTETS}", {OCTETS}')
