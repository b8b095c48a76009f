"""DICOM as a fleet's archives speak it: associations, C-ECHO, C-FIND, C-GET (PS3.7, PS3.8), by hand, so that it is a check of ours.

Answers are put together from bytes made beforehand: a fleet must not be what is measured.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping

from tests.fleet import (
    PLANTED_DATE,
    PLANTED_ID,
    PLANTED_NAME,
    PLANTED_PHYSICIAN,
    PLANTED_PIXELS,
    PLANTED_UID,
    Archive,
    Behaviour,
    images_of,
    patient_of,
)

VERIFICATION = b"1.2.840.10008.1.1"
STUDY_FIND, PATIENT_FIND = b"1.2.840.10008.5.1.4.1.2.2.1", b"1.2.840.10008.5.1.4.1.2.1.1"
STUDY_GET = b"1.2.840.10008.5.1.4.1.2.2.3"
CT = b"1.2.840.10008.5.1.4.1.1.2"
_QUERIES = {VERIFICATION, STUDY_FIND, PATIENT_FIND}
_ACCEPTED = {
    Behaviour.ASSOCIATING: {VERIFICATION},
    Behaviour.QUERY_OFFERED: _QUERIES,
    Behaviour.RECORDS: _QUERIES,
    Behaviour.IMAGES: _QUERIES | {STUDY_GET, CT},
}
_LEVEL, _STUDY, _SERIES, _INSTANCE = 0x0008_0052, 0x0020_000D, 0x0020_000E, 0x0008_0018
_BATCH = 250
_PENDING, _SUCCESS, _CANCELLED, _NOT_AUTHORISED = 0xFF00, 0x0000, 0xFE00, 0x0124


def element(tag: int, value: bytes) -> bytes:
    """An element in implicit little endian (PS3.5 7.1.3), padded."""
    if len(value) % 2:
        value += b"\0" if tag in {_STUDY, _SERIES, _INSTANCE, 0x0000_0002, 0x0008_0016, 0x0000_1000} else b" "
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def elements(raw: bytes) -> Mapping[int, bytes]:
    """The elements of a data set without sequences."""
    found, at = {}, 0
    while at < len(raw):
        group, number, length = struct.unpack_from("<HHI", raw, at)
        found[group << 16 | number] = raw[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def _texts(raw: bytes) -> Mapping[int, bytes]:
    return {tag: value.rstrip(b"\0 ") for tag, value in elements(raw).items()}


def _short(tag: int, value: int) -> bytes:
    return element(tag, struct.pack("<H", value))


def command(sop_class: bytes, field: int, message: int, status: int, *, has_data: bool) -> bytes:
    """A response's command set (PS3.7 9.3)."""
    body = element(0x0000_0002, sop_class) + _short(0x0000_0100, field) + _short(0x0000_0120, message)
    body += _short(0x0000_0800, 1 if has_data else 0x0101) + _short(0x0000_0900, status)
    return element(0x0000_0000, struct.pack("<I", len(body))) + body


def pdata(context: int, body: bytes, *, is_command: bool) -> bytes:
    """A P-DATA-TF of one whole command or data set (PS3.8 9.3.5, E.2)."""
    return struct.pack(">BBIIBB", 4, 0, len(body) + 6, len(body) + 2, context, 3 if is_command else 2) + body


def item(kind: int, body: bytes) -> bytes:
    """An item of an association PDU (PS3.8 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(body)) + body


def items(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The items in the rest of an association PDU."""
    at = 0
    while at + 4 <= len(raw):
        kind, _, length = struct.unpack_from(">BBH", raw, at)
        yield kind, raw[at + 4 : at + 4 + length]
        at += 4 + length


