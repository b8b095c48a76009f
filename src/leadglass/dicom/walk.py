"""The grammar of an encoded data set (PS3.5 section 7), written once: a coroutine that is fed bytes and never holds a value.

Whoever drives it pushes bytes as they arrive (`validate`) or pulls them from a source (`elements`). It yields

- an `int`: send the bytes of the data set that begin at this offset, as many as are at hand, or b"" where the data set ends;
- a `Token`, if tokens were asked for: send None.

What is refused, always as BadDataSet:

- a data set that ends within an element, an item or a sequence; a value that reaches beyond its item, its sequence or the largest object;
- a VR that is not two capital letters (a VR unknown to us has the long form, PS3.5 6.2.2), an undefined length where there can be none;
- groups below 0004: they belong to the command and to the file meta information, not to a data set (PS3.5 7.1, PS3.10 7.1);
- an indexed attribute out of ascending order, which includes: twice. What a viewer reads must be what the policy judged;
- more than MAX_DEPTH sequences in each other, more than MAX_ELEMENTS elements, items and fragments in all.

What is met in the field and accepted: odd lengths, trailing padding (FFFC,FFFC), group lengths, right or wrong, other elements out of
order, private and unknown elements, sequences of unknown VR (PS3.5 6.2.2), empty values anywhere, a VR other than the dictionary's.
"""

import struct
from collections.abc import Callable, Generator, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from leadglass.dicom.syntax import Encoding
from leadglass.dicom.tokens import INLINE, MAX_DEPTH, MAX_ELEMENTS, MAX_OBJECT_BYTES, UNDEFINED, Found, Kind, Token
from leadglass.dicom.vr import LONG_FORM, PIXEL_DATA, SEQUENCE_TAGS, SHORT_FORM, dictionary_vr
from leadglass.errors import BadDataSet

_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
_DELIMITER_GROUP: Final = 0xFFFE
_FIRST_TAG: Final = 0x00040000
_BELOW_ALL: Final = _FIRST_TAG - 1
_ABOVE_ALL: Final = 0xFFFDFFFF  # FFFE is the group of items and delimiters
_LONGEST_HEADER: Final = 12

_EXPLICIT = {True: struct.Struct("<HH2sH").unpack_from, False: struct.Struct(">HH2sH").unpack_from}
_IMPLICIT = struct.Struct("<HHI").unpack_from
_ITEM_HEADER = {True: struct.Struct("<HHI").unpack_from, False: struct.Struct(">HHI").unpack_from}
_LENGTH = {True: struct.Struct("<I").unpack_from, False: struct.Struct(">I").unpack_from}


class _Mode(Enum):
    """What a container is made of."""

    ELEMENTS = auto()
    ITEMS = auto()
    FRAGMENTS = auto()


class _Frame(NamedTuple):
    """A container. Invariant: `end` is -1 (closed by a delimiter) or equal to `bound`; nothing in it reaches beyond `bound`."""

    mode: _Mode
    end: int
    bound: int
    explicit: bool
    little: bool
    tag: int


_NOTHING: Final[frozenset[int]] = frozenset()
_NO_ITEMS: Final[Mapping[int, frozenset[int]]] = {}
_IN_AN_ITEM: Final = 2

Walk = Generator[int | Token, bytes | None, None]

_CLOSED_BY = {_Mode.ELEMENTS: _ITEM_END, _Mode.ITEMS: _SEQUENCE_END, _Mode.FRAGMENTS: _SEQUENCE_END}
_END_KIND = {_Mode.ELEMENTS: Kind.ITEM_END, _Mode.ITEMS: Kind.SEQUENCE_END, _Mode.FRAGMENTS: Kind.FRAGMENTS_END}


