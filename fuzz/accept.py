"""Accept fields: understood or refused, and whatever form is chosen was offered."""

import contextlib

from leadglass.dicom.uid import Uid
from leadglass.errors import CannotConvert
from leadglass.wire.dicomweb.accept import bulk_form, frame_form, object_form, parse_accept, parse_media_type, require_json
from leadglass.wire.dicomweb.problems import BadRequest

STORED = tuple(map(Uid, ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.80", "1.2.3")))


def target(data: bytes) -> None:
    """Ask for everything with the same field."""
    text = data.decode("latin-1")
    with contextlib.suppress(BadRequest):
        parse_media_type(text)
    ranges = parse_accept(text)
    for negotiate in (bulk_form, require_json):
        with contextlib.suppress(BadRequest):
            negotiate(ranges)
    for stored in STORED:
        for single in (True, False):
            with contextlib.suppress(BadRequest, CannotConvert):
                sent = object_form(ranges, single=single).choose(stored)
                if sent not in {stored, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"}:
                    raise AssertionError(sent)
            with contextlib.suppress(BadRequest):
                form = frame_form(ranges, stored, single=single)
                if form.transfer_syntax not in {stored, "1.2.840.10008.1.2.1"} or not (form.multipart or single):
                    raise AssertionError(form)


def seeds() -> list[bytes]:
    """What clients send."""
    return [
        b'multipart/related; type="application/dicom"; transfer-syntax=*, application/dicom;q=0.5',
        b'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1, multipart/related; type=image/jls',
        b"application/dicom+json, */*;q=0.1",
        b'a/b; c="\\"d, e\\""; q=0.123 , ,image/*;Q=1.000',
    ]
