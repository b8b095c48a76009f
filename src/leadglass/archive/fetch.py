"""Fetch: the stored objects that a selection names, restricted to what the grant lets its holder see."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from leadglass.access.grant import GetGrant
from leadglass.dicom.query import Selection
from leadglass.dicom.syntax import ByteSource
from leadglass.dicom.uid import Uid
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Outcome


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


class Fetched:
    """The answer to a fetch: how many objects there are, and each opened when its turn comes.

    What the caller may not see is not counted, not opened and not told from what does not exist. The door says with
    `delivered` and `failed` what became of each object, so that the trail says how much really left.
    """

    def __init__(self, grant: GetGrant, vault: Vault, selection: Selection) -> None:
        self._grant = grant
        self._vault = vault
        self._rows = list(vault.instances(selection, grant.visible))
        self._delivered = 0
        self._failed = 0
        self._stream: Generator[FetchedObject, None, None] | None = None

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def transfer_syntaxes(self) -> frozenset[Uid]:
        """Every transfer syntax in which an object is stored: what a door can know before it opens the first."""
        return frozenset(row.transfer_syntax for row in self._rows)

    def __enter__(self) -> Self:
        return self

    def __iter__(self) -> Iterator[FetchedObject]:
        self._stream = self._objects()
        return self._stream

    def _objects(self) -> Generator[FetchedObject, None, None]:
        for row in self._rows:
            with self._vault.open_object(row) as stored:
                yield FetchedObject(
                    study=row.study,
                    series=row.series,
                    sop_class=row.sop_class,
                    sop_instance=row.sop_instance,
                    transfer_syntax=row.transfer_syntax,
                    size=stored.size,
                    reader=stored.reader,
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
        self._grant.settle(outcome, studies=sorted({row.study for row in self._rows}), count=self._delivered)
