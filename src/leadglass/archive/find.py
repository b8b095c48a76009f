"""Find: the records that match a query, restricted to what the grant lets its holder see."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import Self

from leadglass.access.grant import FindGrant
from leadglass.dicom.query import Query
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Outcome

Record = dict[str, str]
"""DICOM keyword to text in UTF-8; several values are joined by a backslash (PS3.5 6.2)."""


class Found:
    """The answer to a find, pulled one record at a time; `cut` turns true when the query's limit ended it."""

    def __init__(self, grant: FindGrant, vault: Vault, query: Query) -> None:
        self._grant = grant
        self._vault = vault
        self._query = query
        self.count = 0
        self.cut = False
        self._complete = False
        self._stopped = False
        self._stream: Generator[Record, None, None] | None = None

    def __enter__(self) -> Self:
        return self

    def __iter__(self) -> Iterator[Record]:
        self._stream = self._records()
        return self._stream

    def stop(self) -> None:
        """End the search from another thread: no more records come, also while the first is still being looked for."""
        self._stopped = True

    def _records(self) -> Generator[Record, None, None]:
        limit = self._query.limit
        # One record more than asked for shows whether the limit cut anything.
        query = self._query if limit is None else replace(self._query, limit=limit + 1)
        with closing(self._vault.find(query, self._grant.visible, lambda: self._stopped)) as records:
            for record in records:
                if limit is not None and self.count == limit:
                    self.cut = True
                    break
                self.count += 1
                yield record
        self._complete = not self._stopped

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._stream is not None:
            # An answer that was left in the middle must not keep its reader of the index.
            self._stream.close()
        if kind is None or issubclass(kind, GeneratorExit):
            outcome = Outcome.DONE if self._complete else Outcome.CANCELLED
        else:
            outcome = Outcome.FAILED
        self._grant.settle(outcome, count=self.count)
