"""Everything that can be asked at the doors, and every byte that comes back."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final
from urllib.parse import quote, urlsplit

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Context, Offer, negotiate, propose
from leadglass.dicom.dimse import ActionRequest, EventReportResponse, MoveRequest, MoveResponse, StoreRequest, StoreResponse
from leadglass.dicom.pdu import AssociateRequest
from leadglass.dicom.sopclasses import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
)
from leadglass.dicom.status import StatusKind, kind_of
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection
from leadglass.net.acceptor import Accept, PeerInfo, ServerAssociation, serve
from leadglass.net.failures import AssociationFailed
from leadglass.net.requestor import ClientAssociation, Dial, ProtocolFactory, connect, tcp
from leadglass.net.streams import Message
from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.never import canary
from tests.never.canary import CANARY, CANARY_UID, VISIBLE, VISIBLE_UID, Patient
from tests.never.house import CT, MR, House, encoded, hidden, visible
from tests.vault.making import element

BOUNDARY: Final = "a-boundary"
STUDY, SERIES, INSTANCE = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"
MISSING_UID = "1.2.276.0.99887.1234"
"""Nobody's; as long as the canary's."""


@dataclass(frozen=True)
class Exchange:
    """What was asked by whom, every byte that came back, and whose data may not be in it."""

    name: str
    received: bytes
    forbidden: tuple[Patient, ...] = (CANARY,)
    told: frozenset[str] = frozenset()
    """Planted texts that the one who asked has just said himself in a C-STORE or STOW, whose answers must name what was stored."""


# DICOMweb


@dataclass
class Web:
    """One connection to the DICOMweb door, made again when the door ends it."""

    archive: ArchiveUnderTest
    _connection: ssl.SSLSocket | None = None
    _pending: bytes = b""

    def ask(self, method: str, target: str, fields: dict[str, str | None] | None = None, body: bytes = b"") -> bytes:
        """One request, and all of its answer's bytes."""
        address = urlsplit(self.archive.web)
        head: dict[str, str | None] = {"Host": address.netloc, **({"Content-Length": str(len(body))} if body else {}), **(fields or {})}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items() if value is not None)]
        request = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
        for attempt in range(2):
            try:
                self._connected().sendall(request)
                if answer := self._answer(method):
                    return answer
            except (ConnectionError, ssl.SSLError):
                pass
            self.close()
            if attempt:
                break
        return b"closed without an answer"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._pending = None, b""

    def _connected(self) -> ssl.SSLSocket:
        if self._connection is None:
            address = urlsplit(self.archive.web)
            plain = socket.create_connection((address.hostname, address.port), timeout=30)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = self.archive.tls_context().wrap_socket(plain, server_hostname=address.hostname)
        return self._connection

    def _more(self) -> bool:
        piece = self._connected().recv(1 << 16)
        self._pending += piece
        return bool(piece)

    def _take(self, length: int) -> bytes:
        while len(self._pending) < length and self._more():
            pass
        taken, self._pending = self._pending[:length], self._pending[length:]
        return taken

    def _line(self) -> bytes:
        while b"\r\n" not in self._pending and self._more():
            pass
        return self._take(self._pending.find(b"\r\n") + 2)

    def _answer(self, method: str) -> bytes:
        while b"\r\n\r\n" not in self._pending:
            if not self._more():
                return self._take(len(self._pending))
        head = self._take(self._pending.find(b"\r\n\r\n") + 4)
        status = head.split(b" ", 2)[1]
        answer = head
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if method == "HEAD" or status in {b"204", b"304"} or status.startswith(b"1"):
            pass
        elif re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            while size := self._line():
                chunk = self._take(int(size, 16) + 2)
                answer += size + chunk
                if chunk == b"\r\n":
                    break
        elif length:
            answer += self._take(int(length[1]))
        if re.search(rb"(?i)\r\nconnection: *close", head):
            self.close()
        return answer


ACCEPTS: Final = (
    None,
    "*/*",
    "application/dicom+json",
    "application/json",
    "application/dicom",
    'multipart/related; type="application/dicom"',
    'multipart/related; type="application/dicom"; transfer-syntax=*',
    'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    'multipart/related; type="image/jpeg"',
    "image/jpeg",
    "application/dicom+xml",
    "text/html",
    "nonsense",
)


