"""Retrieve (PS3.18 10.4): studies, series, instances, their metadata, frames and bulk data, streamed out of the archive.

All or nothing: where one object of a study or series could not be sent in an accepted transfer syntax, the answer is 406 and not a part of
the study (PS3.18 would allow 206): what arrives must never look complete without being so (docs/decisions/all-or-nothing.md). That
compressed pixels are damaged shows when they are decoded: before the first piece of the answer it is 406 too, later it is broken off.
"""

import contextlib
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from starlette.responses import Response

from leadglass.archive.archive import Fetched, FetchedObject
from leadglass.dicom.frames import Frames
from leadglass.dicom.jsonmodel import bulk_value, json_chunks
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.query import Selection
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet, BadQuery
from leadglass.wire.dicomweb import multipart
from leadglass.wire.dicomweb.accept import (
    DICOM,
    DICOM_JSON,
    MULTIPART,
    OCTETS,
    MediaType,
    ObjectForm,
    bulk_form,
    frame_form,
    object_form,
    require_json,
)
from leadglass.wire.dicomweb.answers import Stopped, Streamed
from leadglass.wire.dicomweb.call import Call
from leadglass.wire.dicomweb.problems import NOT_FOUND, BadRequest, refusal

MAX_FRAMES_ASKED: Final = 10_000
_PIXEL_DATA: Final = "7FE00010"

Pieces = Generator[bytes, None, None]
Objects = Generator[FetchedObject, None, None]


class FrameReader(Protocol):
    """The bytes of one frame, counted from 1."""

    def read(self, number: int) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Body:
    """What is sent: its media type, what makes it, its length where that is known before, whether something is converted for it."""

    media_type: str
    pieces: Callable[[Stopped], Pieces]
    length: int | None = None
    converted: bool = False


async def retrieve(call: Call) -> Response:
    """GET of a study, series or instance."""
    single = "instance" in call.request.path_params
    form = object_form(call.accepted(), single=single)
    return await _answer(call, lambda fetched, objects: _whole_objects(fetched, objects, form))


async def metadata(call: Call) -> Response:
    """GET …/metadata: everything but bulk data, as DICOM JSON."""
    require_json(call.accepted())
    base = call.base
    return await _answer(call, lambda fetched, objects: Body(DICOM_JSON, lambda _: _all_metadata(fetched, objects, base)))


async def frames(call: Call) -> Response:
    """GET …/frames/{list}: the pixels of the frames, in the order asked for."""
    numbers = _frame_numbers(call.request.path_params["frames"])
    accepted = call.accepted()
    return await _answer(call, lambda fetched, objects: _frames(fetched, next(objects), accepted, numbers))


async def bulk_data(call: Call) -> Response:
    """GET …/bulkdata/{path}: one value that the metadata left out."""
    path = call.request.path_params["path"]
    accepted = call.accepted()

    def body(fetched: Fetched, objects: Objects) -> Body | None:
        stored = next(objects)
        try:
            value = bulk_value(stored.reader, stored.transfer_syntax, path)
        except BadQuery:
            # Encapsulated pixels are no single value: their bulk data are their frames (PS3.18 8.7.3.3.2).
            stored.reader.seek(0)
            return _frames(fetched, stored, accepted, None) if path == _PIXEL_DATA else None
        return _parts_or_bare(fetched, iter([value]), OCTETS, OCTETS, in_parts=bulk_form(accepted))

    return await _answer(call, body)


def _frames(fetched: Fetched, stored: FetchedObject, accepted: tuple[MediaType, ...], numbers: Sequence[int] | None) -> Body | None:
    """The frames of those numbers, or all; None if it does not have them."""
    try:
        located = Frames.locate(stored.reader, stored.transfer_syntax)
    except BadDataSet:
        # Nothing is wrong with the request: the object has no frames, or none that can be told apart.
        return None
    wanted = range(1, located.count + 1) if numbers is None else numbers
    if max(wanted, default=0) > located.count:
        return None
    form = frame_form(accepted, stored.transfer_syntax, single=len(wanted) == 1)
    content_type = f"{form.media_type}; transfer-syntax={form.transfer_syntax}"
    frames: FrameReader = located
    converted = form.transfer_syntax != located.transfer_syntax
    if converted:
        frames = stored.decoded_frames()
    runs = (frames.read(number) for number in wanted)
    return _parts_or_bare(fetched, runs, form.media_type, content_type, in_parts=form.multipart, converted=converted)


