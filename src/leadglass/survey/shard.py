"""A part of a scope: the same split on every machine, and an address is in one part alone, so that no host is spoken to from two places."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from leadglass.errors import WrongUsage
from leadglass.survey.addresses import IpAddress

MOST_SHARDS = 10_000


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` (from 1) of `count`.

    >>> Shard.parse("3/16")
    Shard(number=3, count=16)
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that `I/N` means; raises `WrongUsage`."""
        match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS:
            raise WrongUsage(
                f"--shard {text[:20]!r} is not I/N with 1 <= I <= N <= {MOST_SHARDS}: write 3/16 for the third of sixteen parts"
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def is_whole(self) -> bool:
        return self.count == 1

    def takes(self, address: IpAddress) -> bool:
        """Whether `address` is of this part; every address is of one."""
        digest = hashlib.sha256(address.packed).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Shard(1, 1)