def _resources(uid: str) -> Iterator[str]:
    """Every resource below a study, and paths that look like more."""
    study, series = f"/studies/{uid}.1", f"/studies/{uid}.1/series/{uid}.1.1"
    instance = f"{series}/instances/{uid}.1.1.1"
    for path in (study, series, instance):
        yield path
        for below in ("metadata", "rendered", "thumbnail", "series", "instances", "bulkdata", "frames/1", "pixeldata"):
            yield f"{path}/{below}"
    yield from (f"{instance}/frames/{frames}" for frames in ("1,2", "2", "0", "99999999", "x"))
    yield from (f"{instance}/bulkdata/{path}" for path in ("7FE00010", "00100010", "00081140/0/00081155", "x"))
    yield f"/studies/{uid}.3/metadata"
    yield f"/studies/{uid}.2/series/{uid}.2.1/instances/{uid}.2.1.1"
    # UIDs that are there, put together as they are not.
    yield f"/studies/{VISIBLE_UID}.1/series/{uid}.1.1"
    yield f"/studies/{VISIBLE_UID}.1/series/{uid}.1.1/metadata"
    yield f"/studies/{uid}.1/series/{VISIBLE_UID}.1.1/instances/{VISIBLE_UID}.1.1.1"
    yield f"/studies/{VISIBLE_UID}.1/series/{VISIBLE_UID}.1.1/instances/{uid}.1.1.1/frames/1"
    yield f"/studies/{uid}.1%2F..%2F{VISIBLE_UID}.1"
    yield f"/studies/{uid}.*"


_MATCHES: Final = {
    "PatientName": (canary.CANARY_NAME, "quastenflosser*", "Q*", "*", "Quastenflosser^Xaverine=*", canary.CANARY_OTHER_NAME, "?" * 23, ""),
    "PatientID": (canary.CANARY_ID, "QX-*", "*ZK", canary.VISIBLE_ID, "*"),
    "PatientBirthDate": (canary.CANARY_BIRTH, "18000101-18991231", "-19000101"),
    "PatientSex": ("F", "O"),
    "StudyDate": (canary.CANARY_DATE, "19500101-19591231", "-19991231", "19500101-", canary.VISIBLE_DATE),
    "StudyTime": ("000000-235959", ""),
    "AccessionNumber": (canary.CANARY_ACCESSION, "ACC*", "*"),
    "StudyID": ("*", "1"),
    "StudyDescription": (canary.CANARY_DESCRIPTION, "KNIE*", "*"),
    "ReferringPhysicianName": (canary.CANARY_PHYSICIAN, "Zwirb*"),
    "ModalitiesInStudy": ("MR", "CT", "*"),
    "SOPClassesInStudy": (MR, CT),
    STUDY: (f"{CANARY_UID}.1", f"{CANARY_UID}.1,{VISIBLE_UID}.1", f"{CANARY_UID}.*", f"{MISSING_UID}.1"),
    SERIES: (f"{CANARY_UID}.1.1", f"{CANARY_UID}.1.1,{VISIBLE_UID}.1.1"),
    INSTANCE: (f"{CANARY_UID}.1.1.1", f"{CANARY_UID}.1.1.1,{VISIBLE_UID}.1.1.1"),
    "Modality": ("MR", "CT", "MR,CT", "*"),
    "SeriesDescription": ("KNIE*",),
    "InstitutionName": (canary.CANARY_WARD, "G*", "OFFENES HAUS"),
    "SOPClassUID": (MR, CT),
    "InstanceNumber": ("1",),
    "NumberOfFrames": ("2",),
    "NumberOfStudyRelatedInstances": ("3", "1"),
}


def _searches() -> Iterator[str]:
    for resource in ("/studies", "/series", "/instances"):
        yield resource
        for keyword, values in _MATCHES.items():
            yield from (f"{resource}?{keyword}={quote(value)}" for value in values)
        for limit in (0, 1, 2, 3, 1000, 99999):
            for offset in (0, 1, 2, 5):
                yield f"{resource}?limit={limit}&offset={offset}&includefield=all"
        yield f"{resource}?includefield=all&PatientName=*&StudyDate=19000101-20991231"
        yield f"{resource}?00100010={quote(canary.CANARY_NAME)}&includefield=00100010,PatientBirthDate"
        yield f"{resource}?fuzzymatching=true&PatientName=Quastenfloser"
    for uid in (CANARY_UID, VISIBLE_UID, MISSING_UID):
        yield f"/studies/{uid}.1/series?includefield=all"
        yield f"/studies/{uid}.1/series?Modality=MR"
        yield f"/studies/{uid}.1/instances?includefield=all&limit=1"
        yield f"/studies/{uid}.1/series/{uid}.1.1/instances?includefield=all"