async def _answer(call: Call, make: Callable[[Fetched, Objects], Body | None]) -> Response:
    """Fetch what the path names and answer with what `make` makes of it; None, or nothing there, is 404."""
    selection = Selection(
        studies=tuple(filter(None, [call.uid("study")])),
        series=tuple(filter(None, [call.uid("series")])),
        instances=tuple(filter(None, [call.uid("instance")])),
    )
    return await call.workers.run(lambda: _begin(call, selection, make))


def _begin(call: Call, selection: Selection, make: Callable[[Fetched, Objects], Body | None]) -> Response:
    with contextlib.ExitStack() as closing:
        fetched = closing.enter_context(call.session.fetch(selection))
        objects = _objects(fetched)
        closing.callback(objects.close)
        body = make(fetched, objects) if fetched.count else None
        if body is None:
            return refusal(NOT_FOUND)
        fields = {} if body.length is None else {"Content-Length": str(body.length)}
        threads = call.conversions if body.converted else call.workers
        return Streamed(threads, call.session, body.pieces, closing.pop_all(), body.media_type, fields)


def _objects(fetched: Fetched) -> Objects:
    yield from fetched


def _whole_objects(fetched: Fetched, objects: Objects, form: ObjectForm) -> Body:
    # Of every object before the first is opened: all or nothing.
    sent_in = {stored_in: form.choose(stored_in) for stored_in in fetched.transfer_syntaxes}
    converted = any(stored_in != syntax for stored_in, syntax in sent_in.items())
    if converted:
        fetched.warm_decoders()
    if form.multipart:
        boundary = multipart.new_boundary()
        content_type = f'{MULTIPART}; type="{DICOM}"; boundary={boundary}'
        return Body(content_type, partial(_object_parts, fetched, objects, form, boundary), converted=converted)
    stored = next(objects)
    transfer_syntax = sent_in[stored.transfer_syntax]
    meta = file_meta(stored.sop_class, stored.sop_instance, transfer_syntax)
    length = None if converted else len(meta) + stored.padded_size
    pieces = partial(_one_object, fetched, stored, transfer_syntax, meta)
    return Body(f"{DICOM}; transfer-syntax={transfer_syntax}", pieces, length, converted=converted)


def _object_parts(fetched: Fetched, objects: Objects, form: ObjectForm, boundary: str, stopped: Stopped) -> Pieces:
    for stored in objects:
        outgoing = stored.open_in((form.choose(stored.transfer_syntax),), stopped)
        sent_in = outgoing.transfer_syntax
        meta = file_meta(stored.sop_class, stored.sop_instance, sent_in)
        yield multipart.open_part(boundary, {"Content-Type": f"{DICOM}; transfer-syntax={sent_in}"}) + meta
        yield from outgoing.pieces
        fetched.delivered()
    yield multipart.close(boundary)


def _one_object(fetched: Fetched, stored: FetchedObject, transfer_syntax: Uid, meta: bytes, stopped: Stopped) -> Pieces:
    outgoing = stored.open_in((transfer_syntax,), stopped)
    yield meta
    yield from outgoing.pieces
    fetched.delivered()


def _all_metadata(fetched: Fetched, objects: Objects, base: str) -> Pieces:
    yield b"["
    for number, stored in enumerate(objects):
        if number:
            yield b","
        where = f"{base}/studies/{stored.study}/series/{stored.series}/instances/{stored.sop_instance}/bulkdata/"
        yield from json_chunks(stored.reader, stored.transfer_syntax, where.__add__)
        fetched.delivered()
    yield b"]"


def _parts_or_bare(
    fetched: Fetched,
    runs: Iterator[Iterator[bytes]],
    inner_type: str,
    content_type: str,
    *,
    in_parts: bool,
    converted: bool = False,
) -> Body:
    boundary = multipart.new_boundary()

    def pieces(_: Stopped) -> Pieces:
        for run in runs:
            if in_parts:
                yield multipart.open_part(boundary, {"Content-Type": content_type})
            yield from run
        if in_parts:
            yield multipart.close(boundary)
        fetched.delivered()

    return Body(f'{MULTIPART}; type="{inner_type}"; boundary={boundary}' if in_parts else content_type, pieces, converted=converted)


def _frame_numbers(text: str) -> list[int]:
    """The list of PS3.18 10.4.1.1.6: numbers from 1, parted by commas."""
    if not re.fullmatch(r"[0-9]{1,7}(?:,[0-9]{1,7})*", text, re.ASCII):
        raise BadRequest(400, "frames are asked for by number, parted by commas, as in frames/1,2")
    numbers = [int(number) for number in text.split(",")]
    if not all(numbers) or len(numbers) > MAX_FRAMES_ASKED:
        raise BadRequest(400, f"frames are numbered from 1, and at most {MAX_FRAMES_ASKED} are asked for at once")
    return numbers
