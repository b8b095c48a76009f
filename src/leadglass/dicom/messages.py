"""Messages out of P-DATA-TF fragments and into them (PS3.8 annex E, PS3.7 6.3): nothing is held but a command set being gathered."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from leadglass.dicom import dimse
from leadglass.dicom.contexts import Context
from leadglass.dicom.dimse import Command
from leadglass.dicom.pdu import AbortReason, PduType, split_pdvs
from leadglass.errors import BadMessage, BadPdu

OUR_LONGEST_PDU = 128 * 1024
"""What we send at most, whatever the peer would take: it bounds what one write copies."""

SHORTEST_MAXIMUM = 64
"""A peer that takes less than this in a PDU would have us send more headers than data; it is refused."""

FREE_FRAGMENTS = 1000
FAIR_FRAGMENT = 512
"""A message may come in `FREE_FRAGMENTS`, and one more for each `FAIR_FRAGMENT` bytes of it; nobody who is not out to harm sends more."""

_IS_COMMAND = 1
_IS_LAST = 2
_PDV_OVERHEAD = 6
_PDATA = struct.Struct(">BxIIBB")
"""Header of a P-DATA-TF and of the one PDV in it: type, length, PDV length, context id, message control header."""


@dataclass(frozen=True, slots=True)
class MessageStarted:
    """A command set is complete; `has_data` says that `DataArrived` events follow, up to one that is last."""

    context: Context
    command: Command
    has_data: bool


@dataclass(frozen=True, slots=True)
class DataArrived:
    """A fragment of the data set of the message that started last; it may be empty when it is the last."""

    fragment: bytes = field(repr=False)
    is_last: bool


MessageEvent = MessageStarted | DataArrived


class Assembly:
    """Turns the PDVs of one association into messages; BadPdu or BadMessage for what PS3.8 annex E does not allow."""

    def __init__(self, contexts: Mapping[int, Context]) -> None:
        self._contexts = contexts
        self._current: Context | None = None
        self._command = bytearray()
        self._awaiting_data = False
        self._allowance = 0
        self._last_response: tuple[bytes, dimse.Decoded] | None = None

    def add(self, body: memoryview, events: list[MessageEvent]) -> None:
        """Take the body of a P-DATA-TF and append what became complete to `events`; all that it holds of a data set is one event."""
        parts: list[memoryview] = []
        for context_id, flags, fragment in split_pdvs(body):
            current = self._current
            if current is None:
                current = self._current = self._contexts.get(context_id)
                if current is None:
                    raise BadPdu("a message in a presentation context that was not accepted", AbortReason.INVALID_PARAMETER)
                self._allowance = FREE_FRAGMENTS * FAIR_FRAGMENT
            elif current.id != context_id:
                raise BadPdu("fragments of two messages are mixed (PS3.8 E.1)", AbortReason.UNEXPECTED_PARAMETER)
            self._allowance += len(fragment) - FAIR_FRAGMENT
            if self._allowance < 0:
                # A fragment costs us far more than the bytes of a short one: many of them would be cheap to send and dear to take.
                raise BadPdu("a message is cut into far more fragments than its length asks for", AbortReason.INVALID_PARAMETER)
            is_last = bool(flags & _IS_LAST)
            if bool(flags & _IS_COMMAND) == self._awaiting_data:
                raise BadPdu("a data set before its command set, or a command set within a data set", AbortReason.UNEXPECTED_PARAMETER)
            if self._awaiting_data:
                parts.append(fragment)
                if is_last:
                    events.append(DataArrived(b"".join(parts), is_last=True))
                    parts.clear()
                    self._awaiting_data = False
                    self._current = None
            else:
                self._add_command(current, fragment, events, is_last=is_last)
        if parts and (joined := b"".join(parts)):
            events.append(DataArrived(joined, is_last=False))

    def _add_command(self, context: Context, fragment: memoryview, events: list[MessageEvent], *, is_last: bool) -> None:
        if len(self._command) + len(fragment) > dimse.MAX_COMMAND:
            raise BadMessage("a command set longer than any may be")
        if not is_last:
            self._command += fragment
            return
        if self._command:
            self._command += fragment
            gathered, self._command = self._command, bytearray()
            command, has_data = dimse.decode(gathered)
        else:
            command, has_data = self._decoded(fragment)
        events.append(MessageStarted(context, command, has_data))
        self._awaiting_data = has_data
        if not has_data:
            self._current = None

    def _decoded(self, fragment: memoryview) -> dimse.Decoded:
        """A command set in one fragment; a C-FIND of thousands of matches answers each by the same one."""
        raw = bytes(fragment)
        if self._last_response is not None and self._last_response[0] == raw:
            return self._last_response[1]
        decoded = dimse.decode(raw)
        if dimse.is_response(decoded.command):
            self._last_response = (raw, decoded)
        return decoded


class Fragmenter:
    """Cuts messages into P-DATA-TF PDUs that the peer takes; `peer_maximum` is what it announced, None or 0 for any length."""

    def __init__(self, peer_maximum: int | None) -> None:
        longest = min(peer_maximum or OUR_LONGEST_PDU, OUR_LONGEST_PDU)
        if longest < SHORTEST_MAXIMUM:
            raise BadPdu("the peer announces a maximum length too short to work with", AbortReason.INVALID_PARAMETER)
        # Even, because a fragment that is not the last has an even length (PS3.8 E.1).
        self.room = (longest - _PDV_OVERHEAD) // 2 * 2

    def message(self, context: Context, command: Command, data: bytes | None) -> bytes:
        """A whole message; its command set and data set leave in one piece."""
        encoded = dimse.encode(command, has_data=data is not None)
        parts = list(self._cut(context.id, _IS_COMMAND, memoryview(encoded), ends=True))
        if data is not None:
            parts.extend(self._cut(context.id, 0, memoryview(data), ends=True))
        return b"".join(parts)

    def opening(self, context: Context, command: Command) -> bytes:
        """The command set of a message whose data set comes in pieces."""
        return b"".join(self._cut(context.id, _IS_COMMAND, memoryview(dimse.encode(command, has_data=True)), ends=True))

    def piece(self, context: Context, data: bytes | bytearray | memoryview, *, is_last: bool) -> bytes:
        """The next piece of a data set."""
        return b"".join(self._cut(context.id, 0, memoryview(data), ends=is_last))

    def _cut(self, context_id: int, kind: int, data: memoryview, *, ends: bool) -> Iterator[bytes | memoryview]:
        position, end = 0, len(data)
        while True:
            stop = min(position + self.room, end)
            at_end = stop == end
            length = stop - position
            flags = kind | _IS_LAST if at_end and ends else kind
            if length or flags & _IS_LAST:
                yield _PDATA.pack(PduType.P_DATA_TF, length + _PDV_OVERHEAD, length + 2, context_id, flags)
                yield data[position:stop]
            if at_end:
                return
            position = stop