def _wrong_searches() -> Iterator[str]:
    name, number = quote(canary.CANARY_NAME), quote(canary.CANARY_ID)
    for wrong in ("limit=x", "offset=-1", "PatientName=a&PatientName=b", "Nonsense=1", f"PatientID={'Q' * 5000}", "StudyDate=1952-13-40"):
        yield f"/studies?{wrong}"
    for wrong in (f"StudyDate={name}", f"includefield={name}", f"limit={number}", f"offset={number}", f"fuzzymatching={number}"):
        yield f"/studies?{wrong}"
    for wrong in (
        f"{name}=1",
        f"{STUDY}={number}",
        f"PatientID={number}&PatientID={number}",
        f"ModalitiesInStudy={name}",
        f"accept={name}",
    ):
        yield f"/studies?{wrong}"
    yield f"/studies/{name}/series"
    yield f"/studies/{CANARY_UID}.1/series/{number}/instances?limit={number}"


def _elsewhere() -> Iterator[tuple[str, str]]:
    """Other methods, and other paths."""
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "POST", "FIND"):
        for path in ("/studies", f"/studies/{CANARY_UID}.1", f"/studies/{CANARY_UID}.1/metadata", "/instances"):
            yield method, "/dicom-web" + path
    for path in (
        "/",
        "/dicom-web",
        "/dicom-web/",
        "/studies",
        "/metrics",
        "/status",
        "/instances",
        "/patients",
        "/tools/find",
        "/dicom-web/../studies",
        "//",
        "/dicom-web/studies/",
        f"/wado?requestType=WADO&studyUID={CANARY_UID}.1&seriesUID={CANARY_UID}.1.1&objectUID={CANARY_UID}.1.1.1",
        f"/dicom-web/patients/{canary.CANARY_ID}",
        "*",
    ):
        yield "GET", path


def by_web(house: House, archive: ArchiveUnderTest, *, briefly: bool = False) -> Iterator[Exchange]:
    """Everyone's requests, everything that only asks; `briefly` each kind of question once."""
    web = Web(archive)
    for who in ("anna",) if briefly else ("anna", "bert"):
        bearer: dict[str, str | None] = {"Authorization": f"Bearer {house.tokens[who]}"}
        for uid in (CANARY_UID, MISSING_UID, VISIBLE_UID):
            for path in _resources(uid):
                hard = path.endswith((".1", ".1.1", ".1.1.1", "metadata", "frames/1"))
                for accept in ACCEPTS if hard and who == "anna" and not briefly else (None,):
                    name = f"{who} GET {path} {accept or ''}"
                    yield Exchange(name, web.ask("GET", "/dicom-web" + path, {**bearer, "Accept": accept}))
        for path in [*islice(_searches(), 0, None, 4 if briefly else 1), *_wrong_searches()]:
            yield Exchange(f"{who} GET {path}", web.ask("GET", "/dicom-web" + path, bearer))
        for method, path in islice(_elsewhere(), 0, None, 5 if briefly else 1):
            yield Exchange(f"{who} {method} {path}", web.ask(method, path, bearer))
    few = ["/studies", "/instances?includefield=all"]
    few += [path for uid in (CANARY_UID, VISIBLE_UID) for path in islice(_resources(uid), 0, None, 15 if briefly else 1)]
    both = (CANARY, VISIBLE)
    for who in ("tessa", "adam", "auditor", "anna, to find only", "wim, for some studies"):
        for path in few:
            answer = web.ask("GET", "/dicom-web" + path, {"Authorization": f"Bearer {house.tokens[who]}"})
            seen = "some studies" in who or ("find only" in who and re.search(r"^/studies$|series|instances", path))
            yield Exchange(f"{who} GET {path}", answer, (CANARY,) if seen else both)
    for number, (who, fields) in enumerate(strangers(house)):
        every = 30 if briefly else 7 if number else 1
        asked = [*_elsewhere(), *(("GET", "/dicom-web" + path) for path in few)]
        for method, path in [("GET", "/dicom-web/studies"), *asked[::every]]:
            yield Exchange(f"{who} {method} {path}", web.ask(method, path, fields), both)
        body = multipart(encoded(hidden(1, 1, 1)))
        yield Exchange(f"{who} POST", web.ask("POST", "/dicom-web/studies", {**fields, "Content-Type": STOW}, body), both)
    web.close()


