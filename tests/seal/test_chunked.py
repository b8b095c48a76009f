"""Cobblestone-256 against a second implementation, against vectors kept for ever, and against whoever changes a byte."""

import hashlib
import hmac
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.errors import SealBroken
from leadglass.seal import chunked
from leadglass.seal.chunked import CHUNK_SIZE, SealingWriter, UnsealingReader, seal, sealed_size, unseal

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "seal" / "cobblestone-256.json").read_text())

# Around every border there is: a chunk, a bulk of chunks, nothing at all.
BORDERS = [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 16 * CHUNK_SIZE - 1, 16 * CHUNK_SIZE, 16 * CHUNK_SIZE + 1, 33 * CHUNK_SIZE + 5]
KEY = bytes(range(32))


def derive(key: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes, bytes]:
    """RFC 5869 section 2.3 written out, with the info of the C2SP text."""
    info = b"c2sp.org/chunked-encryption@v1+" + b"AEAD_AES_256_GCM" + b"\x00" + salt + context
    first = hmac.new(key, info + b"\x01", hashlib.sha512).digest()
    second = hmac.new(key, first + info + b"\x02", hashlib.sha512).digest()
    okm = first + second
    return okm[:32], okm[32:44], okm[44:76]


def reference_seal(key: bytes, context: bytes, salt: bytes, message: bytes) -> bytes:
    """The text of the specification in the plainest form, with another interface of the cipher than the code under test uses."""
    message_key, base_nonce, commitment = derive(key, salt, context)
    out = salt + commitment
    pieces = [message[at : at + 16384] for at in range(0, len(message), 16384)]
    if not pieces or len(pieces[-1]) == 16384:
        pieces.append(b"")
    for number, piece in enumerate(pieces):
        nonce = bytes(a ^ b for a, b in zip(base_nonce, number.to_bytes(12, "big"), strict=True))
        encryptor = Cipher(algorithms.AES(message_key), modes.GCM(nonce)).encryptor()
        out += encryptor.update(piece) + encryptor.finalize() + encryptor.tag
    return out


def message_of(length: int) -> bytes:
    return hashlib.shake_256(b"message").digest(length)


@pytest.mark.parametrize("length", BORDERS)
def test_sealing_is_what_the_specification_says(length: int) -> None:
    message = message_of(length)
    sealed = seal(KEY, b"context", message)
    assert sealed == reference_seal(KEY, b"context", sealed[:24], message)
    assert len(sealed) == sealed_size(length)


@pytest.mark.parametrize("length", BORDERS)
def test_unsealing_opens_what_the_specification_seals(length: int) -> None:
    message = message_of(length)
    assert unseal(KEY, b"context", reference_seal(KEY, b"context", b"s" * 24, message)) == message


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["comment"])
def test_vectors_open_for_ever(vector: dict[str, Any]) -> None:
    key, context, salt = (bytes.fromhex(vector[name]) for name in ("key", "context", "salt"))
    message = hashlib.shake_256(bytes.fromhex(vector["message_seed"])).digest(vector["message_length"])
    sealed = reference_seal(key, context, salt, message)
    assert hashlib.sha256(sealed).hexdigest() == vector["sealed_sha256"]
    assert sealed[:72].hex() == vector["sealed_begins"]
    assert unseal(key, context, sealed) == message


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_round_trip(message: bytes, context: bytes) -> None:
    assert unseal(KEY, context, seal(KEY, context, message)) == message


@given(st.lists(st.integers(0, 3 * CHUNK_SIZE), max_size=12))
@settings(max_examples=50, deadline=None)
def test_how_a_message_is_cut_into_writes_does_not_show(lengths: list[int]) -> None:
    message = message_of(sum(lengths))
    out = bytearray()
    writer = SealingWriter(out.extend, KEY, b"", header=b"HEADER")
    at = 0
    for length in lengths:
        piece = bytearray(message[at : at + length])
        writer.write(piece)
        piece[:] = bytes(length)  # the caller's buffer is his again
        at += length
    writer.finish()
    assert writer.size == len(message)
    assert out[:6] == b"HEADER"
    assert bytes(out[6:]) == reference_seal(KEY, b"", bytes(out[6:30]), message)


def test_a_small_message_reaches_the_sink_in_one_piece() -> None:
    pieces: list[bytes] = []
    writer = SealingWriter(lambda data: pieces.append(bytes(data)), KEY, b"", header=b"H")
    writer.write(b"x" * 8000)
    writer.finish()
    assert [len(piece) for piece in pieces] == [1 + sealed_size(8000)]


