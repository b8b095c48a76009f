"""A small archive that is exposed on purpose, for the demo where Orthanc is not installed: it answers anyone who asks.

It binds loopback alone, holds nothing but the bundled test images, and lives in the demo because nothing else may ever start it.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO

from leadglass.demo.images import Image
from leadglass.demo.wild import HOST, WildArchive
from leadglass.dicom import sopclasses
from leadglass.dicom.attributes import INDEXED, UNIQUE_KEY
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Offer, negotiate
from leadglass.dicom.dimse import EchoRequest, EchoResponse, FindRequest, FindResponse, GetRequest, GetResponse, StoreRequest, StoreResponse
from leadglass.dicom.levels import Root
from leadglass.dicom.matching import matches
from leadglass.dicom.pdu import AssociateRequest
from leadglass.dicom.query import IdentifierWriter, Query, Selection, query_from_identifier, selection_from_identifier
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.dicom.validate import validate
from leadglass.net.acceptor import Accept, PeerInfo, ServerAssociation, serve
from leadglass.net.streams import Message
from leadglass.vocabulary import Level

_IDENTIFIER_BYTES = 64 * 1024
_SYNTAXES = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)


class _Exposed:
    def __init__(self, images: list[Image]) -> None:
        first: dict[Uid, Image] = {}
        for image in images:
            first.setdefault(image.sop_instance, image)
        self._objects = [(image, validate(BytesIO(image.data_set), image.transfer_syntax).values) for image in first.values()]

    def decide(self, request: AssociateRequest, _peer: PeerInfo) -> Accept:
        return Accept(negotiate(request, self._offer), self._serve)

    def _offer(self, abstract_syntax: Uid) -> Offer | None:
        if abstract_syntax in sopclasses.STORAGE:
            return Offer(tuple(sopclasses.TRANSFER_SYNTAXES), as_scp=True, as_scu=True)
        known = {sopclasses.VERIFICATION, sopclasses.STUDY_ROOT_FIND, sopclasses.STUDY_ROOT_GET}
        return Offer(_SYNTAXES) if abstract_syntax in known else None

    async def _serve(self, association: ServerAssociation) -> None:
        async for message in association:
            command = message.command
            if isinstance(command, EchoRequest):
                await association.respond(message, EchoResponse(command.message_id, Status.SUCCESS, command.sop_class))
            elif isinstance(command, StoreRequest):
                # It says yes and keeps nothing: the survey only negotiates storing, it never stores.
                await association.respond(
                    message, StoreResponse(command.message_id, Status.SUCCESS, command.sop_class, command.sop_instance)
                )
            elif isinstance(command, FindRequest):
                await self._find(association, message, command)
            elif isinstance(command, GetRequest):
                await self._get(association, message, command)
            else:
                await association.refuse(message, Status.UNRECOGNIZED_OPERATION)

    async def _find(self, association: ServerAssociation, message: Message, command: FindRequest) -> None:
        data = await message.data.read_all(_IDENTIFIER_BYTES) if message.data is not None else b""
        query = query_from_identifier(data, message.context.transfer_syntax, Root.STUDY)
        for record in self._records(query):
            answer = IdentifierWriter(query, message.context.transfer_syntax).write(record)
            await association.respond(message, FindResponse(command.message_id, Status.PENDING, command.sop_class), answer)
        await association.respond(message, FindResponse(command.message_id, Status.SUCCESS, command.sop_class))

    def _records(self, query: Query) -> Iterator[Mapping[str, str]]:
        """One record for each different unique key at the query's level."""
        seen: set[str] = set()
        indexed = {attribute.keyword for level in INDEXED for attribute in INDEXED[level]}
        for _, values in self._objects:
            key = values.get(UNIQUE_KEY[query.level], "")
            if key in seen or not all(matches(name, match, values.get(name, "")) for name, match in query.keys.items() if name in indexed):
                continue
            seen.add(key)
            yield {**values, **self._counts(query.level, key)}

    def _counts(self, level: Level, key: str) -> dict[str, str]:
        below = [values for _, values in self._objects if values.get(UNIQUE_KEY[level]) == key]
        series = {values.get("SeriesInstanceUID") for values in below}
        if level is Level.STUDY:
            modalities = "\\".join(sorted({values.get("Modality", "") for values in below}))
            return {
                "NumberOfStudyRelatedInstances": str(len(below)),
                "NumberOfStudyRelatedSeries": str(len(series)),
                "ModalitiesInStudy": modalities,
            }
        return {"NumberOfSeriesRelatedInstances": str(len(below))} if level is Level.SERIES else {}

    async def _get(self, association: ServerAssociation, message: Message, command: GetRequest) -> None:
        data = await message.data.read_all(_IDENTIFIER_BYTES) if message.data is not None else b""
        _, selection = selection_from_identifier(data, message.context.transfer_syntax, Root.STUDY)
        completed = failed = 0
        for image, values in self._objects:
            if not _selected(selection, values):
                continue
            contexts = association.contexts_for(image.sop_class)
            context = next((each for each in contexts if each.transfer_syntax == image.transfer_syntax), None)
            if context is None:
                failed += 1
                continue
            await association.store(context, image.sop_instance, image.data_set)
            completed += 1
        status = Status.SUCCESS if not failed else Status.SUBOPERATIONS_FAILED
        await association.respond(message, GetResponse(command.message_id, status, command.sop_class, None, completed, failed, 0))


def _selected(selection: Selection, values: Mapping[str, str]) -> bool:
    wanted = ((selection.studies, "StudyInstanceUID"), (selection.series, "SeriesInstanceUID"), (selection.instances, "SOPInstanceUID"))
    return all(not uids or values.get(keyword) in uids for uids, keyword in wanted)


@contextmanager
def unsafe_exposed_archive(images: list[Image]) -> Iterator[WildArchive]:
    """Serve `images` to anyone on this machine, in a thread of its own, for the length of the block."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    listening = threading.Event()
    port: list[int] = []

    async def run() -> None:
        async with await serve(HOST, 0, _Exposed(images).decide) as acceptor:
            port.append(acceptor.address[1])
            listening.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="exposed-archive", daemon=True)
    thread.start()
    listening.wait()
    try:
        yield WildArchive("an exposed archive", port[0], None, "ANY-SCP")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