def strangers(house: House) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Whom the DICOMweb door must not know."""
    anna = house.tokens["anna"]
    yield "nobody", {}
    for name, field_value in {
        "disabled": f"Bearer {house.tokens['disabled']}",
        "person held": f"Bearer {house.tokens['held with its person']}",
        "token held": f"Bearer {house.tokens['held itself']}",
        "expired": f"Bearer {house.tokens['expired']}",
        "guessing": f"Bearer {anna[:-1]}{'0' if anna[-1] != '0' else '1'}",
        "cut off": f"Bearer {anna[:-7]}",
        "basic": "Basic YWRtaW46Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==",
        "empty": "Bearer ",
        "two": f"Bearer {anna}, Bearer {anna}",
    }.items():
        yield name, {"Authorization": field_value}


STOW = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def multipart(*objects: bytes) -> bytes:
    parts = (f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + each for each in objects)
    return b"".join(parts) + f"\r\n--{BOUNDARY}--\r\n".encode()


# DIMSE


class _Tap(asyncio.BufferedProtocol):
    """Keeps what a connection brings, and hands it on."""

    def __init__(self, inner: asyncio.BaseProtocol) -> None:
        assert isinstance(inner, asyncio.BufferedProtocol)
        self._inner = inner
        self._view: memoryview = memoryview(b"")
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:
        self._view = memoryview(self._inner.get_buffer(sizehint))
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self._view[:nbytes]
        self._inner.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()


@dataclass
class Dimse:
    """Associations with the DIMSE door of one archive, each answer's bytes kept under the name of what was asked."""

    archive: ArchiveUnderTest
    exchanges: list[Exchange] = field(default_factory=list)

    async def talk(self, who: str, talk: "_Talk", identity: Identity | None, *, calling: str, called: str = "LEADGLASS") -> None:
        """Associate, and ask what `talk` asks."""
        context = ssl.create_default_context(cafile=str(self.archive.ca))
        if identity is not None:
            context.load_cert_chain(identity.certificate, identity.key)
        door = self.archive.dimse
        taps: list[_Tap] = []

        def tapping(dial: Dial) -> Dial:
            async def dialled(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
                def tapped() -> asyncio.BaseProtocol:
                    taps.append(_Tap(factory()))
                    return taps[-1]

                return await dial(tapped)

            return dialled

        syntaxes = [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN]
        asked = [VERIFICATION, STUDY_ROOT_FIND, PATIENT_ROOT_FIND, STUDY_ROOT_GET, STORAGE_COMMITMENT, Uid(CT), Uid(MR)]
        asked += [Uid(f"1.2.840.10008.5.1.4.1.2.{number}") for number in ("1.2", "1.3", "2.2")]
        roles = [RoleSelection(Uid(each), scu=True, scp=True) for each in (CT, MR)]
        proposal = propose(calling, called, [(each, syntaxes) for each in asked], roles=roles)
        told = _Told(who, self.exchanges, taps, "associate")
        try:
            async with connect(tapping(tcp(door.host, door.port, tls=context)), proposal) as association:
                told.note("associate")
                await talk(association, told)
        except (AssociationFailed, LookupError) as failed:
            reason = type(failed.failure).__name__ if isinstance(failed, AssociationFailed) else "no context"
            # Whether a TLS alert or the end of the connection comes first is chance.
            told.note(f"{told.asking}: {'refused' if reason in {'BrokenOff', 'TlsFailed', 'NotReached'} else reason}")
        else:
            told.note("release")


@dataclass
class _Told:
    """Cuts what a connection brings into answers."""

    who: str
    exchanges: list[Exchange]
    taps: list[_Tap]
    asking: str
    told: frozenset[str] = frozenset()

    def note(self, name: str) -> None:
        received = b"".join(bytes(tap.received) for tap in self.taps)
        for tap in self.taps:
            tap.received.clear()
        forbidden = (CANARY,) if self.who in {"READER", "ALL", "STORER"} else (CANARY, VISIBLE)
        self.exchanges.append(Exchange(f"dimse {self.who} {name}", received, forbidden, self.told))


_Talk = Callable[[ClientAssociation, _Told], Awaitable[None]]


def identifier(level: str, keys: dict[str, str]) -> bytes:
    """An identifier in explicit little endian."""
    rows = {0x00080005: ("CS", "ISO_IR 192"), 0x00080052: ("CS", level)}
    rows |= {_TAGS[keyword]: (_VRS[keyword], value.replace(",", "\\")) for keyword, value in keys.items()}
    return b"".join(element(tag, vr, value.encode()) for tag, (vr, value) in sorted(rows.items()))


_TAGS: Final = {
    "StudyDate": 0x00080020, "StudyTime": 0x00080030, "AccessionNumber": 0x00080050, "Modality": 0x00080060,
    "ModalitiesInStudy": 0x00080061, "SOPClassesInStudy": 0x00080062, "InstitutionName": 0x00080080,
    "ReferringPhysicianName": 0x00080090, "StudyDescription": 0x00081030, "SeriesDescription": 0x0008103E,
    "SOPClassUID": 0x00080016, INSTANCE: 0x00080018, "PatientName": 0x00100010, "PatientID": 0x00100020,
    "PatientBirthDate": 0x00100030, "PatientSex": 0x00100040, STUDY: 0x0020000D, SERIES: 0x0020000E, "StudyID": 0x00200010,
    "InstanceNumber": 0x00200013, "NumberOfStudyRelatedSeries": 0x00201206, "NumberOfStudyRelatedInstances": 0x00201208,
    "NumberOfPatientRelatedStudies": 0x00201200, "NumberOfPatientRelatedSeries": 0x00201202,
    "NumberOfPatientRelatedInstances": 0x00201204, "NumberOfFrames": 0x00280008,
}  # fmt: skip
_VRS: Final = dict.fromkeys(_TAGS, "LO") | {
    "StudyDate": "DA", "StudyTime": "TM", "AccessionNumber": "SH", "Modality": "CS", "ModalitiesInStudy": "CS",
    "SOPClassesInStudy": "UI", "ReferringPhysicianName": "PN", "SOPClassUID": "UI", INSTANCE: "UI", "PatientName": "PN",
    "PatientBirthDate": "DA", "PatientSex": "CS", STUDY: "UI", SERIES: "UI", "StudyID": "SH", "InstanceNumber": "IS",
    "NumberOfStudyRelatedSeries": "IS", "NumberOfStudyRelatedInstances": "IS", "NumberOfPatientRelatedStudies": "IS",
    "NumberOfPatientRelatedSeries": "IS", "NumberOfPatientRelatedInstances": "IS",
    "NumberOfFrames": "IS",
}  # fmt: skip
_LEVELS: Final = {"STUDY": (), "SERIES": (STUDY,), "IMAGE": (STUDY, SERIES)}


def _queries() -> Iterator[tuple[str, bytes]]:
    everything = dict.fromkeys(_TAGS, "")
    for level, above in _LEVELS.items():
        for uid in (CANARY_UID, VISIBLE_UID, MISSING_UID) if above else ("",):
            named = {keyword: f"{uid}.1" if keyword == STUDY else f"{uid}.1.1" for keyword in above}
            yield f"{level} {uid} everything", identifier(level, everything | named)
            for keyword, values in _MATCHES.items():
                for value in values:
                    yield f"{level} {uid} {keyword}={value}", identifier(level, {"PatientName": "", STUDY: "", **named, keyword: value})
    yield "PATIENT", identifier("PATIENT", everything)
    yield "no level", identifier("", everything)
    yield "nonsense", b"\1\2\3"


_PATIENT_KEYS: Final = ("PatientName", "PatientBirthDate", "PatientSex")
_COUNTED: Final = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")


def _patient_queries() -> Iterator[tuple[str, bytes]]:
    """What the patient root can be asked: whom there is, what he has, and everything below him."""
    everything = dict.fromkeys(_TAGS, "")
    yield "PATIENT", identifier("PATIENT", everything)
    for keyword in ("PatientID", *_PATIENT_KEYS):
        for value in _MATCHES[keyword]:
            counted = dict.fromkeys(_COUNTED, "")
            yield f"PATIENT {keyword}={value}", identifier("PATIENT", {"PatientName": "", "PatientID": "", **counted, keyword: value})
    for patient, uid in (
        (canary.CANARY_ID, CANARY_UID),
        (canary.VISIBLE_ID, VISIBLE_UID),
        (canary.VISIBLE_ID, CANARY_UID),
        ("NOBODY", MISSING_UID),
    ):
        named = {"PatientID": patient}
        yield f"STUDY of {patient}", identifier("STUDY", {**everything, **named})
        for keyword in ("StudyDate", "ModalitiesInStudy", STUDY):
            for value in _MATCHES[keyword]:
                yield f"STUDY of {patient} {keyword}={value}", identifier("STUDY", {"StudyDescription": "", **named, keyword: value})
        named[STUDY] = f"{uid}.1"
        yield f"SERIES of {patient} {uid}", identifier("SERIES", {**everything, **named})
        named[SERIES] = f"{uid}.1.1"
        yield f"IMAGE of {patient} {uid}", identifier("IMAGE", {**everything, **named})
    yield "STUDY of whom", identifier("STUDY", everything)


async def _everything(association: ClientAssociation, told: _Told, *, every: int = 1) -> None:
    for service in (_echo, partial(_find_all, every=every), _get_all, _commit_all):
        with suppress(LookupError):
            await service(association, told)


async def _echo(association: ClientAssociation, told: _Told) -> None:
    await association.echo()
    told.note("echo")


async def _find_all(association: ClientAssociation, told: _Told, *, every: int) -> None:
    for root, queries in ((STUDY_ROOT_FIND, _queries()), (PATIENT_ROOT_FIND, _patient_queries())):
        context = association.context(root)
        for name, query in islice(queries, 0, None, every):
            told.asking = f"find {root} {name}"
            async for _ in association.find(context, query):
                pass
            told.note(told.asking)


def _selections() -> Iterator[tuple[str, bytes]]:
    for uid in (CANARY_UID, VISIBLE_UID, MISSING_UID):
        yield f"STUDY {uid}", identifier("STUDY", {STUDY: f"{uid}.1"})
        yield f"SERIES {uid}", identifier("SERIES", {STUDY: f"{uid}.1", SERIES: f"{uid}.1.1"})
        yield f"IMAGE {uid}", identifier("IMAGE", {STUDY: f"{uid}.1", SERIES: f"{uid}.1.1", INSTANCE: f"{uid}.1.1.1"})
        yield f"IMAGE of another {uid}", identifier("IMAGE", {STUDY: f"{VISIBLE_UID}.1", SERIES: f"{uid}.1.1", INSTANCE: f"{uid}.1.1.1"})
    yield "STUDY both", identifier("STUDY", {STUDY: f"{CANARY_UID}.1,{VISIBLE_UID}.1,{CANARY_UID}.3"})
    yield "STUDY all", identifier("STUDY", {STUDY: ""})
    yield "STUDY wildcard", identifier("STUDY", {STUDY: f"{CANARY_UID}.*"})
    yield "PATIENT", identifier("PATIENT", {"PatientID": canary.CANARY_ID})
    # One study of his may be seen, another not.
    yield "PATIENT who may be seen", identifier("PATIENT", {"PatientID": canary.VISIBLE_ID})
    yield "STUDY of a patient", identifier("STUDY", {"PatientID": canary.CANARY_ID, STUDY: f"{CANARY_UID}.1"})


async def _get_all(association: ClientAssociation, told: _Told) -> None:
    for model in (STUDY_ROOT_GET, PATIENT_ROOT_GET):
        await _get_by(association.context(model), association, told)


async def _get_by(context: Context, association: ClientAssociation, told: _Told) -> None:
    for name, selection in _selections():
        told.asking = f"get {context.abstract_syntax} {name}"
        async for message in association.get(context, selection):
            if isinstance(message.command, StoreRequest) and message.data is not None:
                await message.data.read_all(1 << 20)
                command = message.command
                await association.respond(message, StoreResponse(command.message_id, 0, command.sop_class, command.sop_instance))
        told.note(told.asking)


async def _commit_all(association: ClientAssociation, told: _Told) -> None:
    context = association.context(STORAGE_COMMITMENT)
    for name, uid in (("canary", CANARY_UID), ("visible", VISIBLE_UID), ("missing", MISSING_UID)):
        told.asking, told.told = f"commit {name}", frozenset({CANARY_UID, VISIBLE_UID})
        asked = _commitment_of([(MR, f"{uid}.1.1.1"), (CT, f"{uid}.1.1.1"), (CT, f"{uid}.2.1.1"), (CT, f"{uid}.1.1.9")])
        request = ActionRequest(association.new_message_id(), STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1)
        answers = association.expect(request.message_id)
        await association.send(context, request, asked)
        await association.take(answers, "the answer to an N-ACTION")
        association.forget(request.message_id)
        report = await association.take(association.requests, "an N-EVENT-REPORT")
        assert report.data is not None
        await report.data.read_all(1 << 20)
        await association.respond(report, EventReportResponse(report.command.message_id, 0))
        told.note(told.asking)
    told.told = frozenset()


def _commitment_of(references: list[tuple[str, str]]) -> bytes:
    """A commitment request in explicit little endian."""

    def long(group: int, number: int, body: bytes) -> bytes:
        return struct.pack("<HHI", group, number, len(body)) + body

    items = (element(0x00081150, "UI", one.encode()) + element(0x00081155, "UI", other.encode()) for one, other in references)
    sequence = b"".join(long(0xFFFE, 0xE000, item) for item in items)
    return element(0x00081195, "UI", b"1.2.3.4") + struct.pack("<HH2sHI", 8, 0x1199, b"SQ", 0, len(sequence)) + sequence


@dataclass
class _Taker:
    """A destination under the asker's control: takes everything, and keeps every byte that the archive sends it."""

    received: bytearray = field(default_factory=bytearray)

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        async with await serve("127.0.0.1", 0, self._decide) as inner:
            listener = await asyncio.start_server(partial(self._relay, inner.address), "127.0.0.1", port)
            async with listener:
                yield

    async def _relay(self, inner: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_inner, to_inner = await asyncio.open_connection(*inner)

        async def back() -> None:
            while piece := await from_inner.read(1 << 16):
                writer.write(piece)
            writer.close()

        async with asyncio.TaskGroup() as both:
            both.create_task(back())
            while piece := await reader.read(1 << 16):
                self.received += piece
                to_inner.write(piece)
            to_inner.close()

    def _decide(self, request: AssociateRequest, _: PeerInfo) -> Accept:
        return Accept(negotiate(request, lambda _: Offer((EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN))), self._serve)

    async def _serve(self, association: ServerAssociation) -> None:
        async for message in association:
            if isinstance(message.command, StoreRequest) and message.data is not None:
                await message.data.read_all(1 << 20)
                await association.respond(message, StoreResponse(message.command.message_id, 0))


async def _move_all(taker: _Taker, association: ClientAssociation, told: _Told) -> None:
    for model in (STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE):
        context = association.context(model)
        for aet in ("TAKER", "NOBODY"):
            for name, selection in _selections():
                told.asking = f"move {model} {name} to {aet}"
                request = MoveRequest(association.new_message_id(), model, aet)
                answers = association.expect(request.message_id)
                await association.send(context, request, selection)
                while kind_of(_status(await association.take(answers, "the answer to a C-MOVE"))) is StatusKind.PENDING:
                    pass
                association.forget(request.message_id)
                sent, taker.received = bytes(taker.received), bytearray()
                told.exchanges.append(Exchange(f"dimse {told.who} {told.asking}: what the destination got", sent))
                told.note(told.asking)


def _status(answer: Message) -> int:
    assert isinstance(answer.command, MoveResponse)
    return answer.command.status


async def _by_dimse(house: House, archive: ArchiveUnderTest, *, briefly: bool) -> list[Exchange]:
    dimse = Dimse(archive)
    for aet in ("READER", "ALL", "STORER"):
        every = 1 if aet == "READER" and not briefly else 12
        await dimse.talk(aet, partial(_everything, every=every), house.peers[aet], calling=aet)
    taker = _Taker()
    async with taker.listening(house.taker):
        await dimse.talk("ALL", partial(_move_all, taker), house.peers["ALL"], calling="ALL")
    talk = partial(_everything, every=7)
    await dimse.talk("no certificate", talk, None, calling="READER")
    await dimse.talk("foreign certificate", talk, house.strangers["FOREIGN"], calling="READER")
    await dimse.talk("revoked", talk, house.peers["REVOKED"], calling="REVOKED")
    await dimse.talk("held", talk, house.peers["HELD"], calling="HELD")
    await dimse.talk("another's name", talk, house.peers["STORER"], calling="READER")
    await dimse.talk("unknown name", talk, house.peers["READER"], calling="NOBODY")
    await dimse.talk("wrong called name", talk, house.peers["READER"], calling="READER", called="OTHER")
    return dimse.exchanges


def by_dimse(house: House, archive: ArchiveUnderTest, *, briefly: bool = False) -> list[Exchange]:
    """Everyone's questions at the DIMSE door; `briefly` each kind once."""
    return asyncio.run(_by_dimse(house, archive, briefly=briefly))


# Handing in, which changes the archive: asked once


def conflicting(number: int, **values: object) -> list[tuple[str, bytes]]:
    """Objects that clash with the hidden one of that number, or with its study; and one that clashes with nothing."""
    same = hidden(4, 1, number, **values)
    other = hidden(4, 1, number, PixelData=bytes(64 * 64), **values)
    return [("the same", encoded(same)), ("other content", encoded(other)), ("other content again", encoded(other))]


async def _send(association: ClientAssociation, told: _Told, objects: list[tuple[str, bytes]]) -> None:
    for name, whole in objects:
        told.asking = f"store {name}"
        made = _parsed(whole)
        context = next(each for each in association.contexts_for(made[0]) if each.transfer_syntax == EXPLICIT_LITTLE_ENDIAN)
        await association.store(context, Uid(made[1]), made[2])
        told.note(told.asking)


def _parsed(whole: bytes) -> tuple[str, str, bytes]:
    from io import BytesIO  # noqa: PLC0415 - used here alone

    import pydicom  # noqa: PLC0415

    found = pydicom.dcmread(BytesIO(whole), stop_before_pixels=True)
    assert found.file_meta.FileMetaInformationGroupLength
    offset = 128 + 4 + 12 + int(found.file_meta.FileMetaInformationGroupLength)
    return str(found.SOPClassUID), str(found.SOPInstanceUID), whole[offset:]


def by_handing_in(house: House, archive: ArchiveUnderTest, number: int) -> list[Exchange]:
    """Objects that clash with hidden ones, by both doors; the sender must learn nothing. Each `number`, 1 to 12, once for an archive."""
    dimse = Dimse(archive)
    told = frozenset({CANARY_UID, VISIBLE_UID})
    aside = conflicting(2 * number - 1)
    stranger = hidden(1, 9, number, PatientID="SOMEBODY-ELSE", PatientName="Somebody^Else", StudyDescription="", AccessionNumber="")
    aside.append(("another patient's study", encoded(stranger)))

    async def talk(association: ClientAssociation, heard: _Told) -> None:
        heard.told = told
        await _send(association, heard, aside)

    async def refused(association: ClientAssociation, heard: _Told) -> None:
        heard.told = told
        await _send(association, heard, [*conflicting(2 * number - 1), ("own", encoded(visible(1, 1, 1)))])

    asyncio.run(dimse.talk("STORER", talk, house.peers["STORER"], calling="STORER"))
    asyncio.run(dimse.talk("ALL", refused, house.peers["ALL"], calling="ALL"))
    exchanges = dimse.exchanges
    web = Web(archive)
    bearer: dict[str, str | None] = {"Authorization": f"Bearer {house.tokens['tessa']}", "Content-Type": STOW}
    for name, whole in conflicting(2 * number):
        answer = web.ask("POST", "/dicom-web/studies", bearer, multipart(whole))
        exchanges.append(Exchange(f"tessa POST {name}", answer, told=told))
    whole = encoded(hidden(4, 1, 2 * number))
    for path in (f"/studies/{CANARY_UID}.4", f"/studies/{CANARY_UID}.1", f"/studies/{MISSING_UID}.1"):
        exchanges.append(Exchange(f"tessa POST {path}", web.ask("POST", "/dicom-web" + path, bearer, multipart(whole)), told=told))
    broken = whole[:-3000]
    exchanges.append(Exchange("tessa POST broken", web.ask("POST", "/dicom-web/studies", bearer, multipart(broken)), told=told))
    anna = {**bearer, "Authorization": f"Bearer {house.tokens['anna']}"}
    exchanges.append(Exchange("anna POST", web.ask("POST", "/dicom-web/studies", anna, multipart(whole)), told=told))
    web.close()
    return exchanges