def reader_of(sealed: bytes, context: bytes = b"c") -> UnsealingReader:
    return UnsealingReader(lambda length, offset: sealed[offset : offset + length], len(sealed), KEY, context)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_reading_anywhere_is_as_in_a_file(data: st.DataObject) -> None:
    length = data.draw(st.sampled_from([*BORDERS, 700_000]))
    message = message_of(length)
    reader, model = reader_of(seal(KEY, b"c", message)), io.BytesIO(message)
    for _ in range(data.draw(st.integers(1, 8))):
        whence = data.draw(st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]))
        start = {os.SEEK_SET: 0, os.SEEK_CUR: model.tell(), os.SEEK_END: length}[whence]
        target = data.draw(st.integers(0, length + 3))
        assert reader.seek(target - start, whence) == model.seek(target - start, whence) == reader.tell()
        size = data.draw(st.one_of(st.integers(0, 50), st.integers(0, length + 10), st.just(-1)))
        assert reader.read(size) == model.read(size)
        assert reader.tell() == model.tell()


def test_what_lies_before_the_beginning_cannot_be_read() -> None:
    reader = reader_of(seal(KEY, b"c", b"secret" + b"x" * 100_000))
    reader.begin_at(6)
    assert reader.size == 100_000
    assert reader.read(3) == b"xxx"
    assert reader.seek(0) == 0
    with pytest.raises(ValueError, match="before the beginning"):
        reader.seek(-1)
    assert set(reader.read()) == {ord("x")}


@pytest.mark.parametrize("length", [0, 5, CHUNK_SIZE, CHUNK_SIZE + 3])
def test_every_changed_byte_is_found(length: int) -> None:
    sealed = bytearray(seal(KEY, b"c", message_of(length)))
    whole = len(sealed) < 200
    for place in range(len(sealed)) if whole else {*range(120), *range(CHUNK_SIZE, CHUNK_SIZE + 80), *range(len(sealed) - 20, len(sealed))}:
        sealed[place] ^= 1
        with pytest.raises(SealBroken):
            reader_of(bytes(sealed)).read()
        sealed[place] ^= 1
    assert reader_of(bytes(sealed)).read() == message_of(length)


@pytest.mark.parametrize("length", [0, 5, CHUNK_SIZE, 3 * CHUNK_SIZE + 3])
def test_every_truncation_is_found_on_opening(length: int) -> None:
    sealed = seal(KEY, b"c", message_of(length))
    for end in {*range(0, len(sealed), 997), *range(56, min(len(sealed), 90)), len(sealed) - 1, len(sealed) - 17}:
        if end < len(sealed):
            with pytest.raises(SealBroken):
                reader_of(sealed[:end])
    with pytest.raises(SealBroken):
        reader_of(sealed + b"\0")


def test_chunks_that_change_places_are_found() -> None:
    sealed = seal(KEY, b"c", message_of(3 * CHUNK_SIZE))
    chunk = chunked.SEALED_CHUNK_SIZE
    swapped = sealed[:56] + sealed[56 + chunk : 56 + 2 * chunk] + sealed[56 : 56 + chunk] + sealed[56 + 2 * chunk :]
    with pytest.raises(SealBroken):
        reader_of(swapped).read()


@pytest.mark.parametrize(("key", "context"), [(bytes(32), b"c"), (KEY, b"d"), (KEY, b""), (KEY, b"cc")])
def test_another_key_or_context_does_not_open(key: bytes, context: bytes) -> None:
    with pytest.raises(SealBroken):
        unseal(key, context, seal(KEY, b"c", b"message"))


def test_no_two_messages_share_a_keystream() -> None:
    """Same key, same context, same message: the salts differ, and with them everything that follows."""
    sealed = [seal(KEY, b"c", bytes(64)) for _ in range(2000)]
    assert len({message[:24] for message in sealed}) == 2000
    assert len({derive(KEY, message[:24], b"c") for message in sealed}) == 2000
    assert len({message[56:120] for message in sealed}) == 2000


def test_nothing_is_written_after_the_end() -> None:
    writer = SealingWriter(lambda _: None, KEY, b"")
    writer.finish()
    with pytest.raises(ValueError, match="finished"):
        writer.write(b"more")


def test_memory_stays_bounded_however_long_the_message() -> None:
    longest = 0

    def sink(data: object) -> None:
        nonlocal longest
        longest = max(longest, len(data))  # type: ignore[arg-type]

    writer = SealingWriter(sink, KEY, b"")
    writer.write(bytes(20_000_000))
    writer.finish()
    assert longest <= 300_000
