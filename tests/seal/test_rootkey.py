"""The keys everything hangs on: in a file, behind a passphrase, on paper."""

import contextlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import KeyUnavailable
from leadglass.seal.rootkey import RecoveryKey, RootKey, decode_root_key, encode_root_key, read_root_key, write_root_key

KEYS = st.binary(min_size=32, max_size=32)
VECTORS = Path(__file__).parents[1] / "vectors" / "seal"


@given(KEYS)
def test_a_key_written_down_is_the_same_key(secret: bytes) -> None:
    assert RecoveryKey.from_text(RecoveryKey(secret).text()).secret() == secret


@given(KEYS, st.randoms())
def test_a_key_may_be_typed_carelessly(secret: bytes, chance: random.Random) -> None:
    text = RecoveryKey(secret).text().lower().replace("-", " ")
    text = "".join(chance.choice((letter, letter.upper())) for letter in text)
    for letter, lookalike in (("o", "0"), ("i", "1"), ("b", "8")):
        text = text.replace(letter, lookalike)
    assert RecoveryKey.from_text(f" {text}\n").secret() == secret


@given(KEYS, st.integers(0, 55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_wrong_character_is_noticed(secret: bytes, place: int, letter: str) -> None:
    text = RecoveryKey(secret).text().replace("-", "")
    if text[place] != letter:
        with pytest.raises(KeyUnavailable, match="a character is wrong"):
            RecoveryKey.from_text(text[:place] + letter + text[place + 1 :])


@pytest.mark.parametrize("text", ["", "ABCD", "ä" * 56, "A" * 57, "A" * 1000])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(KeyUnavailable):
        RecoveryKey.from_text(text)


def test_a_wrapped_key_opens_in_its_context_only() -> None:
    root = RootKey.generate()
    wrapped = root.wrap(b"s" * 32, b"place")
    assert root.unwrap(wrapped, b"place") == b"s" * 32
    for key, context in ((root, b"elsewhere"), (RootKey.generate(), b"place")):
        with pytest.raises(KeyUnavailable):
            key.unwrap(wrapped, context)


def test_no_two_wraps_share_a_keystream() -> None:
    """The flaw of wrapping under one nonce: the XOR of two wraps would be the XOR of the two keys."""
    root = RootKey.generate()
    first, second = os.urandom(32), os.urandom(32)
    wraps = [root.wrap(first, b"place") for _ in range(500)] + [root.wrap(second, b"place") for _ in range(500)]
    assert len({wrap[:24] for wrap in wraps}) == len(wraps)
    streams = [
        bytes(a ^ b for a, b in zip(wrap[56:88], secret, strict=True))
        for wrap, secret in zip(wraps, [first] * 500 + [second] * 500, strict=True)
    ]
    assert len(set(streams)) == len(wraps)


def test_the_file_round_trips_with_and_without_a_passphrase() -> None:
    root = RootKey.generate()
    assert decode_root_key(encode_root_key(root)).secret() == root.secret()
    data = encode_root_key(root, b"correct horse")
    assert root.text().encode() not in data
    assert decode_root_key(data, lambda: b"correct horse").secret() == root.secret()
    with pytest.raises(KeyUnavailable, match="passphrase is not the one"):
        decode_root_key(data, lambda: b"correct house")
    with pytest.raises(KeyUnavailable, match="nobody to ask"):
        decode_root_key(data)


def test_an_empty_passphrase_is_no_passphrase() -> None:
    with pytest.raises(KeyUnavailable, match="empty"):
        encode_root_key(RootKey.generate(), b"")


def test_every_changed_byte_of_the_file_is_found() -> None:
    root = RootKey.generate()
    data = bytearray(encode_root_key(root))
    for place in range(len(data)):
        data[place] ^= 1
        with contextlib.suppress(KeyUnavailable):
            # Where it still opens, a letter's case or a lookalike was changed, and the key is the same.
            assert decode_root_key(bytes(data)).secret() == root.secret()
        data[place] ^= 1


@pytest.mark.parametrize(
    "line",
    [
        "argon2id 3 4 65536",
        "argon2id 0 4 65536 " + "00" * 24,
        "argon2id 3 4 99999999 " + "00" * 24,
        "argon2id 3 4 8 " + "00" * 24,
        "argon2id x 4 65536 00",
        "scrypt 1 2 3 00",
    ],
)
def test_a_cost_that_is_out_of_bounds_is_refused_before_it_is_paid(line: str) -> None:
    with pytest.raises(KeyUnavailable, match="not one of ours"):
        decode_root_key(f"leadglass root key v1\n{line}\n00\n".encode(), lambda: b"x")


def test_the_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    root = RootKey.generate()
    write_root_key(path, root)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_root_key(path).secret() == root.secret()
    with pytest.raises(KeyUnavailable, match="already there"):
        write_root_key(path, RootKey.generate())
    assert read_root_key(path).secret() == root.secret()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    write_root_key(path, RootKey.generate())
    path.chmod(0o640)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        read_root_key(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="--root-key"):
        read_root_key(tmp_path / "none")


@pytest.mark.parametrize("name", ["root-plain-v1.key", "root-passphrase-v1.key"])
def test_files_of_version_1_open_for_ever(name: str) -> None:
    data = (VECTORS / name).read_bytes()
    assert decode_root_key(data, lambda: b"correct horse").secret() == bytes(range(32))


def test_keys_do_not_print() -> None:
    key = RootKey(b"K" * 32)
    assert "KKKK" not in repr(key) + str(key)
    assert key.text() not in repr(key)