class Speaker(asyncio.Protocol):
    """One connection to one archive."""

    def __init__(self, archive: Archive, number: int, delay: float) -> None:
        self._archive, self._number, self._delay = archive, number, delay
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._contexts: dict[int, bytes] = {}
        self._command: Mapping[int, bytes] = {}
        self._context = 0
        self._cancelled = False
        self._pieces = {True: bytearray(), False: bytearray()}
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._sending: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._archive.behaviour is Behaviour.OPEN_PORT:
            self._later(b"220 not an archive\r\n", 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._may_write.set()
        for task in self._sending:
            task.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        if self._archive.behaviour in {Behaviour.SILENT, Behaviour.OPEN_PORT}:
            return
        self._received += data
        while len(self._received) >= 6:
            kind, _, length = struct.unpack_from(">BBI", self._received)
            if len(self._received) < 6 + length:
                return
            body = bytes(self._received[6 : 6 + length])
            del self._received[: 6 + length]
            self._pdu(kind, body)

    def _later(self, data: bytes, trips: int = 1, then: Callable[[], None] | None = None) -> None:
        def send() -> None:
            if not self._transport.is_closing():
                self._transport.write(data)
                if then is not None:
                    then()

        if self._delay:
            self._loop.call_later(trips * self._delay, send)
        else:
            send()

    def _pdu(self, kind: int, body: bytes) -> None:
        if kind == 1:
            # Two round trips: to the listener that took the connection, and of the request.
            self._later(self._answer(body), 2)
        elif kind == 4:
            at = 0
            while at < len(body):
                (length,) = struct.unpack_from(">I", body, at)
                self._fragment(body[at + 4], body[at + 5], body[at + 6 : at + 4 + length])
                at += 4 + length
        elif kind == 5:
            self._later(struct.pack(">BBII", 6, 0, 4, 0))
        else:
            self._transport.abort()

    def _answer(self, body: bytes) -> bytes:
        """The answer to an A-ASSOCIATE-RQ."""
        if self._archive.behaviour is Behaviour.REJECTING:
            return struct.pack(">BBIBBBB", 3, 0, 4, 0, *self._archive.rejection)
        accepted = _ACCEPTED[self._archive.behaviour]
        answers = item(0x10, b"1.2.840.10008.3.1.1.1")
        roles = b""
        for kind, value in items(body[68:]):
            if kind == 0x20:
                named = list(items(value[4:]))
                abstract = next(text for each, text in named if each == 0x30)
                # Explicit little endian is not spoken here; implicit must be by all (PS3.5 10.1).
                taken = abstract in accepted and (0x40, b"1.2.840.10008.1.2") in named
                answers += item(0x21, bytes((value[0], 0, 0 if taken else 3, 0)) + item(0x40, b"1.2.840.10008.1.2"))
                if taken:
                    self._contexts[value[0]] = abstract
            elif kind == 0x50:
                roles = b"".join(item(0x54, said) for each, said in items(value) if each == 0x54)
        user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.276.0.7230010.3.0.3.6.7") + roles + item(0x55, b"OFFIS_DCMTK_367")
        answers += item(0x50, user)
        return struct.pack(">BBI", 2, 0, 68 + len(answers)) + body[:68] + answers

    def _fragment(self, context: int, flags: int, data: bytes) -> None:
        is_command = bool(flags & 1)
        self._pieces[is_command] += data
        if not flags & 2:
            return
        whole = bytes(self._pieces[is_command])
        self._pieces[is_command].clear()
        if is_command:
            self._command, self._context = elements(whole), context
            if self._command[0x0000_0100] == b"\xff\x0f":
                self._cancelled = True
            elif _number(self._command[0x0000_0800]) == 0x0101:
                self._asked(b"")
        else:
            self._asked(whole)

    def _asked(self, identifier: bytes) -> None:
        field, message = _number(self._command[0x0000_0100]), _number(self._command[0x0000_0110])
        sop_class, context = self._contexts.get(self._context, b""), self._context
        if field == 0x0030:
            self._later(pdata(context, command(sop_class, 0x8030, message, _SUCCESS, has_data=False), is_command=True))
        elif field == 0x0020:
            task = self._loop.create_task(self._find(context, sop_class, message, _texts(identifier)))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        elif field == 0x0010:
            self._get(message, _texts(identifier))
        else:
            self._transport.abort()

    async def _find(self, context: int, sop_class: bytes, message: int, asked: Mapping[int, bytes]) -> None:
        self._cancelled = False
        await asyncio.sleep(self._delay)
        status = _SUCCESS
        if not self._archive.behaviour.is_open:
            status = _NOT_AUTHORISED
        else:
            head = pdata(context, command(sop_class, 0x8020, message, _PENDING, has_data=True), is_command=True)
            for batch in batches(self._archive, self._number, asked, context, head):
                if self._cancelled:
                    status = _CANCELLED
                    break
                self._transport.write(batch)
                await self._may_write.wait()
                await asyncio.sleep(0)
        self._transport.write(pdata(context, command(sop_class, 0x8020, message, status, has_data=False), is_command=True))

    def _get(self, message: int, asked: Mapping[int, bytes]) -> None:
        """A C-STORE of the image that is asked for (PS3.7 9.1.3)."""
        context = next((each for each, abstract in self._contexts.items() if abstract == CT), None)
        if context is None:
            answer = command(STUDY_GET, 0x8010, message, 0xA702, has_data=False)
            self._later(pdata(self._context, answer, is_command=True))
            return
        body = element(0x0000_0002, CT) + _short(0x0000_0100, 1) + _short(0x0000_0110, 7) + _short(0x0000_0700, 0)
        body += _short(0x0000_0800, 1) + element(0x0000_1000, asked[_INSTANCE])
        store = element(0x0000_0000, struct.pack("<I", len(body))) + body
        image = (
            element(0x0008_0016, CT)
            + element(_INSTANCE, asked[_INSTANCE])
            + element(0x0010_0010, PLANTED_NAME.encode())
            + element(0x7FE0_0010, PLANTED_PIXELS)
        )
        self._later(pdata(context, store, is_command=True) + pdata(context, image, is_command=False))


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def batches(archive: Archive, number: int, asked: Mapping[int, bytes], context: int, head: bytes) -> Iterator[bytes]:
    """The pending responses to a query, many at a time."""
    root = f"{PLANTED_UID}.{number}."
    uid = asked.get(_STUDY, b"").decode()
    if uid:
        tail = uid.removeprefix(root)
        known = uid.startswith(root) and tail.isdigit() and 0 <= int(tail) - 10_000_000 < archive.studies
        studies = range(int(tail) - 10_000_000, int(tail) - 10_000_000 + 1) if known else range(0)
    else:
        studies = range(archive.studies) if asked.get(_LEVEL) == b"STUDY" and not asked.get(0x0010_0020) else range(0)
    row = _row(asked, root, uid)
    start = head + struct.pack(">BBIIBB", 4, 0, len(row % _values(0)) + 6, len(row % _values(0)) + 2, context, 2)
    whole = start.replace(b"%", b"%%") + row
    for first in range(studies.start, studies.stop, _BATCH):
        yield b"".join([whole % _values(study) for study in range(first, min(first + _BATCH, studies.stop))])


def _values(study: int) -> dict[bytes, int]:
    return {b"study": 10_000_000 + study, b"patient": patient_of(study), b"images": images_of(study), b"date": study % 28 + 1}


def _row(asked: Mapping[int, bytes], root: str, uid: str) -> bytes:
    """What is answered to `asked`, with places for what differs from study to study; every study's row is equally long."""
    values = {
        _LEVEL: asked.get(_LEVEL, b""),
        0x0008_0020: b"202401%(date)02d",
        0x0008_0050: b"A%(study)d",
        0x0008_0080: b"",
        0x0008_0090: PLANTED_PHYSICIAN.encode(),
        0x0008_1030: b"CT Thorax",
        0x0008_0016: CT,
        0x0010_0010: f"{PLANTED_NAME}^%(patient)06d".encode(),
        0x0010_0020: f"{PLANTED_ID}-%(patient)06d".encode(),
        0x0010_0021: b"",
        0x0010_0030: PLANTED_DATE.encode(),
        _STUDY: f"{root}%(study)d".encode(),
        _SERIES: f"{root}%(study)d.1".encode(),
        _INSTANCE: f"{root}%(study)d.1.1".encode(),
        0x0020_1208: b"%(images)d",
        0x0020_1209: b"%(images)d",
    }
    sizes = {tag: len(value % _values(0)) for tag, value in values.items()}
    sizes |= {0x0020_1208: 4, 0x0020_1209: 4}
    row = b""
    for tag in sorted(asked):
        value = values.get(tag, b"")
        if tag in {0x0020_1208, 0x0020_1209}:
            # Padded to one length (PS3.5 6.2: IS may have spaces).
            value = b"%(images)-4d"
        size = sizes.get(tag, 0)
        pad = b"" if size % 2 == 0 else b"\0" if tag in {_STUDY, _SERIES, _INSTANCE, 0x0008_0016} else b" "
        row += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size + len(pad)).replace(b"%", b"%%") + value + pad
    return row
