import base64
import email
import email.message
import email.policy
from collections.abc import Iterable, Mapping
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.wire.dicomweb.multipart import (
    MAX_FIELDS,
    MAX_HEAD,
    MAX_PADDING,
    PartBegan,
    PartData,
    PartEnded,
    Reader,
    close,
    new_boundary,
    open_part,
)
from leadglass.wire.dicomweb.problems import BadRequest

Part = tuple[Mapping[str, str], bytes]

BOUNDARY = "b"
# Bytes that make up boundaries, so that near misses are common.
BODIES = st.binary(max_size=200) | st.lists(st.sampled_from([b"\r", b"\n", b"-", b"b", b"\r\n", b"\r\n-", b"x"])).map(b"".join)
PARTS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["content-type", "content-location"]), st.sampled_from(["application/dicom", "image/jls"])), BODIES
    ),
    max_size=5,
).filter(lambda parts: not any(b"\r\n--b" in b"\r\n" + body for _, body in parts))


def written(parts: Iterable[Part], boundary: str = BOUNDARY) -> bytes:
    return b"".join(open_part(boundary, fields) + body for fields, body in parts) + close(boundary)


def read(chunks: Iterable[bytes], boundary: str = BOUNDARY, max_parts: int = 100) -> list[Part]:
    reader = Reader(boundary, max_parts)
    parts: list[Part] = []
    body = bytearray()
    fields: Mapping[str, str] = {}
    for chunk in chunks:
        for event in reader.feed(chunk):
            match event:
                case PartBegan(fields):
                    body = bytearray()
                case PartData(data):
                    assert data
                    body += data
                case PartEnded():
                    parts.append((fields, bytes(body)))
    assert reader.ended
    return parts


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(PARTS, st.lists(st.integers(min_value=0)))
def test_what_was_written_is_read_at_any_chunk_boundaries(parts: list[Part], places: list[int]) -> None:
    assert read(cut(written(parts), places)) == parts


@given(PARTS)
def test_byte_by_byte_is_no_different(parts: list[Part]) -> None:
    data = written(parts)
    assert read(bytes([byte]) for byte in data) == read([data])


@given(PARTS.filter(bool), st.randoms(use_true_random=False))
def test_pythons_mail_parser_reads_what_we_write(parts: list[Part], random: Random) -> None:
    # It takes a lone CR or LF for the end of a line, and so for a part of the delimiter.
    lineless = [(fields, bytes(byte for byte in body + random.randbytes(50) if byte not in b"\r\n")) for fields, body in parts]
    head = b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
    message = email.message_from_bytes(head + written(lineless), policy=email.policy.HTTP)
    decoded = [(dict(part.items()), part.get_payload(decode=True)) for part in message.iter_parts()]
    assert decoded == lineless


@given(PARTS.filter(bool))
def test_we_read_what_pythons_mail_generator_writes(parts: list[Part]) -> None:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Content-Type"] = 'multipart/related; boundary="b"'
    for _, body in parts:
        part = email.message.EmailMessage(policy=email.policy.SMTP)
        part.set_content(body, "application", "dicom", cte="base64")
        message.attach(part)
    _, _, data = message.as_bytes().partition(b"\r\n\r\n")
    received = read([data])
    assert [base64.b64decode(body) for _, body in received] == [body for _, body in parts]
    assert {fields["content-type"] for fields, _ in received} == {"application/dicom"}


def test_a_preamble_an_epilogue_padding_and_folded_fields_are_read() -> None:
    data = b"hello\r\n--b \t\r\nContent-Type: a/b;\r\n c=d\r\n\r\nbody\r\n--b--\r\nbye\r\n--b\r\n\r\nnot a part"
    assert read([data]) == [({"content-type": "a/b; c=d"}, b"body")]


def test_a_part_without_fields_or_body_is_a_part() -> None:
    assert read([b"--b\r\n\r\n\r\n--b\r\n\r\n--b\r\n\r\nx\r\n--b--"]) == [({}, b""), ({}, b""), ({}, b"x")]


def test_no_parts_at_all() -> None:
    assert read([b"--b--"]) == []


def test_a_body_that_ends_early_has_not_ended() -> None:
    reader = Reader(BOUNDARY, 10)
    assert [type(event) for event in reader.feed(b"--b\r\n\r\nbody\r\n--")] == [PartBegan, PartData]
    assert not reader.ended


def refused(data: bytes, max_parts: int = 10) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read([data], max_parts=max_parts)
    return caught.value


def test_too_many_parts_are_refused() -> None:
    assert refused(b"--b\r\n\r\n\r\n" * 11, max_parts=10).status == 413


def test_a_head_without_end_is_refused() -> None:
    assert "header fields" in str(refused(b"--b\r\nx: " + b"y" * MAX_HEAD))


def test_too_many_fields_are_refused() -> None:
    assert "header fields" in str(refused(b"--b\r\n" + b"x: y\r\n" * (MAX_FIELDS + 1) + b"\r\n"))


def test_padding_without_end_is_refused() -> None:
    assert refused(b"--b" + b" " * (MAX_PADDING + 1)).status == 400


@pytest.mark.parametrize("line", [b"no colon", b" : x", b"a b: c", b"a: \x00", b": x"])
def test_a_malformed_field_is_refused(line: bytes) -> None:
    assert refused(b"--b\r\n" + line + b"\r\n\r\n").status == 400


def test_a_boundary_that_goes_on_is_refused() -> None:
    assert refused(b"--b\r\n\r\nbody\r\n--bx\r\n").status == 400


@pytest.mark.parametrize("boundary", ["", "x" * 71, "ends with ", "bad\r\nboundary", "ü", 'quo"te'])
def test_a_malformed_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(BadRequest):
        Reader(boundary, 1)


def test_nothing_is_kept_but_what_could_begin_a_delimiter() -> None:
    reader = Reader("x" * 70, 1)
    total = 0
    for event in reader.feed(b"--" + b"x" * 70 + b"\r\n\r\n"):
        assert isinstance(event, PartBegan)
    for _ in range(100):
        for event in reader.feed(b"\r\n--" + b"x" * 69 + b"y" * 65536):
            assert isinstance(event, PartData)
            total += len(event.data)
    assert total >= 100 * (65536 + 73) - 74


def test_boundaries_differ_and_are_valid() -> None:
    boundaries = {new_boundary() for _ in range(100)}
    assert len(boundaries) == 100
    for boundary in boundaries:
        Reader(boundary, 1)
