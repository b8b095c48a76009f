import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import ConfigurationError, TrailDamaged
from leadglass.trail.note import Checkpoint, Signer, Verifier
from tests.trail.trails import ORIGIN, SEED

# The example of C2SP signed-note.md at the commit that note.py names.
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()


def test_the_note_of_the_specification_opens() -> None:
    verifier = Verifier.parse(SPEC_KEY)
    assert verifier.open(SPEC_NOTE) == "This is an example message.\n"
    assert verifier.text == SPEC_KEY


def test_any_changed_byte_of_a_note_is_refused() -> None:
    verifier = Verifier.parse(SPEC_KEY)
    for place in range(len(SPEC_NOTE)):
        for change in (1, 0x20, 0x80):
            note = bytearray(SPEC_NOTE)
            note[place] ^= change
            with pytest.raises(TrailDamaged):
                verifier.open(bytes(note))


@pytest.mark.parametrize("addition", [b"\n", b" ", SPEC_NOTE.split(b"\n\n")[1]], ids=["newline", "space", "second signature"])
def test_the_same_note_in_other_bytes_is_refused(addition: bytes) -> None:
    with pytest.raises(TrailDamaged):
        Verifier.parse(SPEC_KEY).open(SPEC_NOTE + addition)


def test_openssl_accepts_our_signature(tmp_path: Path) -> None:
    signer = Signer(ORIGIN, SEED)
    text, _, line = signer.sign(Checkpoint(ORIGIN, 7, b"r" * 32).text).partition(b"\n\n")
    der = bytes.fromhex("302a300506032b6570032100") + signer.verifier.public_key
    (tmp_path / "key").write_bytes(b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n")
    (tmp_path / "text").write_bytes(text + b"\n")
    (tmp_path / "signature").write_bytes(base64.b64decode(line.split(b" ")[2])[4:])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-in", "text", "-sigfile", "signature"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in done.stdout, done.stderr


@given(st.integers(0, 10**18), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_reads_as_it_was_written(size: int, root: bytes) -> None:
    signer = Signer(ORIGIN, SEED)
    checkpoint = Checkpoint(ORIGIN, size, root)
    assert Checkpoint.parse(signer.sign(checkpoint.text), signer.verifier) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n07\n{'A' * 43}=\n",
        f"{ORIGIN}\n7\n{'A' * 43}=\nextension\n",
        f"another\n7\n{'A' * 43}=\n",
        f"{ORIGIN}\n-7\n{'A' * 43}=\n",
        f"{ORIGIN}\n7\nAAAA\n",
        f"{ORIGIN}\n7\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_of_ours_is_refused(text: str) -> None:
    signer = Signer(ORIGIN, SEED)
    with pytest.raises(TrailDamaged):
        Checkpoint.parse(signer.sign(text), signer.verifier)


@given(st.text(max_size=80))
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Verifier.parse(text)


def test_a_key_with_another_id_or_another_spelling_is_refused() -> None:
    name, key_id, key = SPEC_KEY.split("+", 2)
    for text in (f"{name}+00000000+{key}", f"{name}+{key_id.upper()}x+{key}", f"{name}+{key_id}+{key[:-1]}l"):
        with pytest.raises(ConfigurationError):
            Verifier.parse(text)


def test_a_signer_shows_its_public_half_alone() -> None:
    assert SEED.hex() not in repr(Signer(ORIGIN, SEED))
    assert "leadglass/test+" in repr(Signer(ORIGIN, SEED))
