import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.uid import Uid
from leadglass.errors import CannotConvert
from leadglass.wire.dicomweb.accept import (
    FrameForm,
    ObjectForm,
    bulk_form,
    frame_form,
    object_form,
    parse_accept,
    parse_media_type,
    require_json,
)
from leadglass.wire.dicomweb.problems import BadRequest

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
MPEG2 = "1.2.840.10008.1.2.4.100"
OCTETS_IN_PARTS = FrameForm("application/octet-stream", multipart=True, transfer_syntax=EXPLICIT)
PARTS = 'multipart/related; type="application/dicom"'


def test_quality_orders_and_zero_excludes() -> None:
    ranges = parse_accept("a/a;q=0.5, b/b, c/c;q=0, d/d;q=0.9")
    assert [accepted.name for accepted in ranges] == ["b/b", "d/d", "a/a"]


def test_a_comma_in_quotes_ends_nothing() -> None:
    ranges = parse_accept('multipart/related; type="application/dicom, x"; a="\\"", text/plain')
    assert [(accepted.name, dict(accepted.parameters)) for accepted in ranges] == [
        ("multipart/related", {"type": "application/dicom, x", "a": '"'}),
        ("text/plain", {}),
    ]


def test_the_inner_type_may_stand_without_quotes() -> None:
    assert parse_media_type("multipart/related;type=application/dicom;boundary=x").content == "application/dicom"


