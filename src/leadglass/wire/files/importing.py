"""Import: each file is parsed as far as its file meta information and pushed into a deposit, like a message from a network."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from leadglass.dicom.part10 import FileMeta, read_file_meta
from leadglass.errors import BadInput, NoRoom
from leadglass.vocabulary import StoreResult
from leadglass.wire.files import sources

CHUNK = 1024 * 1024


class Deposit(Protocol):
    """One object on its way into an archive, in this process or through its control socket."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> StoreResult: ...

    def abandon(self) -> None: ...


@dataclass
class Imported:
    """What became of every file; labels may hold patients' names and are for the user's own terminal."""

    stored: int = 0
    already_there: int = 0
    conflicts: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """All of it in one line of counts."""
        return f"{self.stored} stored, {self.already_there} already there, {len(self.conflicts)} conflicts, {len(self.refused)} refused"

    def as_json(self) -> dict[str, object]:
        return {
            "stored": self.stored,
            "already_there": self.already_there,
            "conflicts": self.conflicts,
            "refused": [{"file": label, "why": why} for label, why in self.refused],
        }


def import_files(
    paths: list[Path],
    deposit: Callable[[FileMeta], Deposit],
    on_file: Callable[[int, int], None] = lambda _done, _total: None,
) -> Imported:
    """Take in everything at `paths`; a file that cannot be taken is listed with why and the next one tried.

    Raises `NoRoom` when the archive is full: what was taken before is safe, and importing again goes on from there.
    """
    total = sum(1 for _ in sources.find(paths))
    imported = Imported()
    for done, source in enumerate(sources.find(paths), start=1):
        if isinstance(source, sources.Unusable):
            imported.refused.append((source.label, source.why))
        else:
            _take(source, deposit, imported)
        on_file(done, total)
    return imported


def _take(source: sources.Candidate, deposit: Callable[[FileMeta], Deposit], imported: Imported) -> None:
    try:
        with source.open() as file:
            result = _push(file, deposit)
    except NoRoom:
        raise
    except BadInput as error:
        imported.refused.append((source.label, str(error)))
    except OSError as error:
        imported.refused.append((source.label, f"cannot be read: {error.strerror}"))
    else:
        if result is StoreResult.CONFLICT:
            imported.conflicts.append(source.label)
        elif result is StoreResult.ALREADY_THERE:
            imported.already_there += 1
        else:
            imported.stored += 1


def _push(file: BinaryIO, deposit: Callable[[FileMeta], Deposit]) -> StoreResult:
    head = file.read(CHUNK)
    meta, offset = read_file_meta(io.BytesIO(head))
    incoming = deposit(meta)
    try:
        incoming.write(head[offset:])
        while chunk := file.read(CHUNK):
            incoming.write(chunk)
        return incoming.commit()
    except BaseException:
        incoming.abandon()
        raise
