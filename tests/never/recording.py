"""A serving archive under strace: its writes and syncs in order, whatever its threads do at once, and when each acknowledgment left."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.archives import COMMAND, ArchiveUnderTest
from tests.vault.powerloss import CALLS, strace_command

TRACED = (
    f"{CALLS},sendto,sendmsg,fallocate,pwritev,pwritev2,writev,copy_file_range,"
    "renameat,renameat2,unlinkat,mkdirat,link,linkat,symlink,dup,dup2,fork,vfork"
)
"""What the replay knows; and what it does not, so that a test sees when the archive begins to use it."""
KNOWN = frozenset(CALLS.split(","))

_LINE = re.compile(r"^(\d+) +(\d+\.\d+) (.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")


@dataclass(frozen=True)
class Call:
    """One call as the replay takes it, and when it happened."""

    at: float
    text: str

    @property
    def name(self) -> str:
        return self.text.partition("(")[0]


def calls(trace: Path) -> list[Call]:
    """The calls of all threads. A sync counts for what was written before it began, everything else where it ended."""
    found: list[Call] = []
    begun: dict[str, tuple[str, int]] = {}
    for line in trace.read_text().splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, at, text = match[1], float(match[2]), match[3]
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>").rstrip(), len(found)
            found.append(Call(at, ""))
        elif resumed := _RESUMED.match(text):
            head, place = begun.pop(thread)
            whole = Call(at, head + resumed[2])
            if "sync" in resumed[1]:
                found[place] = Call(found[place].at, whole.text)
            else:
                found.append(whole)
        else:
            found.append(Call(at, text))
    return [call for call in found if call.text]


@dataclass
class Recorded:
    """An archive that serves under strace."""

    archive: ArchiveUnderTest
    trace: Path
    acknowledged: dict[str, float] = field(default_factory=dict)
    """What was promised to whom, by the time at which he had it in hand."""

    def start(self) -> None:
        command = strace_command(self.trace, TRACED)
        program: tuple[str | Path, ...] = (*command[:1], "-D", "-ttt", *command[1:], COMMAND)
        self.archive.start(program=program, environment={"PYTHONDONTWRITEBYTECODE": "1"})

    def promise(self, what: str) -> None:
        self.acknowledged[what] = time.time()

    def stop(self, number: int) -> list[Call]:
        self.archive.stop(number)
        size = -1
        while size != self.trace.stat().st_size:
            size = self.trace.stat().st_size
            time.sleep(0.3)
        return calls(self.trace)

    def promised_at(self, recorded: list[Call]) -> Iterator[tuple[int, str]]:
        """The number of the call that sent each promise: the last that sent anything before it was in hand."""
        sends = [(call.at, number) for number, call in enumerate(recorded) if call.name in {"sendto", "sendmsg"}]
        for what, at in self.acknowledged.items():
            yield max(number for sent, number in sends if sent <= at), what
