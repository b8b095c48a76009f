"""The judge: what may not have come out, and whether an archive without the canary would have answered the same."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.archives import COMMAND, ArchiveUnderTest, copy_of, leadglass
from tests.never.asking import Exchange
from tests.never.canary import Patient, found_in, found_under
from tests.never.house import House, write_objects

Ask = Callable[[House, ArchiveUnderTest], Iterable[Exchange]]


@dataclass
class Twins:
    """Two serving archives, alike but for the canary, and the temporary folder of the first."""

    house: House
    holding: ArchiveUnderTest
    lacking: ArchiveUnderTest
    temporary: Path
    planted: Path
    """Names the leak that is open, where there are any."""
    handed_in: int = 0

    def clean(self) -> None:
        """Remove what a leak left lying: files that the archive did not have when it began to serve, blobs and the trail apart."""
        for path in self.temporary.iterdir():
            path.unlink()
        for path in (
            self.holding.home / "cache",
            self.holding.home / "trail" / "note",
            *(self.holding.home / "blobs" / "incoming").iterdir(),
        ):
            path.unlink(missing_ok=True)
        self.holding.home.with_name("serve.log").write_text("")

    def ask(self, ask: Ask) -> tuple[list[Exchange], list[Exchange]]:
        """The same questions to both."""
        return list(ask(self.house, self.holding)), list(ask(self.house, self.lacking))


@contextmanager
def twins(
    house: House, folder: Path, program: tuple[str | Path, ...] = (COMMAND,), environment: dict[str, str] | None = None
) -> Iterator[Twins]:
    """Two copies of the house, one with the canary and one without, served by `program` (by the installed command)."""
    folder.mkdir(parents=True)
    all_files, without = write_objects(folder / "objects")
    made = []
    temporary = folder / "temporary"
    temporary.mkdir()
    for name, files in (("holding", all_files), ("lacking", without)):
        archive = copy_of(house.archive, folder / name)
        leadglass("import", archive.home, *files)
        made.append(archive)
    planted = folder / "planted"
    planted.write_text("")
    places = {"TMPDIR": str(temporary), "SQLITE_TMPDIR": str(temporary), "PLANTED": str(planted), **(environment or {})}
    for archive in made:
        archive.start(program=program, environment=places)
    try:
        yield Twins(house, made[0], made[1], temporary, planted)
    finally:
        for archive in made:
            archive.stop()


def leaks(exchanges: Iterable[Exchange]) -> list[str]:
    """Every answer with something of a patient whom the one who asked may not see."""
    groups: dict[tuple[Patient, ...], list[Exchange]] = {}
    for exchange in exchanges:
        groups.setdefault(exchange.forbidden, []).append(exchange)
    found = []
    for forbidden, group in groups.items():
        # All at once first: where nothing is in the whole, nothing is in a part.
        if found_in(b"\0".join(each.received for each in group), forbidden):
            told = ((each.name, found_in(each.received, forbidden) - each.told) for each in group)
            found += [f"{name}: {sorted(what)}" for name, what in told if what]
    return found


def leaks_at_rest(pair: Twins) -> list[str]:
    """Every file of the archive, its log or its temporary folder with something planted."""
    found = found_under(pair.holding.home, pair.temporary)
    if what := found_in(pair.holding.log().encode()):
        found["serve.log"] = what
    return [f"{name}: {sorted(what)}" for name, what in found.items()]


_BOUNDARY = re.compile(rb"boundary=([0-9A-Za-z'()+_,\-./:=?]+)")


def alike(received: bytes) -> bytes:
    """An answer without what is random, and without the address of the archive that gave it."""
    if (boundary := _BOUNDARY.search(received)) is not None:
        received = received.replace(boundary[1], b"BOUNDARY")
    received = re.sub(rb"(?i)\r\ndate: [^\r]*", b"", received)
    return re.sub(rb"127\.0\.0\.1:\d+", b"HOST", received)


def differences(holding: Iterable[Exchange], lacking: Iterable[Exchange]) -> list[str]:
    """Every question that the twins answer differently."""
    return [
        f"{one.name}: {alike(one.received)[:300]!r} / {alike(other.received)[:300]!r}"
        for one, other in zip(holding, lacking, strict=True)
        if (one.name, alike(one.received)) != (other.name, alike(other.received))
    ]
