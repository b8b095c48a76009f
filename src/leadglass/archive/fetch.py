"""Fetch: the stored objects that a selection names, restricted to what the grant lets its holder see."""

import contextlib
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from leadglass.access.grant import GetGrant, MoveGrant
from leadglass.dicom.convert import to_little_endian
from leadglass.dicom.query import Selection
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, ByteSource, is_deflated, is_native
from leadglass.dicom.uid import Uid
from leadglass.errors import CannotConvert
from leadglass.pixels.images import DecodedFrames, decoded_object, is_decodable
from leadglass.pixels.pool import Decoders, Stopped, never
from leadglass.vault.index import InstanceRow
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Outcome

PIECE: Final = 512 * 1024


@dataclass(frozen=True)
class Outgoing:
    """An object on its way out: the transfer syntax it is in, and the data set in pieces."""

    transfer_syntax: Uid
    pieces: Generator[bytes, None, None]


def outgoing_syntax(stored: Uid, accepted: Collection[str]) -> Uid:
    """The transfer syntax out of `accepted` in which an object stored in `stored` leaves; CannotConvert if there is none.

    As it is stored, if that is one of them, else explicit, else implicit little endian. That it can be decoded is not promised.
    """
    if stored in accepted:
        return stored
    if not is_native(stored) and not is_decodable(stored):
        raise CannotConvert("stored in a transfer syntax that was not accepted and is not decoded here; accept it as it is stored")
    for target in (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN):
        if target in accepted:
            return target
    raise CannotConvert("neither its own transfer syntax nor explicit or implicit little endian is accepted; accept one of them")


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
    decoders: Decoders = field(repr=False)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    @property
    def padded_size(self) -> int:
        """The bytes in which it leaves as it is stored: a deflated stream of odd length is padded by one (PS3.5 A.5)."""
        return self.size + (self.size % 2 if is_deflated(self.transfer_syntax) else 0)

    def open_in(self, accepted: Collection[str], stopped: Stopped = never) -> Outgoing:
        """The object as `outgoing_syntax` chooses, decoded in the sandboxed process where it must be; CannotConvert with the reason.

        What is wrong with its pixels shows here, before the first piece; blocking, for as long as all its frames take to be decoded, or
        until `stopped()`, with GivenUp. What it holds is given back by `close`, at the latest when the next object's turn comes.
        """
        target = outgoing_syntax(self.transfer_syntax, accepted)
        self.reader.seek(0)
        if target == self.transfer_syntax:
            return self._outgoing(target, self._as_stored())
        if is_native(self.transfer_syntax):
            return self._outgoing(target, to_little_endian(self.reader, self.transfer_syntax, target))
        held = self._closing.enter_context(contextlib.ExitStack())
        return self._outgoing(target, decoded_object(self.reader, self.transfer_syntax, target, self.decoders, held, stopped))

    def decoded_frames(self) -> DecodedFrames:
        """The frames of compressed pixels, to be decoded one by one; CannotConvert with the reason."""
        self.reader.seek(0)
        return DecodedFrames(self.reader, self.transfer_syntax, self.decoders)

    def close(self) -> None:
        """Give back what was opened for this object."""
        self._closing.close()

    def _outgoing(self, transfer_syntax: Uid, pieces: Iterator[bytes]) -> Outgoing:
        given = _generated(pieces)
        self._closing.callback(given.close)
        return Outgoing(transfer_syntax, given)

    def _as_stored(self) -> Iterator[bytes]:
        while piece := self.reader.read(PIECE):
            yield piece
        if self.padded_size > self.size:
            # DCMTK aborts without it.
            yield b"\0"


def _generated(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    yield from pieces


class Fetched:
    """The answer to a fetch: how many objects there are, and each opened when its turn comes.

    What the caller may not see is not counted, not opened and not told from what does not exist. The door says with
    `delivered` and `failed` what became of each object, so that the trail says how much really left.
    """

    def __init__(self, grant: GetGrant | MoveGrant, vault: Vault, selection: Selection, decoders: Decoders) -> None:
        self._grant = grant
        self._vault = vault
        self._decoders = decoders
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
            with contextlib.closing(self.open(row)) as fetched:
                yield fetched

    def open(self, row: InstanceRow) -> FetchedObject:
        """One of `rows`, to be closed by whoever asks; Damaged if it is missing, changed or another's."""
        self._grant.require_open()
        with contextlib.ExitStack() as closing:
            stored = closing.enter_context(self._vault.open_object(row))
            return FetchedObject(
                study=row.study,
                series=row.series,
                sop_class=row.sop_class,
                sop_instance=row.sop_instance,
                transfer_syntax=row.transfer_syntax,
                size=stored.size,
                reader=stored.reader,
                decoders=self._decoders,
                _closing=closing.pop_all(),
            )

    def warm_decoders(self) -> None:
        """Begin a decoding process, if there is none, where an object is compressed and could be decoded; returns at once."""
        if any(map(is_decodable, self.transfer_syntaxes)):
            self._decoders.warm()

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
