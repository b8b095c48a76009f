"""The blob format: magic, key id and blob id in the clear; sealed: descriptor, data set exactly as it was received, and ending.

The ending is what is known only when all was received: blobs are sealed as they arrive, and in what order they count is settled last.

docs/formats.md draws it. The seal's context binds archive, blob id and key id, so that blobs that were swapped, renamed or given another
header do not open.
"""

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from leadglass.dicom.uid import Uid
from leadglass.errors import BadInput, SealBroken
from leadglass.seal.chunked import SealingWriter, UnsealingReader
from leadglass.seal.keytable import KEY_ID_SIZE
from leadglass.vault.blobs import BLOB_ID_SIZE, BlobWriter, OpenBlob
from leadglass.vault.keys import Keys, StudyKey

MAGIC: Final = b"leadglass blob v1\n"
_HEADER: Final = struct.Struct(f">{len(MAGIC)}s{KEY_ID_SIZE}s{BLOB_ID_SIZE}s")
HEADER_SIZE: Final = _HEADER.size
_CONTEXT: Final = b"leadglass blob v1\0"
_LENGTH: Final = struct.Struct(">I")
_LONGEST_DESCRIPTOR: Final = 64 * 1024
_ENDING: Final = struct.Struct(">?Q")
_to_json: Final = json.JSONEncoder(separators=(",", ":"), default=dict).encode


@dataclass(frozen=True)
class Descriptor:
    """What a blob says about its object besides the data set; sealed with it."""

    sop_class: Uid
    sop_instance: Uid
    study: Uid
    transfer_syntax: Uid
    received_ns: int
    """Nanoseconds since 1970, when the deposit began."""
    route: str
    """By which door or command it came, such as "dimse", "dicomweb", "import"."""
    sender: Mapping[str, str] = field(default_factory=dict)
    """Whatever the door knows of the sender: principal, calling AE title, implementation class and version."""

    def encode(self) -> bytes:
        body = _to_json(vars(self)).encode("ascii")
        if len(body) > _LONGEST_DESCRIPTOR:
            raise ValueError("a descriptor is at most 64 KiB")
        return _LENGTH.pack(len(body)) + body

    @classmethod
    def read(cls, reader: UnsealingReader) -> "Descriptor":
        """Read the descriptor and let the reader begin where the data set begins."""
        wrong = SealBroken("a blob opens but does not hold what this version of leadglass writes; use the version that wrote it")
        raw_length = reader.read(_LENGTH.size)
        if len(raw_length) != _LENGTH.size or (length := _LENGTH.unpack(raw_length)[0]) > _LONGEST_DESCRIPTOR:
            raise wrong
        try:
            fields = json.loads(reader.read(length))
            for name in ("sop_class", "sop_instance", "study", "transfer_syntax"):
                fields[name] = Uid(fields[name])
            if not isinstance(fields["received_ns"], int) or not isinstance(fields["route"], str) or not isinstance(fields["sender"], dict):
                raise wrong
            descriptor = cls(**fields)
        except (ValueError, TypeError, KeyError, BadInput):
            raise wrong from None
        reader.begin_at(_LENGTH.size + length)
        return descriptor


class Ending(NamedTuple):
    """What was decided about the object when it was committed."""

    aside: bool
    """Whether it was put aside as a conflict; the journal says with what."""
    committed_ns: int
    """Nanoseconds since 1970, yet later than that of every object committed before, whatever the clock said."""

    @classmethod
    def read(cls, reader: UnsealingReader) -> "Ending":
        """Read the ending and let the reader end where the data set ends."""
        if reader.size < _ENDING.size:
            raise SealBroken("a blob opens but is shorter than what this version of leadglass writes; use the version that wrote it")
        reader.seek(-_ENDING.size, io.SEEK_END)
        ending = cls(*_ENDING.unpack(reader.read(_ENDING.size)))
        reader.end_before(_ENDING.size)
        reader.seek(0)
        return ending


class Unsealed(NamedTuple):
    """An open blob; `reader` is a seekable file over the data set alone."""

    descriptor: Descriptor
    ending: Ending
    reader: UnsealingReader


class ClearHeader(NamedTuple):
    """What a blob shows without a key."""

    key_id: bytes
    blob_id: bytes


def _context(archive_id: bytes, key_id: bytes, blob_id: bytes) -> bytes:
    return b"".join((_CONTEXT, archive_id, key_id, blob_id))


def read_clear_header(blob: OpenBlob) -> ClearHeader:
    """The header; SealBroken if it is none of ours."""
    raw = blob.pread(HEADER_SIZE, 0)
    if len(raw) != HEADER_SIZE or not raw.startswith(MAGIC):
        raise SealBroken("a blob does not begin as blobs do; restore it from its copy")
    _, key_id, blob_id = _HEADER.unpack(raw)
    return ClearHeader(key_id, blob_id)


def start_blob(archive_id: bytes, key: StudyKey, writer: BlobWriter, descriptor: Descriptor) -> SealingWriter:
    """Begin a blob; the data set goes through the result, then `finish_blob` ends it."""
    header = _HEADER.pack(MAGIC, key.key_id, writer.blob_id)
    sealing = SealingWriter(writer.write, key.secret, _context(archive_id, key.key_id, writer.blob_id), header=header)
    sealing.write(descriptor.encode())
    return sealing


def finish_blob(sealing: SealingWriter, ending: Ending) -> None:
    """End a blob with what was decided about it."""
    sealing.write(_ENDING.pack(*ending))
    sealing.finish()


def unseal_blob(keys: Keys, blob: OpenBlob, blob_id: bytes) -> Unsealed:
    """Open a blob that is expected to have this id; SealBroken if it has not, or if a byte that is read here was changed."""
    header = read_clear_header(blob)
    if header.blob_id != blob_id:
        raise SealBroken("a blob lies under another blob's name; restore both from their copy")
    context = _context(keys.archive_id, header.key_id, blob_id)

    def read_at(length: int, offset: int) -> bytes:
        return blob.pread(length, HEADER_SIZE + offset)

    reader = UnsealingReader(read_at, blob.size - HEADER_SIZE, keys.key(header.key_id), context)
    # The ending first: the reader has just opened its chunk.
    ending = Ending.read(reader)
    return Unsealed(Descriptor.read(reader), ending, reader)