class Walker:
    """One walk through one data set; `run` is the coroutine. See the module for what it yields and refuses.

    Raw values of top-level elements whose tag is in `wanted`, and of those in the items of the top-level sequences in `wanted_items`, go to
    `found`, which is marked as passed at the first tag beyond `stop`; with `only_wanted` the walk ends there.
    """

    def __init__(
        self,
        encoding: Encoding,
        *,
        wanted: frozenset[int] = frozenset(),
        wanted_items: Mapping[int, frozenset[int]] = _NO_ITEMS,
        stop: int = _ABOVE_ALL,
        only_wanted: bool = False,
        emit: bool = False,
        max_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        self.found = Found()
        self._wanted = wanted
        self._wanted_items = wanted_items
        self._stop = stop
        self._only_wanted = only_wanted
        self._emit = emit
        self._stack: list[_Frame] = []
        self._frame = _Frame(_Mode.ELEMENTS, -1, max_bytes, *encoding, 0)
        self._buffer = b""
        self._base = 0  # the offset of _buffer[0]
        self._position = 0
        self._left = MAX_ELEMENTS
        self._last = _BELOW_ALL
        self._ended = False
        self._pending: list[Token] = []

    def run(self) -> Walk:
        """Walk to the end of the data set."""
        try:
            while not self._ended:
                yield from self._elements() if self._frame.mode is _Mode.ELEMENTS else self._items()
                yield from self._pending
                self._pending.clear()
        except struct.error:
            raise _truncated() from None
        self.found.passed = True

    def _elements(self) -> Walk:
        # Elements of the open container, until one opens or closes a container. Every element passes this loop: locals only.
        # Invariant: tags after `last` up to `stop` need no thought; an element at or before `ahead` can be read at once; `ahead` and `room`
        # are relative to `base`.
        explicit, little = self._frame.explicit, self._frame.little
        emit = self._emit
        values, wanted = self._collecting()
        skim = explicit and not emit
        position, left = self._position, self._left
        last, stop = self._order()
        buffer, ahead, room = self._view()
        while True:
            if skim and position <= ahead:
                position, last, left = _skim(_EXPLICIT[little], buffer, position, ahead, last, stop, wanted, values, left)
            if position > ahead:
                self._save(position, last, left)
                if (yield from self._reach_element()):
                    return
                position = self._position
                buffer, ahead, room = self._view()
            tag, vr, length, start = _element_header(buffer, position, explicit=explicit, little=little)
            left -= 1
            if last < tag <= stop:
                last = tag
            else:
                self._save(position, last, left)
                if self._consider(tag):
                    return
                last, stop = self._order()
            if length == UNDEFINED or vr == b"SQ":
                self._save(start, last, left)
                self._open(tag, vr, length)
                return
            if start + length > room:
                raise _beyond(tag)
            if emit or tag in wanted:
                if length <= INLINE and start + length > len(buffer):
                    self._position = start
                    yield from self._fill(length)
                    buffer, ahead, room = self._view()
                    start = 0
                value = _inline(buffer, start, length)
                if emit:
                    at, depth = self._base + start, len(self._stack) // 2
                    yield Token(Kind.ELEMENT, tag, vr.decode() or dictionary_vr(tag), length, at, depth, value, little)
                else:
                    values[tag] = _kept(tag, value)
            position = start + length

    def _collecting(self) -> tuple[dict[int, bytes], frozenset[int]]:
        # Where the values of the open container go, and which.
        if not self._stack:
            return self.found.values, self._wanted
        tag = self._frame.tag
        if len(self._stack) != _IN_AN_ITEM or tag not in self._wanted_items:
            return {}, _NOTHING
        return self.found.items[tag][-1], self._wanted_items[tag]

    def _items(self) -> Walk:
        # Items of an open sequence, or fragments of encapsulated pixel data, until one opens or the container closes.
        mode, end, bound, _, little, tag = self._frame
        while self._base + self._position != end:
            if len(self._buffer) - self._position < 8:
                yield from self._fill(8)
            group, element, length = _ITEM_HEADER[little](self._buffer, self._position)
            self._left -= 1
            if self._left < 0:
                raise _too_many()
            if group != _DELIMITER_GROUP or element != _ITEM:
                self._close_by_delimiter()
                return
            self._position += 8
            if mode is _Mode.ITEMS:
                self._open_item(length)
                return
            at = self._base + self._position
            if at + length > bound:
                raise _beyond(tag)
            if self._emit:
                if length <= INLINE and self._position + length > len(self._buffer):
                    yield from self._fill(length)
                value = _inline(self._buffer, self._position, length)
                yield Token(Kind.FRAGMENT, tag, "OB", length, at, len(self._stack) // 2, value, little)
            self._position += length
        self._close()

    def _open(self, tag: int, vr: bytes, length: int) -> None:
        outer = self._frame
        explicit, little = outer.explicit, outer.little
        if length == UNDEFINED and (vr in {b"OB", b"OW"} or (tag == PIXEL_DATA and not explicit)):
            mode, kind = _Mode.FRAGMENTS, Kind.FRAGMENTS
        elif vr in {b"SQ", b"UN", b""}:
            mode, kind = _Mode.ITEMS, Kind.SEQUENCE
        else:
            raise BadDataSet(f"the element {tag:08X} has an undefined length, but a VR that cannot (PS3.5 7.1.2)")
        if vr == b"UN":
            explicit, little = False, True  # whatever the transfer syntax (PS3.5 6.2.2, note 4)
        if len(self._stack) >= 2 * MAX_DEPTH:
            raise BadDataSet(f"more than {MAX_DEPTH} sequences are nested in each other; no known object needs that")
        at = self._base + self._position
        if self._emit:
            name = "SQ" if mode is _Mode.ITEMS else vr.decode() or "OW"
            self._pending.append(Token(kind, tag, name, length, at, len(self._stack) // 2, None, little))
        self._push(_Frame(mode, *self._extent(tag, at, length), explicit, little, tag))

    def _open_item(self, length: int) -> None:
        _, _, _, explicit, little, tag = self._frame
        at = self._base + self._position
        if tag in self._wanted_items and len(self._stack) == 1:
            self.found.begin_item(tag)
        if self._emit:
            self._pending.append(Token(Kind.ITEM, tag, "", length, at, len(self._stack) // 2, None, little))
        self._push(_Frame(_Mode.ELEMENTS, *self._extent(tag, at, length), explicit, little, tag))

    def _extent(self, tag: int, at: int, length: int) -> tuple[int, int]:
        if length == UNDEFINED:
            return -1, self._frame.bound
        if at + length > self._frame.bound:
            raise _beyond(tag)
        return at + length, at + length

    def _push(self, frame: _Frame) -> None:
        self._stack.append(self._frame)
        self._frame = frame

    def _close_by_delimiter(self) -> None:
        frame = self._frame
        group, element, _ = _ITEM_HEADER[frame.little](self._buffer, self._position)
        if group != _DELIMITER_GROUP or element != _CLOSED_BY[frame.mode] or frame.end != -1 or not self._stack:
            raise BadDataSet("an item or a delimiter stands where there can be none, or something else where one must be (PS3.5 7.5)")
        self._position += 8
        self._close()

    def _close(self) -> None:
        frame = self._frame
        self._frame = self._stack.pop()
        if self._emit:
            at = self._base + self._position
            self._pending.append(Token(_END_KIND[frame.mode], frame.tag, "", 0, at, len(self._stack) // 2, None, frame.little))

    def _order(self) -> tuple[int, int]:
        # Order matters at the top level alone: within items no attribute is indexed.
        return (_BELOW_ALL, _ABOVE_ALL) if self._stack else (self._last, self._stop)

    def _save(self, position: int, last: int, left: int) -> None:
        self._position, self._left = position, left
        if not self._stack:
            self._last = last

    def _view(self) -> tuple[bytes, int, int]:
        # The buffer, the last position in it at which an element may begin and be read at once, and where the container's room ends.
        frame, base = self._frame, self._base
        ahead = len(self._buffer) - _LONGEST_HEADER
        room = frame.bound - base
        return self._buffer, min(ahead, room - 1), room

    def _reach_element(self) -> Generator[int | Token, bytes | None, bool]:
        # Bring the next element into the buffer; True where there is none, because the container or the data set ends.
        if self._left < 0:
            raise _too_many()
        at = self._base + self._position
        if at > self._frame.bound:
            raise _beyond(self._last)
        if at != self._frame.end:
            yield from self._fill(_LONGEST_HEADER)
            if self._buffer:
                return False
            if self._stack:
                raise _truncated()
            self._ended = True
            return True
        self._close()
        return True

    def _consider(self, tag: int) -> bool:
        # A tag that is not simply the next one; True where it ends the container or the walk.
        if tag < _FIRST_TAG:
            raise BadDataSet(
                "an element of a group below 0004 stands in the data set; it belongs to a command or a file header (PS3.5 7.1)"
            )
        if tag >> 16 == _DELIMITER_GROUP:
            self._close_by_delimiter()
            return True
        if self._stack:
            return False
        if tag <= self._last:
            if tag in self._wanted:
                raise BadDataSet(f"the attribute {tag:08X} stands twice or out of order: readers would differ about it (PS3.5 7.1)")
            return False
        self._last = tag
        if not self.found.passed:
            self.found.passed, self._stop = True, _ABOVE_ALL
            self._ended = self._only_wanted
        return self._ended

    def _fill(self, needed: int) -> Walk:
        # Afterwards _position is 0 and the buffer holds `needed` bytes from there, fewer only where the data set ends.
        at = self._base + self._position
        buffer = self._buffer[self._position :]
        while len(buffer) < needed:
            chunk = yield at + len(buffer)
            if not chunk:
                break
            buffer = buffer + chunk if buffer else chunk
        self._buffer, self._base, self._position = buffer, at, 0


def _skim(  # noqa: PLR0913, PLR0917 # the locals of the loop it belongs to
    header: Callable[[bytes, int], tuple[int, int, bytes, int]],
    buffer: bytes,
    position: int,
    ahead: int,
    last: int,
    stop: int,
    wanted: frozenset[int],
    values: dict[int, bytes],
    left: int,
) -> tuple[int, int, int]:
    # Pass what needs no thought: short form, in the buffer where it is wanted. Most elements end here, at a third of what the others cost.
    beyond = ahead + _LONGEST_HEADER
    while position <= ahead:
        group, element, vr, length = header(buffer, position)
        tag = group << 16 | element
        after = position + 8 + length
        if vr not in SHORT_FORM or not _FIRST_TAG <= tag <= stop:
            break
        if tag in wanted:
            if tag <= last or after > beyond or length > INLINE:
                break
            values[tag] = buffer[position + 8 : after]
        if tag > last:  # noqa: PLR1730 # a call of max() would take as long as all the rest
            last = tag
        position = after
        left -= 1
    return position, last, left


def _element_header(buffer: bytes, position: int, *, explicit: bool, little: bool) -> tuple[int, bytes, int, int]:
    # Tag, VR (in implicit encodings SQ or nothing), length, and where the value begins.
    if not explicit:
        group, element, length = _IMPLICIT(buffer, position)
        tag = group << 16 | element
        return tag, b"SQ" if tag in SEQUENCE_TAGS else b"", length, position + 8
    group, element, vr, length = _EXPLICIT[little](buffer, position)
    if vr in SHORT_FORM or group == _DELIMITER_GROUP:
        return group << 16 | element, vr, length, position + 8
    return group << 16 | element, vr, _long_length(buffer, position, vr, little=little), position + 12


def _long_length(buffer: bytes, position: int, vr: bytes, *, little: bool) -> int:
    if vr not in LONG_FORM and not (vr.isalpha() and vr.isupper() and buffer[position + 6 : position + 8] == b"\0\0"):
        raise BadDataSet("an element's VR is no VR: the transfer syntax is another one, or the data set is damaged (PS3.5 7.1.2)")
    length: int = _LENGTH[little](buffer, position + 8)[0]
    return length


def _inline(buffer: bytes, start: int, length: int) -> bytes | None:
    if length > INLINE:
        return None
    value = buffer[start : start + length]
    if len(value) < length:
        raise _truncated()
    return value


def _kept(tag: int, value: bytes | None) -> bytes:
    if value is None:
        raise BadDataSet(f"the attribute {tag:08X} is longer than {INLINE} bytes; no device writes one so long")
    return value


def _too_many() -> BadDataSet:
    return BadDataSet(f"the data set holds more than {MAX_ELEMENTS} elements and items; no known object needs that")


def _truncated() -> BadDataSet:
    return BadDataSet("the data set ends in the middle of an element, an item or a sequence: it was cut off; send it again")


def _beyond(tag: int) -> BadDataSet:
    return BadDataSet(f"the element {tag:08X} claims to reach beyond what it lies in, or beyond the largest object that is taken")