@pytest.mark.parametrize("text", ["x", "a/b c", "a/b;q=2", "a/b;q=x", "a/b; =x", '"a/b"', "a/b, ???", ", ".join(["a/b"] * 100), "a" * 9000])
def test_malformed_is_400(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_accept(text)
    assert caught.value.status == 400


@given(st.text() | st.text(alphabet='a/*;=",q.0 \t\\'))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        ranges = parse_accept(text)
    except BadRequest:
        return
    assert all(0 < accepted.quality <= 1 for accepted in ranges)


@pytest.mark.parametrize(
    ("accept", "single", "form"),
    [
        ("*/*", False, ObjectForm(multipart=True, syntaxes=(EXPLICIT,))),
        ("multipart/related", False, ObjectForm(multipart=True, syntaxes=(EXPLICIT,))),
        (PARTS, True, ObjectForm(multipart=True, syntaxes=(EXPLICIT,))),
        (f"{PARTS}; transfer-syntax=*", False, ObjectForm(multipart=True, syntaxes=("*",))),
        (f"{PARTS}; transfer-syntax={JPEG}, {PARTS}", False, ObjectForm(multipart=True, syntaxes=(JPEG, EXPLICIT))),
        (f"{PARTS}; transfer-syntax={JPEG}; q=0.1, {PARTS}", False, ObjectForm(multipart=True, syntaxes=(EXPLICIT, JPEG))),
        ("application/dicom; transfer-syntax=*", True, ObjectForm(multipart=False, syntaxes=("*",))),
        (f"application/dicom, {PARTS}; transfer-syntax=*", True, ObjectForm(multipart=False, syntaxes=(EXPLICIT,))),
    ],
)
def test_the_form_of_objects(accept: str, single: bool, form: ObjectForm) -> None:
    assert object_form(parse_accept(accept), single=single) == form


@pytest.mark.parametrize(
    ("accept", "single"), [("application/dicom", False), ("text/html", True), ('multipart/related; type="image/jpeg"', True)]
)
def test_what_is_no_form_of_objects_is_406(accept: str, single: bool) -> None:
    with pytest.raises(BadRequest) as caught:
        object_form(parse_accept(accept), single=single)
    assert caught.value.status == 406


@pytest.mark.parametrize(
    ("syntaxes", "stored", "sent"),
    [
        ((EXPLICIT,), IMPLICIT, EXPLICIT),
        ((EXPLICIT,), BIG_ENDIAN, EXPLICIT),
        ((EXPLICIT,), DEFLATED, EXPLICIT),
        (("*",), DEFLATED, DEFLATED),
        ((JPEG, EXPLICIT), JPEG, JPEG),
        ((JPEG, EXPLICIT), IMPLICIT, EXPLICIT),
        ((IMPLICIT,), IMPLICIT, IMPLICIT),
        ((IMPLICIT,), EXPLICIT, IMPLICIT),
        ((EXPLICIT,), JPEG, EXPLICIT),
        ((JPEG_LS, IMPLICIT), JPEG, IMPLICIT),
    ],
)
def test_the_transfer_syntax_sent(syntaxes: tuple[str, ...], stored: str, sent: str) -> None:
    assert ObjectForm(multipart=True, syntaxes=syntaxes).choose(Uid(stored)) == sent


@pytest.mark.parametrize(("syntaxes", "stored"), [((EXPLICIT,), MPEG2), ((JPEG_LS,), JPEG), ((DEFLATED,), EXPLICIT)])
def test_what_cannot_be_made_is_refused(syntaxes: tuple[str, ...], stored: str) -> None:
    with pytest.raises(CannotConvert):
        ObjectForm(multipart=True, syntaxes=syntaxes).choose(Uid(stored))


@pytest.mark.parametrize(
    ("accept", "stored", "single", "form"),
    [
        ("*/*", EXPLICIT, False, FrameForm("application/octet-stream", multipart=True, transfer_syntax=EXPLICIT)),
        ("*/*", IMPLICIT, False, FrameForm("application/octet-stream", multipart=True, transfer_syntax=EXPLICIT)),
        ("*/*", JPEG_LS, False, FrameForm("image/jls", multipart=True, transfer_syntax=JPEG_LS)),
        ("*/*", RLE, False, FrameForm("image/dicom-rle", multipart=True, transfer_syntax=RLE)),
        ("multipart/related; type=image/jp2", JPEG_2000, False, FrameForm("image/jp2", multipart=True, transfer_syntax=JPEG_2000)),
        ("image/jpeg", JPEG, True, FrameForm("image/jpeg", multipart=False, transfer_syntax=JPEG)),
        ("multipart/related; type=application/octet-stream", JPEG, False, OCTETS_IN_PARTS),
        (f"multipart/related; type=application/octet-stream; transfer-syntax={EXPLICIT}", JPEG, False, OCTETS_IN_PARTS),
        (f"*/*; transfer-syntax={EXPLICIT}", JPEG_LS, False, OCTETS_IN_PARTS),
        ("application/octet-stream", RLE, True, FrameForm("application/octet-stream", multipart=False, transfer_syntax=EXPLICIT)),
        (
            'multipart/related; type="application/octet-stream"; transfer-syntax=*',
            JPEG,
            False,
            FrameForm("application/octet-stream", multipart=True, transfer_syntax=JPEG),
        ),
        (
            f"multipart/related; type=image/jls; transfer-syntax={JPEG_LS}, multipart/related; type=application/octet-stream",
            EXPLICIT,
            False,
            FrameForm("application/octet-stream", multipart=True, transfer_syntax=EXPLICIT),
        ),
    ],
)
def test_the_form_of_frames(accept: str, stored: str, single: bool, form: FrameForm) -> None:
    assert frame_form(parse_accept(accept), Uid(stored), single=single) == form


@pytest.mark.parametrize(
    ("accept", "stored", "single"),
    [
        (f"multipart/related; type=application/octet-stream; transfer-syntax={EXPLICIT}", MPEG2, False),
        (f"multipart/related; type=image/jpeg; transfer-syntax={EXPLICIT}", JPEG, False),
        ("multipart/related; type=image/jpeg", EXPLICIT, False),
        ("multipart/related; type=image/jls", JPEG, False),
        (f"multipart/related; type=image/jls; transfer-syntax={JPEG}", JPEG_LS, False),
        ("application/octet-stream", EXPLICIT, False),
        ("multipart/related; type=application/octet-stream", MPEG2, False),
        ("text/html", EXPLICIT, True),
    ],
)
def test_frames_that_cannot_be_had_so_are_406(accept: str, stored: str, single: bool) -> None:
    with pytest.raises(BadRequest) as caught:
        frame_form(parse_accept(accept), Uid(stored), single=single)
    assert caught.value.status == 406


def test_json_is_given_to_those_who_take_it() -> None:
    require_json(parse_accept("text/html, application/dicom+json;q=0.1"))
    with pytest.raises(BadRequest):
        require_json(parse_accept("application/dicom+xml, application/dicom+json;q=0"))


def test_bulk_data_comes_bare_or_in_a_part() -> None:
    assert bulk_form(parse_accept("*/*"))
    assert not bulk_form(parse_accept("application/octet-stream"))
    with pytest.raises(BadRequest):
        bulk_form(parse_accept("image/jpeg"))
