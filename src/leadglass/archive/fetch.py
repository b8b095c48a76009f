"""Fetch: the stored objects that a selection names, restricted to what the grant lets its holder see."""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from leadglass.access.grant import GetGrant, MoveGrant
from leadglass.dicom.convert import to_explicit_little_endian
from leadglass.dicom.query import Selection
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN, ByteSource, is_deflated, is_native
from leadglass.dicom.uid import Uid
from leadglass.errors import CannotConvert
from leadglass.vault.index import InstanceRow
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Outcome

_PIECE: Final = 512 * 1024


@dataclass(frozen=True)
class Outgoing:
    """An object in one transfer syntax; `size` is that of all pieces where it is known before. Close `pieces` however sending ends."""

    transfer_syntax: Uid
    size: int | None
    pieces: Generator[bytes, None, None]


@dataclass(frozen=True)
class FetchedObject:
    """One stored object, opened; `reader` gives the data set byte for byte as it was received, `size` is its length in bytes."""

    study: Uid
    series: Uid
    sop_class: Uid
    sop_instance: Uid
    transfer_syntax: Uid
    size: int
    reader: ByteSource
    close: Callable[[], None]

    def open_in(self, accepted: Collection[str]) -> Outgoing:
        """The object in a transfer syntax out of `accepted`: as it is stored if that is one of them; CannotConvert, Damaged."""
        self.reader.seek(0)
        if self.transfer_syntax in accepted:
            padding = self.size % 2 if is_deflated(self.transfer_syntax) else 0
            return Outgoing(self.transfer_syntax, self.size + padding, self._as_stored(padding))
        if EXPLICIT_LITTLE_ENDIAN in accepted and is_native(self.transfer_syntax):
            pieces = to_explicit_little_endian(self.reader, self.transfer_syntax)
            return Outgoing(Uid(EXPLICIT_LITTLE_ENDIAN), None, (piece for piece in pieces))
        raise CannotConvert("not in a transfer syntax that was accepted")

    def _as_stored(self, padding: int) -> Generator[bytes, None, None]:
        while piece := self.reader.read(_PIECE):
            yield piece
        if padding:
            # PS3.5 A.5: a deflated stream of odd length is padded by one zero byte; DCMTK aborts without it.
            yield b"\0"


class Fetched:
    """The answer to a fetch: how many objects there are, and each opened when its turn comes.

    What the caller may not see is not counted, not opened and not told from what does not exist. The door says with
    `delivered` and `failed` what became of each object, so that the trail says how much really left.
    """

    def __init__(self, grant: GetGrant | MoveGrant, vault: Vault, selection: Selection) -> None:
        self._grant = grant
        self._vault = vault
        self.rows: Sequence[InstanceRow] = list(vault.instances(selection, grant.visible))
        self._delivered = 0
        self._failed = 0
        self._stream: Generator[FetchedObject, None, None] | None = None

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def transfer_syntaxes(self) -> frozenset[Uid]:
        """Every transfer syntax in which an object is stored: what a door can know before it opens the first."""
        return frozenset(row.transfer_syntax for row in self.rows)

    def __enter__(self) -> Self:
        return self

    def __iter__(self) -> Iterator[FetchedObject]:
        self._stream = self._objects()
        return self._stream

    def _objects(self) -> Generator[FetchedObject, None, None]:
        for row in self.rows:
            opened = self.open(row)
            try:
                yield opened
            finally:
                opened.close()

    def open(self, row: InstanceRow) -> FetchedObject:
        """One of `rows`, to be closed by whoever asks; Damaged if it is missing, changed or another's."""
        self._grant.require_open()
        stored = self._vault.open_object(row)
        return FetchedObject(
            study=row.study,
            series=row.series,
            sop_class=row.sop_class,
            sop_instance=row.sop_instance,
            transfer_syntax=row.transfer_syntax,
            size=stored.size,
            reader=stored.reader,
            close=stored.close,
        )

    def delivered(self) -> None:
        """Count one object as handed over whole."""
        self._delivered += 1

    def failed(self) -> None:
        """Count one object as not handed over."""
        self._failed += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._stream is not None:
            # The object that was open when its taker left is closed with it.
            self._stream.close()
        if kind is not None and not issubclass(kind, GeneratorExit):
            outcome = Outcome.FAILED
        elif self._failed:
            outcome = Outcome.PARTIAL
        elif self._delivered < self.count:
            outcome = Outcome.CANCELLED
        else:
            outcome = Outcome.DONE
        self._grant.settle(outcome, studies=sorted({row.study for row in self.rows}), count=self._delivered)
