"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint; commit 5ba5ee830903e91240fc6f9f3a7a9293d49e69c9).

Only Ed25519, only one signature, only the one spelling that we write: a note that says the same in other bytes is refused.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from leadglass.errors import ConfigurationError, TrailDamaged

_ED25519 = b"\x01"
_SIGNATURE_SIZE = 64
_KEY_ID_SIZE = 4
_PUBLIC_KEY_SIZE = 32
MAX_NOTE = 512
"""One disk sector: a checkpoint that is overwritten in place is the old or the new one, never half of each."""

_NAME = re.compile(r"[!-*,-~]{1,100}", re.ASCII)
"""A key name holds no space and no plus (signed-note); ASCII and short is our own restriction, so that a note fits a sector."""
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LINES = 3


def _decode_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True)
class Verifier:
    """A log's public key under its name."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError("a trail's name is 1 to 100 printable ASCII characters without space or plus")

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_KEY_ID_SIZE]

    @property
    def text(self) -> str:
        """The key as C2SP spells a verifier key: name, key id and key, joined by plus signs."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `text` spells; raises `ConfigurationError` for anything but an Ed25519 verifier key."""
        name, _, rest = text.strip().partition("+")
        _, _, encoded = rest.partition("+")
        key = _decode_base64(encoded)
        if key is None or len(key) != 1 + _PUBLIC_KEY_SIZE or key[:1] != _ED25519 or not _NAME.fullmatch(name):
            raise ConfigurationError("not a verifier key: expected NAME+HEX+BASE64 of an Ed25519 key, as in trail/key")
        verifier = cls(name, key[1:])
        if verifier.text != text.strip():
            raise ConfigurationError("not a verifier key: its key id does not fit its name and key; copy trail/key again")
        return verifier

    def open(self, note: bytes) -> str:
        """The text of a note that this key signed; raises `TrailDamaged` for every other."""
        head, separator, signature_line = note.partition(b"\n\n")
        text = head + b"\n"
        prefix = f"\u2014 {self.name} ".encode()
        encoded = signature_line.removeprefix(prefix).removesuffix(b"\n")
        signature = _decode_base64(encoded.decode("ascii", "replace")) or b""
        if (
            len(note) > MAX_NOTE
            or not separator
            or not signature.startswith(self.key_id)
            or len(signature) != _KEY_ID_SIZE + _SIGNATURE_SIZE
            or note != _assemble(text, self.name, signature)
        ):
            raise TrailDamaged("a checkpoint is not a note signed by the key of this trail")
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature[_KEY_ID_SIZE:], text)
            return text.decode("ascii")
        except (InvalidSignature, UnicodeDecodeError):
            raise TrailDamaged("the signature of a checkpoint is not by the key of this trail") from None


def _assemble(text: bytes, name: str, signature: bytes) -> bytes:
    return text + b"\n" + f"\u2014 {name} ".encode() + base64.b64encode(signature) + b"\n"


class Signer:
    """A log's signing key; its repr shows the public half alone."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())
        self._key_id = self.verifier.key_id

    def sign(self, text: str) -> bytes:
        data = text.encode("ascii")
        return _assemble(data, self.verifier.name, self._key_id + self._key.sign(data))

    def __repr__(self) -> str:
        return f"Signer({self.verifier.text})"


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: which log, how many leaves, their root hash."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def agrees_with(self, size: int, root: bytes) -> bool:
        return self.size == size and hmac.compare_digest(self.root, root)

    @classmethod
    def parse(cls, note: bytes, verifier: Verifier) -> Self:
        """The checkpoint in a signed note; raises `TrailDamaged` unless `verifier` signed it and it is spelt as we spell it."""
        text = verifier.open(note)
        lines = text.split("\n")
        root = _decode_base64(lines[2]) if len(lines) == _LINES + 1 else None
        if root is None or lines[0] != verifier.name or not _SIZE.fullmatch(lines[1]):
            raise TrailDamaged("a checkpoint is signed, but is not one that leadglass writes")
        checkpoint = cls(lines[0], int(lines[1]), root)
        if checkpoint.text != text or len(root) != hashlib.sha256().digest_size:
            raise TrailDamaged("a checkpoint is signed, but is not one that leadglass writes")
        return checkpoint
