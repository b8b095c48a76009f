"""Verifying a trail: the owner's while it serves, HOME's own when nothing does, or a copy of trail/ alone."""

from dataclasses import dataclass
from pathlib import Path

from leadglass.access.anchor import read_anchor, tables_in
from leadglass.assemble import rootkeys
from leadglass.assemble.opening import origin
from leadglass.assemble.operator import operator
from leadglass.config import load_settings
from leadglass.errors import Damaged, KeyUnavailable, WrongUsage
from leadglass.home import Home
from leadglass.trail.export import ENTRIES_FILE
from leadglass.trail.note import Signer
from leadglass.trail.verify import verify
from leadglass.vault.keys import Keys
from leadglass.wire.control.client import ControlClient
from leadglass.wire.control.frames import Json


@dataclass(frozen=True)
class TrailReport:
    """What verification found, for people and for programs."""

    size: int
    origin: str
    problems: list[str]
    notes: list[str]

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> Json:
        return {"ok": self.ok, "size": self.size, "origin": self.origin, "problems": self.problems, "notes": self.notes}

    def sentences(self) -> list[str]:
        verdict = f"trail verified: {self.size} entries, every byte as it was signed" if self.ok else "trail NOT verified"
        return [*(f"problem: {problem}" for problem in self.problems), verdict, *(f"note: {note}" for note in self.notes)]


def verify_trail(place: Path, *, checkpoint: Path | None, key: Path | None) -> TrailReport:
    """Verify the trail at `place`: HOME, or a folder that is a copy of its trail/."""
    kept = checkpoint.read_bytes() if checkpoint is not None else None
    trusted = key.read_text(encoding="ascii", errors="replace").strip() if key is not None else None
    home = Home(place)
    if not home.config.is_file():
        if not (place / "checkpoint").is_file():
            raise WrongUsage(f"{place} is neither an archive nor a copy of a trail/: it holds neither leadglass.toml nor checkpoint")
        if (place / ENTRIES_FILE).is_file():
            raise WrongUsage(f"{place} was written by `trail export`, for verifiers of C2SP tlog-tiles; name HOME, or a copy of its trail/")
        return _report(place, trusted, kept)
    home.require()
    client = ControlClient.connect(home.control_socket)
    if client is not None:
        client.close()
        with operator(home) as owner:
            row = owner.one("trail-verify", checkpoint=None if kept is None else kept.decode("utf-8", "replace"), key=trusted)
        return TrailReport(
            size=int(str(row["size"])), origin=str(row["origin"]), problems=_texts(row["problems"]), notes=_texts(row["notes"])
        )
    with home.owned():
        return _report_anchored(home, trusted, kept)


def _report_anchored(home: Home, trusted: str | None, kept: bytes | None) -> TrailReport:
    """With the verifier key from the wrapped signing key, not from trail/, where whoever rewrote the trail could have put another."""
    try:
        keys = Keys.open(home.keys, rootkeys.read(load_settings(home.config)))
    except KeyUnavailable:
        if trusted is None:
            raise
        report = _report(home.trail, trusted, kept)
        report.notes.append("without the root key, what this archive last vouched for was not looked at")
        return report
    try:
        key = trusted or Signer(origin(keys), keys.named("trail-signing")).verifier.text
        try:
            anchor = read_anchor(home.access, keys.named("access"), keys.archive_id)
        except Damaged as error:
            report = _report(home.trail, key, kept)
            report.problems.append(str(error))
            return report
    finally:
        keys.close()
    found = verify(home.trail, key=key, kept_checkpoint=kept, vouched=anchor.checkpoint)
    problems = [*found.problems, *anchor.problems(tables_in(home.access), found.changes)]
    return TrailReport(found.size, found.origin, problems, list(found.notes))


def _report(folder: Path, key: str | None, kept: bytes | None) -> TrailReport:
    report = verify(folder, key=key, kept_checkpoint=kept)
    return TrailReport(report.size, report.origin, list(report.problems), list(report.notes))


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
