"""Where the first key comes from: a file, a passphrase, or the recovery key on paper. Each can wrap and unwrap the version keys."""

import base64
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from leadglass.durable import PRIVATE_FILE, sync_file, sync_folder, write_all
from leadglass.errors import KeyUnavailable, SealBroken
from leadglass.seal.chunked import KEY_SIZE, SALT_SIZE, seal, unseal

_TITLE: Final = "leadglass root key v1"
_WRAP: Final = b"leadglass wrap v1\0"
_PASSPHRASE: Final = b"leadglass passphrase v1\0"
_LONGEST_FILE: Final = 4096

# RFC 9106 section 4, second recommended choice: 64 MiB, three passes, four lanes.
_ITERATIONS: Final = 3
_LANES: Final = 4
_MEMORY_KIB: Final = 64 * 1024
_MOST_MEMORY_KIB: Final = 4 * 1024 * 1024
_MOST_ITERATIONS: Final = 1000
_MOST_LANES: Final = 64

_CHECKSUM_SIZE: Final = 3
"""Makes 35 bytes: exactly 56 characters of base32, no padding; a mistyped key is caught but once in 16 million."""
_GROUP: Final = 4
_LOOKALIKES: Final = str.maketrans("018", "OIB", " -\t\r\n")

AskPassphrase: TypeAlias = Callable[[], bytes]


class KeySource(Protocol):
    """Whatever holds a root: it can wrap a 32-byte key, and unwrap it again only where the context is the same."""

    def wrap(self, secret: bytes, context: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """KeyUnavailable unless this source wrapped it, with this context."""
        ...


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(b"leadglass key text v1\0" + secret).digest()[:_CHECKSUM_SIZE]


class SecretKey:
    """32 random bytes that wrap others; every wrap has its own salt, hence its own key and nonce."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_SIZE:
            raise ValueError("a key has 32 bytes")
        self._secret = secret

    @classmethod
    def generate(cls) -> Self:
        return cls(os.urandom(KEY_SIZE))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `text` wrote, however it was typed back: case, spaces and dashes do not count, 0 is O, 1 is I, 8 is B."""
        try:
            raw = base64.b32decode(text.translate(_LOOKALIKES).upper())
        except ValueError:
            raw = b""
        secret, checksum = raw[:KEY_SIZE], raw[KEY_SIZE:]
        if len(secret) != KEY_SIZE or checksum != _checksum(secret):
            raise KeyUnavailable("this is not a leadglass key: a character is wrong or missing; it has 14 groups of 4 letters and digits")
        return cls(secret)

    def text(self) -> str:
        """The key in a form that can be written down: 14 groups of 4 characters, the last ones a checksum."""
        text = base64.b32encode(self._secret + _checksum(self._secret)).decode("ascii")
        return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))

    def secret(self) -> bytes:
        """The 32 bytes themselves."""
        return self._secret

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        return seal(self._secret, _WRAP + context, secret)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return unseal(self._secret, _WRAP + context, wrapped)
        except SealBroken:
            raise KeyUnavailable("a wrapped key does not open: this is not the key that wrapped it, or it was changed") from None


class RootKey(SecretKey):
    """The root of an archive's keys; lives outside HOME."""

    __slots__ = ()


class RecoveryKey(SecretKey):
    """The second root, printed once by `init` and kept on paper."""

    __slots__ = ()


def _from_passphrase(passphrase: bytes, salt: bytes, iterations: int, lanes: int, memory_kib: int) -> bytes:
    return Argon2id(salt=salt, length=KEY_SIZE, iterations=iterations, lanes=lanes, memory_cost=memory_kib).derive(passphrase)


def encode_root_key(key: RootKey, passphrase: bytes | None = None) -> bytes:
    """The content of a root key file: the key itself, or the key sealed by a passphrase (Argon2id, RFC 9106)."""
    if passphrase is None:
        return f"{_TITLE}\nplain\n{key.text()}\n".encode("ascii")
    if not passphrase:
        raise KeyUnavailable("the passphrase is empty; choose one, or keep the root key in a file without one")
    salt = os.urandom(SALT_SIZE)
    cost = f"argon2id {_ITERATIONS} {_LANES} {_MEMORY_KIB} {salt.hex()}"
    derived = _from_passphrase(passphrase, salt, _ITERATIONS, _LANES, _MEMORY_KIB)
    sealed = seal(derived, _PASSPHRASE + cost.encode("ascii"), key.text().encode("ascii"))
    return f"{_TITLE}\n{cost}\n{sealed.hex()}\n".encode("ascii")


def decode_root_key(data: bytes, ask_passphrase: AskPassphrase | None = None) -> RootKey:
    """Read `encode_root_key`; the passphrase is asked for only where one is needed. KeyUnavailable otherwise."""
    wrong = KeyUnavailable("the root key file is not one of ours, or damaged; restore it from its copy")
    try:
        title, method, body = data.decode("ascii").splitlines()
    except ValueError:
        raise wrong from None
    if title != _TITLE:
        raise wrong
    if method == "plain":
        return RootKey.from_text(body)
    try:
        name, iterations, lanes, memory, salt = method.split(" ")
        cost = int(iterations), int(lanes), int(memory)
        sealed, raw_salt = bytes.fromhex(body), bytes.fromhex(salt)
    except ValueError:
        raise wrong from None
    within = 0 < cost[0] <= _MOST_ITERATIONS and 0 < cost[1] <= _MOST_LANES and 8 * cost[1] <= cost[2] <= _MOST_MEMORY_KIB
    if name != "argon2id" or len(raw_salt) != SALT_SIZE or not within:
        raise wrong
    if ask_passphrase is None:
        raise KeyUnavailable("the root key is sealed by a passphrase and there is nobody to ask for it")
    derived = _from_passphrase(ask_passphrase(), raw_salt, *cost)
    try:
        return RootKey.from_text(unseal(derived, _PASSPHRASE + method.encode("ascii"), sealed).decode("ascii"))
    except SealBroken:
        raise KeyUnavailable("the passphrase is not the one of this root key, or the root key file was changed") from None


def write_root_key(path: Path, key: RootKey, passphrase: bytes | None = None) -> None:
    """Create the root key file (0600), durably; never over an existing one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, PRIVATE_FILE)
    except FileExistsError:
        raise KeyUnavailable("a root key file is already there; it may be another archive's: name another file") from None
    try:
        write_all(descriptor, encode_root_key(key, passphrase))
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def read_root_key(path: Path, ask_passphrase: AskPassphrase | None = None) -> RootKey:
    """Read the root key file; KeyUnavailable if it is missing or others on this machine may read it."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise KeyUnavailable("others on this machine may read the root key file; chmod 600 it")
            data = file.read(_LONGEST_FILE)
    except OSError as error:
        raise KeyUnavailable(f"the root key file cannot be read: {error.strerror}; name it with --root-key") from None
    return decode_root_key(data, ask_passphrase)
